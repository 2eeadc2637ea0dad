"""The source lab:NAME: a classifier of the embedded lab, a Hugging Face folder in a known place.

`lab:gated-...` is a classifier of `dexter.lab.gated`, built from the lab's image-text model.
"""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from dexter import model_folders
from dexter.classifiers import hf
from dexter.classifiers.options import ClassifierInfo, ClassifierOptions
from dexter.errors import InputError

if TYPE_CHECKING:
    from dexter.classifiers.base import Classifier


def names(root: Path | str) -> list[str]:
    """List the names of the lab's classifiers below a root; those of its fleet are "fleet/NAME"."""
    folder = Path(root) / "lab" / "classifiers"
    found = folder.rglob("config.json")
    return sorted(config.parent.relative_to(folder).as_posix() for config in found)


GATED = "gated-"


def describe(name: str, options: ClassifierOptions) -> ClassifierInfo:
    """Describe a classifier of the lab from its files."""
    if name.startswith(GATED):
        from dexter.lab import gated

        return gated.describe(name, options)
    return hf.describe_folder(_find(name, options.root), f"lab:{name}", options.label_names())


def load(name: str, options: ClassifierOptions) -> "Classifier":
    """Load a classifier of the lab."""
    if name.startswith(GATED):
        from dexter.lab import gated

        return gated.load(name, options)
    return hf.load_folder(_find(name, options.root), f"lab:{name}", options)


def _find(name: str, root: Path | str | None) -> Path:
    """Return the folder of a classifier; raise InputError, with the nearest names, if none."""
    known = sorted({found for place in model_folders.roots(root) for found in names(place)})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:5]
        places = " or ".join(map(str, model_folders.roots(root)))
        nearest = ", ".join(f"lab:{found}" for found in near)
        raise InputError(
            f"no classifier 'lab:{name}' in {places}",
            field="classifier",
            value=f"lab:{name}",
            remedy=f"choose another (nearest: {nearest})" if near else None,
        )
    return model_folders.find("lab", "classifiers", *name.split("/"), root=root)
