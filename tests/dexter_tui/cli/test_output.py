"""The output of all commands: no text of a model, file or user controls what reads it."""

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import EVIL, hostile_store, obeyed
from shown_store import DONE, QUEUED, STUDY

from dexter_tui import formatting
from dexter_tui.cli.entry import main
from dexter_tui.cli.lazy_group import COMMANDS
from dexter_tui.presentation.answers import csv_text
from store.reading.queries import Answer

CLI = Path(__file__).parents[3] / "dexter_tui" / "cli"
LAYER = ("output.py", "console.py")


def test_commands_print_with_the_functions_of_the_output_layer_alone() -> None:
    bare = re.compile(r"(?<![\w.])print\(|Console\(|typer\.echo|\.write\(|json\.dumps")
    for path in CLI.glob("*.py"):
        if path.name not in LAYER:
            assert not bare.search(path.read_text()), path.name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    home = tmp_path_factory.mktemp("hostile") / "home"
    comparison = hostile_store(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEXTER_HOME", str(home))
        assert main(["export", STUDY, comparison, "-o", str(home.with_name("bundle"))]) == 0
    return home, comparison


@pytest.fixture
def hostile(made: tuple[Path, str], home: Path) -> str:
    shutil.copytree(made[0], home)
    return made[1]


def lines(comparison: str, folder: Path) -> Iterator[list[str]]:
    """Yield command lines: each command of the store, and hostile arguments of all others.

    None starts a worker.
    """
    for shown in (DONE, STUDY):
        yield from (["show", shown], ["show", shown, "--json"])
    for plain in (["runs"], ["status"], ["queue", "list"], ["note", DONE], ["compare"],
                  ["compare", comparison], ["gc", "--dry-run"], ["tag", DONE, "--name", "a"],
                  ["archive", STUDY]):  # fmt: skip
        yield from (plain, [*plain, "--json"])
    sql = "SELECT * FROM runs_summary"
    for form in ((), ("--csv",), ("--json",), ("--markdown",)):
        yield ["query", sql, *form]
    evil = EVIL.replace('"', "")
    sql = f'SELECT text AS "{evil}" FROM search LIMIT 9'
    yield from (["query", sql], ["query", sql, "--json"], ["query", f"SELECT {EVIL}"])
    for target in ("a.md", "a.html"):
        yield ["export", comparison, "-o", str(folder / target)]
    yield ["export", DONE, "-o", str(folder / f"x{EVIL.replace('/', '')}.md")]
    yield from (["pause", QUEUED, EVIL], ["cancel", QUEUED, EVIL, DONE, "--json"])
    yield from (["retry", EVIL, DONE, "--json"], ["resume", EVIL], ["delete", STUDY])
    yield ["backup", "-o", str(folder / "copy.sqlite"), "--json"]
    yield from ([name, EVIL] for name in COMMANDS if name not in ("run", "doctor", "classifiers"))
    for flag in ("--classifier", "--preset", "--template", f"--{EVIL}"):
        yield ["run", "--classifier", "lab:birds-biased", "--class", "waterbird", flag, EVIL]
    yield from (["runs", "--state", EVIL], ["runs", "--study", EVIL], ["import", EVIL])
    yield from (["queue", "add", "--file", EVIL], ["lab", "fleet", EVIL], ["compare", EVIL, "b"])
    yield from (["report", EVIL], ["probe", EVIL, "--classifier", EVIL, "--class", EVIL])


def test_no_command_prints_what_a_terminal_obeys(
    hostile: str, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in lines(hostile, tmp_path):
        result = cli(*arguments)
        assert not obeyed(result.out), (arguments, result.out)
        assert not obeyed(result.err), (arguments, result.err)
        assert "Traceback" not in result.err, arguments
        if result.out and "--json" in arguments:
            assert result.json is not None
    for name in ("a.md", "a.html"):
        assert not obeyed((tmp_path / name).read_text()), name


def test_no_file_of_a_bundle_holds_what_a_reader_obeys(made: tuple[Path, str]) -> None:
    bundle = made[0].with_name("bundle")
    texts = [path for kind in ("md", "csv", "json", "jsonl") for path in bundle.rglob(f"*.{kind}")]
    assert len(texts) >= 9
    for path in texts:
        assert not obeyed(path.read_text()), path.name
    tables = [csv.reader(io.StringIO(path.read_text())) for path in bundle.glob("data/*.csv")]
    cells = [cell for table in tables for row in table for cell in row]
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert not [cell for cell in cells if cell[:1] in tuple("=+@\t\r")]


def test_commands_to_paste_are_words_for_a_shell(made: tuple[Path, str], tmp_path: Path) -> None:
    text = made[0].with_name("bundle").joinpath("commands.md").read_text()
    fence, code = re.search(r"^(`{3,})sh\n(.*)\n\1$", text, re.M | re.S).groups()  # type: ignore[union-attr]
    assert fence not in code
    lines = [line for line in code.splitlines() if line]
    assert lines and all(line.startswith("dexter-tui ") for line in lines)
    script = "dexter-tui() { for word; do printf '%s\\0' \"$word\"; done; }\n"
    for shell in ("bash", "sh"):
        folder = tmp_path / shell
        folder.mkdir()
        done = subprocess.run(
            [shell, "-c", script.replace("dexter-tui", "dexter_tui")
             + code.replace("dexter-tui ", "dexter_tui ")],
            cwd=folder, capture_output=True, check=True,
        )  # fmt: skip
        assert not list(folder.iterdir())
        assert done.stderr == b""
        if shell == "bash":
            words = done.stdout.decode().split("\0")
            assert f"{EVIL}lab:birds-biased" in words
            assert f"{EVIL}waterbird" in words


def test_words_are_quoted_once_and_last() -> None:
    words = ["a b", "~", "`x`", "it's", "$HOME", "", "--x", "naïve"]
    assert shlex.split(formatting.command(words)) == words
    assert formatting.command(["run", "lab:birds"]) == "run lab:birds"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        *[(f"{sign}1+1", f"'{sign}1+1") for sign in "=+-@"],
        ("\tx", "'�x"),
        ("\rx", "'�x"),
        ("＝1", "'＝1"),  # noqa: RUF001
        ("-0.5", "-0.5"),
        ("+1e-9", "+1e-9"),
        (-0.5, "-0.5"),
        ("a=b", "a=b"),
        ("\x1b[2J\u202e", "�[2J�"),
        (None, ""),
    ],
)
def test_cells_are_no_formulas(value: object, cell: str) -> None:
    text = csv_text(Answer(["=a"], [(value,)], None, 0.0))
    assert list(csv.reader(io.StringIO(text))) == [["'=a"], [cell]]


def test_json_keeps_what_it_escapes() -> None:
    value = {EVIL: [EVIL, "naïve \U000e0001 \ud800"]}
    for indent in (2, None):
        text = formatting.json_text(value, indent)
        assert not obeyed(text)
        assert "naïve" in text
        assert json.loads(text) == value


def test_a_pipe_gets_whole_lines(
    home: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = cli("lab", "fleet").out.splitlines()
    assert all(line == line.rstrip() for line in lines)
    [row] = [line for line in lines if line.startswith("farm-land-100-vit ")]
    assert len(row) > 80 and "land +0.55" in row and "city −0.24" in row
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, cli("lab", "fleet").out.splitlines())) <= 80


def test_the_version_is_printed(cli: Callable[..., Any]) -> None:
    assert re.fullmatch(r"dexter-tui \d+\.\d+\.\d+\n", cli("--version").out)
