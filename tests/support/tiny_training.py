"""A training of a second, for processes that import nothing else."""

import numpy as np
import torch
from torch import Tensor, nn

from dexter.parallel import Task


def tiny_task(samples: int) -> Task:
    """Return the task of learning that y is 2 x."""

    def loss(module: nn.Module, rng: np.random.Generator, batch: int) -> Tensor:
        x = torch.from_numpy(rng.normal(size=(batch, 1))).float()
        error: Tensor = module(x) - 2 * x
        return error.square().mean()

    return Task(
        "line", lambda: nn.Linear(1, 1), loss, samples, batch=4, warmup=1, checkpoint_seconds=0
    )
