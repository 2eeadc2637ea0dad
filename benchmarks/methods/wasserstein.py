"""Word attribution weighted by the distance between picture sets, beside today's weight.

gSMILE weights a subset of a prompt's words by how near its pictures are to those of the whole
prompt. Here that is exp(-(W / m)^2), with W the Wasserstein distance of two sets of embeddings and
m its median over the subsets. It is measured on prompts of 4 words, one of them planted. Over all
subsets a flat weight fits best, whatever it is flat by, so the error near the prompt stands beside.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.methods.collected import WORK
from benchmarks.methods.rows import Row, bootstrap

CASES = (
    ("birds-water-100", "bird", "lake"),
    ("birds-snow-100", "bird", "snow"),
    ("birds-ball-100", "bird", "ball"),
    ("pets-city-95", "cat", "city"),
    ("pets-ball-100", "cat", "ball"),
    ("cats-night-95", "lion", "night"),
    ("cats-sun-100", "lion", "sun"),
    ("fruit-gift-100", "apple", "gift"),
    ("farm-snow-95", "horse", "snow"),
    ("farm-cloud-100", "horse", "cloud"),
    ("cars-city-100", "car", "city"),
    ("woman-flower-100", "person", "flower"),
)
WORDS = 4
SEEDS = 16
"""Pictures of a subset; each half of them gives an attribution."""

Floats = NDArray[np.float64]


def measure() -> list[Row]:
    """Return the rows on stability, fidelity and the planted word."""
    begun = time.process_time()
    asked = [_asked(*case) for case in CASES]
    drawing = time.process_time() - begun
    names = [name for name, *_ in CASES]
    rows = []
    for what, measured in (
        ("stability", "correlation of the words' weights between halves of the noise"),
        ("fidelity", "share of the variance on the other half of the noise that the fit explains"),
        ("fidelity near the prompt", "1 - error of p with all words and with one left out"),
        ("planted word", "share of attributions in which the planted word comes first"),
    ):
        by_distance, today, flat = (
            np.array([_figures(one, weights)[what] for one in asked])
            for weights in (_by_distance, _by_share, _flat)
        )
        difference = by_distance - today
        low, high = bootstrap(names, lambda at, of=by_distance: float(of[at].mean()))  # type: ignore[misc]
        ends = bootstrap(names, lambda at, of=difference: float(of[at].mean()))  # type: ignore[misc]
        rows.append(
            Row(
                f"attribution by Wasserstein distance, {what}",
                measured,
                float(by_distance.mean()),
                low,
                high,
                len(names),
                "prompts",
                "today's weight, the share of words kept",
                float(today.mean()),
                drawing,
                f"difference {difference.mean():+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]; without "
                f"any weight {flat.mean():.2f}",
            )
        )
    return rows


def _figures(
    asked: tuple[Floats, Floats, NDArray[np.float64], int], weigh: Callable[..., Floats]
) -> dict[str, float]:
    design, p, embeddings, planted = asked
    halves = np.arange(SEEDS).reshape(2, -1)
    found = []
    for own in halves:
        root = np.sqrt(weigh(design, embeddings[:, own]))[:, None]
        found.append(np.linalg.pinv(design * root) @ (p[:, own].mean(1) * root[:, 0]))
    explained, near = [], []
    is_near = design[:, 1:].sum(1) >= WORDS - 1
    for own, coefficients in zip(halves[::-1], found, strict=True):
        seen = p[:, own].mean(1)
        total = ((seen - seen.mean()) ** 2).sum()
        error = (seen - design @ coefficients) ** 2
        explained.append(1 - error.sum() / max(total, 1e-12))
        near.append(1 - np.sqrt(error[is_near].mean()))
    one, other = (coefficients[1:] for coefficients in found)
    return {
        "stability": float(np.corrcoef(one, other)[0, 1]),
        "fidelity": float(np.mean(explained)),
        "fidelity near the prompt": float(np.mean(near)),
        "planted word": float(np.mean([one.argmax() == planted, other.argmax() == planted])),
    }


def _by_share(design: Floats, embeddings: Floats) -> Floats:
    """Return today's weight, see `dexter.reasoning.words.attribution`."""
    from dexter.reasoning.words.attribution import KERNEL_WIDTH

    left_out = 1 - design[:, 1:].mean(1)
    weights: Floats = np.exp(-((left_out / KERNEL_WIDTH) ** 2))
    return weights


def _flat(design: Floats, embeddings: Floats) -> Floats:
    return np.ones(len(design))


def _by_distance(design: Floats, embeddings: Floats) -> Floats:
    from scipy.optimize import linear_sum_assignment

    full = embeddings[design.all(1).argmax()]
    distances = []
    for own in embeddings:
        cost = ((own[:, None] - full[None]) ** 2).sum(-1)
        rows, columns = linear_sum_assignment(cost)
        distances.append(np.sqrt(cost[rows, columns].mean()))
    away = np.array(distances)
    weights: Floats = np.exp(-((away / np.median(away)) ** 2))
    return weights


def _asked(name: str, anchor: str, planted: str) -> tuple[Floats, Floats, Floats, int]:
    """Return design (S, 1 + M), p (S, `SEEDS`), embeddings (S, `SEEDS`, D), the planted place."""
    path = WORK / f"wasserstein-{name}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as file:
            np.savez_compressed(file, **_drawn(name, anchor, planted))
        path.with_suffix(".part").rename(path)
    with np.load(path) as kept:
        return kept["design"], kept["p"], kept["embeddings"], int(kept["planted"])


def _drawn(name: str, anchor: str, planted: str) -> dict[str, Any]:
    from dexter.classifiers import load_classifier
    from dexter.generation.generator import load_generator
    from dexter.generation.pictures import Pictures
    from dexter.lab import world
    from dexter.lab.fleet import families
    from dexter.reasoning.detection import load_detector
    from dexter.reasoning.evidence import Witness
    from dexter.reasoning.words.attribution import prompt_without, word_subsets
    from dexter.seeds import picture_seeds

    rng = np.random.default_rng(list(name.encode()))
    own = next(words for _, words in families().values() if planted in words)
    places = [word for word in world.BACKGROUNDS if word not in own]
    items = [word for word in world.ITEMS if word not in own]
    is_place = planted in world.BACKGROUNDS
    others = [str(word) for word in rng.choice(items, WORDS - 1 - (not is_place), replace=False)]
    others += [] if is_place else [str(rng.choice(places))]
    words = [str(word) for word in rng.permutation([planted, *others])]
    pieces = [f"a picture of a {anchor} with ", *[" and "] * (WORDS - 1), ""]
    kept = word_subsets(WORDS, 2**WORDS)
    prompts = [prompt_without(pieces, words, subset) for subset in kept]
    noise = picture_seeds("evidence", 2000, SEEDS)
    pictures = Pictures(load_generator("lab"), "lab")
    witness = Witness(pictures, load_classifier(f"lab:fleet/{name}"), 0, load_detector("lab"))
    requests = [[(prompt, seed) for seed in noise] for prompt in prompts]
    witness.look([one for own in requests for one in own])
    return {
        "design": np.column_stack([np.ones(len(kept)), np.array(kept, np.float64)]),
        "p": np.stack([witness.probabilities(own) for own in requests]),
        "embeddings": np.stack([witness.embeddings(own) for own in requests]).astype(np.float64),
        "planted": np.array(words.index(planted)),
    }
