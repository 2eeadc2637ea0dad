"""Training in several one-thread processes that share one parameter vector.

Two processes of one thread are far faster than one process of two threads on a machine that does
anything else (each parallel region of OpenMP waits for the thread that was descheduled). Every
worker takes a few steps of its own, then adds what it learned to the shared vector and goes on from
there (asynchronous local SGD). A checkpoint is written every two minutes; a killed training loses
no more than that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Lock
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

STEPS_BETWEEN_SYNCS = 8
OWN_SHARE = 0.9
"""How much of its own progress a worker adds: a little less than all, since others add theirs."""


@dataclass(frozen=True)
class Task:
    """What is trained: `build()` makes the module, `loss(module, rng, batch)` a scalar to go down.

    samples: total to train on, those of earlier pieces included; learning_rate: highest, after a
    short warm-up; decay: fraction of the samples at the end over which it falls linearly to 0; ema:
    decay of the moving average of the parameters per sync (8 steps), 0 for none.
    """

    name: str
    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, np.random.Generator, int], Tensor]
    samples: int
    batch: int = 32
    learning_rate: float = 1e-3
    decay: float = 0.4
    warmup: int = 3_000
    ema: float = 0.98
    weight_decay: float = 1e-2
    checkpoint_seconds: float = 120.0

    def rate(self, seen: int, since_start: int) -> float:
        left = max(0.0, 1 - seen / self.samples)
        return (
            self.learning_rate
            * min(1.0, (since_start + 1) / self.warmup)
            * min(1.0, left / self.decay)
        )


def to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters in one vector, whatever their memory format (torch's own wants contiguous
    ones)."""
    return torch.cat([p.detach().reshape(-1) for p in parameters])


@torch.no_grad()
def from_vector(vector: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy a vector into the parameters, which keep their memory format."""
    start = 0
    for p in parameters:
        p.copy_(vector[start : start + p.numel()].view(p.shape))
        start += p.numel()


def train(
    make_task: Callable[..., Task], arguments: dict[str, Any], folder: Path, workers: int
) -> dict[str, Any]:
    """Train the task that `make_task(**arguments)` makes to its number of samples, resuming from
    `folder`.

    Returns {"average": parameter vector (EMA), "raw": the last one, "samples": int}. `make_task`
    has to be importable by name: each worker process makes its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task = make_task(**arguments)
    path = folder / f"{task.name}.pt"
    state = torch.load(path, weights_only=True) if path.exists() else None
    start = to_vector(task.build().parameters()) if state is None else state["raw"]
    if state is not None and state["samples"] >= task.samples:
        return dict(state)
    raw = start.clone().share_memory_()
    average = (start if state is None else state["average"]).clone().share_memory_()
    context = torch.multiprocessing.get_context("spawn")
    counter = context.Value("q", 0 if state is None else state["samples"])
    lock = context.Lock()
    processes = [
        context.Process(
            target=_work,
            args=(rank, make_task, arguments, folder, raw, average, counter, lock, workers),
            daemon=True,
        )
        for rank in range(workers)
    ]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        wait([process.sentinel for process in processes if process.is_alive()])
        if any(process.exitcode for process in processes):
            break  # half the machine would go on unnoticed
    if any(process.exitcode for process in processes):
        for process in processes:
            process.terminate()
        raise RuntimeError(
            f"training of {task.name} stopped: a worker ended with an error (see above)"
        )
    state = {"raw": raw.clone(), "average": average.clone(), "samples": int(counter.value)}
    save(state, path)
    return state


def save(state: dict[str, Any], path: Path) -> None:
    """Write so that a kill leaves either the old file or the new one."""
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
    counter: Synchronized[int],
    lock: Lock,
    workers: int,
) -> None:
    torch.set_num_threads(1)
    task = make_task(**arguments)
    # A new piece of training sees new scenes: the seed depends on where it starts.
    rng = np.random.default_rng((counter.value, rank))
    torch.manual_seed(int(rng.integers(2**31)))
    module = task.build()
    parameters = [p for p in module.parameters() if p.requires_grad]
    from_vector(raw, parameters)
    base = raw.clone()
    optimizer = torch.optim.AdamW(
        parameters,
        lr=task.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=task.weight_decay,
        fused=True,
    )
    own = folder / f"{task.name}.optimizer{rank}.pt"
    if own.exists() and counter.value:
        optimizer.load_state_dict(torch.load(own, weights_only=True))
    first, begun, losses = counter.value, time.monotonic(), []
    printed = checkpointed = begun
    parent = os.getppid()
    share = 1.0 if workers == 1 else OWN_SHARE
    while counter.value < task.samples and os.getppid() == parent:  # not when orphaned
        for group in optimizer.param_groups:
            group["lr"] = task.rate(counter.value, counter.value - first)
        for _ in range(STEPS_BETWEEN_SYNCS):
            loss = task.loss(module, rng, task.batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
        with lock, torch.no_grad():
            mine = to_vector(parameters)
            raw.add_(mine - base, alpha=share)
            base = raw.clone()
            average.lerp_(raw, 1 - task.ema)
            counter.value += STEPS_BETWEEN_SYNCS * task.batch
        from_vector(base, parameters)
        now = time.monotonic()
        if rank == 0 and (now - printed > 10 or counter.value >= task.samples):
            rate = (counter.value - first) / (now - begun)
            minutes = max(0, task.samples - counter.value) / rate / 60
            print(
                f"{task.name}: {counter.value:,} of {task.samples:,} samples, {rate:.0f}/s, "
                f"{minutes:.0f} min left, loss {np.mean(losses[-200:]):.4f}",
                flush=True,
            )
            printed = now
        if now - checkpointed >= task.checkpoint_seconds:
            checkpointed = now
            save(optimizer.state_dict(), own)
            if rank == 0:
                with lock:
                    state = {
                        "raw": raw.clone(),
                        "average": average.clone(),
                        "samples": int(counter.value),
                    }
                save(state, folder / f"{task.name}.pt")
    save(optimizer.state_dict(), own)
