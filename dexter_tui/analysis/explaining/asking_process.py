"""The process that answers questions about a screening, so that the asker stays without torch.

Each line of its input is a question, as JSON. Each line of its output is an object with one key:
"doing" names the models that load, "ready" is what the answers rest on, and then each question has
an "answer", or a "refusal" with the parts of an error.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from dexter.errors import InputError
from dexter_tui.jobs.launch import worker_environment
from store.artifacts import open_log
from store.errors import StoreError

_UNIT = re.compile(r"unit\s+(\d+)", re.IGNORECASE)


class AskingProcess:
    """The process of one screened classifier, seen from the asker.

    Its methods block, so call them from threads, one at a time; `close` may be called at any time.

    Args:
        home: Folder of the store.
        screening_id: The screening whose pictures it learns from.
        member: Number of the classifier in the screening, from 0.
    """

    def __init__(self, home: Path, screening_id: str, member: int) -> None:
        self._home = home
        with open_log(home / "dashboard.log") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, screening_id, str(member)],
                env={**worker_environment(), "DEXTER_HOME": str(home)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def start(self, tell: Callable[[str], object]) -> str:
        """Wait until the models are loaded; return what the answers rest on. tell: see "doing".

        Raises InputError or StoreError if nothing can be asked.
        """
        while "ready" not in (line := self._read()):
            tell(line["doing"])
        return str(line["ready"])

    def ask(self, question: str) -> dict[str, Any]:
        """Return the answer to a text, or to "unit 12", as `Answered` or `Named` for programs.

        Raises InputError for a question that cannot be answered.
        """
        with suppress(BrokenPipeError):  # the answer says that it has ended
            assert self._process.stdin is not None
            self._process.stdin.write(f"{json.dumps(question)}\n")
            self._process.stdin.flush()
        line = self._read()
        return dict(line["answer"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            code = self._process.wait()
            raise StoreError(
                f"the process that answers ended with {code}",
                remedy=f"look into {self._home / 'dashboard.log'}",
            )
        line: dict[str, Any] = json.loads(text)
        if (refusal := line.get("refusal")) is not None:
            raise InputError(**refusal)
        return line


def _serve(screening_id: str, member: int) -> None:
    """Answer the questions on standard input until it ends."""
    from dexter.loading import importing
    from dexter_tui import paths
    from dexter_tui.analysis.desk import error_parts
    from dexter_tui.analysis.explaining.ask import Asking
    from dexter_tui.analysis.explaining.screened import prepared_of
    from store import Store
    from store.reading import screenings
    from store.reading.browse import Browse

    # A classifier's own code may print.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(**line: object) -> None:
        print(json.dumps(line), file=answers, flush=True)

    home = paths.home()
    try:
        with importing():
            import_module("transformers.modeling_utils")
        with Store.open(home, make=False) as store:
            page = screenings.page(Browse(home), screening_id)
            prepared = prepared_of(store, screening_id, member)
            asking = Asking(store, prepared, page, say=lambda line: say(doing=line))
            say(ready=asking.answers([], []).basis)
            for line in sys.stdin:
                try:
                    say(answer=_answer(asking, json.loads(line)))
                except (InputError, StoreError) as error:
                    say(refusal=error_parts(error))
    except (InputError, StoreError) as error:
        say(refusal=error_parts(error))
    except BrokenPipeError:
        pass  # nobody listens


def _answer(asking: Any, question: str) -> dict[str, Any]:
    if (named := _UNIT.fullmatch(question.strip())) is not None:
        [unit] = asking.answers([], [int(named[1])]).named
        return dict(unit.to_json())
    [answered] = asking.answers([question], []).answered
    return dict(answered.to_json())


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
