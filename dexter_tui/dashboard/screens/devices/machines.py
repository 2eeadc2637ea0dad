"""The machines on the screen of the devices: what is read, and their lines."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from dexter_tui.dashboard.cells import bar, fit, sparkline
from dexter_tui.formatting import clean, duration

if TYPE_CHECKING:
    from dexter_tui.dashboard.host import Host
    from dexter_tui.machine.devices import Device, Reading

HISTORY = 12  # columns of the history; wider terminals show more
BESIDE = 8  # GPUs side by side, where there is no room for a line each
STALE_SECONDS = 60.0


class Row(NamedTuple):
    """A device as it stands."""

    device: "Device"
    reading: "Reading"
    history: Sequence[float | None]
    """The utilisation, oldest first"""
    per_cell: int
    """The values of the history in a column"""
    work: Sequence[str]
    """The ids of runs and jobs on it"""


class Machine(NamedTuple):
    """A machine of a place."""

    place: str
    host: str
    age: float
    """The seconds since it was seen"""
    rows: Sequence[Row]
    work: Sequence[str]
    """The ids of runs on it, and "other" for each GPU that others use"""


class Away(NamedTuple):
    """An attempt at another place."""

    place: str
    run_id: str
    attempt: int
    state: str
    age: float | None
    """The seconds since its state was seen"""


class Seen(NamedTuple):
    """The content of the screen."""

    here: Sequence[Row]
    machines: Sequence[Machine]
    away: Sequence[Away]
    queued: Sequence[tuple[str, int]]
    """The number of queued runs and jobs by place"""


def machines(host: "Host") -> list[Machine]:
    """Read the machines of places."""
    from dexter_tui.jobs.placement import machines
    from dexter_tui.machine import nvidia_smi
    from store.clock import now

    found = []
    for known in machines.read(host.home):
        rows = []
        for device, reading in nvidia_smi.parse(known.gpus or ""):
            work = [
                known.work[key] for key in (str(device.index), device.uuid) if key in known.work
            ]
            rows.append(Row(device, reading, known.history.get(device.uuid, ()), 1, work))
        age = max((now() - known.at).total_seconds(), 0.0)
        found.append(Machine(known.place, known.host, age, rows, [*known.work.values()]))
    return found


def lines(seen: Seen, host: "Host", width: int, height: int) -> Text:
    """Return the lines of all machines, for a width and height in cells."""
    drawn = list(_lines(seen, host, width, spread=True))
    if len(drawn) > height:
        drawn = list(_lines(seen, host, width, spread=False))
    if len(drawn) > height > 0:
        left = len(drawn) - height + 1
        drawn[height - 1 :] = [Text(f"{left} more lines in a taller terminal", host.palette.dim)]
    return Text("\n").join(drawn)


def _lines(seen: Seen, host: "Host", width: int, *, spread: bool) -> Iterator[Text]:
    palette = host.palette
    cells = HISTORY + max((width - 100) // 3, 0)
    header = f"{'':<6}{'busy':<12}{'memory':<20}{'temp.':>6}{'power':>7}  {'history':<{cells}}"
    yield Text(f"{header}  work", palette.dim, no_wrap=True)
    for row in seen.here:
        yield _line(row, host, cells)
    names = _names(seen.here)
    if any(row.device.uuid.startswith("GPU-demo") for row in seen.here):
        names = f"simulated: {names}"
    if names or not seen.machines:
        yield Text("")
        yield Text(fit(names, max(width, 20)), palette.dim)
    for row in seen.here:
        if row.reading.processes:
            own = ", ".join(map(str, row.reading.processes))
            yield Text(f"processes on GPU{row.device.index}: {own}", palette.dim)
    for machine in seen.machines:
        yield _title(machine, host, width)
        if spread:
            for row in machine.rows:
                yield _line(row, host, cells)
        else:
            for at in range(0, len(machine.rows), BESIDE):
                yield _beside(machine.rows[at : at + BESIDE], host, width)
    shown = {work for machine in seen.machines for work in machine.work}
    for one in seen.away:
        if one.run_id not in shown:
            since = "never seen" if one.age is None else f"seen {duration(max(one.age, 0.0))} ago"
            text = f"{one.place}  {one.run_id}, attempt {one.attempt}  {clean(one.state)}, {since}"
            yield Text(fit(clean(text), max(width, 20)), palette.dim)
    if any(place for place, _ in seen.queued):
        listed = ", ".join(f"{count} {place or 'here'}" for place, count in seen.queued)
        yield Text(fit(clean(f"queued: {listed}"), max(width, 20)), palette.dim)


def _names(rows: Sequence[Row]) -> str:
    return ", ".join(
        dict.fromkeys(clean(row.device.name) for row in rows if row.device.index is not None)
    )


def _line(row: Row, host: "Host", cells: int) -> Text:
    """Return the line of a device; `cells` is the width of its history."""
    palette, signs = host.palette, host.signs
    device, reading = row.device, row.reading
    text = Text(no_wrap=True)
    text.append(f"{'CPU' if device.index is None else f'GPU{device.index}':<6}", "bold")
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
    shown = list(row.history)[-cells * row.per_cell :]
    text.append(sparkline(shown, cells, signs.levels, (0.0, 1.0)), palette.primary)
    text.append(f"  {clean(', '.join(row.work))}", palette.accent)
    return text


def _title(machine: Machine, host: "Host", width: int) -> Text:
    """Return the line above the GPUs of a machine: in total, and how old it is."""
    palette = host.palette
    text = Text(clean(machine.place), "bold", no_wrap=True)
    old = machine.age > STALE_SECONDS
    text.append(f"  seen {duration(machine.age)} ago", palette.warn if old else palette.dim)
    readings = [row.reading for row in machine.rows]
    parts = [clean(machine.host)]
    if readings:
        parts.append(f"{sum(bool(row.work) for row in machine.rows)} of {len(readings)} GPUs")
        used, total = (
            sum(getattr(one, f"{name}_bytes") for one in readings) for name in ("used", "total")
        )
        parts.append(f"{used / 1e9:.0f}/{total / 1e9:.0f} GB")
        if heats := [one.temperature for one in readings if one.temperature is not None]:
            parts.append(f"{max(heats):.0f}°C")
        if powers := [one.power for one in readings if one.power is not None]:
            parts.append(f"{sum(powers) / 1000:.1f} kW")
    else:
        parts.append(f"no nvidia-smi  {', '.join(machine.work)}")
    text.append(f"  {'  '.join(parts)}", palette.dim)
    if width > 100 and (names := _names(machine.rows)):
        text.append(f"  {names}", palette.dim)
    return text


def _beside(rows: Sequence[Row], host: "Host", width: int) -> Text:
    """Return a line of GPUs side by side, with as much of each as there is room for."""
    palette, signs = host.palette, host.signs
    room = max(width // BESIDE, 8)
    text = Text(no_wrap=True)
    for row in rows:
        busy = row.reading.utilisation
        level = " " if busy is None else signs.levels[round(busy * (len(signs.levels) - 1))]
        text.append(f"{row.device.index:>2}", "bold")
        text.append(level, palette.warn if (busy or 0) > 0.9 else palette.active)
        left = room - 4
        if left >= 13:
            text.append(f"{'' if busy is None else f'{busy:.0%}':>4} ")
            left -= 5
        if left >= 15:
            memory = f"{row.reading.used_bytes / 1e9:.0f}/{row.reading.total_bytes / 1e9:.0f}G"
            text.append(f"{memory:<7}", palette.dim)
            left -= 7
        text.append(f"{clean(', '.join(row.work))[:left]:<{left}} ", palette.accent)
    return text
