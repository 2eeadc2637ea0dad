"""A second drawing process: on a CPU, two processes of one thread each draw fastest."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import numpy as np

from dexter.config import RunConfig
from dexter.generation.bank import Images, Request

SMALL = 2**31  # bytes a process may take at its peak; the lab takes 1.4 GB by estimate
MANY = 128  # pictures asked for until the process is started: its start costs about as much


class Helper:
    """A process that draws with a run's generator, started once it pays.

    It ends with `close`, or when this process dies. `lost`: it died before.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._process: SpawnProcess | None = None
        self._asked = 0
        self._ready = False
        self.lost = False

    def start(self) -> None:
        """Start the process, which then loads its model."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._config.model_dump_json()), daemon=True
        )
        self._process.start()
        theirs.close()

    def ready(self, asked: int) -> bool:
        """Return whether it waits for work; start it once `MANY` pictures were asked for."""
        self._asked += asked
        if self._process is None:
            if self._asked >= MANY:
                self.start()
            return False
        try:
            if not self._ready and not self.lost and self._connection.poll():
                self._ready = bool(self._connection.recv())
        except (EOFError, OSError):
            self.lost = True
        return self._ready and not self.lost

    def begin(self, requests: Sequence[Request], batch: int) -> bool:
        """Start drawing pictures; return False if the process died."""
        try:
            self._connection.send((list(requests), batch))
        except OSError:
            self.lost = True
        return not self.lost

    def end(self) -> Images | None:
        """Wait for the pictures of `begin` and return them; None if the process died."""
        try:
            images: Images = self._connection.recv()
        except (EOFError, OSError):
            self.lost = True
            return None
        return images

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._connection.close()
        self._process.terminate()
        self._process.join()


def helps(config: RunConfig, device: str) -> bool:
    """Return whether a second process pays: a small generator, on a CPU with a spare core."""
    from dexter.planning.estimate import estimate

    cores = len(os.sched_getaffinity(0))
    return device == "cpu" and cores > 1 and estimate(config, device="cpu").peak_bytes < SMALL


def _serve(connection: Connection, config_json: str) -> None:
    from dexter.loading import importing

    with importing():
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
    except (EOFError, OSError):  # the other process ended
        return
