"""The screen of the devices: load, memory, temperature, power, history, and whose run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text
from textual.app import ComposeResult

from dexter_tui.dashboard.actions import bindings
from dexter_tui.dashboard.cells import TextLines, bar, fit, sparkline
from dexter_tui.dashboard.screens.base import DataScreen
from dexter_tui.dashboard.widgets.keybar import KeyBar
from dexter_tui.formatting import clean, duration
from store.states import ACTIVE

if TYPE_CHECKING:
    from dexter_tui.machine.devices import Device, Reading, Ring

SECONDS = 2.0
SLOW_SECONDS = 10.0
_HISTORY = 12  # columns of the history; wider terminals show more
_PER_CELL = 5  # readings, one per second, in a column of the history


class Row(NamedTuple):
    """A device as it stands."""

    device: "Device"
    reading: "Reading"
    history: Sequence[float | None]
    """The utilisation, one value per second, oldest first"""
    work: Sequence[str]
    """The ids of runs and jobs on it"""


class DevicesScreen(DataScreen):
    """The devices of this machine, one line each."""

    BINDINGS = bindings("devices")

    def __init__(self) -> None:
        super().__init__()
        self._ring: Ring | None = None
        self._away: list[tuple[str, str, int, str, float | None]] = []

    def compose(self) -> ComposeResult:
        yield TextLines(id="title")
        table = TextLines(id="device-table", classes="panel")
        table.border_title = "Devices"
        yield table
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#title", TextLines).put(Text("Devices of this machine", "bold"))
        self.query_one("#device-table", TextLines).put(Text("reading the devices"))
        slow = self.host.options.low_bandwidth
        self.set_interval(SLOW_SECONDS if slow else SECONDS, self.reload)

    def on_unmount(self) -> None:
        if self._ring is not None:
            self._ring.stop()

    def load(self, wish: object) -> list[Row]:
        from dexter_tui.machine import devices

        if self._ring is None:
            demo = self.host.options.demo_devices
            cards = devices.DemoTelemetry(demo) if demo else devices.telemetry()
            self._ring = devices.Ring([*([cards] if cards else []), devices.CpuTelemetry()])
            self._ring.read()
            self._ring.start()
        self._away = self._attempts()
        work: dict[str, list[str]] = {}
        for work_id, device in self._work():
            work.setdefault(device, []).append(work_id)
        return [
            Row(
                device,
                reading,
                [one.utilisation for one in list(self._ring.readings[device.uuid])],
                work.get(device.uuid, ()),
            )
            for device, reading in self._ring.recent(10.0)
        ]

    def _work(self) -> list[tuple[str, str]]:
        """Return the active runs and jobs with the device of the slot that works on each."""
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
        return [(str(work_id), str(device)) for work_id, device in rows]

    def _attempts(self) -> list[tuple[str, str, int, str, float | None]]:
        """Return the attempts at other places: place, run, attempt, state there, its age in s."""
        browse = self.host.browse
        if not browse.path.exists():
            return []
        rows = browse.rows(
            "SELECT place, run_id, attempt, coalesce(seen, 'submitting'), "
            "(julianday('now') - julianday(seen_at)) * 86400 "
            "FROM attempt WHERE ended_at IS NULL ORDER BY place, intended_at"
        )
        return [(str(a), str(b), int(c), str(d), e) for a, b, c, d, e in rows]

    def show(self, data: list[Row]) -> None:
        palette, signs = self.host.palette, self.host.signs
        table = self.query_one("#device-table", TextLines)
        width = table.size.width or self.size.width - 4
        cells = _HISTORY + max((width - 100) // 3, 0)
        header = f"{'':<6}{'busy':<12}{'memory':<20}{'temp.':>6}{'power':>7}  {'history':<{cells}}"
        text = Text(f"{header}  work on it\n", palette.dim, no_wrap=True)
        for row in data:
            device, reading = row.device, row.reading
            name = "CPU" if device.index is None else f"GPU{device.index}"
            text.append(f"{name:<6}", "bold")
            busy = reading.utilisation
            full, empty = bar(busy or 0.0, 6, signs.bar)
            text.append(full, palette.warn if (busy or 0) > 0.9 else palette.active)
            text.append(empty, palette.faint)
            text.append(f"{'' if busy is None else f'{busy:.0%}':>5} ")
            share = reading.used_bytes / max(reading.total_bytes, 1)
            full, empty = bar(share, 6, signs.bar)
            text.append(full, palette.bad if share > 0.95 else palette.active)
            text.append(empty, palette.faint)
            memory = f"{reading.used_bytes / 1e9:.1f}/{reading.total_bytes / 1e9:.0f} GB"
            text.append(f"{memory:>13} ")
            heat, power = reading.temperature, reading.power
            text.append(f"{'' if heat is None else f'{heat:.0f}°C':>6}", palette.dim)
            text.append(f"{'' if power is None else f'{power:.0f} W':>7}  ", palette.dim)
            shown = list(row.history)[-cells * _PER_CELL :]
            # From 0 to 1, whatever the values are.
            line = sparkline([0.0, 1.0, *shown], cells, signs.levels) if shown else " " * cells
            text.append(line, palette.primary)
            text.append(f"  {clean(', '.join(row.work))}", palette.accent)
            text.append("\n")
        names = ", ".join(
            dict.fromkeys(clean(row.device.name) for row in data if row.device.index is not None)
        )
        if any(row.device.uuid.startswith("GPU-demo") for row in data):
            names = f"simulated: {names}"
        text.append(f"\n{fit(names, max(width, 20))}", palette.dim)
        for row in data:
            if row.reading.processes:
                own = ", ".join(map(str, row.reading.processes))
                text.append(f"\nprocesses on GPU{row.device.index}: {own}", palette.dim)
        for place, run_id, attempt, state, age in self._away:
            seen = "never seen" if age is None else f"seen {duration(max(age, 0.0))} ago"
            line = f"{clean(place)}  {run_id}, attempt {attempt}  {clean(state)}, {seen}"
            text.append(f"\n{fit(line, max(width, 20))}", palette.dim)
        table.put(text)

    def action_back(self) -> None:
        self.app.pop_screen()
