"""The documents: their links lead somewhere, and the commands they show exist."""

import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
DOCUMENTS = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]


def fenced(text: str) -> Iterator[str]:
    """The lines of the code blocks of a document."""
    for block in re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        yield from block.replace("\\\n", " ").splitlines()


def prose(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", prose(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_and_picture_exists() -> None:
    broken = []
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(document.read_text())):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (document.parent / name).resolve() if name else document
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{document.relative_to(REPOSITORY)}: {link}")
    assert not broken


def commands() -> Iterator[tuple[Path, list[str]]]:
    """Every `dexter-tui` command that a document shows, in a code block or in a line."""
    for document in DOCUMENTS:
        text = document.read_text()
        shown = [line.removeprefix("$ ") for line in fenced(text)]
        shown += re.findall(r"`([^`]+)`", prose(text).replace("\n", " "))
        for line in shown:
            if line.startswith("dexter-tui"):
                yield document, shlex.split(line, comments=True)[1:]


def test_every_command_and_option_shown_exists(cli: Callable[..., Any]) -> None:
    @cache
    def help_of(*names: str) -> str:
        outcome = cli(*names, "--help")
        assert outcome.code == 0, outcome.err
        return str(outcome.out)

    unknown = []
    for document, words in commands():
        names: tuple[str, ...] = ()
        for word in words:
            if "COMMAND [ARGS]" not in help_of(*names) or word.startswith("-"):
                break
            assert re.search(rf"^  {re.escape(word)} ", help_of(*names), re.MULTILINE), words
            names += (word,)
        for word in words:
            option = re.fullmatch(r"(--?[a-z][a-z-]*)(=.*)?", word)
            if option and not re.search(rf"(^|[ ,]){option[1]}\b(?!-)", help_of(*names)):
                unknown.append(f"{document.name}: {' '.join(words)}: {option[1]}")
    assert not unknown
