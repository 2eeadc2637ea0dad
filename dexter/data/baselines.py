"""Slices by other methods, beside those by concepts, and conjunctions of attributes with errors.

The mixture is error-aware (Domino; Eyuboglu et al., arXiv 2203.14960): Gaussians over embeddings,
each with a rate of errors. The frequent words need no errors: the concepts that are seen most often
in the pictures of a class. Conjunctions are those of SliceLine (Sagadeeva and Boehm, SIGMOD 2021),
by the package sliceline.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dexter.data import last_layer
from dexter.data.last_layer import Part
from dexter.data.slices import LEAST, Concept, Floats, Looked, Slice, scores, slice_by
from dexter.errors import InputError

if TYPE_CHECKING:
    from dexter.reasoning.detection import ImageText

COMPONENTS = 5
"""Components of a class, as in Domino's experiments of one class."""
ERROR_WEIGHT = 10.0
"""Weight of the predictions' likelihood beside that of the embeddings (Domino's default)."""
FREQUENT = 5
"""Words of a class (arXiv 2510.14741, table 9)."""
_DIMENSIONS = 32
_ROUNDS = 60
_FLOOR = 1e-3  # of variances and rates
_TOP = 5  # conjunctions
_ASKED = 40  # of them, many of the same pictures
_LEAST_GAP = 0.05  # between average and worst group, below which no share of it is given
_MEASURED = 3  # of them, whose responsibility is measured
_LONGEST = 3  # attributes in one


def mixture_slices(
    looked: Looked, labels: Sequence[str], *, group: str | None = None, seed: int = 0
) -> list[Slice]:
    """Return the components of each class, the most wrong first; ``group`` judges them."""
    found = []
    for target in map(int, np.unique(looked.targets)):
        of_class = looked.targets == target
        places = np.flatnonzero(of_class)
        if len(places) < COMPONENTS * LEAST:
            continue
        parts = mixture(looked.embeddings[places], looked.p[places], seed=seed)
        for number in range(parts.shape[1]):
            score = np.full(len(looked.targets), -1.0)
            score[places] = parts[:, number] - 0.5
            name = f"component {number + 1}"
            one = slice_by(looked, labels[target], of_class, name, score, group=group)
            if one is not None:
                found.append(one)
    return sorted(found, key=lambda one: (one.accuracy, one.name))


def mixture(
    embeddings: NDArray[np.float32], p: Floats, *, components: int = COMPONENTS, seed: int = 0
) -> Floats:
    """Return the share of each component in each picture of a class, (n, K), most wrong first.

    Maximises sum_i log sum_k w_k N(z_i; m_k, diag s_k) (a_k^p_i (1 - a_k)^(1 - p_i))^g by EM, where
    z are the leading principal components of the embeddings, p (n,) the probability of the class
    and g `ERROR_WEIGHT`. It begins with the ranks of p and some noise, as Domino begins with the
    confusion matrix.
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    z = centred @ axes[:_DIMENSIONS].T
    z /= max(float(z[:, 0].std()), 1e-12)
    rng = np.random.default_rng(seed)
    ranks = np.argsort(np.argsort(p, kind="stable"), kind="stable") * components // len(p)
    shares = 0.5 * np.eye(components)[ranks] + 0.5 * rng.dirichlet(np.ones(components), len(p))
    rates = np.zeros(components)
    for _ in range(_ROUNDS):
        sizes = shares.sum(0) + 1e-9
        means = shares.T @ z / sizes[:, None]
        spread = shares.T @ z**2 / sizes[:, None] - means**2 + _FLOOR
        rates = (shares.T @ p / sizes).clip(_FLOOR, 1 - _FLOOR)
        squares = ((z[:, None, :] - means) ** 2 / spread).sum(2)
        logs = np.log(sizes / len(p)) - 0.5 * (squares + np.log(spread).sum(1))
        logs += ERROR_WEIGHT * (p[:, None] * np.log(rates) + (1 - p[:, None]) * np.log(1 - rates))
        raised = np.exp(logs - logs.max(1, keepdims=True))
        shares = raised / raised.sum(1, keepdims=True)
    found: Floats = shares[:, np.argsort(rates, kind="stable")]
    return found


def frequent_slices(
    looked: Looked,
    words: Sequence[str],
    labels: Sequence[str],
    detector: ImageText,
    *,
    group: str | None = None,
) -> list[Slice]:
    """Return for each class the pictures closer to the frequent words of the other classes.

    ``words``: to count, such as those of a pool of concepts. No error is looked at.
    """
    fits = {word: detector.fit(word, looked.embeddings) for word in words}
    own: dict[int, list[str]] = {}
    for target in map(int, np.unique(looked.targets)):
        of_class = looked.targets == target
        counts = {word: int((fit[of_class] > 0).sum()) for word, fit in fits.items()}
        others = {word: int((fit[~of_class] > 0).sum()) for word, fit in fits.items()}
        ranked = sorted(words, key=lambda word: (others[word] - counts[word], word))
        own[target] = ranked[:FREQUENT]
    found = []
    for target, mine in own.items():
        theirs = [word for other, of in own.items() if other != target for word in of]
        if not theirs:
            continue
        best = np.max([fits[word] for word in theirs], axis=0)
        score = (best - np.max([fits[word] for word in mine], axis=0)).astype(np.float64)
        name = f"frequent words ({', '.join(theirs)})"
        one = slice_by(looked, labels[target], looked.targets == target, name, score, group=group)
        if one is not None:
            found.append(one)
    return sorted(found, key=lambda one: (one.accuracy, one.name))


@dataclass(frozen=True)
class Conjunction:
    """Attributes that pictures with errors share.

    support: share of all pictures. errors: share of its pictures that are wrong. left_out,
    reweighted: share of the gap between average and worst pseudo-group that goes when the last
    layer is fitted again without its pictures, or with as many of them as of the rest of their
    class (responsibility, as Gopher measures it; arXiv 2112.09745); None where not measured.
    """

    attributes: tuple[str, ...]
    pictures: int
    support: float
    errors: float
    left_out: float | None = None
    reweighted: float | None = None


def conjunctions(
    looked: Looked, concepts: Sequence[Concept], labels: Sequence[str], detector: ImageText
) -> list[Conjunction]:
    """Return the conjunctions of up to 3 attributes with most errors: a class, concepts or none.

    Raises InputError without the package sliceline.
    """
    single = [one for one in concepts if ", " not in one.name] or list(concepts)
    seen = {one.name: scores(one, looked, detector) > 0 for one in single}
    columns = ["class", *seen]
    cells = np.array(
        [
            [labels[int(target)], *(("with" if seen[n][at] else "without") for n in seen)]
            for at, target in enumerate(looked.targets)
        ],
        dtype=object,
    )
    # Many have the same pictures, because an attribute adds nothing: the shortest names them.
    shortest: dict[bytes, tuple[NDArray[np.bool_], tuple[str, ...]]] = {}
    for row in _top(cells, ~looked.right):
        chosen = np.ones(len(cells), bool)
        names = []
        for at, value in enumerate(row):
            if value is not None:
                chosen &= cells[:, at] == value
                names.append(str(value) if at == 0 else f"{value} {columns[at]}")
        before = shortest.get(chosen.tobytes())
        if before is None or len(names) < len(before[1]):
            shortest[chosen.tobytes()] = chosen, tuple(names)
    found: list[Conjunction] = []
    for chosen, of_row in list(shortest.values())[:_TOP]:
        left_out = reweighted = None
        if len(found) < _MEASURED and concepts and looked.features.shape[1]:
            left_out, reweighted = _responsibility(looked, next(iter(seen.values())), chosen)
        found.append(
            Conjunction(
                of_row,
                int(chosen.sum()),
                float(chosen.mean()),
                float((~looked.right[chosen]).mean()),
                left_out,
                reweighted,
            )
        )
    return found


def require_sliceline() -> None:
    """Raise InputError without the package sliceline, which is not loaded here."""
    if importlib.util.find_spec("sliceline") is None:
        raise InputError(
            "conjunctions need the package sliceline, which is not installed",
            field="patterns",
            remedy="pip install 'dexter-tui[slices]'",
        )


def _top(cells: NDArray[Any], errors: NDArray[np.bool_]) -> list[list[Any]]:
    require_sliceline()
    from sliceline.slicefinder import Slicefinder

    finder = Slicefinder(alpha=0.95, k=_ASKED, max_l=_LONGEST, min_sup=LEAST, verbose=False)
    finder.fit(cells, errors.astype(float))
    return [list(row) for row in finder.top_slices_]


def _responsibility(
    looked: Looked, seen: NDArray[np.bool_], chosen: NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    """Fit the last layer to one half and measure the gap on the other."""
    used = np.unique(looked.targets)
    classes = np.searchsorted(used, looked.targets)
    groups = last_layer.pseudo_groups(classes, seen)
    whole = Part(looked.features.astype(np.float64), classes, groups)
    order = np.random.default_rng(0).permutation(len(classes))
    fitted, measured = order[::2], whole.of(order[1::2])
    inside = fitted[chosen[fitted]]
    rest = fitted[~chosen[fitted]]
    of_class = rest[np.isin(classes[rest], classes[inside])]

    def gap(places: NDArray[np.intp]) -> float:
        layer = last_layer.refit(whole.of(places), 0)
        right = layer.predicted(measured.features) == measured.classes
        return float(right.mean()) - last_layer.worst_group(layer, measured)

    before = gap(fitted)
    if before < _LEAST_GAP or not len(inside) or len(np.unique(classes[rest])) < len(used):
        return None, None
    repeats = max(1, round(len(of_class) / len(inside)))
    more = np.concatenate([rest, np.tile(inside, repeats)])
    return 1 - gap(rest) / before, 1 - gap(more) / before
