"""A trainer that shares each batch between several one-thread processes.

On a busy machine, 2 processes of 1 thread are far faster than 1 process of 2 threads, because each
parallel region of OpenMP waits for the descheduled thread. Every worker computes its part of a
batch, and all step with the mean of their gradients, so the number of workers changes the speed of
training and not its result. A checkpoint is written every 2 min; a killed training loses no more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dexter.device import ALL_PIECES, keep_freed_memory, mixed_precision


@dataclass(frozen=True)
class Task:
    """A task: `build()` makes the module, `loss(module, rng, batch)` a scalar to minimise.

    samples: total, with those of earlier runs. batch: size over all workers. learning_rate: peak,
    after a short warm-up. decay: final fraction of the samples over which the rate falls linearly
    to 0. ema: decay per step of the moving average of the parameters.
    """

    name: str
    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, np.random.Generator, int], Tensor]
    samples: int
    batch: int = 32
    learning_rate: float = 1e-3
    decay: float = 0.4
    warmup: int = 3_000
    ema: float = 0.99
    weight_decay: float = 1e-2
    checkpoint_seconds: float = 120.0

    def rate(self, seen: int, since_start: int) -> float:
        """Learning rate after `seen` samples, `since_start` of them with this optimizer."""
        left = max(0.0, 1 - seen / self.samples)
        return (
            self.learning_rate
            * min(1.0, (since_start + 1) / self.warmup)
            * min(1.0, left / self.decay)
        )


def to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return the parameters as one vector, in any memory format (torch's own needs contiguous)."""
    return torch.cat([p.detach().reshape(-1) for p in parameters])


@torch.no_grad()
def from_vector(vector: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy a vector into the parameters; they keep their memory format."""
    start = 0
    for p in parameters:
        p.copy_(vector[start : start + p.numel()].view(p.shape))
        start += p.numel()


def train(
    make_task: Callable[..., Task], arguments: dict[str, Any], folder: Path, workers: int
) -> dict[str, Any]:
    """Train the task of `make_task(**arguments)` to its number of samples, resuming from `folder`.

    Returns {"average": parameter vector (EMA), "raw": the last vector, "samples": int}. `make_task`
    must be importable by name: each worker process makes its own task. Raises RuntimeError if a
    worker fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task = make_task(**arguments)
    path = folder / f"{task.name}.pt"
    state = torch.load(path, weights_only=True) if path.exists() else None
    start = to_vector(task.build().parameters()) if state is None else state["raw"]
    if state is not None and state["samples"] >= task.samples:
        return dict(state)
    average = (start if state is None else state["average"]).clone().share_memory_()
    gradients = torch.zeros(workers, len(start)).share_memory_()  # type: ignore[no-untyped-call]
    raw = start.clone().share_memory_()
    context = torch.multiprocessing.get_context("spawn")
    counter = context.Value("q", 0 if state is None else state["samples"])
    barrier = context.Barrier(workers)
    processes = [
        context.Process(
            target=_work,
            args=(rank, make_task, arguments, folder, raw, average, gradients, counter, barrier),
            daemon=True,
        )
        for rank in range(workers)
    ]
    for process in processes:
        process.start()
    while alive := [process for process in processes if process.is_alive()]:
        wait([process.sentinel for process in alive])
        if any(process.exitcode for process in processes):
            break  # the others wait for the dead one
    if any(process.exitcode for process in processes):
        for process in processes:
            process.terminate()
        raise RuntimeError(f"training of {task.name} stopped: a worker failed (its error is above)")
    state = {"raw": raw.clone(), "average": average.clone(), "samples": int(counter.value)}
    save(state, path)
    return state


def save(state: dict[str, Any], path: Path) -> None:
    """Write atomically: a kill leaves either the old file or the new one."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _work(
    rank: int,
    make_task: Callable[..., Task],
    arguments: dict[str, Any],
    folder: Path,
    raw: Tensor,
    average: Tensor,
    gradients: Tensor,
    counter: Synchronized[int],
    barrier: Barrier,
) -> None:
    torch.set_num_threads(1)
    keep_freed_memory(ALL_PIECES)
    task = make_task(**arguments)
    # A resumed training sees new scenes: the seed depends on its start.
    rng = np.random.default_rng((counter.value, rank))
    torch.manual_seed(int(rng.integers(2**31)))
    module = task.build()
    parameters = [p for p in module.parameters() if p.requires_grad]
    from_vector(raw, parameters)
    optimizer = torch.optim.AdamW(
        parameters,
        lr=task.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=task.weight_decay,
        fused=True,
    )
    own = folder / f"{task.name}.optimizer.pt"
    seen = first = fresh = counter.value
    if own.exists() and seen:
        optimizer.load_state_dict(torch.load(own, weights_only=True))
        fresh = 0  # it is as it was, and needs no warm-up
    share = max(1, task.batch // len(gradients))
    begun, losses = time.monotonic(), []
    printed = checkpointed = begun
    barrier.wait()  # all workers have read the start
    parent = os.getppid()
    while seen < task.samples:
        if os.getppid() != parent:  # orphaned
            barrier.abort()
            return
        for group in optimizer.param_groups:
            group["lr"] = task.rate(seen, seen - fresh)
        with mixed_precision():
            loss = task.loss(module, rng, share)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        _share(parameters, gradients, rank, barrier)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        seen += share * len(gradients)
        if rank:
            continue
        # All workers have the same parameters; the first one records them.
        with torch.no_grad():
            raw.copy_(to_vector(parameters))
            average.lerp_(raw, 1 - task.ema)
        counter.value = seen
        now = time.monotonic()
        if now - printed > 10 or seen >= task.samples:
            rate = (seen - first) / (now - begun)
            minutes = max(0, task.samples - seen) / rate / 60
            print(
                f"{task.name}: {seen:,} of {task.samples:,} samples, {rate:.0f}/s, "
                f"{minutes:.0f} min left, loss {np.mean(losses[-200:]):.4f}",
                flush=True,
            )
            printed = now
        if now - checkpointed >= task.checkpoint_seconds:
            checkpointed = now
            save(optimizer.state_dict(), own)
            state = {"raw": raw.clone(), "average": average.clone(), "samples": seen}
            save(state, folder / f"{task.name}.pt")
    if not rank:
        save(optimizer.state_dict(), own)


@torch.no_grad()
def _share(parameters: list[nn.Parameter], gradients: Tensor, rank: int, barrier: Barrier) -> None:
    """Replace the gradients with their mean over all workers."""
    if len(gradients) == 1:
        return
    torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters],
        out=gradients[rank],
    )
    barrier.wait()
    mean = sum(gradients[1:], gradients[0]) / len(gradients)  # faster than gradients.mean(0)
    barrier.wait()  # no worker writes new gradients before all have read these
    start = 0
    for p in parameters:
        if p.grad is not None:
            p.grad.copy_(mean[start : start + p.numel()].view(p.shape))
        start += p.numel()
