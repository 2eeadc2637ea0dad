"""The command palette: the actions of the screen with their keys, the latest ones first."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import cast

from rich.text import Text
from textual.app import SystemCommand
from textual.command import DiscoveryHit, Hit, Hits, Provider

from dexter_tui.dashboard.actions import ACTIONS, Action, sign
from dexter_tui.dashboard.host import Host
from dexter_tui.dashboard.screens.base import DataScreen


class Actions(Provider):
    """The enabled actions of the screen."""

    async def discover(self) -> Hits:
        for action in self._actions():
            yield DiscoveryHit(
                self._display(Text(action.label), action),
                partial(self._take, action),
                text=action.label,
                help=action.help,
            )
        for command in self._more():
            yield DiscoveryHit(command.title, command.callback, help=command.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for action in self._actions():
            score = max(matcher.match(action.label), matcher.match(action.help) / 2)
            if score > 0:
                yield Hit(
                    score,
                    self._display(Text(action.label), action),
                    partial(self._take, action),
                    text=action.label,
                    help=action.help,
                )
        for command in self._more():
            if (score := matcher.match(command.title)) > 0:
                yield Hit(score, matcher.highlight(command.title), command.callback,
                          help=command.help)  # fmt: skip

    def _more(self) -> Iterable[SystemCommand]:
        """Return what the screen offers besides its actions."""
        return self.screen.more_commands() if isinstance(self.screen, DataScreen) else ()

    def _actions(self) -> list[Action]:
        """Return the enabled actions of the screen, the latest taken first."""
        bindings = self.screen.active_bindings.values()
        names = {active.binding.id for active in bindings if active.enabled}
        found = [
            action for action in ACTIONS if action.id in names and action.name != "command_palette"
        ]
        recent = self._host.remembered.recent
        rank = {name: at for at, name in enumerate(recent)}
        found.sort(key=lambda action: (rank.get(action.id, len(rank)), action.place == "app"))
        return found

    @property
    def _host(self) -> Host:
        return cast(Host, self.app)

    def _display(self, name: Text, action: Action) -> Text:
        keys = " ".join(self._signs(action))
        return name.append(f"   {keys}", f"bold {self._host.palette.accent}")

    def _signs(self, action: Action) -> Iterator[str]:
        for key in action.keys.split(","):
            yield sign(key, ascii_only=self._host.options.ascii)

    def _take(self, action: Action) -> None:
        self._host.remembered.add_recent(action.id)
        self.app.call_later(self.app.simulate_key, action.keys.split(",")[0])
