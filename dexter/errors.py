"""The error for refused input; everything else that is raised is a bug or a failed run."""

from collections.abc import Callable


class InputError(ValueError):
    """Input that cannot be used: what is wrong, where, and what to do.

    The parts are for programs (a form marks the field, ``--json`` lists them all), the sentence
    is for people; programs show it on one line, without a traceback.

    Args:
        problem: What is wrong, as a clause ("must be positive, got -1").
        field: The setting or option, by its name in code (``learning_rate``), if it is about one.
        value: The refused value, where there is one.
        remedy: What to do, in the imperative ("pass --trust-pickle").
    """

    def __init__(
        self,
        problem: str,
        *,
        field: str | None = None,
        value: object = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.field = field
        self.value = value
        self.remedy = remedy

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self, name: Callable[[str], str] = str) -> str:
        """Return the error as one line; `name` turns a field into what the user typed."""
        text = self.problem if self.field is None else f"{name(self.field)}: {self.problem}"
        return f"{text}; {self.remedy}" if self.remedy else text
