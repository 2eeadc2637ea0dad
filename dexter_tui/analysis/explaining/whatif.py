"""A what-if at work: the models around the pictures of the store, and its strip of pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter.errors import InputError
from dexter_tui.analysis.explaining.screened import newest

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.generation.bank import PictureBank
    from dexter.generation.generator import Generator
    from dexter.reasoning.detection import ImageText
    from dexter.reasoning.evidence import Witness
    from dexter.screening.concepts import Pool
    from dexter.screening.whatif import Answer, Change
    from dexter_tui.analysis.screening_request import Prepared
    from dexter_tui.exchange.strip import Tile
    from store import Store

_STARTS = (4, 2, 1)
"""First steps of edits, of 8: weak ones first, so that as much as possible of a picture stays."""
_SIDE = 512
"""Side of a user's picture as the classifier sees it, px; the middle is cut out."""


def opened(image: Path) -> Any:
    """Return a user's picture as RGB; raise InputError for a file that is none."""
    from dexter.data.folder import Item, Skipped
    from dexter.data.pictures import batches

    skipped = Skipped()
    item = Item(str(image), image, "", None, {})
    found = [pictures[0] for _, pictures in batches([item], _SIDE, skipped)]
    if not found:
        [why] = skipped.counts
        raise InputError(
            f"{image} is {why.value}", field="image", value=str(image), remedy="name a picture file"
        )
    return found[0]


@dataclass(frozen=True)
class Strip:
    """A what-if with its pictures."""

    classifier: str
    class_name: str
    generator: str
    image: str | None
    origin: str
    before: "list[Tile]"
    """A user's own picture."""
    measured: dict[str, Any]
    """What was measured of a user's own picture."""
    answer: "Answer"
    pictures: list[Any]
    decisions: list[str]

    @property
    def tiles(self) -> "list[Tile]":
        """Return the pictures with the lines under them."""
        from dexter_tui.exchange.strip import Tile

        found = list(self.before)
        for step, picture, decision in zip(
            self.answer.steps, self.pictures, self.decisions, strict=True
        ):
            first = "as redrawn" if self.before else "as drawn"
            name = first if step.change is None else step.change.name
            found.append(Tile(picture, [name, f"p {step.p:.2f}: {decision}"]))
        return found

    @property
    def verdict(self) -> str:
        """Return the answer as a sentence."""
        answer = self.answer
        if answer.flipped and not answer.is_drawn:
            words = ", ".join(one.name for one in answer.changes)
            return f"The decision flips, but the generator does not draw the change ({words})."
        if not answer.flipped:
            tried = " and ".join(one.name for one in answer.changes) or "no change"
            return f"No change of up to 4 concepts flips the decision; nearest: {tried}."
        words = ", ".join(one.name for one in answer.changes)
        count = "1 change" if len(answer.changes) == 1 else f"{len(answer.changes)} changes"
        before, after = self.decisions[0], self.decisions[-1]
        return f"{count} flips {before} to {after}: {words}." if len(answer.changes) == 1 else (
            f"{count} flip {before} to {after}: {words}."
        )  # fmt: skip

    @property
    def check(self) -> str:
        """Return the check on fresh noises as a sentence."""
        answer = self.answer
        last = answer.steps[-1].flips
        if last is None:
            return f"The start has its decision on none of {answer.noises} fresh noises."
        return (
            f"On {answer.noises} fresh noises the start keeps its decision on {answer.kept}; of "
            f"these the change flips {last.hits} ({last.low:.0%} to {last.high:.0%})."
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it, JSON-able."""
        answer = self.answer
        steps = []
        for step, decision in zip(answer.steps, self.decisions, strict=True):
            row = asdict(step)
            row["decision"] = decision
            for name in ("flips", "seen"):
                if row[name] is not None:
                    row[name]["value"] = row[name]["hits"] / row[name]["n"]
            steps.append(row)
        return {
            "classifier": self.classifier,
            "class_name": self.class_name,
            "generator": self.generator,
            "image": self.image,
            "measured": self.measured,
            "concepts": self.origin,
            "flipped": answer.flipped,
            "changes": [asdict(one) for one in answer.changes],
            "steps": steps,
            "seed": answer.seed,
            "noises": answer.noises,
            "kept": answer.kept,
        }


class WhatIf:
    """The models of a what-if around the pictures of the store.

    Args:
        store: Holds the pictures and the screenings.
        prepared: The checked request, of one classifier.
        say: Called with a line for the user.
        on_progress: Called with the pictures drawn or read and those planned.
    """

    def __init__(
        self,
        store: "Store",
        prepared: "Prepared",
        *,
        say: Callable[[str], None],
        on_progress: Callable[[int, int], None],
    ) -> None:
        import torch

        from dexter.device import select_device
        from dexter.generation.generator import generator_of
        from dexter.planning.estimate import estimate
        from dexter_tui.analysis.bench import generator_key
        from dexter_tui.analysis.store_bank import StoreBank
        from dexter_tui.jobs import trust

        torch.set_num_threads(1)
        self.store = store
        self.prepared = prepared
        self._say = say
        self._on_progress = on_progress
        [self.member] = prepared.members
        config = self.member.config
        self.device = select_device(config.device)
        self.classifier: Classifier = trust.load_classifier(config, self.device)
        self.generator: Generator = generator_of(config, self.device)
        self.key = generator_key(config, self.generator.weights_hash)
        self.bank: PictureBank = StoreBank(store)
        self.batch = estimate(config, device=self.device).picture_batch
        self.pool, self.origin, self._effects = self._concepts()
        self.detector = self._detector()

    def _concepts(self) -> "tuple[Pool, str, dict[tuple[str, str], float] | None]":
        """Return the pool, a line that says where the concepts are from, and screened effects."""
        from dexter_tui.analysis import screening_request
        from store import screening_records

        own = self.prepared.concepts.pool
        page = newest(self.store, self.prepared, same_bank=False)
        if page is None or page["generator"] != self.key:
            return own, f"the pool {own.name}; no screening of this class yet", None
        bank = screening_records.bank(self.store, page["bank"])
        assert bank is not None
        pool = screening_request.stored_concepts(bank).pool
        effects = {
            (one["slot"], one["concept"]): float(one["effect"])
            for one in page["member"]["findings"]
            if not one["core"] and one["verdict"] not in ("none", "not_drawn")
        }
        if not effects:
            return pool, f"the pool {pool.name}; screening {page['id']} found no effect", None
        return pool, f"screening {page['id']}", effects

    def _changes(self) -> "list[Change]":
        from dexter.screening.whatif import possible_changes

        found = possible_changes(self.pool, self.prepared.topic, self._effects)
        if not found:
            raise InputError(
                f"{self.pool.name} holds no concept that the class leaves free",
                field="concepts",
                remedy="name others with --concepts",
            )
        return found

    def _witness(self, source: Any, key: str) -> "tuple[Witness, Any]":
        """Return a witness of pictures, and the function that plans its progress."""
        from dexter.generation.pictures import Pictures
        from dexter.reasoning.evidence import Witness

        done = 0
        total = 0

        def add(count: int) -> None:
            nonlocal done
            done += count
            self._on_progress(done, max(total, done))

        def plan(count: int) -> None:
            nonlocal done, total
            done, total = 0, count

        pictures = Pictures(source, key, self.bank, batch=self.batch, on_picture=add)
        return Witness(pictures, self.classifier, self.member.class_index), plan

    def of_words(self) -> Strip:
        """Return the what-if of a picture that the generator draws for the class."""
        from dexter.screening.whatif import Question, Scene

        witness, plan = self._witness(self.generator, self.key)
        question = Question(witness, self.pool, self._changes(), self.detector, plan)
        topic = self.prepared.topic
        starts = [Scene.of(subject, self.pool) for subject in topic.subjects]
        scene, seeds, hit = question.choose(starts)
        return self._strip(witness, question.answer(scene, seeds, hit))

    def of_picture(self, picture: Any, image: str) -> Strip:
        """Return the what-if of a user's picture (H, W, 3); InputError for one not redrawn well.

        Weak edits come first; the first strength with which a change flips the decision counts.
        """
        from PIL import Image

        from dexter.generation.editing import Editor
        from dexter.screening.whatif import NoStart, NotSeen, Question, described
        from dexter_tui.exchange.strip import Tile

        side = self.generator.image_size
        small = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
        if self.detector is None:
            raise InputError(
                "must name a model to describe your picture",
                field="image_text",
                value="none",
                remedy="omit it, or name lab, a folder or a hub id",
            )
        own = _array(small)
        try:
            scene = described(own, self.pool, self.prepared.topic, self.detector)
        except NotSeen as seen:
            raise InputError(
                f"the image-text model {self.detector.name} sees nothing in {image} that belongs "
                f"to {self.prepared.topic.class_name} or its rivals: {seen.noun} fits best, by "
                f"{-seen.fit:.2f} less than no word",
                field="image",
                value=image,
                remedy="name a picture of the class or of a rival",
            ) from None
        original, _ = self._witness(self.generator, self.key)
        p, predicted = original.classify(picture[None])
        decision = self.classifier.labels[int(predicted[0])]
        hit = bool(predicted[0] == self.member.class_index)
        measured: dict[str, Any] = {
            "p": float(p[0]),
            "decision": decision,
            "described": scene.prompt(self.pool),
            "strengths": [],
        }
        best: Strip | None = None
        for start in _STARTS:
            editor = Editor(self.generator, own, start)
            witness, plan = self._witness(editor, f"{self.key}/{editor.key}")
            question = Question(witness, self.pool, self._changes(), self.detector, plan)
            tried: dict[str, Any] = {"strength": editor.strength, "kept": True}
            measured["strengths"].append(tried)
            try:
                seeds = question.starts(scene, hit)
            except NoStart as error:
                tried |= {"kept": False, "held": error.held, "noises": error.tried}
                continue
            answer = question.answer(scene, seeds, hit)
            tried |= {"flipped": answer.flipped, "drawn": answer.is_drawn}
            tile = Tile(picture, ["your picture", f"p {p[0]:.2f}: {decision}"])
            best = self._strip(witness, answer, image, [tile], measured)
            if answer.flipped and answer.is_drawn:
                return best
        if best is None:
            held = measured["strengths"][0]
            raise InputError(
                f"the generator cannot redraw {image} so that {self.classifier.spec} still decides "
                f"{decision} (p({self.prepared.topic.class_name}) {p[0]:.2f}): unchanged, as "
                f"{measured['described']!r}, {held['held']} of {held['noises']} redrawings keep it "
                f"at strength {held['strength']:.2f}",
                field="image",
                value=image,
                remedy="name a picture like those that the generator draws, or a --generator",
            )
        return best

    def _detector(self) -> "ImageText | None":
        """Return the image-text model; None where the default one is not on this machine."""
        from dexter.reasoning.detection import load_detector

        asked = self.prepared.settings
        spec = asked.for_generator(self.member.config.generator).image_text
        if spec == "none":
            return None
        try:
            return load_detector(spec, device=self.device)
        except InputError as error:
            if asked.image_text != "auto":
                raise
            self._say(f"{error}; without an image-text model nothing is known about what was drawn")
            return None

    def _strip(
        self,
        witness: "Witness",
        answer: "Answer",
        image: str | None = None,
        before: "Sequence[Tile]" = (),
        measured: Mapping[str, Any] | None = None,
    ) -> Strip:
        requests = [(step.prompt, answer.seed) for step in answer.steps]
        pictures: dict[Any, Any] = {}
        for chunk, images in witness.pictures.stream(requests):
            pictures.update(zip(chunk, images, strict=True))
        shown = [pictures[request] for request in requests]
        decisions = []
        for picture in shown:
            _, predicted = witness.classify(picture[None])
            decisions.append(self.classifier.labels[int(predicted[0])])
        return Strip(
            self.member.info.spec,
            self.prepared.topic.class_name,
            self.member.config.generator,
            image,
            self.origin,
            list(before),
            dict(measured or {}),
            answer,
            shown,
            decisions,
        )


def _array(image: Any) -> Any:
    import numpy as np

    return np.asarray(image)
