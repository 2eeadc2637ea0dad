"""Lists of labels: the shipped ones by name, or a file of the user."""

from pathlib import Path

from dexter.errors import InputError
from dexter.loading import read_text

_LABELS = Path(__file__).parent / "labels"


def builtin_labels(name: str) -> list[str]:
    """Return shipped labels: imagenet (1000), waterbirds, celeba (hair colour) or fairface."""
    return read_labels(_LABELS / f"{name}.txt")


def read_labels(labels: str | Path) -> list[str]:
    """Return the labels of a shipped list or a file; raise InputError if there are none."""
    shipped = _LABELS / f"{labels}.txt"
    file = shipped if "/" not in str(labels) and shipped.is_file() else Path(labels)
    lines = read_text(file, field="labels").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(
            f"{file} has no labels", field="labels", value=labels, remedy="write one per line"
        )
    return names
