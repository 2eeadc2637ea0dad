"""The English of the repository: words and openings that its style replaces."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
WORDS = re.compile(r"\b(tells|told|anew|mended?|thereof|whoever|so many|so much)\b", re.IGNORECASE)
OPENINGS = re.compile(r"(What|Whether|Of|One|All|How)\b")
DATA = ("tests/data/", "tests/screens/", "checkpoints/", "tests/test_prose.py")


def files(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return [
        REPOSITORY / name
        for name in listed.stdout.splitlines()
        if name.endswith(suffixes) and not name.startswith(DATA) and (REPOSITORY / name).exists()
    ]


def test_no_file_uses_a_word_that_the_style_replaces() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:80]}"
        for path in files(".py", ".md", ".tcss")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if WORDS.search(line)
    ]
    assert not found, "\n".join(found)


def docstrings(path: Path) -> list[tuple[int, str]]:
    places = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (getattr(node, "lineno", 1), text)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, places) and (text := ast.get_docstring(node))
    ]


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {text.splitlines()[0][:80]}"
        for path in files(".py")
        for number, text in docstrings(path)
        if OPENINGS.match(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("bad", ["It tells how.", "made anew", "So many words"])
def test_the_check_of_words_finds_them(bad: str) -> None:
    assert WORDS.search(bad)


def test_every_command_says_the_same_in_the_list_and_in_its_help() -> None:
    from dexter_tui.cli.lazy_group import COMMANDS, LazyCommands

    commands = LazyCommands()
    for name, (_, line) in COMMANDS.items():
        assert (commands[name].help or "").split("\n")[0] == line, name
