"""The line on the devices of the machine: load, memory and temperature."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.message import Message
from textual.widgets import Static

from dexter_tui.dashboard.cells import bar
from dexter_tui.dashboard.host import host_of
from dexter_tui.formatting import clean, size

if TYPE_CHECKING:
    from dexter_tui.machine.devices import Device, Reading, Ring

SECONDS = 5.0
SLOW_SECONDS = 30.0


class DeviceStrip(Static):
    """The devices that fit into a line, with means since the last update."""

    class Read(Message):
        """The readings of the devices."""

        def __init__(self, found: "Sequence[tuple[Device, Reading]]") -> None:
            super().__init__()
            self.found = found

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._shown = Text()
        self._ring: Ring | None = None
        self._reading = False
        self._seconds = SECONDS

    def on_mount(self) -> None:
        if host_of(self).options.low_bandwidth:
            self._seconds = SLOW_SECONDS
        self.set_interval(self._seconds, self._start_reading)
        self.set_timer(0.3, self._start_reading)  # after the first paint

    def on_unmount(self) -> None:
        if self._ring is not None:
            self._ring.stop()

    def _start_reading(self) -> None:
        # Not `is_current`: updates of a covered screen would redraw the whole top screen.
        if self.app.screen is self.screen and not self._reading:
            self._reading = True
            self.run_worker(self._read, thread=True, exit_on_error=False)

    def _read(self) -> None:
        from dexter_tui.machine import devices

        if self._ring is None:
            demo = host_of(self).options.demo_devices
            cards = devices.DemoTelemetry(demo) if demo else devices.telemetry()
            self._ring = devices.Ring([devices.CpuTelemetry(), *([cards] if cards else [])])
            self._ring.read()
            self._ring.start()
        self.post_message(self.Read(self._ring.recent(self._seconds)))

    def on_device_strip_read(self, message: Read) -> None:
        self._reading = False
        app = host_of(self)
        palette, signs = app.palette, app.signs
        text = Text(no_wrap=True, overflow="crop")
        for device, reading in message.found:
            name = clean(device.name) if device.index is None else f"GPU{device.index}"
            if device.uuid.startswith("GPU-demo"):
                name = f"demo {name}"
            text.append(f"{name} ", palette.dim)
            if reading.utilisation is not None:
                # Rounded, so that an idle machine causes no redraws.
                busy = round(reading.utilisation * 10) / 10
                full, empty = bar(busy, 5, signs.bar)
                text.append(full, palette.warn if busy > 0.9 else palette.active)
                text.append(empty, palette.faint)
                text.append(f" {busy:4.0%}  ")
            memory = reading.used_bytes / max(reading.total_bytes, 1)
            full, empty = bar(round(memory * 20) / 20, 5, signs.bar)
            text.append(full, palette.bad if memory > 0.95 else palette.active)
            text.append(empty, palette.faint)
            text.append(f" {reading.used_bytes / 1e9:.0f}/{size(reading.total_bytes)}", palette.dim)
            if reading.temperature is not None:
                text.append(f"  {reading.temperature:.0f}°C", palette.dim)
            text.append("   ")
        if (text, text.spans) != (self._shown, self._shown.spans):
            self._shown = text
            self.update(text, layout=False)
