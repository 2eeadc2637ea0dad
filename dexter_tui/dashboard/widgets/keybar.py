"""The key bar in the last line."""

from rich.text import Text
from textual import events
from textual.app import RenderResult
from textual.binding import Binding
from textual.widget import Widget

from dexter_tui.dashboard.actions import ACTIONS, sign
from dexter_tui.dashboard.host import host_of

_RANK: dict[str | None, int] = {action.id: k for k, action in enumerate(ACTIONS)}


def _place(binding: Binding) -> str:
    """Return the place of a key in the table of actions."""
    return (binding.id or "").partition(".")[0]


class KeyBar(Widget):
    """The keys of the screen and its focused widget, as many as fit; clickable."""

    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; width: 1fr; background: $panel; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown = Text()
        self._places: list[tuple[range, str]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self._check())

    def on_resize(self) -> None:
        self.refresh()

    def _check(self) -> None:
        """Redraw if the line has changed: the signal comes often."""
        if self._line()[0] != self._shown:
            self.refresh()

    def _line(self) -> tuple[Text, list[tuple[range, str]]]:
        """Return the text and the position of each key in it."""
        app = host_of(self)
        shown = [
            active.binding
            for active in self.screen.active_bindings.values()
            if active.binding.show and active.enabled
        ]
        # A letter is typed where the focused widget takes text.
        typing = self.screen.focused
        shown = [
            b for b in shown
            if b.priority or typing is None or not typing.check_consume_key(b.key, sign(b.key))
            or len(sign(b.key)) > 1
        ]  # fmt: skip
        pointless = getattr(self.screen, "pointless", lambda action: False)
        # The focused widget first, then its parents; in each, the order of the table. The search,
        # which many screens have, comes after what a screen alone has.
        places_of = list(dict.fromkeys(map(_place, shown)))
        shown.sort(
            key=lambda b: (_place(b) == "search", places_of.index(_place(b)), _RANK.get(b.id, 0))
        )
        unique: dict[str, Binding] = {}
        for b in shown:
            if not pointless(b.action):
                unique.setdefault(b.action, b)
        # The keys to leave and those of every screen come last and always fit.
        last = {
            action: b
            for action, b in unique.items()
            if action in ("back", "leave") or (b.id or "").startswith("app.")
        }
        others = {action: b for action, b in unique.items() if action not in last}
        reserved = sum(len(sign(b.key)) + len(b.description) + 3 for b in last.values())
        text = Text(no_wrap=True, overflow="crop")
        places: list[tuple[range, str]] = []
        for binding in (*others.values(), *last.values()):
            key = sign(binding.key, ascii_only=app.options.ascii)
            room = self.size.width - (0 if binding.action in last else reserved)
            if len(text) + len(key) + 1 + len(binding.description) > room:
                continue
            start = len(text)
            text.append(key, f"bold {app.palette.accent}").append(f" {binding.description}")
            places.append((range(start, len(text)), binding.key))
            text.append("  ")
        return text, places

    def render(self) -> RenderResult:
        self._shown, self._places = self._line()
        return self._shown

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        for place, key in self._places:
            if offset is not None and offset.x in place:
                self.app.simulate_key(key)
