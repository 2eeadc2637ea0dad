"""Helpers for loading models: silence, one-line errors, hashes of weights, downloads."""

import gc
import hashlib
import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from traceback import walk_tb
from typing import Any

from dexter.errors import InputError

# Warnings about sound models (the lab's small autoencoder, a machine without torchvision), or
# repeated by the error that follows.
_NOISE = (
    ("diffusers.pipelines.pipeline_utils", "Expected types for"),
    ("diffusers.pipelines.pipeline_utils", "Keyword arguments {'safety_checker'"),
    ("diffusers.configuration_utils", "The config attributes"),
    ("diffusers.models.modeling_utils", "should be kept in float32: []"),
    ("diffusers.loaders.lora_base", "This is safe to ignore"),  # a LoRA for the UNet alone
    ("diffusers.loaders.peft", "was unsuccessful with the following error"),
    ("transformers.utils.import_utils", "requires torchvision"),
)

MAX_TEXT = 5_000_000  # bytes of a text file of a user's

LOADING_ERRORS = (OSError, ValueError, RuntimeError, AttributeError, KeyError, TypeError,
                  ImportError, UnpicklingError)  # fmt: skip
"""The errors of libraries for a model folder that cannot be used; safetensors adds its own."""

# Lists weights that are missing from a file or unused.
_REPORT = ("transformers.modeling_utils", "LOAD REPORT")


@contextmanager
def importing() -> Iterator[None]:
    """Look for no garbage while libraries are imported, nor later among what they made.

    Imports make no garbage, and to look for it takes a fifth of the time of importing torch.
    Raises InputError for a library that is installed but fails.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    except Exception as error:  # a package can fail with any error
        refusal = broken_package(error)
        if refusal is None:
            raise
        raise refusal from error
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


_OWN = ("__main__", "dexter", "dexter_tui", "store")
_REQUIRED = ("torch", "transformers", "diffusers")


def broken_package(error: BaseException) -> InputError | None:
    """Return a refusal of the installed package whose import raised the error; None for others.

    torchvision built for another torch is the usual one: transformers and diffusers import it
    wherever it is installed, and wrap what it raised.
    """
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    if not isinstance(first, Exception):  # Ctrl+C
        return None
    frames = [frame for frame, _ in walk_tb(first.__traceback__)]
    if frames and frames[-1].f_code.co_name == "_compile_bytecode":  # in Python's importlib
        path = frames[-1].f_locals.get("bytecode_path")
        return InputError(f"{path} is damaged ({first})", remedy="remove it, Python rebuilds it")
    modules = [
        str(frame.f_globals.get("__name__")).partition(".")[0]
        for frame in frames
        if frame.f_code.co_name == "<module>"
    ]
    broken = next((name for name in reversed(modules) if name not in _OWN), None)
    if broken is None or modules[-1] in _OWN:
        return None
    or_without = "" if broken in _REQUIRED else ", or uninstall it"
    return InputError(
        f"{broken} is installed, but cannot be imported: {one_line(first)}",
        remedy=f"reinstall {broken} in a version built for the installed torch{or_without}",
    )


@contextmanager
def quiet(*, reports: bool = True) -> Iterator[None]:
    """Suppress progress bars and harmless warnings of loading; pass other log records.

    ``reports=False`` also drops transformers' report of missing weights, for callers that
    read it from ``output_loading_info`` instead. Import the libraries that load before. Restores
    the host program's logging at the end.
    Download from a hub before, to show the progress of that.
    """
    from huggingface_hub import utils as hub

    unwanted = _NOISE if reports else (*_NOISE, _REPORT)

    def passes(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(record.name == name and text in message for name, text in unwanted)

    loggers = [logging.getLogger(name) for name in dict(unwanted)]
    # A library that was not imported shows nothing, and takes CPU time to import.
    imported = [sys.modules.get(f"{name}.utils.logging") for name in ("diffusers", "transformers")]
    bars = [library for library in imported if library and library.is_progress_bar_enabled()]
    hub_bars = not hub.are_progress_bars_disabled()  # type: ignore[attr-defined]
    for logger in loggers:
        logger.addFilter(passes)
    for library in bars:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in bars:
            library.enable_progress_bar()
        if not hub_bars:  # transformers' switch turned them on as well
            hub.disable_progress_bars()  # type: ignore[attr-defined]
        for logger in loggers:
            logger.removeFilter(passes)


@contextmanager
def pickles_refused() -> Iterator[None]:
    """Have torch read nothing but weights from pickles, whatever a library asks for.

    Versions of timm read them whole. Torch reads the variable with each load.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def package(name: str, *, field: str, value: str) -> Any:
    """Import an optional package; raise InputError, with how to install it, if it is missing.

    `field` and `value` of RunConfig need it.
    """
    try:
        return import_module(name)
    except (ImportError, RuntimeError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            why, how = "is not installed", "install"
        else:  # such as a torchvision built for another torch
            why, how = f"cannot be imported ({one_line(error)})", "reinstall"
        raise InputError(
            f"{value} needs the package {name}, which {why}",
            field=field,
            value=value,
            remedy=f"{how} it with pip install 'dexter-tui[{name}]'",
        ) from error


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return an error's first non-empty line, to quote in another error."""
    lines = [line.strip() for line in f"{error}".splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def hash_tensors(tensors: Iterable[tuple[str, bytes | memoryview]]) -> str:
    """Return the SHA-256 (hex) of named weights, independent of their order and files."""
    digest = hashlib.sha256()
    for name, data in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def hash_files(files: Iterable[tuple[str, Path]]) -> str:
    """Return the SHA-256 (hex) of named files, in their order, read in pieces."""
    digest = hashlib.sha256()
    for name, path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\0{content}\0".encode())
    return digest.hexdigest()


def is_file(path: Path) -> bool:
    """Return whether a path is a file; False for a name that is too long for one."""
    try:
        return path.is_file()
    except OSError:
        return False


def module_tensors(module: Any) -> Iterator[tuple[str, memoryview]]:
    """Yield names and bytes of the tensors in a torch module's state dict, on any device."""
    import torch

    for name, value in module.state_dict().items():
        # A quantised layer keeps its weight and bias in a tuple, beside things that are no tensors.
        for tensor in value if isinstance(value, tuple) else (value,):
            if not isinstance(tensor, torch.Tensor):
                continue
            plain = tensor.dequantize() if tensor.is_quantized else tensor
            flat = plain.detach().cpu().contiguous().reshape(-1)
            yield name, flat.view(torch.uint8).numpy().data


def safetensors_tensors(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of the tensors in safetensors files, as stored, without torch.

    The format: 8 bytes with the header's length, the header in JSON, then the tensors.
    Raises OSError or ValueError for a file that is not one.
    """
    for path in paths:
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        if not isinstance(header, dict):
            raise ValueError(f"{path.name} has no safetensors header")
        for name in header.keys() - {"__metadata__"}:
            first, end = header[name]["data_offsets"]
            yield name, data[start + first : start + end]


# The marks at the start of texts written on other systems.
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def text_of(data: bytes, path: Path, *, field: str | None = None) -> str:
    """Return text in UTF-8 or, by its mark, UTF-16, without the mark; raise InputError.

    Text in another encoding is refused, because a guess could change a label.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _not_utf8(path, line, data, field) from error
    if "\0" in text:  # UTF-16 without a mark
        raise _not_utf8(path, 1, data, field)
    return text


def _not_utf8(path: Path, line: int, data: bytes, field: str | None) -> InputError:
    guess = "UTF-16LE" if b"\0" in data else "LATIN1"
    return InputError(
        f"cannot read {path}: line {line} is not UTF-8, perhaps {guess}",
        field=field,
        value=str(path),
        remedy=f"convert it: iconv -f {guess} -t UTF-8",
    )


def read_json(path: Path) -> Any:
    """Return the JSON value in a small text file; raise OSError, ValueError or InputError."""
    return json.loads(text_of(path.read_bytes(), path))


def read_text(path: Path, *, field: str | None = None, limit: int = MAX_TEXT) -> str:
    """Return the text of a plain file of at most `limit` bytes, see `text_of`; raise InputError.

    Neither waits for a pipe nor reads a device, which may have no end.
    """
    try:
        path = path.expanduser()
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(limit + 1) if plain else b""
        if plain and len(data) <= limit:
            return text_of(data, path, field=field)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # also a zero byte, an unknown user
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise InputError(f"cannot read {path}: {reason}", field=field, value=str(path)) from error
    problem = f"has more than {limit:,} bytes" if plain else "is not a plain file"
    raise InputError(f"{path} {problem}", field=field, value=str(path))


def hub_errors() -> tuple[type[Exception], ...]:
    """Return the errors of asking the hub."""
    from huggingface_hub.errors import HfHubHTTPError

    # Its bases are OSError and the error of the HTTP client, whose name depends on the version.
    return (*HfHubHTTPError.__bases__, ValueError)


def fetch(source: str, field: str, download: Callable[[str], str | Path]) -> Path:
    """Return a local file or folder, or the result of ``download`` for a hub id.

    ``field`` is the setting that names the source. Raises InputError where there is neither.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path.resolve()
    if source.startswith(("/", "./", "../", "~")) or source.count("/") > 1:
        raise InputError(
            f"{source!r} does not exist",
            field=field,
            value=source,
            remedy="pass a folder or a hub id",
        )
    try:
        return Path(download(source))
    except hub_errors() as error:
        raise InputError(
            f"{source!r} is not on this machine, and cannot be downloaded from the Hugging Face "
            f"hub: {one_line(error)}",
            field=field,
            value=source,
        ) from error
