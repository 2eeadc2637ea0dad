"""A what-if: the smallest change of words that flips a decision, and its strip of pictures.

All pictures that are tried lie in the bank of the store, so a further attempt draws only those that
are missing.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dexter.errors import InputError
from dexter_tui.analysis import screening_request
from dexter_tui.analysis.desk import Desk
from dexter_tui.analysis.explaining.request import opened, picture_hash
from dexter_tui.analysis.explaining.sources import Explained
from dexter_tui.formatting import clean
from dexter_tui.jobs.recorder import log
from store import screening_records
from store.data_reports import records
from store.data_reports.explanations import own_picture
from store.states import NoteKind

if TYPE_CHECKING:
    from dexter.reasoning.detection import ImageText
    from dexter.reasoning.evidence import Witness
    from dexter.screening.concepts import Pool
    from dexter.screening.whatif import Answer, Change

_STARTS = (4, 2, 1)
"""First steps of edits, of 8: weak ones first, so that as much as possible of a picture stays."""


def work(desk: Desk) -> None:
    """Find the answer, and write it."""
    job = WhatIfJob(Explained(desk))
    records.finish(desk.store, job.of.row.id, job.result())


class WhatIfJob:
    """A what-if at work: the models around the pictures of the store."""

    def __init__(self, of: Explained) -> None:
        from dexter.generation.generator import generator_of
        from dexter.planning.estimate import estimate
        from dexter_tui.analysis.bench import generator_key
        from dexter_tui.analysis.store_bank import StoreBank

        self.of, self.desk = of, of.desk
        self.own = None if of.image is None else self._own()
        self.desk.begin("models")
        self.classifier = of.classifier()
        self.desk.loading("generator")
        self.generator = generator_of(of.config, of.device)
        self.key = generator_key(of.config, self.generator.weights_hash)
        self.bank = StoreBank(self.desk.store, self.desk.job.id)
        self.batch = estimate(of.config, device=of.device).picture_batch
        self.pool, self.origin, self._effects = self._concepts()
        self.detector = self._detector()

    def _own(self) -> Any:
        """Return the user's picture (H, W, 3); InputError if it has changed since."""
        image = self.of.image
        assert image is not None
        picture = opened(image)
        if picture_hash(picture) != self.of.row.data_hash:
            raise InputError(
                f"{image} has changed since this was asked for",
                field="image",
                value=str(image),
                remedy="start it again",
            )
        return picture

    def _concepts(self) -> "tuple[Pool, str, dict[tuple[str, str], float] | None]":
        """Return the pool, a line that says where the concepts are from, and screened effects."""
        own = self.of.pool
        page = self.of.screened()
        if page is None or page["generator"] != self.key:
            return own, f"the pool {own.name}; no screening of this class yet", None
        bank = screening_records.bank_of(self.desk.store, page["id"])
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

        found = possible_changes(self.pool, self.of.topic, self._effects)
        if not found:
            raise InputError(
                f"{self.pool.name} holds no concept that the class leaves free",
                field="concepts",
                remedy="name others with --concepts",
            )
        return found

    def _witness(
        self, source: Any, key: str, stage: str
    ) -> "tuple[Witness, Callable[[int], None]]":
        """Return a witness of pictures, and the function that plans its progress in a stage."""
        from dexter.generation.pictures import Pictures
        from dexter.reasoning.evidence import Witness

        progress = self.desk.begin(stage)
        pictures = Pictures(source, key, self.bank, batch=self.batch, on_picture=progress.add)
        return Witness(pictures, self.classifier, self.of.class_index), progress.plan

    def result(self) -> dict[str, Any]:
        """Return the answer, as an `explanations.WhatIfResult`."""
        return self._of_words() if self.own is None else self._of_picture(self.own)

    def _of_words(self) -> dict[str, Any]:
        """Return the what-if of a picture that the generator draws for the class."""
        from dexter.screening.whatif import Question, Scene

        witness, plan = self._witness(self.generator, self.key, "pictures")
        question = Question(witness, self.pool, self._changes(), self.detector, plan)
        starts = [Scene.of(subject, self.pool) for subject in self.of.topic.subjects]
        scene, seeds, hit = question.choose(starts)
        return self._found(witness, question.answer(scene, seeds, hit))

    def _of_picture(self, picture: Any) -> dict[str, Any]:
        """Return the what-if of a user's picture (H, W, 3); InputError for one not redrawn well.

        Weak edits come first; the first strength with which a change flips the decision counts.
        """
        import numpy as np
        from PIL import Image

        from dexter.generation.editing import Editor
        from dexter.screening.whatif import NoStart, NotSeen, Question, described

        image, topic = str(self.of.asked["data"]), self.of.topic
        side = self.generator.image_size
        own = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR))
        if self.detector is None:
            raise InputError(
                "must name a model to describe your picture",
                field="image_text",
                value="none",
                remedy="omit it, or name lab, a folder or a hub id",
            )
        try:
            scene = described(own, self.pool, topic, self.detector)
        except NotSeen as seen:
            raise InputError(
                f"the image-text model {self.detector.name} sees nothing in {image} that belongs "
                f"to {topic.class_name} or its rivals: {seen.noun} fits best, by "
                f"{-seen.fit:.2f} less than no word",
                field="image",
                value=image,
                remedy="name a picture of the class or of a rival",
            ) from None
        original, _ = self._witness(self.generator, self.key, "your picture")
        p, predicted = original.classify(picture[None])
        decision = self._decision(int(predicted[0]))
        hit = bool(predicted[0] == self.of.class_index)
        tries: list[dict[str, Any]] = []
        best: dict[str, Any] | None = None
        for start in _STARTS:
            editor = Editor(self.generator, own, start)
            key = f"{self.key}/{editor.key}"
            witness, plan = self._witness(editor, key, f"strength {editor.strength:.2f}")
            question = Question(witness, self.pool, self._changes(), self.detector, plan)
            tried: dict[str, Any] = {"strength": editor.strength, "kept": True}
            tries.append(tried)
            try:
                seeds = question.starts(scene, hit)
            except NoStart as error:
                tried |= {"kept": False, "held": error.held, "noises": error.tried}
                continue
            answer = question.answer(scene, seeds, hit)
            tried |= {"flipped": answer.flipped, "drawn": answer.is_drawn}
            best = self._found(witness, answer)
            if answer.flipped and answer.is_drawn:
                break
        text = scene.prompt(self.pool)
        if best is None:
            held = tries[0]
            raise InputError(
                f"the generator cannot redraw {image} so that {self.classifier.spec} still decides "
                f"{decision} (p({topic.class_name}) {p[0]:.2f}): unchanged, as {text!r}, "
                f"{held['held']} of {held['noises']} redrawings keep it at strength "
                f"{held['strength']:.2f}",
                field="image",
                value=image,
                remedy="name a picture like those that the generator draws, or a --generator",
            )
        generator, prompt, seed = own_picture(self.of.row.data_hash)
        if self.bank.missing(generator, [(prompt, seed)]):
            self.bank.keep(generator, [(prompt, seed)], picture[None])
        measured = {"p": float(p[0]), "decision": decision, "described": text, "strengths": tries}
        return best | {"image": image, "measured": measured, "own": generator}

    def _detector(self) -> "ImageText | None":
        """Return the image-text model; None where the default one is not on this machine."""
        from dexter.reasoning.detection import load_detector

        asked = self.of.settings
        spec = asked.for_generator(self.of.config.generator).image_text
        if spec == "none":
            return None
        self.desk.loading("image-text model")
        try:
            return load_detector(spec, device=self.of.device)
        except InputError as error:
            if asked.image_text != "auto":
                raise
            self.desk.note(NoteKind.NO_DETECTOR, error=clean(error))
            log(f"{error}; without an image-text model nothing is known about what was drawn")
            return None

    def _decision(self, predicted: int) -> str:
        """Return a decision as a label: without the class, several labels say nothing of others."""
        own, labels = self.of.class_index, self.classifier.labels
        if self.classifier.answers.multi_label and predicted != own:
            return f"not {labels[own]}"
        return labels[predicted]

    def _found(self, witness: "Witness", answer: "Answer") -> dict[str, Any]:
        """Return an answer with the decision on each picture of its strip."""
        requests = [(step.prompt, answer.seed) for step in answer.steps]
        decisions: dict[Any, str] = {}
        for chunk, images in witness.pictures.stream(requests):
            _, predicted = witness.classify(images)
            names = [self._decision(int(one)) for one in predicted]
            decisions.update(zip(chunk, names, strict=True))
        steps = []
        for request, step in zip(requests, answer.steps, strict=True):
            row = asdict(step)
            row["decision"] = decisions[request]
            for name in ("flips", "seen"):
                if row[name] is not None:
                    row[name]["value"] = row[name]["hits"] / row[name]["n"]
            steps.append(row)
        return {
            **self.of.facts(),
            "image": None,
            "measured": {},
            "concepts": self.origin,
            "flipped": answer.flipped,
            "changes": [asdict(one) for one in answer.changes],
            "steps": steps,
            "seed": answer.seed,
            "noises": answer.noises,
            "kept": answer.kept,
            "bank": witness.pictures.key,
        }
