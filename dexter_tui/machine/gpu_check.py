"""The self-test and the measurements for a machine with CUDA: ``make gpu-check``, 8 minutes.

First the checks, with the lab's models: the device draws the same pictures as the CPU at any batch
size, has the same gradients with less memory, runs in float32, bfloat16 and float16, stays within
the memory estimate and resumes from a checkpoint; other devices draw the same pictures; and each
has a slot for a worker. Then the measurements of `gpu_measures`, on random weights in Stable
Diffusion 1.4's shape. Nothing is downloaded. ``--device cpu`` skips what needs CUDA; ``--small``
measures small networks, to try the code. ``--generator``, ``--masked-lm`` and ``--classifier`` take
real models for the checks.

Writes gpu-check.json and gpu-check.md into the folder in the environment variable OUT, by default
build/. Exit code: 0 if nothing fails, 1 if something does, 2 without a usable CUDA device.
"""

import argparse
import copy
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from dexter.config import RunConfig
from dexter.device import select_device
from dexter.errors import InputError
from dexter.generation.frozen import keep_less
from dexter.generation.generator import Generator
from dexter.loading import one_line
from dexter.models import load_models
from dexter.planning.estimate import estimate
from dexter.search.loop import Step
from dexter.search.optimize import optimize
from dexter_tui import EXIT_FAILED, EXIT_REFUSED
from dexter_tui.machine import devices
from dexter_tui.machine.doctor import check_driver, read_driver, torch_cuda
from dexter_tui.machine.gpu_measures import MEASURES, Bench, Row, measure

STEPS = 4
# For picture values from 0 to 1. Devices differ in the order of sums; batches must differ less.
DEVICE_TOLERANCE = 2e-2
BATCH_TOLERANCE = 1e-3
PROMPT = "a picture of a bird"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks, print a line for each, and return the exit code."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--generator", default="lab")
    parser.add_argument("--masked-lm", default="lab")
    parser.add_argument("--classifier", default="lab:birds-biased")
    parser.add_argument("--class", dest="class_name", default="0")
    parser.add_argument("--template", default=f"{PROMPT} with [MASK] and [MASK]")
    parser.add_argument("--seconds", type=float, default=480, help="time for all of it")
    parser.add_argument("--small", action="store_true", help="measure small networks")
    parser.add_argument("--measures", nargs="*", choices=MEASURES, default=list(MEASURES))
    options = vars(parser.parse_args(arguments))
    deadline = time.monotonic() + options.pop("seconds")
    measures, small = options.pop("measures"), options.pop("small")
    _ROWS.clear()
    try:
        device = select_device(options.pop("device"))
        config = RunConfig.from_preset("quick", steps=STEPS, stop="none", device=device, **options)
        if device != "cpu":
            print(check_driver(read_driver(), torch_cuda()).detail)
            print(f"{device}: {torch.cuda.get_device_name(device)}")
        for check in CHECKS:
            check(config)
        torch.cuda.empty_cache()
        for name in measures:
            _measure(name, Bench(device, small=small), deadline - time.monotonic())
    except InputError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return EXIT_REFUSED
    for file in write(Path(os.environ.get("OUT") or "build"), device):
        print(f"written to {file}")
    return EXIT_FAILED if any(row.passed is False for row in _ROWS) else 0


def _measure(name: str, bench: Bench, seconds: float) -> None:
    rows = measure(name, bench, seconds) if seconds > 10 else [Row(name, None, "no time was left")]
    for row in rows:
        _ROWS.append(row)
        print(f"{_mark(row)}  {row.check}: {row.result}", flush=True)


def write(folder: Path, device: str) -> list[Path]:
    """Write the rows so far as JSON and as a Markdown table; return the files."""
    facts = {
        "device": "cpu" if device == "cpu" else torch.cuda.get_device_name(device),
        "driver": check_driver(read_driver(), torch_cuda()).detail,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    data, table = folder / "gpu-check.json", folder / "gpu-check.md"
    data.write_text(
        json.dumps({**facts, "rows": [asdict(row) for row in _ROWS]}, indent=1) + "\n",
        encoding="utf-8",
    )
    lines = ["| check | outcome | result |", "|---|---|---|"]
    lines += [f"| {row.check} | {_mark(row).strip()} | {row.result} |" for row in _ROWS]
    head = f"{facts['date']}, {facts['device']}, torch {facts['torch']}. {facts['driver']}"
    table.write_text("\n".join([head, "", *lines]) + "\n", encoding="utf-8")
    return [data, table]


def pictures_agree(config: RunConfig) -> bool:
    """Check for the same pictures as on the CPU."""
    here, there = (_pictures(_generator(config, d), [0, 1]) for d in ("cpu", config.device))
    return _close("same pictures as on the CPU", here, there, DEVICE_TOLERANCE)


def batches_agree(config: RunConfig) -> bool:
    """Check that a picture does not depend on the rest of its batch."""
    generator = _generator(config, config.device)
    alone = torch.cat([_pictures(generator, [seed]) for seed in range(4)])
    together = _pictures(generator, [0, 1, 2, 3])
    return _close("pictures at any batch size", alone, together, BATCH_TOLERANCE)


def frozen_networks_keep_less(config: RunConfig) -> bool:
    """Check that Stable Diffusion's kind of networks has the same gradients with less memory."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=32, block_out_channels=(32, 64, 64, 64))
    decoder = AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    for network in (unet, decoder):
        network.requires_grad_(False).eval().to(config.device, memory_format=torch.channels_last)
    before = _gradient(unet, decoder, config.device)
    for network in (unet, decoder):
        keep_less(network)
    after = _gradient(unet, decoder, config.device)
    return _close("gradients with less memory", before, after, DEVICE_TOLERANCE)


def formats_run(config: RunConfig) -> bool:
    """Run a few steps in each number format."""
    passed = []
    for dtype in ("float32", "bfloat16", "float16"):
        if config.device != "cpu":
            torch.cuda.reset_peak_memory_stats(config.device)
        started = time.perf_counter()
        try:
            steps, _ = _search(config.model_copy(update={"dtype": dtype}))
        except (ArithmeticError, RuntimeError) as error:
            passed.append(_report(f"{STEPS} steps in {dtype}", False, one_line(error)))
            continue
        seconds = (time.perf_counter() - started) / STEPS
        memory = "" if config.device == "cpu" else f", peak {_peak(config.device)} MB"
        finite = all(math.isfinite(loss) for step in steps for loss in step.losses.values())
        passed.append(
            _report(f"{STEPS} steps in {dtype}", finite, f"{seconds:.2f} s per step{memory}")
        )
    return all(passed)


def resume_is_exact(config: RunConfig) -> bool:
    """Check that a resumed run takes the same steps as an uninterrupted one."""
    steps, states = _search(config)
    resumed, _ = _search(config, states[1])
    pairs = list(zip(steps[2:], resumed, strict=True))
    same = all(a.words == b.words and math.isclose(_loss(a), _loss(b), rel_tol=1e-2, abs_tol=1e-2)
               for a, b in pairs)  # fmt: skip
    worst = max(abs(_loss(a) - _loss(b)) for a, b in pairs)
    return _report("resumed as uninterrupted", same, f"losses differ by at most {worst:.1e}")


def memory_is_as_estimated(config: RunConfig) -> bool:
    """Check that the peak memory of a step stays within the estimate."""
    name = "memory within the estimate"
    if config.device == "cpu":
        return _report(name, True, "skipped: needs CUDA")
    _search(config.model_copy(update={"steps": 1}))
    expected = estimate(config, device=config.device).peak_bytes // 10**6
    peak = _peak(config.device)
    return _report(name, peak <= expected, f"{peak} MB, {expected} MB estimated")


def devices_agree(config: RunConfig) -> bool:
    """Check that all CUDA devices draw the same pictures."""
    name, count = "same pictures on all devices", torch.cuda.device_count()
    if config.device == "cpu" or count < 2:
        return _report(name, True, f"skipped: needs 2 CUDA devices, found {count}")
    first, *others = (_pictures(_generator(config, f"cuda:{n}"), [0, 1]) for n in range(count))
    return all(_close(f"{name} ({n})", first, o, DEVICE_TOLERANCE) for n, o in enumerate(others, 1))


def workers_have_devices(config: RunConfig) -> bool:
    """Check that each CUDA device has a slot for a worker."""
    kind = config.device.partition(":")[0]
    slots = [slot for slot in devices.slots() if kind in slot.accepts]
    wanted = 1 if config.device == "cpu" else torch.cuda.device_count()
    names = ", ".join(slot.name for slot in slots) or "none"
    return _report("a worker slot per device", len(slots) >= wanted, names)


_ROWS: list[Row] = []
"""The outcomes so far."""

CHECKS: list[Callable[[RunConfig], bool]] = [
    pictures_agree,
    batches_agree,
    frozen_networks_keep_less,
    formats_run,
    resume_is_exact,
    memory_is_as_estimated,
    devices_agree,
    workers_have_devices,
]


def _generator(config: RunConfig, device: str) -> Generator:
    return load_models(config.model_copy(update={"device": device})).generator


def _pictures(generator: Generator, seeds: list[int]) -> Tensor:
    with torch.no_grad():
        return generator.sample(generator.encode_text([PROMPT] * len(seeds)), seeds).cpu()


def _gradient(unet: Any, decoder: Any, device: str) -> Tensor:
    """Return the gradient of a denoising and decoding step, scaled to a maximum of 1."""
    rng = torch.Generator().manual_seed(0)
    text = torch.randn(1, 8, 1280, generator=rng).to(device).requires_grad_()
    latents = torch.randn(1, 4, 32, 32, generator=rng).to(device)
    denoised = unet(latents, 500, encoder_hidden_states=text, return_dict=False)[0]
    decoder.decode(denoised, return_dict=False)[0].square().sum().backward()
    assert text.grad is not None
    return (text.grad / text.grad.abs().max()).cpu()


def _search(
    config: RunConfig, state: dict[str, object] | None = None
) -> tuple[list[Step], list[dict[str, object]]]:
    """Return the steps of a run and its state after each."""
    models = load_models(config)
    search = optimize(
        config,
        classifier=models.classifier,
        generator=models.generator,
        masked_lm=models.masked_lm,
        state=state,
    )
    steps, states = [], []
    for step in search:
        steps.append(step)
        states.append(copy.deepcopy(search.state_dict()))
    return steps, states


def _loss(step: Step) -> float:
    return step.losses["total"]


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated(device) // 10**6


def _close(name: str, one: Tensor, other: Tensor, tolerance: float) -> bool:
    worst = float((one - other).abs().max())
    return _report(name, worst <= tolerance, f"differ by {worst:.1e}, tolerance {tolerance:g}")


def _report(name: str, passed: bool, detail: str) -> bool:
    row = Row(name, passed, detail)
    _ROWS.append(row)
    print(f"{_mark(row)}  {name}: {detail}", flush=True)
    return passed


def _mark(row: Row) -> str:
    return {True: "ok  ", False: "FAIL", None: "    "}[row.passed]


if __name__ == "__main__":
    sys.exit(main())
