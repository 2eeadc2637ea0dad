"""Questions in free words against real probes, on words that the map has not seen."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.methods.collected import NOISES, Collected, collected
from benchmarks.methods.rows import Row, bootstrap
from dexter.screening.text_map import TextMap, rank_correlation, words_of

TUNED = "birds"
"""The task on which the kernel was chosen; only the others are reported."""
TASKS = ("farm",)

Floats = NDArray[np.float64]


def measure() -> list[Row]:
    """Return the rows on scenes and on effects of left-out words, and on known words."""
    started = time.process_time()
    found: dict[str, list[tuple[str, str, float, float, float]]] = {"scene": [], "effect": []}
    known: list[tuple[str, str, float, float, float]] = []
    pictured: list[tuple[str, str, float, float, float]] = []
    covered: list[tuple[str, bool]] = []
    asked, asking = 0, 0.0
    for task in TASKS:
        seen = collected(task)
        for name, odds in seen.odds.items():
            learned = TextMap(seen.texts, seen.pictures, odds, seen.prompts)
            measured = seen.measured[name].mean(1)
            begun = time.process_time()
            guesses = learned.ask(seen.probe_texts, seen.probes)
            asking += time.process_time() - begun
            # Without prompts' words, it learns from the pictures alone: it has read no word.
            unread = TextMap(seen.texts, seen.pictures, odds, [""] * len(seen.prompts))
            blind = unread.ask(seen.probe_texts, seen.probes)
            subjects = _of_subjects(seen, odds)
            asked += len(guesses)
            for at, (subject, word) in enumerate(seen.said):
                key, true, trivial = f"{name} {word}", float(measured[at]), subjects[subject]
                known.append((name, key, guesses[at].odds, true, trivial))
                pictured.append((name, key, blind[at].odds, true, trivial))
            for one in _left_out(name, seen, learned, odds, measured, covered):
                kind, *rest = one
                found[kind].append(tuple(rest))  # type: ignore[arg-type]
    seconds = time.process_time() - started
    rows = []
    for kind, measure_name, baseline in (
        ("scene", "rank correlation of p(class) of scenes", "mean answer to the subject"),
        (
            "effect",
            "rank correlation of the word's effect on its subject",
            "no effect of a word: 0",
        ),
    ):
        own = found[kind]
        rows.append(_row(f"ask, {kind} with a left-out word", measure_name, own, baseline, seconds))
    measure_name, baseline = "rank correlation of p(class) of scenes", "mean answer to the subject"
    rows.append(_row("ask, known words", measure_name, known, baseline, seconds))
    rows.append(_row("ask, from pictures alone", measure_name, pictured, baseline, seconds))
    share = float(np.mean([hit for _, hit in covered]))
    hits = np.array([hit for _, hit in covered], np.float64)
    low, high = bootstrap([name for name, _ in covered], lambda rows: float(hits[rows].mean()))
    rows.append(
        Row("ask, intervals", "share of 90% intervals that hold the probe", share, low, high,
            len(covered), "left-out scenes", "level asked for", 0.9, seconds,
            f"{1000 * asking / asked:.2f} ms a question beside the text encoder")
    )  # fmt: skip
    return rows


def _left_out(
    name: str,
    seen: Collected,
    learned: TextMap,
    odds: Floats,
    measured: Floats,
    covered: list[tuple[str, bool]],
) -> list[tuple[str, str, str, float, float, float]]:
    """Guess the probes of each word from pictures whose prompts do not name it."""
    alone = {subject: at for at, (subject, word) in enumerate(seen.said) if not word}
    of_subject = _of_subjects(seen, odds)
    found = []
    for word in dict.fromkeys(word for _, word in seen.said if word):
        blind = learned.without(word)
        assert not any(word in words_of(prompt) for prompt in blind.prompts)
        rows = [at for at, (_, own) in enumerate(seen.said) if own == word]
        asked = [seen.probes[at] for at in rows]
        guesses = blind.ask(seen.probe_texts[rows], asked, pictures=NOISES)
        for at, guess in zip(rows, guesses, strict=True):
            subject = seen.said[at][0]
            key = f"{name} {word}"
            found.append(("scene", name, key, guess.odds, float(measured[at]), of_subject[subject]))
            covered.append((key, guess.low <= measured[at] <= guess.high))
            control = alone[subject]
            change, _, _ = blind.change(
                seen.probe_texts[at][None], seen.probe_texts[control][None], known=False
            )
            true = float(measured[at] - measured[control])
            found.append(("effect", name, key, change, true, 0.0))
    return found


def _of_subjects(seen: Collected, odds: Floats) -> dict[str, float]:
    """Return the mean answer to the bank's pictures of each subject."""
    return {
        subject: float(
            np.mean([y for y, p in zip(odds, seen.prompts, strict=True) if subject in p.split()])
        )
        for subject, word in seen.said
        if not word
    }


def _row(
    method: str,
    measure_name: str,
    found: Sequence[tuple[str, str, float, float, float]],
    baseline: str,
    seconds: float,
) -> Row:
    """Return the mean over the classifiers of a rank correlation, resampled by words."""
    names = [one[0] for one in found]
    guess, true, trivial = (np.array([one[at] for one in found]) for at in (2, 3, 4))

    def mean(rows: NDArray[np.int64], values: Floats = guess) -> float:
        own = np.array(names)[rows]
        by_name = [
            rank_correlation(values[rows[own == name]], true[rows[own == name]])
            for name in dict.fromkeys(own)
        ]
        return float(np.mean(by_name))

    every = np.arange(len(found))
    low, high = bootstrap([one[1] for one in found], mean)
    note = f"kernel chosen on {TUNED}; reported on {', '.join(TASKS)}"
    return Row(method, measure_name, mean(every), low, high, len(set(names)), "classifiers",
               baseline, mean(every, trivial), seconds, note)  # fmt: skip
