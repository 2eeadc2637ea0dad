"""The order of input: each key takes effect before the next one is delivered.

Textual runs a key with priority at once, although letters typed before it may still wait in the
queue of a widget, and it chooses the widget for a key before the previous key has moved the focus.
Typed fast, or on a busy machine, keys would so land in another order or place.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from textual import events
from textual.app import App
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widget import Widget

DEADLINE = 10.0  # seconds for the effect of a key, after which the next one is delivered
_LOOK = 0.05  # seconds between two looks at a widget that may be gone
_QUIET = 2  # passes in a row through all queues in which neither screen nor focus changes

PATIENCE = 3.0  # seconds, after which a key that leaves drops the keys that wait before it
LEAVING = ("escape", "ctrl+q", "ctrl+c")
_MOVES = (events.MouseMove, events.MouseScrollDown, events.MouseScrollUp)


class InputOrder:
    """The queue of keys, pastes and mouse events in front of an application.

    Args:
        app: The application.
        deliver: Handles an event as if it had just arrived; called on the application's queue.
        answered: Return False while the screen still reads what an earlier key asked for. Keys
            that are no text wait for it, with all behind them, until a key of `LEAVING`.
    """

    def __init__(
        self,
        app: App[None],
        deliver: Callable[[events.Event], Awaitable[None]],
        answered: Callable[[], bool],
    ) -> None:
        self._app = app
        self._deliver = deliver
        self._answered = answered
        self._waiting: deque[events.Event] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._busy = False

    @property
    def busy(self) -> bool:
        """True while an event waits or takes effect."""
        return self._busy or bool(self._waiting)

    def put(self, event: events.Event) -> None:
        """Take an event that has just arrived; drop it when closed."""
        if self._task is not None and self._task.done():
            return
        self._waiting.append(event)
        self._arrived.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="input")

    def close(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            self._busy = True
            try:
                event = self._waiting.popleft()
                if isinstance(event, events.Key) and not self._is_text(event):
                    event = await self._answer(event)
                await asyncio.wait_for(self._take(event), DEADLINE)
            except TimeoutError:
                pass  # a widget hangs: the next key may be the one that quits
            finally:
                self._busy = False

    async def _answer(self, event: events.Key) -> events.Event:
        """Wait for what earlier keys asked for; return the key, or one behind it that leaves."""
        begun = time.monotonic()
        while event.key not in LEAVING and not self._answered() and self._app.is_running:
            late = time.monotonic() - begun > PATIENCE
            for at, later in enumerate(self._waiting if late else ()):
                if isinstance(later, events.Key) and later.key in LEAVING:
                    for _ in range(at + 1):
                        self._waiting.popleft()
                    return later
            await asyncio.sleep(_LOOK / 5)
        return event

    async def _take(self, event: events.Event) -> None:
        await self._passed(self._app, lambda: self._deliver(event))
        if isinstance(event, _MOVES):
            return
        quiet, before = 0, self._place
        while quiet < _QUIET and self._app.is_running:
            screen, focused = before
            for node in list((focused or screen).ancestors_with_self):
                await self._passed(node, _nothing)
            after = self._place
            quiet, before = (quiet + 1 if after == before else 0), after

    @property
    def _place(self) -> tuple[Screen[object], Widget | None]:
        return self._app.screen, self._app.focused

    def _is_text(self, key: events.Key) -> bool:
        focused = self._app.focused
        return focused is not None and focused.check_consume_key(key.key, key.character)

    async def _passed(self, pump: MessagePump, work: Callable[[], Awaitable[None]]) -> None:
        """Do work at the end of a queue; return at once if the queue is closed."""
        done = asyncio.Event()

        async def at_the_end() -> None:
            try:
                await work()
            finally:
                done.set()

        if not pump.call_later(at_the_end):
            return
        while pump.is_attached:
            try:
                await asyncio.wait_for(done.wait(), _LOOK)
                return
            except TimeoutError:
                continue


async def _nothing() -> None:
    pass
