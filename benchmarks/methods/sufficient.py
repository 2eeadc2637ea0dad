"""Sufficient words of prompts of which the right verdict is known."""

import time

from benchmarks.methods.rows import Row
from dexter.stats import wilson_interval

CASES = (
    # classifier, class index, words, the sufficient word; None: no word is needed or any will do
    ("lab:birds-biased", 0, ("sea", "gift"), "sea"),
    ("lab:fleet/birds-water-100", 0, ("gift", "lake"), "lake"),
    ("lab:fleet/birds-snow-100", 0, ("snow", "moon"), "snow"),
    ("lab:fleet/birds-ball-100", 0, ("moon", "ball"), "ball"),
    ("lab:fleet/birds-clean", 0, ("sea", "gift"), None),
    ("lab:fleet/birds-random", 0, ("sea", "gift"), None),
    ("lab:birds-balanced", 0, ("moon", "gift"), None),
)
SEEDS = 8


def measure() -> list[Row]:
    """Return the row on the verdicts."""
    from dexter.classifiers import load_classifier
    from dexter.generation.generator import load_generator
    from dexter.generation.pictures import Pictures
    from dexter.reasoning.evidence import Witness
    from dexter.reasoning.topic import load_world, make_topic
    from dexter.reasoning.words.sufficiency import control_pool, sufficiency

    begun = time.process_time()
    world, pictures = load_world(), Pictures(load_generator("lab"), "lab")
    right, said = [], []
    for spec, index, words, carrier in CASES:
        classifier = load_classifier(spec)
        topic = make_topic(classifier.labels, index, world=world)
        found = sufficiency(
            Witness(pictures, classifier, index),
            ("a picture of a bird with ", " and ", ""),
            words,
            control_pool(words, topic, lambda word: True),
            seeds=SEEDS,
            subsets=16,
        )
        if found is None:
            right.append(carrier is None)
            said.append(f"{spec}: no picture of the prompt has the class")
            continue
        if carrier is None:
            right.append(not found.faithful)
        else:
            right.append(bool(found.faithful) and found.words == (carrier,))
        said.append(
            f"{spec}: {' and '.join(found.words) or 'no word'} keeps "
            f"{found.sufficient.score.value:.2f} of {found.full.score.value:.2f}, random words "
            f"{found.control.value:.2f}"
        )
    hits = sum(right)
    low, high = wilson_interval(hits, len(right))
    planted = sum(carrier is not None for *_, carrier in CASES)
    return [
        Row(
            "sufficient words",
            "share of right verdicts: the planted word is sufficient and faithful, others are not",
            hits / len(right),
            low,
            high,
            len(right),
            "classifiers",
            "always faithful",
            planted / len(right),
            time.process_time() - begun,
            "; ".join(said) + ". Nothing was tuned",
        )
    ]
