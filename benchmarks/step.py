"""The cost of a step: CPU time and peak memory by stage, on the lab and at Stable Diffusion's size.

`make bench-step` prints a table. The Stable Diffusion 1.4 shape (UNet 860 M, decoder, CLIP text
encoder, BERT-base and their vocabularies) has random weights: arithmetic costs the same. It is run
with the reference's step (`--preset reference`, 4 diffusion steps, batch 1), in float32, with one
thread, so that it compares with the public code: 57.8 CPU s and 20.9 GB a step at 256 px.

What must hold of every step is asserted: as many UNet rows as diffusion steps, one decoding, and
no gradient but the soft prompt's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from dexter.config import Checkpointing

RESULTS = Path("benchmarks/results/step.json")
LEVELS = get_args(Checkpointing)
STAGES = ("text", "unet", "decode", "classify", "unet back", "decode back", "rest")


@dataclass(frozen=True)
class Case:
    """A configuration of the table."""

    models: str
    """"lab" or "sd14"."""
    preset: str
    size: int | None = None
    """px."""
    checkpointing: Checkpointing = "none"
    dtype: str = "float32"


@dataclass(frozen=True)
class Cost:
    """The cost of a case; CPU seconds are medians over the steps."""

    case: Case
    steps: int
    seconds: float
    stages: dict[str, float]
    unet_share: float
    """Of the step's CPU time, forward and backward."""
    peak_bytes: int
    """The process's largest resident set while it made the steps, weights included."""
    loaded_bytes: int
    """Its resident set before."""
    estimated_bytes: int
    """What `dexter.planning.estimate` says."""


CASES = (
    Case("lab", "default"),
    Case("lab", "reference"),
    Case("sd14", "reference", 256),
    Case("sd14", "reference", 256, checkpointing="unet"),
    Case("sd14", "reference", 256, checkpointing="all"),
)


def measure(case: Case, steps: int) -> Cost:
    """Load the models and do this number of steps."""
    import torch

    from dexter.device import ALL_PIECES, LARGE_PIECE, keep_freed_memory
    from dexter.planning.estimate import estimate
    from dexter.search.optimize import optimize

    torch.set_num_threads(1)
    config, models = _lab(case, steps) if case.models == "lab" else _sd14(case, steps)
    # As a worker does.
    keep_freed_memory(ALL_PIECES if case.checkpointing == "none" else LARGE_PIECE)
    search = optimize(config, **models)
    rows, decodings = _count(models["generator"])
    clock = _Clock(search, models["generator"])
    loaded = _memory("VmRSS")
    _reset_peak()
    seconds = []
    for _ in range(steps):
        rows.clear()
        decodings.clear()
        started = time.process_time()
        next(search)
        seconds.append(time.process_time() - started)
        clock.end(seconds[-1])
        calls = config.diffusion_steps * (2 if config.guidance > 1 else 1)
        assert sum(rows) == calls * config.batch, rows
        assert sum(decodings) == config.batch, decodings
    peak = _memory("VmHWM")
    for network in models["generator"].networks:
        _assert_no_gradients(network)
    _assert_no_gradients(models["masked_lm"].model)
    _assert_no_gradients(models["classifier"]._module)
    shares = clock.medians()
    total = statistics.median(seconds)
    return Cost(
        case,
        steps,
        total,
        shares,
        (shares["unet"] + shares["unet back"]) / sum(shares.values()),
        peak,
        loaded,
        estimate(config, device="cpu").peak_bytes,
    )


class _Clock:
    """CPU seconds of a step's stages; hooks on the tensors between the networks time the
    backward pass."""

    def __init__(self, search: Any, generator: Any) -> None:
        self._steps: dict[str, list[float]] = defaultdict(list)
        self._now: dict[str, float] = defaultdict(float)
        self._marks: dict[str, float] = {}
        self._wrap(search._prompt, "token_logits", "text")
        self._wrap(generator, "encode", "text", "conditioning")
        self._wrap(generator, "denoise", "unet", "latents")
        self._wrap(generator, "decode", "decode", "images")
        self._wrap(search, "_classifier", "classify")

    def _wrap(self, owner: Any, name: str, stage: str, mark: str | None = None) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            result = inner(*args, **kwargs)
            self._now[stage] += time.process_time() - started
            if mark is not None and result.requires_grad:
                result.register_hook(lambda _gradient: self._reached(mark))
            return result

        setattr(owner, name, timed)

    def _reached(self, mark: str) -> None:
        now = time.process_time()
        if mark == "latents":
            self._now["decode back"] += now - self._marks["images"]
        elif mark == "conditioning":
            self._now["unet back"] += now - self._marks["latents"]
        self._marks[mark] = now

    def end(self, seconds: float) -> None:
        """Record the end of a step that took this many CPU seconds."""
        self._now["rest"] = seconds - sum(self._now.values())
        for stage in STAGES:
            self._steps[stage].append(self._now[stage])
        self._now.clear()

    def medians(self) -> dict[str, float]:
        return {stage: statistics.median(self._steps[stage]) for stage in STAGES}


def _count(generator: Any) -> tuple[list[int], list[int]]:
    """Lists that fill with the rows of each call of the UNet and of the decoder."""
    rows: list[int] = []
    decodings: list[int] = []
    # Before the modules: with checkpointing, blocks run again, whole networks do not.
    generator._unet.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    generator._vae.decoder.register_forward_pre_hook(
        lambda _, inputs: decodings.append(len(inputs[0]))
    )
    return rows, decodings


def _assert_no_gradients(module: Any) -> None:
    for name, parameter in module.named_parameters():
        assert not parameter.requires_grad and parameter.grad is None, name


def _config(case: Case, steps: int, **values: Any) -> Any:
    from dexter.config import RunConfig

    return RunConfig.from_preset(
        case.preset,
        steps=steps,
        stop="none",
        device="cpu",
        dtype=case.dtype,
        image_size=case.size,
        gradient_checkpointing=case.checkpointing,
        **values,
    )


def _lab(case: Case, steps: int) -> tuple[Any, dict[str, Any]]:
    from dexter.models import load_models

    config = _config(case, steps, classifier="lab:birds-biased", class_name="waterbird")
    models = load_models(config)._asdict()
    del models["device"]
    return config, models


def _sd14(case: Case, steps: int) -> tuple[Any, dict[str, Any]]:
    """Networks of Stable Diffusion 1.4's shape, random; a small classifier, as the reference's
    own measurement had."""
    from dexter_tui.machine.random_models import random_models

    config = _config(
        case,
        steps,
        classifier="python:random",
        class_name="5",
        generator="CompVis/stable-diffusion-v1-4",
        masked_lm="bert-base-uncased",
        features=(3, 7, 11, 19, 23),
    )
    models = random_models(config)._asdict()
    del models["device"]
    return config, models


def _memory(field: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def table(costs: list[Cost]) -> Table:
    """Return a table with a row for each case."""
    shown = Table(
        "models", "preset", "px", "format", "checkpointing", "CPU s", *STAGES, "UNet",
        "peak GB", "loaded GB", "estimate GB",
    )  # fmt: skip
    for cost in costs:
        case = cost.case
        shown.add_row(
            case.models,
            case.preset,
            str(case.size or "own"),
            case.dtype,
            case.checkpointing,
            f"{cost.seconds:.2f}",
            *(f"{cost.stages[stage]:.2f}" for stage in STAGES),
            f"{cost.unet_share:.0%}",
            *(f"{n / 1e9:.2f}" for n in (cost.peak_bytes, cost.loaded_bytes, cost.estimated_bytes)),
        )
    return shown


@contextmanager
def _process() -> Any:
    """A process for one case, so that its peak is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--models", nargs="+", choices=("lab", "sd14"), default=["lab", "sd14"])
    parser.add_argument("--sizes", nargs="+", type=int, help="px, of sd14; default 256")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--checkpointing", nargs="+", choices=LEVELS, default=["none", "unet"])
    options = parser.parse_args()
    cases = [
        replace(case, size=size, dtype=options.dtype)
        for case in CASES
        if case.models in options.models and case.checkpointing in options.checkpointing
        for size in ((case.size and options.sizes) or [case.size])
    ]
    console = Console(width=180)
    outcome = Console(stderr=True)
    costs = []
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases, 1):
        outcome.print(f"{number} of {len(cases)}: {case}")
        with _process() as pool:
            costs.append(pool.submit(measure, case, options.steps).result())
        RESULTS.write_text(json.dumps([asdict(cost) for cost in costs], indent=1) + "\n")
    console.print(table(costs))
    console.print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
