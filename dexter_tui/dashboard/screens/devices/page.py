"""The screen of the devices: load, memory, temperature, power, history, and whose run."""

from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines
from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.screens.devices.machines import Away, Row, Seen, lines, machines
from dexter_tui.dashboard.widgets.keybar import KeyBar
from store.locks import is_locked, work_lock
from store.states import ACTIVE, State

if TYPE_CHECKING:
    from dexter_tui.machine.devices import Ring

SECONDS = 2.0
SLOW_SECONDS = 10.0
_PER_CELL = 5  # readings, one per second, in a column of the history


class DevicesScreen(DataScreen):
    """The devices of this machine and of places."""

    BINDINGS = bindings("devices")

    def __init__(self) -> None:
        super().__init__()
        self._ring: Ring | None = None

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        table = TextLines(id="device-table", classes="panel")
        table.border_title = "Devices"
        yield table
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#title", TextLines).put(Text("Devices", "bold"))
        self.query_one("#device-table", TextLines).put(Text("reading the devices"))
        slow = self.host.options.low_bandwidth
        self.set_interval(SLOW_SECONDS if slow else SECONDS, self.reload)

    def on_resize(self) -> None:
        self.call_after_refresh(self.reload)

    def on_unmount(self) -> None:
        if self._ring is not None:
            self._ring.stop()

    def load(self, wish: object) -> Seen:
        from dexter_tui.machine import devices

        if self._ring is None:
            demo = self.host.options.demo_devices
            cards = devices.DemoTelemetry(demo) if demo else devices.telemetry()
            self._ring = devices.Ring([*([cards] if cards else []), devices.CpuTelemetry()])
            self._ring.read()
            self._ring.start()
        work: dict[str, list[str]] = {}
        for work_id, device in self._work():
            work.setdefault(device, []).append(work_id)
        here = [
            Row(
                device,
                reading,
                [one.utilisation for one in list(self._ring.readings[device.uuid])],
                _PER_CELL,
                work.get(device.uuid, ()),
            )
            for device, reading in self._ring.recent(10.0)
        ]
        return Seen(here, machines(self.host), self._attempts(), self._queued())

    def _work(self) -> list[tuple[str, str]]:
        """Return the runs and jobs that processes work on, each with the device of its slot."""
        browse = self.host.browse
        if not browse.path.exists():
            return []
        states = [state.value for state in ACTIVE]
        marks = ", ".join("?" * len(states))
        parts = [
            f"SELECT {table}.id, slot.device FROM {table} JOIN slot ON slot.name = {table}.slot "
            f"WHERE {table}.state IN ({marks})"
            for table in ("run", "job")
        ]
        rows = browse.rows(f"{' UNION ALL '.join(parts)} ORDER BY 1", [*states, *states])
        return [
            (str(work_id), str(device))
            for work_id, device in rows
            if is_locked(work_lock(browse.home, str(work_id)))  # else its process is gone
        ]

    def _attempts(self) -> list[Away]:
        """Return the attempts at other places."""
        browse = self.host.browse
        if not browse.path.exists():
            return []
        rows = browse.rows(
            "SELECT place, run_id, attempt, coalesce(seen, 'submitting'), "
            "(julianday('now') - julianday(seen_at)) * 86400 "
            "FROM attempt WHERE ended_at IS NULL ORDER BY place, intended_at"
        )
        return [Away(str(a), str(b), int(c), str(d), e) for a, b, c, d, e in rows]

    def _queued(self) -> list[tuple[str, int]]:
        """Return the number of queued runs and jobs by place, "" for this machine."""
        browse = self.host.browse
        if not browse.path.exists():
            return []
        rows = browse.rows(
            "SELECT place, count(*) FROM (SELECT coalesce(place, '') AS place, state FROM run "
            "UNION ALL SELECT '', state FROM job) WHERE state = ? GROUP BY place ORDER BY place",
            [State.QUEUED.value],
        )
        return [(str(place), int(count)) for place, count in rows]

    def show(self, data: Seen) -> None:
        table = self.query_one("#device-table", TextLines)
        width = table.size.width or self.size.width - 4
        height = table.size.height or self.size.height - 4
        table.put(lines(data, self.host, width, height))

    def action_back(self) -> None:
        self.app.pop_screen()
