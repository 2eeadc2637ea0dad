"""A second process that draws: on a CPU, one thread each is the fastest way to many pictures."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection

import numpy as np

from dexter.config import RunConfig
from dexter.generation.bank import Images, Request

SMALL = 2**31  # bytes a process may take at its peak; the lab takes 1.4 GB by estimate


class Helper:
    """Draws what a run's generator draws, in a process of its own.

    It ends with `close`, or when this process dies. One that died itself is told by `lost`.
    """

    def __init__(self, config: RunConfig) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, config.model_dump_json()), daemon=True
        )
        self._process.start()
        theirs.close()
        self._ready = False
        self.lost = False

    def ready(self) -> bool:
        """Whether it has its model and waits for work."""
        try:
            if not self._ready and not self.lost and self._connection.poll():
                self._ready = bool(self._connection.recv())
        except (EOFError, OSError):
            self.lost = True
        return self._ready and not self.lost

    def begin(self, requests: Sequence[Request], batch: int) -> bool:
        """Have pictures drawn; False if it is gone."""
        try:
            self._connection.send((list(requests), batch))
        except OSError:
            self.lost = True
        return not self.lost

    def end(self) -> Images | None:
        """The pictures begun, None if it died over them."""
        try:
            images: Images = self._connection.recv()
        except (EOFError, OSError):
            self.lost = True
            return None
        return images

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join()


def helps(config: RunConfig, device: str) -> bool:
    """Whether a second process is worth it: a small generator, a CPU and a core to spare."""
    from dexter.planning.estimate import estimate

    cores = len(os.sched_getaffinity(0))
    return device == "cpu" and cores > 1 and estimate(config, device="cpu").peak_bytes < SMALL


def _serve(connection: Connection, config_json: str) -> None:
    import torch

    from dexter.generation.generator import generator_of

    torch.set_num_threads(1)
    config = RunConfig.model_validate_json(config_json).model_copy(update={"device": "cpu"})
    generator = generator_of(config, "cpu")
    try:
        connection.send(True)
        while True:
            requests, batch = connection.recv()
            prompts, seeds = [p for p, _ in requests], [s for _, s in requests]
            connection.send(np.stack(list(generator.pictures(prompts, seeds, batch))))
    except (EOFError, OSError):  # nobody waits any more
        return
