"""Slices: the pictures of a class that show a concept or lack it, and the errors among them.

The words come from a screening or the user, never from the data: a concept that raises a class
makes its slice *without* the concept hard, and one that lowers it the slice *with* it. An
image-text model decides which picture shows what (arXiv 2510.14741, section 4.2), so that no true
group is needed. Where true groups are given, they only judge the slices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dexter.data.folder import DataSet, Item
from dexter.data.pictures import batches
from dexter.errors import InputError
from dexter.stats import newcombe_interval, wilson_interval

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.reasoning.detection import ImageText

Floats = NDArray[np.float64]
PRECISION_AT = 10
LEAST = 5
"""Pictures that a slice and the rest of its class must have."""
ERROR = 0.05
"""Chance that any interval of a table misses the true gap (Bonferroni)."""
_BATCH = 32
_SIDE = 64  # px at least, which the image-text model needs


@dataclass(frozen=True)
class Concept:
    """A question to the image-text model: does a picture show one of ``looks``?

    against: names of the other concepts of an exclusive slot, such as other places; the picture
    shows the concept if one of ``looks`` fits better than each of them. Empty: better than none.
    prototype: the mean over ``looks`` is held against that over ``against``, in place of the best
    of each; see `dexter.data.searches`.
    """

    name: str
    looks: tuple[str, ...]
    against: tuple[str, ...] = ()
    prototype: bool = False


@dataclass(frozen=True)
class Looked:
    """The pictures of a data set, as a classifier and an image-text model see them.

    items: those that could be read (n). targets, predicted: class indices (n,). p: probability of
    each picture's own class (n,). embeddings: (n, D). features: input of the last layer (n, F).
    digest: SHA-256 (hex) of the pixels.
    """

    items: Sequence[Item]
    targets: NDArray[np.int64]
    predicted: NDArray[np.int64]
    p: Floats
    embeddings: NDArray[np.float32]
    features: NDArray[np.float32]
    digest: str

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return True for each picture that is classified as its label says, (n,)."""
        found: NDArray[np.bool_] = self.predicted == self.targets
        return found


@dataclass(frozen=True)
class Judged:
    """The agreement of a slice's pictures with a true group.

    group: "COLUMN = VALUE", the value that the slice fits best. precision: of its 10 surest.
    """

    group: str
    precision: float
    recall: float
    f1: float
    auroc: float | None
    precision_at: float


@dataclass(frozen=True)
class Slice:
    """The pictures of a class with a concept, or without it.

    gap: accuracy on the slice minus accuracy on the rest of its class, with its interval.
    examples: positions of its pictures in `Looked.items`, the least probable first.
    """

    label: str
    concept: str
    shows: bool
    size: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    rest: int
    rest_accuracy: float
    gap: float
    gap_low: float
    gap_high: float
    examples: tuple[int, ...]
    judged: Judged | None = None

    @property
    def name(self) -> str:
        """Return the slice in words."""
        return f"{self.label} {'with' if self.shows else 'without'} {self.concept}"


def look(
    data: DataSet,
    classes: dict[str, int],
    classifier: Classifier,
    detector: ImageText,
    *,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> Looked:
    """Classify and embed each picture once, a batch at a time.

    ``classes``: see `class_indices`. ``report`` receives the number of pictures read, and of all.
    Raises InputError if none can be read.
    """
    import torch

    items: list[Item] = []
    predicted, p, embeddings, features = [], [], [], []
    hashed = hashlib.sha256()
    done = 0
    step = classifier.preprocessing
    side = max(step.resize, _SIDE)
    for places, pictures in batches(data.items, side, data.skipped, step=step, batch=_BATCH):
        chunk = [data.items[place] for place in places]
        targets = np.array([classes[item.label] for item in chunk])
        tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            output = classifier(tensor)
        answers = np.empty(len(chunk), np.int64)
        for target in np.unique(targets):  # of several labels, whether it is among the answers
            of_target = output.predicted(int(target)).cpu().numpy()
            answers[targets == target] = of_target[targets == target]
        predicted.append(answers)
        p.append(output.probabilities().cpu().double().numpy()[np.arange(len(chunk)), targets])
        embeddings.append(detector.embed(pictures))
        features.append(output.features.float().cpu().numpy())
        items += chunk
        hashed.update(pictures.tobytes())
        done = places[-1] + 1
        report(done, len(data.items))
    if not items:
        raise InputError(
            f"none of the {len(data.items)} pictures of {data.name} can be read: {data.skipped}",
            field="data",
            value=data.name,
            remedy="check the folder that its table names",
        )
    return Looked(
        items,
        np.array([classes[item.label] for item in items]),
        np.concatenate(predicted),
        np.concatenate(p),
        np.concatenate(embeddings),
        np.concatenate(features),
        hashed.hexdigest(),
    )


def scores(concept: Concept, looked: Looked, detector: ImageText) -> Floats:
    """Return how much better a concept fits each picture than what it is held against, (n,)."""
    return scores_of(concept, looked.embeddings, detector)


def scores_of(concept: Concept, embeddings: NDArray[np.float32], detector: ImageText) -> Floats:
    """Return the same from embeddings (n, D)."""

    def fit(names: Sequence[str]) -> Floats:
        of_each = np.array([detector.fit(name, embeddings) for name in names], np.float64)
        found: Floats = of_each.mean(0) if concept.prototype else of_each.max(0)
        return found

    own = fit(concept.looks)
    return own - fit(concept.against) if concept.against else own


def find_slices(
    looked: Looked,
    concepts: Sequence[Concept],
    labels: Sequence[str],
    detector: ImageText,
    *,
    group: str | None = None,
) -> list[Slice]:
    """Return the harder side of each concept in each class, worst accuracy first.

    Slices whose gap is surely below 0 come before the others. Of concepts that divide a class
    alike, the first is kept. ``group``: the column of true groups that judge the slices; they
    decide nothing.
    """
    sides: list[tuple[int, Concept, Floats]] = []
    divided: set[tuple[int, bytes]] = set()
    for concept in concepts:
        score = scores(concept, looked, detector)
        for target in map(int, np.unique(looked.targets)):
            of_class = looked.targets == target
            part = score[of_class] > 0
            keys = {(target, part.tobytes()), (target, (~part).tobytes())}
            if _sizes(of_class, score > 0) and not keys & divided:
                divided |= keys
                sides.append((target, concept, score))
    z = NormalDist().inv_cdf(1 - ERROR / (2 * max(len(sides), 1)))
    found = []
    for target, concept, score in sides:
        of_class = looked.targets == target
        with_it = score > 0
        rate = [_mean(looked.right[of_class & (with_it == shows)]) for shows in (False, True)]
        shows = rate[1] <= rate[0]
        found.append(
            _slice(looked, labels[target], of_class, concept, score, shows=shows, z=z, group=group)
        )
    return sorted(found, key=lambda one: (one.gap_high >= 0, one.accuracy, one.name))


def slice_by(
    looked: Looked,
    label: str,
    of_class: NDArray[np.bool_],
    name: str,
    score: Floats,
    *,
    group: str | None = None,
) -> Slice | None:
    """Return the pictures of a class with a score above 0 as a slice; None if too few are."""
    if not _sizes(of_class, score > 0):
        return None
    z = NormalDist().inv_cdf(1 - ERROR / 2)
    concept = Concept(name, ())
    return _slice(looked, label, of_class, concept, score, shows=True, z=z, group=group)


def _sizes(of_class: NDArray[np.bool_], with_it: NDArray[np.bool_]) -> bool:
    both = int((of_class & with_it).sum()), int((of_class & ~with_it).sum())
    return min(both) >= LEAST


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _slice(
    looked: Looked,
    label: str,
    of_class: NDArray[np.bool_],
    concept: Concept,
    score: Floats,
    *,
    shows: bool,
    z: float,
    group: str | None,
) -> Slice:
    inside = of_class & ((score > 0) == shows)
    rest = of_class & ~inside
    hits, n = int(looked.right[inside].sum()), int(inside.sum())
    other_hits, other_n = int(looked.right[rest].sum()), int(rest.sum())
    low, high = newcombe_interval(hits, n, other_hits, other_n, z)
    places = np.flatnonzero(inside)
    order = places[np.argsort(looked.p[places], kind="stable")]
    accuracy_low, accuracy_high = wilson_interval(hits, n)
    return Slice(
        label=label,
        concept=concept.name,
        shows=shows,
        size=n,
        accuracy=hits / n,
        accuracy_low=accuracy_low,
        accuracy_high=accuracy_high,
        rest=other_n,
        rest_accuracy=other_hits / other_n,
        gap=hits / n - other_hits / other_n,
        gap_low=low,
        gap_high=high,
        examples=tuple(int(place) for place in order[:PRECISION_AT]),
        judged=judge(looked, of_class, score if shows else -score, group) if group else None,
    )


def judge(looked: Looked, of_class: NDArray[np.bool_], score: Floats, group: str) -> Judged | None:
    """Judge a slice's scores by the true groups of a column; None where a class has one group.

    The slice stands for the value that its scores rank highest (AUROC).
    """
    places = np.flatnonzero(of_class)
    values = np.array([looked.items[int(place)].groups.get(group, "") for place in places])
    found = []
    for value in np.unique(values):
        truth = values == value
        if truth.all():
            continue
        found.append(_judged(f"{group} = {value}", truth, score[places]))
    return max(found, key=lambda one: one.auroc or 0.0, default=None)


def _judged(group: str, truth: NDArray[np.bool_], score: Floats) -> Judged:
    chosen = score > 0
    both = int((chosen & truth).sum())
    precision = both / max(int(chosen.sum()), 1)
    recall = both / max(int(truth.sum()), 1)
    surest = np.argsort(-score, kind="stable")[:PRECISION_AT]
    return Judged(
        group,
        precision,
        recall,
        2 * both / max(int(chosen.sum() + truth.sum()), 1),
        auroc(score, truth),
        _mean(truth[surest]),
    )


def auroc(score: Floats, truth: NDArray[np.bool_]) -> float | None:
    """Return how often a true picture scores above another, ties by half; None without both."""
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return None
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    total = float(ranks[truth].sum()) - positive * (positive + 1) / 2
    return total / (positive * negative)


def as_records(slices: Sequence[Slice], looked: Looked) -> Iterator[dict[str, Any]]:
    """Yield the slices as JSON-able records, with the names of their pictures."""
    for one in slices:
        judged = None if one.judged is None else vars(one.judged)
        record = {**vars(one), "name": one.name, "judged": judged}
        record["examples"] = [looked.items[place].name for place in one.examples]
        yield record
