"""lab:NAME, a classifier of the embedded lab: a Hugging Face folder in a known place.

lab:gated-..., one of `dexter.lab.gated`, is built of the lab's image-text model.
"""

import difflib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from dexter import checkpoints
from dexter.classifiers import ClassifierInfo, Options, hf
from dexter.errors import InputError
from dexter.lab.world import GATED
from dexter.loading import hash_files

if TYPE_CHECKING:
    from dexter.classifiers.base import Classifier


def names(root: Path | str) -> list[str]:
    """Names of the lab's classifiers below one root; those of its fleet are "fleet/NAME"."""
    folder = Path(root) / "lab" / "classifiers"
    found = folder.rglob("config.json")
    return sorted(config.parent.relative_to(folder).as_posix() for config in found)


def describe(name: str, options: Options) -> ClassifierInfo:
    if name.startswith(GATED):
        return _describe_gated(name, options)
    return hf.describe_folder(_find(name, options.root), f"lab:{name}", options.labels)


def load(name: str, options: Options) -> "Classifier":
    if name.startswith(GATED):
        return _load_gated(name, options)
    return hf.load_folder(_find(name, options.root), f"lab:{name}", options)


def _describe_gated(name: str, options: Options) -> ClassifierInfo:
    from dexter.lab import gated

    gate = gated.parse(name)
    weights = checkpoints.find("lab", "image_text", "model.safetensors", root=options.root)
    # The gate is no weight, but as much a part of the classifier.
    digest = hashlib.sha256(f"{gate.name} {hash_files([('', weights)])}".encode()).hexdigest()
    return ClassifierInfo(f"lab:{gate.name}", options.labels or gate.labels, gated.SIZE, digest)


def _load_gated(name: str, options: Options) -> "Classifier":
    from dexter.classifiers.base import Preprocessing, build
    from dexter.lab import gated

    info = _describe_gated(name, options)
    return build(
        gated.Gated(gated.parse(name), options.root),
        spec=info.spec,
        labels=info.labels,
        preprocessing=Preprocessing(
            resize=info.image_size, crop=info.image_size, mean=(0.5,) * 3, std=(0.5,) * 3
        ),
        options=options,
        weights_hash=info.weights_hash,
    )


def _find(name: str, root: Path | str | None) -> Path:
    known = sorted({found for place in checkpoints.roots(root) for found in names(place)})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        hint = (
            f"nearest: {', '.join(f'lab:{found}' for found in near)}"
            if near
            else (f"there are none in {' or '.join(map(str, checkpoints.roots(root)))}")
        )
        raise InputError(f"no classifier 'lab:{name}'; {hint}")
    return checkpoints.find("lab", "classifiers", *name.split("/"), root=root)
