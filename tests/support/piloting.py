"""Drives the dashboard as a user would, without a terminal."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from dexter_tui.dashboard.app import DexterApp
from dexter_tui.dashboard.options import Options

SIZES = ((80, 24), (120, 40), (200, 50))
PATIENCE = 300.0  # seconds


def driven(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def dashboard(home: Path, **options: Any) -> DexterApp:
    """The app, without animations, and without starting runners for what waits.

    Its notices stay, for a busy machine may take longer to look at them than they last.
    """
    app = DexterApp(home, Options(**{"animate": False, "keep_seconds": 0, **options}))
    notify = app.notify

    def lasting(*arguments: Any, **more: Any) -> None:
        notify(*arguments, **{**more, "timeout": 10 * PATIENCE})

    app.notify = lasting  # type: ignore[method-assign]
    return app


async def settle(pilot: Pilot[None]) -> None:
    """Wait until nothing is being read or drawn any more."""
    deadline = time.monotonic() + PATIENCE
    for _ in range(2):
        await pilot.pause()
        while busy := _busy(pilot):
            if time.monotonic() > deadline:
                raise AssertionError(f"busy for {PATIENCE} s: {busy}\n{text(pilot)}")
            await asyncio.sleep(0.01)
    await pilot.pause()


def _busy(pilot: Pilot[None]) -> list[str]:
    """Return what is still at work."""
    app = pilot.app
    assert isinstance(app, DexterApp)
    at_work = [str(worker) for worker in app.workers if worker.is_running]
    for screen in app.screen_stack:
        # What is typed is looked at a moment later.
        for name in ("_loading", "_rest_due", "_check_due"):
            if getattr(screen, name, None):
                at_work.append(f"{type(screen).__name__}.{name}")
    if app.pictures.busy:
        at_work.append("pictures")
    if app.input_order.busy:
        at_work.append("input")
    return at_work


async def until(pilot: Pilot[None], what: Callable[[], object]) -> None:
    """Wait for a condition; the deadline is for a test that fails, not for a busy machine."""
    deadline = time.monotonic() + PATIENCE
    await settle(pilot)
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE} s; on the screen:\n{text(pilot)}")
        await asyncio.sleep(0.05)
        await settle(pilot)


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Keys, each when the one before has had its effect."""
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


def text(pilot: Pilot[None]) -> str:
    """Return the text on the screen."""
    lines = pilot.app.screen._compositor.render_strips(pilot.app.size)
    return "\n".join(strip.text.rstrip() for strip in lines)


def noticed(pilot: Pilot[None], line: str) -> bool:
    """Return True if a notice contains the line, however it is wrapped."""
    return any(line in notice.message for notice in pilot.app._notifications)
