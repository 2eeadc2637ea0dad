"""lab:NAME, a classifier of the embedded lab: a Hugging Face folder in a known place.

lab:gated-..., one of `dexter.lab.gated`, is built of the lab's image-text model.
"""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from dexter import model_folders
from dexter.classifiers import hf
from dexter.classifiers.options import ClassifierInfo, Options
from dexter.errors import InputError

if TYPE_CHECKING:
    from dexter.classifiers.base import Classifier


def names(root: Path | str) -> list[str]:
    """Names of the lab's classifiers below one root; those of its fleet are "fleet/NAME"."""
    folder = Path(root) / "lab" / "classifiers"
    found = folder.rglob("config.json")
    return sorted(config.parent.relative_to(folder).as_posix() for config in found)


GATED = "gated-"


def describe(name: str, options: Options) -> ClassifierInfo:
    if name.startswith(GATED):
        from dexter.lab import gated

        return gated.describe(name, options)
    return hf.describe_folder(_find(name, options.root), f"lab:{name}", options.labels)


def load(name: str, options: Options) -> "Classifier":
    if name.startswith(GATED):
        from dexter.lab import gated

        return gated.load(name, options)
    return hf.load_folder(_find(name, options.root), f"lab:{name}", options)


def _find(name: str, root: Path | str | None) -> Path:
    known = sorted({found for place in model_folders.roots(root) for found in names(place)})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        hint = (
            f"nearest: {', '.join(f'lab:{found}' for found in near)}"
            if near
            else (f"there are none in {' or '.join(map(str, model_folders.roots(root)))}")
        )
        raise InputError(f"no classifier 'lab:{name}'; {hint}")
    return model_folders.find("lab", "classifiers", *name.split("/"), root=root)
