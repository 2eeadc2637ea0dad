"""The last line: what the keys do here."""

from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual.app import RenderResult
from textual.widget import Widget

from dexter_tui.actions import sign

if TYPE_CHECKING:
    from dexter_tui.app import DexterApp


class KeyBar(Widget):
    """The keys of the screen and its focused widget, as many as there is room for; clickable."""

    DEFAULT_CSS = (
        "KeyBar { dock: bottom; height: 1; width: 1fr; background: $panel; padding: 0 1; }"
    )

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh())

    def render(self) -> RenderResult:
        app = cast("DexterApp", self.app)
        palette = app.palette
        text, room, seen = Text(no_wrap=True, overflow="crop"), self.size.width, set()
        shown = [
            (active.binding, active.enabled)
            for active in self.screen.active_bindings.values()
            if active.binding.show and active.enabled
        ]
        # What belongs to every screen comes last, but help is always in reach.
        last = [item for item in shown if (item[0].id or "").startswith("app.")]
        first = [item for item in shown if item not in last]
        reserved = sum(len(item[0].description) + 4 for item in last)
        for group, limit in ((first, room - reserved), (last, room)):
            for binding, _ in group:
                if binding.action in seen:
                    continue
                key = sign(binding.key, ascii_only=app.options.ascii)
                part = f"{key} {binding.description}"
                if len(text) + len(part) > limit:
                    continue
                seen.add(binding.action)
                click = {"@click": f"screen.press('{binding.key}')"}
                from rich.style import Style

                text.append(key, Style.parse(f"bold {palette.accent}") + Style(meta=click))
                text.append(f" {binding.description}  ", Style(meta=click))
        return text
