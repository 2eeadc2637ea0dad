"""The replay of a run: the cursor moves through the steps at a chosen speed."""

from collections.abc import Callable

from textual.message_pump import MessagePump
from textual.timer import Timer

_SECONDS = 0.2  # between two redraws
_SLOW_SECONDS = 1.0
_SPEEDS = (1, 2, 5, 10, 20, 50, 100)  # steps per second


class Replay:
    """A timer that calls `go` with the next step; stopped by `stop` alone."""

    def __init__(self, owner: MessagePump, go: Callable[[int], None]) -> None:
        self._owner = owner
        self._go = go
        self._at = 0.0
        self._speed = 2
        self._timer: Timer | None = None

    @property
    def is_running(self) -> bool:
        """True while the cursor moves."""
        return self._timer is not None

    @property
    def speed(self) -> int:
        """The steps per second."""
        return _SPEEDS[self._speed]

    def start(self, step: int, *, slow: bool) -> None:
        """Play from a step; redraw less often if `slow`."""
        seconds = _SLOW_SECONDS if slow else _SECONDS
        self._at = float(step)
        self._timer = self._owner.set_interval(seconds, lambda: self._play(seconds))

    def stop(self) -> None:
        """Stop at the step that was reached."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def change_speed(self, by: int) -> None:
        """Choose a higher or lower speed."""
        self._speed = max(0, min(self._speed + by, len(_SPEEDS) - 1))

    def _play(self, seconds: float) -> None:
        self._at += self.speed * seconds
        self._go(int(self._at))
