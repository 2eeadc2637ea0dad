"""The import contracts hold, and fail when a cycle or an upward import is added."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("dexter", "store", "dexter_tui")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_cycle_and_an_upward_import_are_found(tmp_path: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(
            REPOSITORY / name, tmp_path / name, ignore=lambda _, names: [
                n for n in names if Path(n).suffix not in ("", ".py") or n == "__pycache__"
            ]
        )  # fmt: skip
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    with (tmp_path / "dexter_tui" / "machine" / "devices.py").open("a") as file:
        file.write("\nif TYPE_CHECKING:\n    from dexter_tui.cli import output\n")
    with (tmp_path / "store" / "clock.py").open("a") as file:
        file.write("\nfrom store.upkeep import health\n")
    out = lint_imports(tmp_path)
    assert out.returncode == 1, out.stdout + out.stderr
    assert "The rooms of the application lie in layers BROKEN" in out.stdout
    assert "No package is in a cycle with a sibling BROKEN" in out.stdout
    assert "The engine knows neither store nor application KEPT" in out.stdout


SEARCHED = re.compile(r"in str\((e|err|error|exc)\)|str\((error|exc)\)\.(split|startswith|find)")


def test_no_code_searches_the_text_of_an_exception() -> None:
    for name in PACKAGES:
        for path in (REPOSITORY / name).rglob("*.py"):
            assert not SEARCHED.search(path.read_text(encoding="utf-8")), path


def test_no_folder_holds_more_modules_than_one_can_survey() -> None:
    for name in (*PACKAGES, "benchmarks"):
        for folder in [REPOSITORY / name, *(REPOSITORY / name).rglob("*/")]:
            modules = list(folder.glob("*.py"))
            assert len(modules) <= 15, folder
    entries = [path for path in (REPOSITORY / "dexter_tui").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 13
