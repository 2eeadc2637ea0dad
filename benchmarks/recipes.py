"""By what a benchmark knows a result again: its settings, and the weights it rests on."""

from __future__ import annotations

from dexter import model_folders
from dexter.loading import hash_files


def of_lab(*models: str) -> str:
    """SHA-256 (hex) of the weights of shipped models of the lab, such as "masked_lm"."""
    folders = [model_folders.find("lab", *model.split("/")) for model in models]
    return hash_files(
        (path.name, path) for folder in folders for path in sorted(folder.rglob("*.safetensors"))
    )
