"""Runs the commands of the tutorials in a fresh home, and compares what they print.

    python docs/run_tutorials.py [FILE...]

A block that begins with ```console is run line by line: "$ " begins a command, the lines below it
are its output. Numbers and ids differ from machine to machine and are not compared; "…" stands for
any lines. ``exit code N`` behind a command is its expected exit code. See `make tutorials`.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TUTORIALS = REPOSITORY / "docs" / "tutorials"
_ID = re.compile(r"\b[a-z][a-z2-7]{7}\b")


def commands(text: str) -> list[tuple[str, int, list[str]]]:
    """Return the commands of a tutorial, each with its exit code and the lines of its output."""
    found: list[tuple[str, int, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                command, _, code = line[2:].partition("  # exit code ")
                found.append((command, int(code or 0), []))
            else:
                found[-1][2].append(line)
    return found


def files(text: str) -> dict[str, str]:
    """Return the files that a tutorial has its reader write, by name."""
    return dict(re.findall(r"^`([\w.]+)`:\n\n```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))


def comparable(line: str) -> str:
    """Return a line without what differs from machine to machine."""
    return " ".join(re.sub(r"[-+]?\d[\d.:,]*", "0", _ID.sub("ID", line)).split())


def missing(expected: list[str], output: str) -> list[str]:
    """Return the expected lines that are not in the output."""
    printed = {comparable(line) for line in output.splitlines()}
    wanted = [line for line in expected if line.strip() not in ("", "…")]
    return [line for line in wanted if comparable(line) not in printed]


def run(tutorial: Path, folder: Path) -> list[str]:
    """Run a tutorial in an empty folder; return what went wrong."""
    text = tutorial.read_text()
    for name, content in files(text).items():
        (folder / name).write_text(content)
    environment = os.environ | {
        "DEXTER_HOME": str(folder / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "100",
    }
    problems = []
    for command, code, expected in commands(text):
        print(f"$ {command}", flush=True)
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode != code:
            problems.append(f"{command}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        problems += [f"{command}: not printed: {line}" for line in missing(expected, done.stdout)]
    return problems


def main(names: list[str]) -> int:
    """Run the named tutorials, or all; return the exit code."""
    chosen = [Path(name) for name in names] or sorted(TUTORIALS.glob("*.md"))
    problems: list[str] = []
    for tutorial in chosen:
        with tempfile.TemporaryDirectory() as folder:
            problems += [f"{tutorial.name}: {line}" for line in run(tutorial, Path(folder))]
    print("\n".join(problems) or "all tutorials run as they say")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
