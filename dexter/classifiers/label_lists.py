"""Lists of labels: the shipped ones by name, or a file of the user."""

from pathlib import Path

from dexter.errors import InputError

_LABELS = Path(__file__).parent / "labels"


def builtin_labels(name: str) -> list[str]:
    """Return shipped labels: imagenet (1000), waterbirds, celeba (hair colour) or fairface."""
    return read_labels(_LABELS / f"{name}.txt")


def read_labels(labels: str | Path) -> list[str]:
    """Return the labels of a shipped list or a file; raise InputError if there are none."""
    shipped = _LABELS / f"{labels}.txt"
    file = shipped if "/" not in str(labels) and shipped.is_file() else Path(labels)
    try:
        lines = file.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: {error}", field="labels", value=labels) from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(
            f"{file} has no labels", field="labels", value=labels, remedy="write one per line"
        )
    return names
