"""Commands that start quickly load nothing slow."""

import subprocess
import sys
from pathlib import Path

HEAVY = {"torch", "transformers", "diffusers", "openai", "httpx2"}
DATABASE = {"sqlmodel", "sqlalchemy", "alembic"}


def loaded_by(*steps: str, tmp_path: Path) -> dict[str, set[str]]:
    """The modules that a fresh process has loaded after each of the pieces of code.

    One process for all: what none of them loads, each by itself does not load either.
    """
    report = "import sys; print('LOADED', *sys.modules, file=sys.stderr)"
    script = "\n".join(f"{code}\n{report}" for code in steps)
    process = subprocess.run(
        [sys.executable, "-c", script],
        env={"DEXTER_HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in process.stderr.splitlines()]
    result = [set(words[1:]) for words in lines if words[:1] == ["LOADED"]]
    return dict(zip(steps, result, strict=True))


def imports(*modules: str) -> list[str]:
    return [f"import {module}" for module in modules]


def commands(*lines: str) -> list[str]:
    return [f"from dexter_tui.cli.entry import main; main({line.split()})" for line in lines]


LIGHT = imports(
    "dexter",
    "dexter.config",
    "dexter.errors",
    "dexter.seeds",
    "dexter.planning.estimate",
    "dexter.classifiers",
    "dexter.model_folders",
    "dexter.device",
    "store",
    "dexter_tui.jobs.submit",
    "dexter_tui.cli.live_progress",
    *(
        f"dexter_tui.dashboard.screens.{name}"
        for name in (
            "home",
            "run.screen",
            "study",
            "new_run",
            "screening.questions",
            "enlarged_picture",
            "help",
            "dialogs",
        )
    ),
)


def test_importing_it_and_looking_things_up_loads_no_torch(tmp_path: Path) -> None:
    steps = [*LIGHT, *commands("runs", "doctor", "classifiers")]
    for code, loaded in loaded_by(*steps, tmp_path=tmp_path).items():
        assert not HEAVY & loaded, code


def test_help_loads_neither_torch_nor_a_database(tmp_path: Path) -> None:
    steps = commands("--help", "run --help")
    for code, loaded in loaded_by(*steps, tmp_path=tmp_path).items():
        assert not (HEAVY | DATABASE) & loaded, code


def test_the_dashboard_loads_neither_torch_nor_a_database_before_its_first_paint(
    tmp_path: Path,
) -> None:
    code = """
import asyncio
from pathlib import Path
from dexter_tui.dashboard.app import DexterApp

async def paint():
    async with DexterApp(Path()).run_test() as pilot:
        await pilot.pause()

asyncio.run(paint())
"""
    [loaded] = loaded_by(code, tmp_path=tmp_path).values()
    assert not (HEAVY | DATABASE) & loaded


def test_the_dashboard_opens_pictures_without_numpy(tmp_path: Path) -> None:
    code = "from dexter_tui.dashboard.start import import_pillow; import_pillow(); import PIL.Image"
    [loaded] = loaded_by(code, tmp_path=tmp_path).values()
    assert "numpy" not in loaded and "numpy.typing" not in loaded


def test_the_engine_knows_no_database_and_no_terminal(tmp_path: Path) -> None:
    names = ("search.optimize", "generation.generator", "search.score", "classifiers.hf")
    code = "; ".join(f"import dexter.{name}" for name in names)
    [loaded] = loaded_by(code, tmp_path=tmp_path).values()
    assert not (DATABASE | {"store", "dexter_tui", "typer", "term_image"}) & loaded
