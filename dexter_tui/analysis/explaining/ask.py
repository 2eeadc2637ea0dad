"""Questions in free words that are answered from a screening's pictures, without drawing."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dexter.errors import InputError
from dexter_tui.analysis.bench import require_weights
from dexter_tui.analysis.explaining.screened import newest
from dexter_tui.analysis.screening_request import Prepared
from store import screening_records
from store.reading.card import loading_flags

if TYPE_CHECKING:
    from dexter.reasoning.detection import ImageText
    from dexter.screening.text_map import Guess, TextMap, Trial
    from store import Store

_NAMES = 3
"""Words that name a unit."""
_SUBJECTS = 4
"""Subjects of each kind that the words of a unit are tried on."""


@dataclass(frozen=True)
class Answered:
    """A question and its guess.

    names: the words that stand for something in the picture. change: of the log-odds against the
    control, with its interval.
    """

    question: str
    names: tuple[str, ...]
    prompt: str
    guess: "Guess"
    control: str | None
    change: tuple[float, float, float] | None

    def to_json(self) -> dict[str, Any]:
        """Return it as programs receive it."""
        low, high = self.guess.interval
        return {
            "question": self.question,
            "prompt": self.prompt,
            "p": self.guess.p,
            "low": low,
            "high": high,
            "log_odds": self.guess.odds,
            "unseen": list(self.guess.unseen),
            "names": list(self.names),
            "control": self.control,
            "change": None
            if self.change is None
            else dict(zip(("log_odds", "low", "high"), self.change, strict=True)),
        }


@dataclass(frozen=True)
class Named:
    """A unit of a classifier's features and the words that name it, with their effects.

    words: the effect of each on the unit, in standard deviations over the bank, with its interval;
    strongest first, and only those whose interval is above 0.
    """

    unit: int
    words: list[tuple[str, float, float, float]]

    def to_json(self) -> dict[str, Any]:
        """Return it as programs receive it."""
        names = ("word", "effect", "low", "high")
        return {
            "unit": self.unit,
            "words": [dict(zip(names, one, strict=True)) for one in self.words],
        }


@dataclass(frozen=True)
class Answers:
    """The answers to questions, and what they rest on."""

    classifier: str
    class_name: str
    screening: str
    pictures: int
    level: float
    trial: "Trial"
    milliseconds: float
    """Of a question, on average, text encoder included."""
    answered: list[Answered]
    named: list[Named]

    @property
    def basis(self) -> str:
        """Return what the answers rest on, as a sentence."""
        trial = self.trial
        said = (
            f"Guessed from {self.pictures} pictures of the bank, among them those of screening "
            f"{self.screening}."
        )
        if trial.words:
            rank = trial.rank_correlation
            by_rank = "" if rank is None else f"rank correlation {rank:.2f}; "
            said += (
                f" With each of {trial.words} words left out: {by_rank}intervals of texts with an "
                f"unseen word are {trial.widened:.1f} times as wide as the model alone says."
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """Return all of it, JSON-able."""
        return {
            "classifier": self.classifier,
            "class_name": self.class_name,
            "screening": self.screening,
            "pictures": self.pictures,
            "level": self.level,
            "left_out": asdict(self.trial),
            "milliseconds": self.milliseconds,
            "answers": [one.to_json() for one in self.answered],
            "units": [one.to_json() for one in self.named],
        }


def page_of(store: "Store", prepared: "Prepared") -> dict[str, Any]:
    """Return the page of the newest finished screening of a request of one classifier.

    Raises InputError if there is none.
    """
    page = newest(store, prepared, same_bank=False)
    if page is None:
        name, spec = prepared.topic.class_name, prepared.members[0].info.spec
        flags = loading_flags(prepared.config.model_dump(mode="json"))
        raise InputError(
            f"no finished screening of {name} by {spec}",
            field="classifier",
            value=spec,
            remedy="screen it first: dexter-tui screen "
            f"--classifier {shlex.quote(spec)} --class {shlex.quote(name)} {flags}".rstrip(),
        )
    return page


class Asking:
    """A map learned on the pictures of a screening, around an image-text model.

    Args:
        store: Holds the screenings and what their models saw.
        prepared: The checked request, of one classifier.
        page: Of the screening; see `store.reading.screenings.page`.
        say: Called with a line for the user.
    """

    def __init__(
        self,
        store: "Store",
        prepared: "Prepared",
        page: dict[str, Any],
        *,
        say: Callable[[str], None],
    ) -> None:
        [self.member] = prepared.members
        self.store, self.prepared, self.page = store, prepared, page
        info, class_index = self.member.info, self.member.class_index
        key = f"{page['generator']}/{info.answers_key}/{class_index}"
        own = screening_records.all_answers(store, key)
        if not own:
            raise InputError(
                f"{self.member.info.spec} has no answers in screening {page['id']}",
                field="classifier",
                value=self.member.info.spec,
                remedy="wait until it has been screened, or screen it again",
            )
        say("loading the image-text model")
        import numpy as np
        import torch

        from dexter.device import select_device

        torch.set_num_threads(1)
        self.device = select_device(self.member.config.device)
        self.detector = self._detector()
        seen = screening_records.all_answers(store, f"{page['generator']}/{self.detector.name}")
        self.requests = [request for request in own if request in seen]
        if not self.requests:
            raise InputError(
                f"screening {page['id']} was not seen by the image-text model {self.detector.name}",
                field="image_text",
                value=self.detector.name,
                remedy="name the model of the screening, or screen again",
            )
        self._texts = np.stack([self._text(prompt) for prompt, _ in self.requests])
        rows = [np.frombuffer(seen[request], "<f4") for request in self.requests]
        self._pictures = np.stack(rows).astype(np.float64)
        odds = np.array([np.frombuffer(own[request], "<f4")[0] for request in self.requests])
        self.learned = self._learn(odds.astype(np.float64))
        say(f"learned from {len(self.learned.prompts)} pictures")

    def _learn(self, answers: Any) -> "TextMap":
        from dexter.screening.text_map import TextMap

        prompts = [prompt for prompt, _ in self.requests]
        return TextMap(self._texts, self._pictures, answers, prompts)

    def _detector(self) -> "ImageText":
        from dexter.reasoning.detection import load_detector

        settings = self.prepared.settings.for_generator(self.member.config.generator)
        if settings.image_text == "none":
            raise InputError(
                "must name a model that reads texts and pictures",
                field="image_text",
                value="none",
                remedy="omit it, or name lab, a folder or a hub id",
            )
        return load_detector(settings.image_text, device=self.device)

    def _text(self, text: str) -> Any:
        return self.detector.text(text).astype("float64")

    def answers(self, questions: Sequence[str], units: Sequence[int]) -> Answers:
        """Answer questions in free words, and name units of the classifier's features."""
        begun = time.perf_counter()
        answered = [self._answer(question) for question in questions]
        spent = 1000 * (time.perf_counter() - begun) / max(len(questions), 1)
        from dexter.screening.text_map import LEVEL

        return Answers(
            self.member.info.spec,
            self.prepared.topic.class_name,
            self.page["id"],
            len(self.learned.prompts),
            LEVEL,
            self.learned.trial,
            spent,
            answered,
            self._named(units) if units else [],
        )

    def _answer(self, question: str) -> Answered:
        from dexter.reasoning.topic import split_question
        from dexter.screening.text_map import words_of

        names = tuple(words_of(question))
        if not names:
            raise InputError(
                f"{question!r} names nothing that a picture can show",
                value=question,
                remedy='say what to draw, such as "a duck at night"',
            )
        prompt = self._prompt(question)
        embedding = self._text(prompt)
        [guess] = self.learned.ask(embedding[None], [question])
        control, concept = split_question(question, self.prepared.topic)
        change = None
        if control and concept:
            base = self._text(self._prompt(control))
            change = self.learned.change(embedding[None], base[None], known=not guess.unseen)
        return Answered(question, names, prompt, guess, control or None, change)

    def _prompt(self, text: str) -> str:
        opening = self.prepared.concepts.pool.picture
        return text if text.lower().startswith(opening.lower()) else f"{opening} {text}"

    # Units

    def _named(self, units: Sequence[int]) -> list[Named]:
        import numpy as np

        activations = self._activations
        width = activations.shape[1]
        if not width:
            raise InputError(
                f"{self.member.info.spec} has no units: no linear layer leads to its logits",
                field="unit",
                value=units[0],
                remedy="ask in words alone",
            )
        for unit in units:
            if not 0 <= unit < width:
                raise InputError(
                    f"{self.member.info.spec} has units 0 to {width - 1}, got {unit}",
                    field="unit",
                    value=unit,
                    remedy="name one of them",
                )
        found = []
        for unit in units:
            own = activations[:, unit]
            if float(own.std()) < 1e-9:
                found.append(Named(unit, []))
                continue
            learned = self._learn((own - own.mean()) / own.std())
            effects = [
                (word, *learned.change(np.stack(texts), np.stack(controls), known=True))
                for word, (texts, controls) in self._words.items()
            ]
            clear = sorted((one for one in effects if one[2] > 0), key=lambda one: -one[1])
            found.append(Named(unit, clear[:_NAMES]))
        return found

    @cached_property
    def _words(self) -> dict[str, tuple[list[Any], list[Any]]]:
        """Return each concept's texts and their controls, on subjects of class and rivals."""
        pool, topic = self.prepared.concepts.pool, self.prepared.topic
        nouns = [
            pool.split_subject(subject)[0]
            for subjects in (topic.subjects, topic.rivals)
            for subject in subjects[:_SUBJECTS]
        ]
        nouns = list(dict.fromkeys(nouns))
        slots = {slot.name: slot for slot in pool.slots}
        found: dict[str, tuple[list[Any], list[Any]]] = {}
        for concept in pool.concepts:
            slot = slots[concept.slot]
            fit = [noun for noun in nouns if not slot.only or noun.split()[-1] in slot.only]
            if fit:
                word = concept.words[0]
                texts = [self._text(pool.prompt(noun, {slot.name: (word,)})) for noun in fit]
                found[concept.name] = texts, [self._text(pool.prompt(noun, {})) for noun in fit]
        return found

    @cached_property
    def _activations(self) -> Any:
        """Return the classifier's features of the pictures, (n, F)."""
        import numpy as np
        import torch

        from dexter_tui.analysis.store_bank import StoreBank
        from dexter_tui.jobs import trust

        classifier = trust.load_classifier(self.member.config, self.device)
        require_weights(classifier, self.member.info.spec, self.member.info.weights_hash)
        rows: dict[tuple[str, int], Any] = {}
        for chunk, images in StoreBank(self.store).read(self.page["generator"], self.requests):
            with torch.inference_mode():
                batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
                features = classifier(batch).features
            rows.update(zip(chunk, features.double().cpu().numpy(), strict=True))
        missing = [request for request in self.requests if request not in rows]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(self.requests)} pictures of the screening are gone",
                remedy="screen the class again",
            )
        return np.stack([rows[request] for request in self.requests])
