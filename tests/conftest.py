"""The environment of all tests: one thread, no network, a home of their own."""

import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ["WNSEARCHDIR"] = os.devnull  # no WordNet, whether or not this machine has one

import atexit
import json
import shutil
import tempfile

import hypothesis
import pytest

# Its folder is there before there are other processes of the session.
import tiny  # noqa: F401

# Ended as by Ctrl-C, so that fixtures stop the clusters and workers that they started.
signal.signal(signal.SIGTERM, signal.default_int_handler)

# To collect tests is to import, which makes no garbage.
gc.disable()

# `make fuzz` has hypothesis look further.
hypothesis.settings.register_profile("fuzz", max_examples=2000)

# Where the consents of these tests lie, and not those of who runs them.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="dexter-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on standard output."""
        return json.loads(self.out)


def _kill_workers(below: Path) -> None:
    """End the runners and workers, in sessions of their own, whose home lies below a folder."""
    mark = f"DEXTER_HOME={below}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if int(environ.parent.name) != os.getpid() and any(
                entry.startswith(mark) for entry in environ.read_bytes().split(b"\0")
            ):
                os.kill(int(environ.parent.name), signal.SIGKILL)


@pytest.fixture(autouse=True, scope="module")
def what_is_loaded_is_no_garbage() -> None:
    """As in a dashboard and a worker: to look through torch for garbage takes 0.4 s each time."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files first that have long tests, then those with many.

    Their other tests wait for workers as well. Begun first, none is left to one process at the end.
    """
    sizes: Counter[tuple[bool, Path]] = Counter()
    for item in items:
        sizes[item.get_closest_marker("long") is not None, item.path] += 1
    items.sort(key=lambda item: (-sizes[True, item.path], -sizes[False, item.path]))


def pytest_sessionfinish() -> None:
    gc.freeze()  # Python would look for garbage several times more


@pytest.fixture(autouse=True)
def damage_is_reported_to_no_other_test() -> Iterator[None]:
    yield
    if decoding := sys.modules.get("store.checking.decoding"):
        decoding.take_found()


@pytest.fixture(autouse=True)
def no_process_outlives_its_test(tmp_path: Path) -> Iterator[None]:
    yield
    _kill_workers(tmp_path)


@pytest.fixture(autouse=True, scope="session")
def no_process_outlives_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield
    _kill_workers(tmp_path_factory.getbasetemp())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DEXTER_HOME that is not there yet."""
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def cli(home: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line in this process; its workers are processes as ever."""
    from dexter_tui.cli.entry import main

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
