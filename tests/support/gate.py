"""A classifier that holds its run where a test says."""

import itertools
import math
from pathlib import Path

import tiny

from store.artifacts import write_atomic

# It holds where a file says, which `Gate` writes.
GATED = (
    tiny.PYTHON_CLASSIFIER.replace(
        "return model", "model.register_forward_pre_hook(hold)\n    return model"
    )
    + """
import time
from pathlib import Path

GATE = Path(__file__).with_suffix(".gate")
passed = {}

def hold(model, arguments):
    if arguments[0].requires_grad:  # once a step
        begun = time.monotonic()
        while (gate := GATE.read_text().split()) and passed.get(gate[0], 0) >= int(gate[1]):
            if time.monotonic() > begun + float(gate[2]):
                break
            time.sleep(0.01)
        if gate:
            passed[gate[0]] = passed.get(gate[0], 0) + 1
"""
)


class Gate:
    """Lets runs come so far and no further, so that none ends while a test does things to it."""

    def __init__(self, folder: Path) -> None:
        self._code = folder / "gated.py"
        self._code.write_text(GATED)
        self._names = itertools.count()
        self.open()

    @property
    def classifier(self) -> str:
        return f"python:{self._code}:make"

    def close(self, steps: int, every: float = math.inf) -> None:
        """Let every process do this number of steps from now on, then one in `every` seconds."""
        self._write(f"{next(self._names)} {steps} {every}")

    def open(self) -> None:
        self._write("")

    def _write(self, text: str) -> None:
        write_atomic(self._code.with_suffix(".gate"), text.encode())
