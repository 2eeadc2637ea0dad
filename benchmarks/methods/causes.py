"""Necessity and sufficiency over the pairs of real probes, beside the effect."""

import time
from typing import NamedTuple

import numpy as np

from benchmarks.methods.collected import collected
from benchmarks.methods.rows import Row, bootstrap
from dexter.screening.text_map import rank_correlation
from store.reading.causation import causation

TASKS = ("birds", "farm")


class _Pairs(NamedTuple):
    control: list[float]
    treated: list[float]
    control_prompts: list[str]


def measure() -> list[Row]:
    """Return the row on PNS: the pairs of each word on all subjects, by classifier."""
    begun = time.process_time()
    effects, counted, widths, words, spreads = [], [], [], [], []
    for task in TASKS:
        seen = collected(task)
        alone = {subject: at for at, (subject, word) in enumerate(seen.said) if not word}
        for name, measured in seen.measured.items():
            p = 1 / (1 + np.exp(-measured))
            for word in dict.fromkeys(word for _, word in seen.said if word):
                rows = [at for at, (_, own) in enumerate(seen.said) if own == word]
                controls = [alone[seen.said[at][0]] for at in rows]
                effect = float((p[rows] - p[controls]).mean())
                pairs = _Pairs(
                    p[controls].ravel().tolist(),
                    p[rows].ravel().tolist(),
                    [seen.probes[at] for at in controls for _ in range(p.shape[1])],
                )
                found = causation([pairs], 1 if effect > 0 else -1)
                assert found is not None
                effects.append(abs(effect))
                counted.append(found.pns.hits / found.pns.n)
                widths.append(found.bounds[1] - found.bounds[0])
                words.append(f"{name} {word}")
                spreads.append(found.spread or 0.0)
    sizes, shares = np.array(effects), np.array(counted)
    low, high = bootstrap(words, lambda rows: rank_correlation(sizes[rows], shares[rows]))
    return [
        Row(
            "necessity and sufficiency",
            "rank correlation of PNS and the size of the effect",
            rank_correlation(sizes, shares),
            low,
            high,
            len(words),
            "words of a classifier",
            "unrelated: 0",
            0.0,
            time.process_time() - begun,
            f"rates alone leave PNS open by {np.mean(widths):.2f} on average; the spread of an "
            f"effect over subjects beyond noise is {np.mean(spreads):.2f}. Nothing was tuned",
        )
    ]
