"""The weights in a file, matched against a network by name and shape.

A file holds tensors in nested dictionaries: a state dict, or a training's checkpoint around one.
Each tensor has a full name, the keys joined by dots, and a wrapper of any kind (an entry
"state_dict", `module.` of parallel training, an attribute `net`) is a common start of full names.
The start under which every tensor of the network is found with its shape is the wrapper; the order
of the tensors has no meaning.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dexter.classifiers.reading import are_of_bytes
from dexter.errors import InputError

_DEPTH = 4  # of dictionaries in a file
_ANCHORS = 24  # names of the network by which starts are found

# Parts of names that belong to a training and not to its network.
_TRAINING = re.compile(
    r"(^|[._])(criterion|loss\w*|metrics?|acc|accuracy|auroc|confusion\w*|optim\w*|sched\w*|"
    r"normali[sz]e\w*|attacker|total_ops|total_params|n_averaged|class_weights?|pos_weight|"
    r"num_batches_tracked|position_ids|relative_position_index|attn_mask|auxlogits|aux\d?|"
    r"queue\w*|ema\w*|teacher|student)([._\d]|$)",
    re.IGNORECASE,
)
_AVERAGED = re.compile(r"(^|[._])(\w*_)?(ema|swa|shadow|averaged|polyak)(_\w*)?([._]|$)", re.I)
_OPTIONAL = ("num_batches_tracked", "position_ids", "relative_position_index", "attn_mask")
_MEANS = re.compile(r"(^|[._])(pixel_|img_|image_|new_|norm_)?(mean|std)$", re.IGNORECASE)

Shapes = Mapping[str, torch.Size]


@dataclass(frozen=True)
class Stated:
    """The facts about a network that a file states beside its weights; None where it does not."""

    arch: str | None = None
    labels: list[str] | None = None
    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Content:
    """The content of a file: tensors by full name, the entries they lie in, and other facts."""

    tensors: dict[str, Tensor]
    entries: dict[str, str]
    """Full name -> the part of it that is keys of dictionaries, "" for a plain state dict."""
    stated: Stated = Stated()


@dataclass(frozen=True)
class Match:
    """The tensors of a file that fill a network."""

    state: dict[str, Tensor]
    start: str
    """The start of their full names in the file."""
    added: str = ""
    """A start that the network's names have and the file's lack."""
    notes: list[str] = field(default_factory=list)
    """The assumptions, as phrases."""


def content_of(loaded: Any) -> Content:
    """Return the content of what `torch.load` or safetensors returned."""
    if isinstance(loaded, nn.Module):
        loaded = loaded.state_dict()
    tensors: dict[str, Tensor] = {}
    entries: dict[str, str] = {}
    for entry, name, tensor in _walk(loaded, "", _DEPTH):
        full = f"{entry}.{name}" if entry else name
        tensors[full] = tensor
        entries[full] = entry
    return Content(tensors, entries, _stated(loaded))


def _walk(value: Any, entry: str, depth: int) -> Iterator[tuple[str, str, Tensor]]:
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if not isinstance(key, str):
            continue
        if isinstance(inner, Tensor):
            yield entry, key, inner
        elif depth:
            inside = inner.state_dict() if isinstance(inner, nn.Module) else inner
            yield from _walk(inside, f"{entry}.{key}" if entry else key, depth - 1)


def shapes_of(module: nn.Module) -> dict[str, torch.Size]:
    """Return the shapes of a network's weights and buffers by name."""
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def match(content: Content, shapes: Shapes, *, head: Collection[str] = ()) -> Match | None:
    """Return the tensors that fill a network with these shapes; None if no start fills it.

    ``head``: names whose first dimension may differ, that of the number of classes. Raises
    InputError for a file with several that fill it, and for one with tensors left over that the
    network should have.
    """
    wanted = {name: shape for name, shape in shapes.items() if not name.endswith(_OPTIONAL)}
    if not wanted:
        return None
    found = [start for start in _starts(content, wanted) if _fits(content, start, "", wanted, head)]
    added = ""
    if not found:
        for added in _children(wanted):
            inner = {name.removeprefix(added): shape for name, shape in wanted.items()}
            cut = {name.removeprefix(added) for name in head}
            found = [s for s in _starts(content, inner) if _fits(content, s, "", inner, cut)]
            if found:
                break
        else:
            return None
    found = [start for start in found if "attacker." not in start] or found
    start, notes = _choose(content, found, [name.removeprefix(added) for name in wanted])
    state = {}
    for name in shapes:
        tensor = content.tensors.get(start + name.removeprefix(added))
        if tensor is not None:
            state[name] = tensor
    notes = [f"{len(state)} tensors", *_wrapper(content, start, added), *notes]
    used = {start + name.removeprefix(added) for name in state}
    left = _left_over(content, start, used, found)
    strange = [name for name in left if not _TRAINING.search(name)]
    if strange:
        raise InputError(
            f"the file has weights that the network lacks: {_some(strange)}",
            field="arch",
            remedy="pass the network that they belong to",
        )
    if left:
        notes.append(f"{_some(sorted({_short(name) for name in left}))} ignored")
    return Match(state, start, added, notes)


def _starts(content: Content, wanted: Shapes) -> list[str]:
    """Return the starts of full names under which some of the network's names are found."""
    step = max(1, len(wanted) // _ANCHORS)
    anchors = sorted(wanted, key=len, reverse=True)[::step]
    starts: dict[str, int] = {}
    for anchor in anchors:
        for full in content.tensors:
            if full == anchor or full.endswith(f".{anchor}"):
                start = full[: len(full) - len(anchor)]
                starts[start] = starts.get(start, 0) + 1
    return sorted(starts, key=lambda start: (-starts[start], len(start)))


def _fits(content: Content, start: str, added: str, wanted: Shapes, head: Collection[str]) -> bool:
    for name, shape in wanted.items():
        tensor = content.tensors.get(start + name)
        if tensor is None or not _same_shape(name, tensor, shape, head):
            return False
    return True


def _same_shape(name: str, tensor: Tensor, shape: torch.Size, head: Collection[str]) -> bool:
    return tensor.shape == shape or (
        name in head and tensor.ndim == len(shape) and tensor.shape[1:] == shape[1:]
    )


def _children(wanted: Shapes) -> list[str]:
    """Return the attribute, "net.", in which all of a network's weights lie, and those in it."""
    found: list[str] = []
    start = ""
    while True:
        firsts = {name[len(start) :].partition(".") for name in wanted}
        names = {(first, dot) for first, dot, _ in firsts}
        if len(names) != 1 or not next(iter(names))[1]:
            return found
        start += next(iter(names))[0] + "."
        found.append(start)


def _choose(content: Content, found: Sequence[str], names: Sequence[str]) -> tuple[str, list[str]]:
    """Return the start to use of several, and why: an average of weights before the weights."""
    if len(found) == 1:
        return found[0], []
    first = found[0]
    if all(
        torch.equal(content.tensors[first + name], content.tensors[other + name])
        for other in found[1:]
        for name in names
    ):
        return first, []
    averaged = [start for start in found if _AVERAGED.search(start)]
    if len(averaged) == 1:
        return averaged[0], ["averaged weights (EMA)"]
    named = ", ".join(repr(start.rstrip(".") or "(top)") for start in found)
    raise InputError(
        f"the file holds several networks that fit: {named}",
        field="classifier",
        remedy="save the one that you mean alone",
    )


def _wrapper(content: Content, start: str, added: str) -> list[str]:
    entry = max(
        (e for e in set(content.entries.values()) if e and f"{start}".startswith(f"{e}.")),
        key=len,
        default="",
    )
    notes = [f'entry "{entry}"'] if entry else []
    prefix = start[len(entry) + 1 :] if entry else start
    if prefix:
        notes.append(f'prefix "{prefix}" removed')
    if added:
        notes.append(f'prefix "{added}" added')
    return notes


def _left_over(
    content: Content, start: str, used: Collection[str], found: Sequence[str]
) -> list[str]:
    """Return the names of the tensors beside those used, in the same entry, by name there.

    Copies of the network and the tensors of other entries are none.
    """
    entry = content.entries[next(iter(used))]
    copies = {other + name[len(start) :] for other in found for name in used}
    others = tuple(other for other in found if other != start and not start.startswith(other))
    return [
        full[len(entry) + 1 :] if entry else full
        for full in content.tensors
        if full not in copies
        and content.entries[full] == entry
        and not (others and full.startswith(others))
    ]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:2])
    return shown + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _short(name: str) -> str:
    """Return a name up to the part that marks it as the training's."""
    found = _TRAINING.search(name)
    return name if found is None else name[: found.end()].rstrip("._")


def mismatch(content: Content, shapes: Shapes, head: Collection[str]) -> str:
    """Return why no start fills a network: the nearest start's first differences.

    ``head``: as of `match`.
    """
    starts = _starts(content, shapes) or [""]

    def count(start: str) -> int:
        return sum(start + name in content.tensors for name in shapes)

    start = max(starts, key=count)
    missing = [name for name in shapes if start + name not in content.tensors]
    missing = [name for name in missing if not name.endswith(_OPTIONAL)]
    if count(start) == 0:
        some = _some(list(content.tensors))
        return f"the file has {some or 'no weights'}, the network {_some(list(shapes))}"
    for name, shape in shapes.items():
        tensor = content.tensors.get(start + name)
        if tensor is not None and not _same_shape(name, tensor, shape, head):
            there, here = shape_text(tensor.shape), shape_text(shape)
            return f'"{name}" is {there} in the file, {here} in the network'
    return f"the file has no {_some(missing)}"


def shape_text(sizes: Sequence[int]) -> str:
    """Return a shape in words, such as "3x768"."""
    return "x".join(map(str, sizes)) or "one number"


def normalization(
    content: Content, used: Match
) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Return where mean and deviation of the pictures lie, and both: "network", "file" or "".

    "network": the network's own buffers, so that it normalises by itself.
    """
    inside = _mean_std({n: t for n, t in used.state.items() if _MEANS.search(n)})
    if inside is not None:
        return "network", *inside
    beside = {
        name: tensor
        for name, tensor in content.tensors.items()
        if _MEANS.search(name) and "attacker." not in name
    }
    found = _mean_std(beside)
    return ("", (), ()) if found is None else ("file", *found)


def _mean_std(
    tensors: Mapping[str, Tensor],
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    three = {name: tensor for name, tensor in tensors.items() if tensor.numel() == 3}
    means = [t for name, t in three.items() if name.lower().endswith("mean")]
    stds = [t for name, t in three.items() if name.lower().endswith("std")]
    if len(means) != 1 or len(stds) != 1:
        return None
    return _scaled(means[0].flatten().tolist(), stds[0].flatten().tolist())


def _scaled(
    mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation for pictures in [0, 1], also of ones for bytes."""
    factor = 255 if are_of_bytes([*mean, *std]) else 1
    return tuple(m / factor for m in mean), tuple(s / factor for s in std)


_SIZES = ("image_size", "img_size", "input_size", "crop_size", "resolution", "imgsz")
_CLASSES = ("class_names", "classes", "labels", "label_names", "categories", "idx_to_class")
_ARCHS = ("arch", "architecture", "model_name", "model", "backbone", "net", "network", "encoder")


def _stated(loaded: Any) -> Stated:
    """Return the facts in a file's dictionaries, those of a training's arguments included."""
    tables = list(_tables(loaded, 3))

    def first(names: Sequence[str], read: Any) -> Any:
        for name in names:
            for table in tables:
                value = read(table.get(name))
                if value is not None:
                    return value
        return None

    labels = first(_CLASSES, _names) or first(("class_to_idx",), _names)
    mean = first(("mean", "image_mean", "img_mean", "norm_mean"), _three)
    std = first(("std", "image_std", "img_std", "norm_std"), _three)
    if mean is not None and std is not None:
        mean, std = _scaled(mean, std)
    return Stated(first(_ARCHS, _text), labels, first(_SIZES, _side), mean, std)


def _tables(value: Any, depth: int) -> Iterator[Mapping[Any, Any]]:
    if not isinstance(value, Mapping) and hasattr(value, "__dict__"):
        value = None if isinstance(value, (nn.Module, Tensor, type)) else vars(value)
    if isinstance(value, Mapping):
        yield value
        if depth:
            for key, inner in value.items():
                if isinstance(key, str) and not key.startswith("optim"):
                    yield from _tables(inner, depth - 1)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) < 100 else None


def _side(value: Any) -> int | None:
    if isinstance(value, (list, tuple)) and value:
        height, width = value[-2:][0], value[-1]
        square = isinstance(height, int) and isinstance(width, int) and height == width
        value = width if square else None
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 8 <= value <= 4096 else None


def _three(value: Any) -> tuple[float, ...] | None:
    if isinstance(value, Tensor) and value.numel() == 3:
        value = value.flatten().tolist()
    numbers = isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)
    return tuple(map(float, value)) if numbers and len(value) == 3 else None


def _names(value: Any) -> list[str] | None:
    """Return labels in order, of a list, of {index: label} or of {label: index}."""
    if isinstance(value, Mapping) and value:
        pairs = list(value.items())
        if all(isinstance(name, str) and isinstance(index, int) for name, index in pairs):
            pairs = [(index, name) for name, index in pairs]
        try:
            by_index = {int(index): str(name) for index, name in pairs}
        except (TypeError, ValueError, OverflowError):
            return None
        if sorted(by_index) != list(range(len(pairs))):
            return None
        value = [by_index[index] for index in range(len(pairs))]
    if isinstance(value, (list, tuple)) and value and all(isinstance(n, str) for n in value):
        return list(value)
    return None


def code_in(file: Path) -> list[str]:
    """Return the names that unpickling a file would call, [] if it is no whole pickle."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        return sorted(get_unsafe_globals_in_checkpoint(file))
    # A file that is no zip (the format before PyTorch 1.6) or is damaged fails in any of torch's
    # ways; our own reader runs nothing and answers for all of them.
    except Exception:
        return _code_in_pickle(file)


def _code_in_pickle(file: Path) -> list[str]:
    names: dict[str, None] = {}
    texts: list[str] = []
    try:
        with file.open("rb") as stream:
            for _ in range(4):  # magic number, version, system, content
                for opcode, argument, _ in pickletools.genops(stream):
                    if isinstance(argument, str):
                        texts.append(argument)
                    if opcode.name == "GLOBAL":
                        names[str(argument).replace(" ", ".")] = None
                    elif opcode.name == "STACK_GLOBAL":
                        names[".".join(texts[-2:])] = None
                if names:
                    break
    except (ValueError, OSError, UnicodeDecodeError):
        return []
    return [name for name in names if not name.startswith(("torch.", "collections."))]
