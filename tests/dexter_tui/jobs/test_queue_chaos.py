"""The short form of ``make chaos``: a fault of each kind, on models of random weights.

Lost files are in `test_accidents`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long


def test_every_kind_of_fault_once_loses_nothing(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "support" / "chaos.py"
    options = {"faults": 0, "at-least": 1, "slots": 2, "long-locks": 0, "seed": 7, "limit": 800}
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    result = subprocess.run(
        [sys.executable, str(script), "--tiny", "--runs-only", "--of", "processes", *flags],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "12 faults tried, 12 survived, 0 not" in result.stdout
    assert " 0 lost or wrong" in result.stdout
