"""The parts that benchmarks share: processes side by side, the lab's weights, plain JSON."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any

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


def plain(value: Any) -> Any:
    """Return a value that is no JSON as one that is: NumPy's scalars as numbers, others as text."""
    return value.item() if hasattr(value, "item") else str(value)
