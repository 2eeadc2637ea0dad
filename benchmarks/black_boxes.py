"""A black box against the same network with gradients: the verdicts, and the CPU time for them.

    pip install onnx onnxscript 'dexter-tui[onnx]'
    python -m benchmarks.black_boxes [--seeds 3] [--classifiers lab:birds-biased ...]

Each lab classifier is searched and tested in three forms: as it is, with gradients; as an ONNX
file; and behind a server on this machine (`examples/score_server.py`), whose CPU time counts as
well. All forms are tested on the same concepts and screened on the same pictures, which are drawn
once. Prints a table and writes benchmarks/results/black_boxes.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path("benchmarks/results/black_boxes.json")
CONCEPTS = ("sea", "water", "forest", "owl")
TEMPLATE = "a picture of a bird with [MASK] and [MASK]"
PRESET = "quick"
SCREENED = 200  # pictures
PLACEBOS = 6


@dataclass(frozen=True)
class Outcome:
    """The verdicts about a form of a classifier, and CPU seconds without the drawing of tests."""

    form: str
    classifier: str
    words: list[list[str]]
    """By seed."""
    search_seconds: float
    """Of all seeds."""
    verdicts: dict[str, str]
    """By concept."""
    screened: dict[str, str]
    """Findings of the screening, by concept."""
    score_seconds: float
    """For 1,000 pictures."""


def export(classifier: Any, file: Path) -> Path:
    """Write the network of a loaded classifier as an ONNX file, from normalised pictures."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, pictures: Any) -> Any:
            return self.module(pictures).logits

    side = classifier.image_size
    torch.onnx.export(
        Logits(classifier._module),
        (torch.zeros(2, 3, side, side),),
        str(file),
        input_names=["pictures"],
        output_names=["logits"],
        dynamic_axes={"pictures": {0: "N"}, "logits": {0: "N"}},
        dynamo=False,
    )
    return file


@contextmanager
def served(spec: str) -> Iterator[tuple[str, Any]]:
    """Serve a classifier; yield its address, and a function that returns the server's CPU time."""
    command = [sys.executable, "examples/score_server.py", spec, "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            stat = Path(f"/proc/{server.pid}/stat")

            def seconds() -> float:
                fields = stat.read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

            yield server.stdout.readline().strip(), seconds
        finally:
            server.kill()


class Lab:
    """The lab's models and a bank of pictures, which all forms share."""

    def __init__(self) -> None:
        import torch

        from dexter.generation.bank import MemoryBank
        from dexter.generation.generator import load_generator
        from dexter.generation.pictures import Pictures
        from dexter.reasoning.detection import load_detector
        from dexter.reasoning.evidence import MemoryCache
        from dexter.reasoning.topic import load_world
        from dexter.search.prompt import load_masked_lm

        torch.set_num_threads(1)
        self.generator, self.masked_lm = load_generator("lab"), load_masked_lm("lab")
        self.detector, self.world = load_detector("lab"), load_world()
        self.pictures = Pictures(self.generator, "lab", MemoryBank())
        self.new_cache = MemoryCache

    def measure(self, form: str, name: str, classifier: Any, seeds: int, elsewhere: Any) -> Outcome:
        """Search, test and screen a classifier; ``elsewhere`` returns a server's CPU seconds."""
        index = 0

        def clock() -> float:
            return time.process_time() + float(elsewhere())

        started = clock()
        words = [self._search(classifier, seed) for seed in range(seeds)]
        searched = clock() - started
        verdicts, screened = self._test(classifier, index), self._screen(classifier, index)
        return Outcome(
            form, name, words, searched, verdicts, screened, self._score(classifier, clock)
        )

    def _search(self, classifier: Any, seed: int) -> list[str]:
        from dexter.config import RunConfig
        from dexter.search.optimize import optimize

        config = RunConfig.from_preset(
            PRESET,
            classifier=classifier.spec,
            class_name=classifier.labels[0],
            template=TEMPLATE,
            seed=seed,
            device="cpu",
        )
        search = optimize(
            config, classifier=classifier, generator=self.generator, masked_lm=self.masked_lm
        )
        for _ in search:
            pass
        return list(search.result.words)

    def _topic(self, classifier: Any, index: int) -> Any:
        from dexter.reasoning.topic import make_topic

        return make_topic(classifier.labels, index, world=self.world)

    def _test(self, classifier: Any, index: int) -> dict[str, str]:
        from dexter.reasoning.candidates import sayable_by
        from dexter.reasoning.claims import Candidate
        from dexter.reasoning.evidence import Experiment, Witness
        from dexter.screening.concepts import lab_pool
        from dexter.screening.pairs import ConceptDetector, PoolLayout, worded

        pool, topic = lab_pool(self.world), self._topic(classifier, index)
        known = sayable_by(self.generator.tokenizer, self.world)
        words, asked = worded(pool, [Candidate(c, direction=0) for c in CONCEPTS])
        experiment = Experiment(
            Witness(self.pictures, classifier, index, ConceptDetector(self.detector, pool)),
            topic,
            PoolLayout(topic, pool, words, known=known),
            placebo_cache=self.new_cache(),
            placebos=PLACEBOS,
        )
        claims = experiment.test(asked)
        return {
            c: f"{claim.verdict} {claim.effect:+.2f}"
            for c, claim in zip(CONCEPTS, claims, strict=True)
        }

    def _screen(self, classifier: Any, index: int) -> dict[str, str]:
        from dexter.screening.concepts import lab_pool
        from dexter.screening.screen import Judged, Screening, Settings, member

        screening = Screening(
            lab_pool(self.world),
            self._topic(classifier, index),
            self.pictures,
            self.detector,
            Settings(pictures=SCREENED, first=200),
        )
        for event in screening.run([member(classifier.spec, classifier, index)]):
            if isinstance(event, Judged) and event.finished:
                found = event.results[classifier.spec].findings
                return {e.concept: f"{e.verdict} {e.effect:+.2f}" for e in found}
        raise AssertionError("a screening ends with a judgement")

    def _score(self, classifier: Any, clock: Any) -> float:
        """Return the CPU seconds in which 1,000 pictures are scored."""
        import torch

        pictures = torch.rand(20, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        classifier(pictures)
        started = clock()
        with torch.inference_mode():
            for _ in range(50):
                classifier(pictures)
        return float(clock() - started)


def measure(name: str, seeds: int, lab: Lab) -> list[Outcome]:
    """Measure a lab classifier in its three forms."""
    from dexter.classifiers import ClassifierOptions, load_classifier

    whole = load_classifier(name)
    outcomes = [lab.measure("gradients", name, whole, seeds, lambda: 0.0)]
    with tempfile.TemporaryDirectory(prefix="black-boxes-") as folder:
        labels = Path(folder, "labels.txt")
        labels.write_text("\n".join(whole.labels) + "\n")
        file = export(load_classifier(name), Path(folder, "net.onnx"))
        options = ClassifierOptions(normalization="half", labels=labels)
        graph = load_classifier(f"onnx:{file}", options)
        outcomes.append(lab.measure("onnx", name, graph, seeds, lambda: 0.0))
    with served(name) as (url, seconds):
        outcomes.append(lab.measure("http", name, load_classifier(url), seeds, seconds))
    return outcomes


def table(outcomes: list[Outcome]) -> Table:
    """Return a table with a row for each form of a classifier."""
    shown = Table(
        "classifier", "form", "search, CPU s", "ratio", "scoring 1,000, CPU s", "words",
        "confirmed", "screening finds",
    )  # fmt: skip
    first: dict[str, Outcome] = {}
    for outcome in outcomes:
        base = first.setdefault(outcome.classifier, outcome)
        confirmed = [c for c, v in outcome.verdicts.items() if v.startswith("confirmed")]
        shown.add_row(
            outcome.classifier,
            outcome.form,
            f"{outcome.search_seconds:.1f}",
            f"{outcome.search_seconds / base.search_seconds:.2f}",
            f"{outcome.score_seconds:.2f}",
            "; ".join(" ".join(words) for words in outcome.words),
            ", ".join(confirmed) or "nothing",
            ", ".join(f"{c} {v.split()[1]}" for c, v in outcome.screened.items()) or "nothing",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.black_boxes", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="searches of each form")
    parser.add_argument(
        "--classifiers", nargs="+", default=["lab:birds-biased", "lab:birds-balanced"]
    )
    options = parser.parse_args()
    lab = Lab()
    outcomes: list[Outcome] = []
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    for name in options.classifiers:
        outcomes += measure(name, options.seeds, lab)
        RESULTS.write_text(json.dumps([asdict(one) for one in outcomes], indent=1) + "\n")
    Console(width=200).print(table(outcomes))


if __name__ == "__main__":
    main()
