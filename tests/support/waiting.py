"""Waiting for a condition, where no event can be waited for."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

PATIENCE = 600
"""Seconds until a test fails; a busy machine is slow."""


def until(condition: Callable[[], Answer | None]) -> Answer:
    """Wait for the condition to hold; return its answer."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return answer
