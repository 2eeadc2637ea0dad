"""Does the evidence keep its promises? A/A tests, and effects planted on purpose.

    python -m benchmarks.calibration [--tests 200] [--planted 50]

An A/A test compares a prompt with itself, on other seeds, through the same code, stopping rule
included: what it finds is a false alarm. A planted effect of 0.3 is a word put into as many of the
treated prompts as give a mean change of 0.3: it should be found.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dexter import stats
from dexter.generation.bank import Request
from dexter.reasoning.claims import Candidate
from dexter.reasoning.evidence import Experiment, Layout, Pair, PromptLayout, Witness
from dexter.reasoning.topic import Slot
from dexter.seeds import picture_seeds

FIRST_SEED = 100_000  # of the range for evidence, far from those of studies
MOST_FALSE = 17  # of 200
LEAST_FOUND = 0.9


def aa_tests(experiment: Experiment, prompt: str, tests: int) -> list[float]:
    """p, corrected for looks, of tests whose two sides are the same prompt on disjoint seeds."""
    found = []
    for test in range(tests):
        at = FIRST_SEED + test * 2 * stats.LOOKS[-1]
        layout = PromptLayout(
            prompt, prompt, first_seed=at, treated_first_seed=at + stats.LOOKS[-1]
        )
        [claim] = experiment.test([Candidate("nothing", "item", 0)], layout)
        found.append(stats.look_corrected(claim.p))
        _report(f"A/A test {test + 1} of {tests}: {sum(p <= 0.05 for p in found)} false alarms")
    return found


@dataclass(frozen=True)
class _Planted(Layout):
    """Pairs of which only a share has the concept on its treated side."""

    control: str
    treated: str
    share: float
    seeds: Sequence[int]

    def pairs(self, concept: str, slot: Slot, count: int) -> list[Pair]:
        have = np.random.default_rng(self.seeds[0]).random(len(self.seeds)) < self.share
        return [
            Pair("as asked", (self.control, s), (self.treated if with_it else self.control, s))
            for s, with_it in zip(self.seeds[:count], have[:count], strict=True)
        ]

    def controls(self) -> dict[str, list[Request]]:
        return {"as asked": [(self.control, seed) for seed in self.seeds]}


def planted_tests(
    experiment: Experiment, control: str, candidate: Candidate, effect: float, tests: int
) -> tuple[int, list[float]]:
    """Return the number of planted effects that were confirmed, and the effects measured.

    The share of pairs that get the concept is what its own effect, measured first, calls for. The
    pairs that do not get it look as if it had not been drawn, so that is not asked here.
    """
    treated = f"{control} with {candidate.concept}"
    seeds = picture_seeds("evidence", FIRST_SEED - 1000, 64)
    experiment.witness.look([(text, seed) for text in (control, treated) for seed in seeds])
    whole = float(
        experiment.witness.probabilities([(treated, seed) for seed in seeds]).mean()
        - experiment.witness.probabilities([(control, seed) for seed in seeds]).mean()
    )
    if whole < effect:
        raise ValueError(f"{candidate.concept!r} has an effect of {whole:.2f}, less than {effect}")
    experiment = replace(experiment, assume_drawn=True)
    found, effects = 0, []
    for test in range(tests):
        own = picture_seeds("evidence", FIRST_SEED + test * stats.LOOKS[-1], stats.LOOKS[-1])
        layout = _Planted(control, treated, effect / whole, own)
        [claim] = experiment.test([candidate], layout)
        found += claim.verdict == "confirmed"
        effects.append(claim.effect)
        _report(f"planted effect {test + 1} of {tests}: {found} found")
    return found, effects


def _report(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{line}  ", end="", file=sys.stderr, flush=True)


def main() -> int:
    """0 if both promises are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--planted", type=int, default=50)
    parser.add_argument("--classifier", default="lab:birds-biased")
    parser.add_argument("--prompt", default="a picture of a bird")
    options = parser.parse_args()
    import torch

    from dexter.classifiers import class_index, load_classifier
    from dexter.config import RunConfig
    from dexter.generation.drawing_process import Helper
    from dexter.generation.generator import load_generator
    from dexter.generation.pictures import Pictures
    from dexter.reasoning.topic import load_world, make_topic
    from dexter.screening.concepts import lab_pool
    from dexter.screening.pairs import PoolLayout

    torch.set_num_threads(1)
    began = time.monotonic()
    classifier = load_classifier(options.classifier)
    index = class_index(classifier.labels, "waterbird")
    topic = make_topic(classifier.labels, index, world=load_world())
    helper = Helper(RunConfig(classifier=options.classifier, class_name="waterbird"))
    pictures = Pictures(load_generator("lab"), "lab", batch=32, helper=helper)
    witness = Witness(pictures, classifier, index)
    layout = PoolLayout(topic, lab_pool(topic.world))
    strict = Experiment(witness, topic, layout, min_effect=1e-9, placebos=0, assume_drawn=True)
    p = aa_tests(strict, options.prompt, options.tests)
    false = sum(value <= 0.05 for value in p)
    allowed = round(MOST_FALSE * options.tests / 200)
    print(f"A/A: {false} of {options.tests} have p <= 0.05 (at most {allowed})", flush=True)
    usual = Experiment(witness, topic, layout)
    found, effects = planted_tests(
        usual, options.prompt, Candidate("sea", "background"), 0.3, options.planted
    )
    print(
        f"planted: {found} of {options.planted} confirmed, mean effect {np.mean(effects):.3f} "
        f"(at least {LEAST_FOUND:.0%})"
    )
    helper.close()
    print(f"{pictures.drawn} pictures, {time.monotonic() - began:.0f} s")
    return int(false > allowed or found < LEAST_FOUND * options.planted)


if __name__ == "__main__":
    sys.exit(main())
