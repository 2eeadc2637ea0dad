"""A training of a second, for processes that import nothing else."""

import torch
from torch import nn

from dexter.lab.parallel import Task


def tiny_task(samples):
    """To learn that y is 2 x."""

    def loss(module, rng, batch):
        x = torch.from_numpy(rng.normal(size=(batch, 1))).float()
        return (module(x) - 2 * x).square().mean()

    return Task(
        "line", lambda: nn.Linear(1, 1), loss, samples, batch=4, warmup=1, checkpoint_seconds=0
    )
