"""The measurements of `make gpu-check`, each in a process of its own that ends in time.

    python -m dexter_tui.machine.gpu_measures NAME DEVICE SHAPE

prints the rows of one measurement as a JSON list on its last line. SHAPE is "sd14" or "small", see
`dexter_tui.machine.random_models`. Nothing is downloaded.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dexter.config import RunConfig
from dexter.loading import one_line
from dexter.models import Models
from dexter.planning.estimate import estimate
from dexter.search.loop import Step
from dexter.search.optimize import optimize
from dexter_tui.machine.random_models import SD14, SMALL, random_models

MODULE = "dexter_tui.machine.gpu_measures"
PROMPT = "a picture of a word1"
SIZES = (64, 256, 512)
DTYPES = ("float32", "bfloat16", "float16")
# Losses of the first step against the CPU's in float32, relative; the formats keep 24, 8 and 11
# bits of a number.
TOLERANCES = {"float32": 1e-2, "bfloat16": 2e-1, "float16": 5e-2}
_PICTURES_SECONDS = 4.0  # that pictures are drawn for, after a first batch


@dataclass(frozen=True)
class Row:
    """A line of the table. passed: None for a figure that nothing is expected of."""

    check: str
    passed: bool | None
    result: str


@dataclass(frozen=True)
class Bench:
    """The device and the networks' shape: on small ones only the code is tried."""

    device: str
    small: bool = False

    @property
    def on_cuda(self) -> bool:
        return self.device != "cpu"

    def config(self, **values: Any) -> RunConfig:
        """Return the settings of a search with random weights."""
        return RunConfig.from_preset(
            "quick",
            classifier="python:random",
            class_name="5",
            generator="CompVis/stable-diffusion-v1-4",
            masked_lm="bert-base-uncased",
            template="a picture of a [MASK] with [MASK]",
            stop="none",
            **{"device": self.device, "batch": 2, "steps": 1, "diffusion_steps": 1, **values},
        )

    def models(self, config: RunConfig, device: str | None = None) -> Models:
        """Make the models, on the bench's device unless another is named; weights are the same."""
        shape = SMALL if self.small else SD14
        return random_models(config, shape, device=device or self.device, drawn_on=self.device)

    def sizes(self) -> tuple[int, ...]:
        return SIZES[:1] if self.small else SIZES

    def wait(self) -> None:
        if self.on_cuda:
            torch.cuda.synchronize(self.device)


def parity(bench: Bench) -> Iterator[Row]:
    """Compare a step's losses and the soft prompt's gradient with the CPU's, in each format."""
    config = bench.config(image_size=64)
    expected, direction = _first_step(config, bench.models(config, "cpu"))
    for dtype in DTYPES:
        own = config.model_copy(update={"dtype": dtype})
        found, moved = _first_step(own, bench.models(own))
        worst = max(
            abs(found.losses[name] - loss) / max(abs(loss), 1.0)
            for name, loss in expected.losses.items()
        )
        cosine = float(torch.nn.functional.cosine_similarity(direction, moved, dim=0))
        same = found.words == expected.words
        yield Row(
            f"a step in {dtype} against the CPU's in float32",
            same and worst <= TOLERANCES[dtype],
            f"losses differ by {worst:.1e}, limit {TOLERANCES[dtype]:g}; "
            f"{'same' if same else 'other'} words; cosine of the updates {cosine:.3f}",
        )


def memory(bench: Bench) -> Iterator[Row]:
    """Compare the peak memory of a step with the estimate, by size."""
    for size in bench.sizes():
        for dtype in ("float32", "bfloat16"):
            config = bench.config(
                image_size=size, dtype=dtype, diffusion_steps=1 if bench.small else 4
            )
            name = f"memory of a step at {size} px, {dtype}"
            models = bench.models(config)
            if bench.on_cuda:
                torch.cuda.reset_peak_memory_stats(bench.device)
            try:
                started = time.perf_counter()
                _steps(config, models)
                bench.wait()
            except torch.OutOfMemoryError as error:
                yield Row(name, None, f"does not fit: {one_line(error)}")
                continue
            seconds = time.perf_counter() - started
            if not bench.on_cuda:
                yield Row(name, None, f"skipped: needs CUDA; {seconds:.1f} s")
                continue
            peak = torch.cuda.max_memory_allocated(bench.device)
            expected = estimate(config, device=bench.device).peak_bytes
            yield Row(
                name,
                peak <= expected,
                f"{peak / 1e9:.2f} GB, {expected / 1e9:.2f} GB estimated; {seconds:.1f} s",
            )
            del models
            torch.cuda.empty_cache()


def throughput(bench: Bench) -> Iterator[Row]:
    """Count pictures drawn and classified per second, as a screening does, by format and batch."""
    for dtype in DTYPES if bench.on_cuda else DTYPES[:1]:
        for size in bench.sizes()[-1:]:
            config = bench.config(image_size=size, dtype=dtype, diffusion_steps=4)
            models = bench.models(config)
            for batch in (1, 8) if bench.on_cuda else (1,):
                rate = _rate(bench, models, batch)
                yield Row(
                    f"screening in SD 1.4's shape, {size} px, {dtype}, {batch} at a time",
                    None,
                    f"{rate:.2f} pictures/s",
                )
            del models


def lab_throughput(bench: Bench) -> Iterator[Row]:
    """Count the lab's pictures drawn and classified per second."""
    from dexter.models import load_models

    config = RunConfig.from_preset(
        "quick", classifier="lab:birds-biased", class_name="0", device=bench.device
    )
    models = load_models(config)
    for batch in (1, 16, 64) if bench.on_cuda else (8,):
        rate = _rate(bench, models, batch)
        yield Row(f"screening in the lab, {batch} at a time", None, f"{rate:.1f} pictures/s")


def layout(bench: Bench) -> Iterator[Row]:
    """Compare the UNet in channels_last, as it is loaded, with the usual order of channels."""
    config = bench.config(image_size=bench.sizes()[-1], dtype=_half(bench))
    models = bench.models(config)
    rows = 1 if bench.small else 4
    last = _unet_seconds(bench, models, rows)
    networks: list[Any] = models.generator.networks
    for network in networks:
        network.to(memory_format=torch.contiguous_format)
    first = _unet_seconds(bench, models, rows)
    yield Row(
        "UNet in channels_last",
        None,
        f"{1000 * last:.1f} ms, {1000 * first:.1f} ms with channels first "
        f"({first / last:.2f} times as fast)",
    )


def graph(bench: Bench) -> Iterator[Row]:
    """Compare the UNet in a CUDA graph with the same without."""
    if not bench.on_cuda:
        yield Row("UNet in a CUDA graph", None, "skipped: needs CUDA")
        return
    config = bench.config(image_size=bench.sizes()[-1], dtype=_half(bench))
    for name, models in (("lab", None), ("SD 1.4's shape", bench.models(config))):
        if models is None:
            from dexter.models import load_models

            models = load_models(
                RunConfig.from_preset(
                    "quick", classifier="lab:birds-biased", class_name="0", device=bench.device
                )
            )
        for rows in (1, 8):
            plain = _unet_seconds(bench, models, rows)
            captured = _graph_seconds(bench, models, rows)
            yield Row(
                f"UNet in a CUDA graph, {name}, {rows} rows",
                None,
                f"{1000 * captured:.2f} ms, {1000 * plain:.2f} ms without "
                f"({plain / captured:.2f} times as fast)",
            )


def out_of_memory(bench: Bench) -> Iterator[Row]:
    """Run out of memory with many pictures at a time, then do the step with few."""
    name = "out of memory, and recovery"
    if not bench.on_cuda:
        yield Row(name, None, "skipped: needs CUDA")
        return
    config = bench.config(
        image_size=bench.sizes()[-1], batch=16, n_grad=8, micro_batch=8, diffusion_steps=4,
        gradient_checkpointing="none",
    )  # fmt: skip
    models = bench.models(config)
    weights = torch.cuda.memory_allocated(bench.device)
    room = 6e9 if not bench.small else 3e8
    total = torch.cuda.get_device_properties(bench.device).total_memory
    if weights + room > total:
        yield Row(name, None, f"skipped: {total / 1e9:.0f} GB are too few to try it")
        return
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((weights + room) / total, bench.device)
    try:
        _steps(config, models)
    except torch.OutOfMemoryError:
        # As a worker does, which continues in a new process.
        torch.cuda.empty_cache()
        less = config.model_copy(update={"micro_batch": 1, "gradient_checkpointing": "all"})
        steps = _steps(less, models)
        finite = all(math.isfinite(loss) for loss in steps[0].losses.values())
        yield Row(name, finite, "refused 8 pictures at a time, did the step with 1")
    else:
        yield Row(name, None, f"8 pictures at a time fit into {room / 1e9:.0f} GB: nothing tried")


def compiled(bench: Bench) -> Iterator[Row]:
    """Compare pictures with compiled networks with the same without."""
    if not bench.on_cuda:
        yield Row("--compile", None, "skipped: needs CUDA")
        return
    config = bench.config(image_size=bench.sizes()[-1], dtype=_half(bench), diffusion_steps=4)
    models = bench.models(config)
    plain = _rate(bench, models, 4)
    started = time.perf_counter()
    generator: Any = models.generator
    for network in (generator._unet, generator._vae.decoder):
        network.compile()
    _draw(models, 4, 0)
    bench.wait()
    ready = time.perf_counter() - started
    rate = _rate(bench, models, 4)
    yield Row(
        "--compile, 4 pictures at a time",
        None,
        f"{rate:.2f} pictures/s, {plain:.2f} without ({rate / plain:.2f} times as fast), "
        f"after {ready:.0f} s",
    )


def two_workers(bench: Bench) -> Iterator[Row]:
    """Compare two processes that draw on one device with one."""
    command = [sys.executable, "-P", "-m", MODULE, "drawing", bench.device, _shape(bench)]
    rates = []
    for count in (1, 2):
        started = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        try:
            answers = [process.communicate()[0] for process in started]
        finally:
            for process in started:
                process.kill()
        if any(process.returncode for process in started):
            yield Row("two workers on one device", False, "a process failed")
            return
        rates.append(sum(float(json.loads(a.splitlines()[-1])[0]["result"]) for a in answers))
    yield Row(
        "two workers on one device",
        None,
        f"{rates[1]:.2f} pictures/s together, {rates[0]:.2f} alone "
        f"({rates[1] / rates[0]:.2f} times)",
    )


def drawing(bench: Bench) -> Iterator[Row]:
    """Draw for some seconds; the part of one process in `two_workers`."""
    config = bench.config(image_size=bench.sizes()[-1], dtype=_half(bench), diffusion_steps=4)
    yield Row("drawing", None, f"{_rate(bench, bench.models(config), 1):.3f}")


MEASURES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "parity": parity,
    "memory": memory,
    "lab_throughput": lab_throughput,
    "throughput": throughput,
    "layout": layout,
    "graph": graph,
    "out_of_memory": out_of_memory,
    "two_workers": two_workers,
    "compiled": compiled,
}
"""In the order of their importance: the last are left out where time is short."""


def measure(name: str, bench: Bench, seconds: float) -> list[Row]:
    """Make a measurement in a process of its own; a row says so if it fails or takes too long."""
    command = [sys.executable, "-P", "-m", MODULE, name, bench.device, _shape(bench)]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return [Row(name, None, f"not finished in the {seconds:.0f} s that were left")]
    try:
        return [Row(**row) for row in json.loads(process.stdout.splitlines()[-1])]
    except (IndexError, ValueError, TypeError):
        lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        return [Row(name, False, lines[-1][:300])]


def _shape(bench: Bench) -> str:
    return "small" if bench.small else "sd14"


def _half(bench: Bench) -> str:
    return "float16" if bench.on_cuda else "float32"


def _steps(config: RunConfig, models: Models) -> list[Step]:
    return list(
        optimize(
            config,
            classifier=models.classifier,
            generator=models.generator,
            masked_lm=models.masked_lm,
        )
    )


def _first_step(config: RunConfig, models: Models) -> tuple[Step, torch.Tensor]:
    """Return a step, and the direction in which it moved the soft prompt."""
    search = optimize(
        config,
        classifier=models.classifier,
        generator=models.generator,
        masked_lm=models.masked_lm,
    )
    before = search.state_dict()["soft_prompt"]
    step = next(search)
    return step, (search.state_dict()["soft_prompt"] - before).flatten().double()


@torch.no_grad()
def _draw(models: Models, batch: int, seed: int) -> None:
    conditioning = models.generator.encode_text([PROMPT] * batch)
    images = models.generator.sample(conditioning, range(seed, seed + batch))
    models.classifier(images).logits.cpu()


def _rate(bench: Bench, models: Models, batch: int) -> float:
    """Return the pictures drawn and classified per second."""
    _draw(models, batch, 0)
    bench.wait()
    seconds = 0.5 if bench.small else _PICTURES_SECONDS
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        _draw(models, batch, done)
        done += batch
    bench.wait()
    return done / (time.perf_counter() - started)


def _unet_input(models: Models, rows: int) -> Callable[[], Any]:
    """Return a call of the UNet on fixed tensors."""
    generator: Any = models.generator
    unet = generator._unet
    rng = torch.Generator().manual_seed(0)
    side = generator._latent_size
    latents = torch.randn(rows, unet.config.in_channels, side, side, generator=rng)
    latents = latents.to(generator.device, generator.dtype)
    with torch.no_grad():
        text = generator.encode_text([PROMPT] * rows).to(generator.dtype)
    t = torch.tensor(500, device=generator.device)
    return lambda: unet(latents, t, encoder_hidden_states=text, return_dict=False)[0]


@torch.no_grad()
def _seconds(bench: Bench, call: Callable[[], Any]) -> float:
    """Return the mean time of a call."""
    count = 1 if bench.small else 20
    for _ in range(min(count, 3)):
        call()
    bench.wait()
    started = time.perf_counter()
    for _ in range(count):
        call()
    bench.wait()
    return (time.perf_counter() - started) / count


def _unet_seconds(bench: Bench, models: Models, rows: int) -> float:
    return _seconds(bench, _unet_input(models, rows))


@torch.no_grad()
def _graph_seconds(bench: Bench, models: Models, rows: int) -> float:
    call = _unet_input(models, rows)
    with _side_stream(bench.device):
        for _ in range(3):
            call()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        call()
    return _seconds(bench, captured.replay)


@contextmanager
def _side_stream(device: str) -> Iterator[None]:
    """Run warm-up calls on another stream, as the capture of a graph needs."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


if __name__ == "__main__":
    _name, _device, _shape_name = sys.argv[1:]
    _bench = Bench(_device, small=_shape_name == "small")
    if _bench.on_cuda:
        torch.cuda.set_device(_device)
    _measure = {**MEASURES, "drawing": drawing}[_name]
    print(json.dumps([asdict(row) for row in _measure(_bench)]))
