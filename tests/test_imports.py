"""What starts quickly must not load what is slow."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "diffusers"}
DATABASE = {"sqlmodel", "sqlalchemy", "alembic"}


def loaded_by(code: str, tmp_path: Path) -> set[str]:
    """The modules that a fresh process has loaded after the code."""
    script = f"{code}\nimport sys; print(*sys.modules, sep='\\n', file=sys.stderr)"
    process = subprocess.run(
        [sys.executable, "-c", script],
        env={"DEXTER_HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(process.stderr.split())


@pytest.mark.parametrize(
    "module",
    [
        "dexter",
        "dexter.config",
        "dexter.errors",
        "dexter.seeds",
        "dexter.estimate",
        "dexter.classifiers",
        "dexter.checkpoints",
        "dexter.device",
        "store",
        "dexter_tui.plan",
        "dexter_tui.live",
    ],
)
def test_importing_it_loads_no_torch(module: str, tmp_path: Path) -> None:
    assert not HEAVY & loaded_by(f"import {module}", tmp_path)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_loads_neither_torch_nor_a_database(arguments: list[str], tmp_path: Path) -> None:
    loaded = loaded_by(f"from dexter_tui.cli import main; main({arguments})", tmp_path)
    assert not (HEAVY | DATABASE) & loaded


@pytest.mark.parametrize("command", ["runs", "doctor", "classifiers"])
def test_looking_things_up_loads_no_torch(command: str, tmp_path: Path) -> None:
    assert not HEAVY & loaded_by(f"from dexter_tui.cli import main; main(['{command}'])", tmp_path)


def test_the_dashboard_loads_neither_torch_nor_a_database_before_its_first_paint(
    tmp_path: Path,
) -> None:
    code = """
import asyncio
from pathlib import Path
from dexter_tui.app import DexterApp

async def paint():
    async with DexterApp(Path()).run_test() as pilot:
        await pilot.pause()

asyncio.run(paint())
"""
    assert not (HEAVY | DATABASE) & loaded_by(code, tmp_path)


@pytest.mark.parametrize("name", ["home", "run", "study", "new_run", "picture", "help", "dialogs"])
def test_screens_load_no_torch(name: str, tmp_path: Path) -> None:
    assert not HEAVY & loaded_by(f"import dexter_tui.screens.{name}", tmp_path)


def test_the_engine_knows_no_database_and_no_terminal(tmp_path: Path) -> None:
    names = "dexter.optimize, dexter.generator, dexter.score, dexter.classifiers.hf"
    loaded = loaded_by(f"import {names}", tmp_path)
    assert not (DATABASE | {"store", "dexter_tui", "typer", "term_image"}) & loaded
