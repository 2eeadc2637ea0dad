"""The bound of a study: how much of what embeddings reach its words reach.

A search for embeddings (`dexter.search.continuous`) is a study of its own. It bounds the studies of
the same classifier, class, generator and template: both scores are measured on the same noise.
"""

from dataclasses import asdict, dataclass
from typing import Any

from store.reading.browse import Browse, RunRow

CONTINUOUS = "continuous"
"""The setting ``search`` of a study of embeddings."""

_EVALUATION = (
    "generator", "lora", "decoder", "scheduler", "diffusion_steps", "guidance", "image_size",
    "template", "suffix", "direction", "score_images", "labels", "arch", "input_size",
    "normalization", "mean", "std", "multi_label", "positive_class", "threshold",
    "classifier_input",
)  # fmt: skip
"""The settings that both studies share: prompt, pictures and what the classifier makes of them."""


@dataclass(frozen=True)
class Reached:
    """The score of the best run of a study, with its 95% interval over n pictures.

    embeddings: "input" or "output" of the text encoder, or None for words.
    """

    study: str
    run: str
    seed: int
    words: list[str]
    score: float
    low: float
    high: float
    n: int
    embeddings: str | None


@dataclass(frozen=True)
class Bound:
    """The best words and the best embeddings; the words of the latter are their nearest, or those
    that they started from."""

    words: Reached
    embeddings: Reached

    @property
    def share(self) -> float | None:
        """Return the words' share of the embeddings' score; None where that is 0."""
        return self.words.score / self.embeddings.score if self.embeddings.score else None

    def lines(self) -> list[str]:
        """Return the bound as sentences."""
        share = self.share
        found = [
            f"Words reach {share:.2f} of the score of the best embeddings that were found."
            if share is not None
            else "Neither the embeddings that were found nor the words reach the class."
        ]
        if share is not None and share > 1:
            found[0] = "The words score higher than the embeddings that were found: no bound."
        words = "these words are the nearest"
        if self.embeddings.embeddings == "output":
            words = "of the text encoder's output, which started from these words"
        found += [
            f"Words: {_said(self.words)}.",
            f"Embeddings: {_said(self.embeddings)}; {words}.",
        ]
        return found

    def json(self) -> dict[str, Any]:
        """Return the bound as JSON-serialisable values."""
        return {**asdict(self), "share": self.share, "lines": self.lines()}


def _said(side: Reached) -> str:
    return (
        f"{', '.join(side.words)}, score {side.score:.2f} ({side.low:.2f} to {side.high:.2f}) on "
        f"{side.n} pictures, run {side.run} of study {side.study}"
    )


def bound(browse: Browse, study_id: str) -> Bound | None:
    """Return the bound of a study, of words or of embeddings; None unless both have a score."""
    key = browse.find(study_id)
    own = None if key is None else browse.studies([-key]).get(-key)
    if own is None:
        return None
    searched = "coalesce(json_extract({}.settings, '$.search'), 'words')"
    others = browse.rows(
        "SELECT other.rowid FROM study JOIN study AS other ON "
        "other.classifier_id = study.classifier_id AND other.class_index = study.class_index "
        "WHERE study.id = ? AND json_valid(study.settings) AND json_valid(other.settings) "
        f"AND {searched.format('other')} != {searched.format('study')}",
        (study_id,),
    )
    if not others:
        return None
    sides: dict[bool, list[Reached]] = {True: [], False: []}
    for study in (own, *browse.studies([row[0] for row in others]).values()):
        if all(study.settings.get(name) == own.settings.get(name) for name in _EVALUATION):
            embeddings = study.settings.get("search") == CONTINUOUS
            kind = str(study.settings.get("embeddings", "input")) if embeddings else None
            sides[embeddings] += [
                found
                for run in browse.study_runs(study.id)
                if (found := _reached(study.id, run, kind)) is not None
            ]
    if not sides[True] or not sides[False]:
        return None
    best = {kind: max(found, key=lambda one: one.score) for kind, found in sides.items()}
    return Bound(best[False], best[True])


def _reached(study_id: str, run: RunRow, embeddings: str | None) -> Reached | None:
    if run.score_value is None or run.score_low is None or run.score_high is None:
        return None
    return Reached(
        study_id,
        run.id,
        run.seed,
        list(run.words),
        run.score_value,
        run.score_low,
        run.score_high,
        run.score_n or 0,
        embeddings,
    )
