"""The parts that benchmarks share: processes side by side, the hash of the lab's weights."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process

from dexter import model_folders
from dexter.loading import hash_files


def workers(count: int) -> ProcessPoolExecutor:
    """Return a pool whose processes end with this one, even if it is killed."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def of_lab(*models: str) -> str:
    """Return the SHA-256 (hex) of the weights of shipped lab models, such as "masked_lm"."""
    folders = [model_folders.find("lab", *model.split("/")) for model in models]
    return hash_files(
        (path.name, path) for folder in folders for path in sorted(folder.rglob("*.safetensors"))
    )
