"""One line about the machine: how busy its processors and graphics cards are."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.text import Text
from textual.message import Message
from textual.widgets import Static

from dexter_tui.views import size
from dexter_tui.widgets.cells import bar

if TYPE_CHECKING:
    from dexter_tui.app import DexterApp

SECONDS = 3.0
SLOW_SECONDS = 30.0


@dataclass(frozen=True)
class Device:
    """A processor or a graphics card at one moment."""

    name: str
    utilisation: float
    """Share of its time, 0 to 1."""
    used_bytes: int
    total_bytes: int
    temperature: int | None = None
    """Degrees Celsius."""


class Machine:
    """Reads the processors from /proc and the graphics cards through NVIDIA's library."""

    def __init__(self) -> None:
        self._before = (0, 0)
        self._nvml: Any = None
        self._tried = False

    def read(self) -> list[Device]:
        """All devices now; for a thread, since a driver may take its time."""
        return [*self._processors(), *self._cards()]

    def _processors(self) -> list[Device]:
        try:
            fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
            memory = dict(
                line.split(":") for line in Path("/proc/meminfo").read_text().splitlines()[:5]
            )
        except (OSError, ValueError):
            return []  # not Linux
        times = [int(field) for field in fields]
        total, idle = sum(times), times[3] + times[4]
        before, self._before = self._before, (total, idle)
        span = max(total - before[0], 1)
        kilobytes = {name: int(value.split()[0]) for name, value in memory.items()}
        whole = kilobytes.get("MemTotal", 0) * 1024
        free = kilobytes.get("MemAvailable", 0) * 1024
        return [
            Device(f"CPU x{os.cpu_count()}", 1 - (idle - before[1]) / span, whole - free, whole)
        ]

    def _cards(self) -> list[Device]:
        if not self._tried:
            self._tried = True
            import pynvml

            try:
                pynvml.nvmlInit()
                self._nvml = pynvml
            except pynvml.NVMLError:
                self._nvml = None
        if self._nvml is None:
            return []
        found = []
        try:
            for index in range(self._nvml.nvmlDeviceGetCount()):
                handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
                found.append(
                    Device(
                        f"GPU{index}",
                        self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
                        memory.used,
                        memory.total,
                        self._nvml.nvmlDeviceGetTemperature(handle, 0),
                    )
                )
        except self._nvml.NVMLError:
            pass  # a card that fell off the bus: the others are shown
        return found


class DemoMachine:
    """Invented devices for a demonstration; the strip says that they are."""

    def __init__(self, count: int, clock: Callable[[], float] = time.time) -> None:
        self._count = count
        self._clock = clock

    def read(self) -> list[Device]:
        """Curves that rise and fall."""
        now = self._clock()
        return [
            Device(
                f"demo GPU{k}",
                0.5 + 0.45 * math.sin(now / 7 + k),
                int((0.4 + 0.3 * math.sin(now / 19 + 2 * k)) * 80e9),
                int(80e9),
                round(55 + 15 * math.sin(now / 13 + k)),
            )
            for k in range(self._count)
        ]


class DeviceStrip(Static):
    """All devices, as many as fit."""

    class Read(Message):
        """What the devices say."""

        def __init__(self, devices: list[Device]) -> None:
            super().__init__()
            self.devices = devices

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._shown = Text()
        self._machine: Machine | DemoMachine = Machine()

    def on_mount(self) -> None:
        options = cast("DexterApp", self.app).options
        if options.demo_devices:
            self._machine = DemoMachine(options.demo_devices)
        self.set_interval(SLOW_SECONDS if options.low_bandwidth else SECONDS, self._look)
        self._look()

    def _look(self) -> None:
        if self.screen.is_current:
            self.run_worker(
                lambda: self.post_message(self.Read(self._machine.read())),
                thread=True,
                exclusive=True,
                exit_on_error=False,
            )

    def on_device_strip_read(self, message: Read) -> None:
        app = cast("DexterApp", self.app)
        palette, signs = app.palette, app.signs
        text = Text(no_wrap=True, overflow="crop")
        for device in message.devices:
            # Rounded, so that a machine at rest does not chatter over the line.
            busy = round(device.utilisation * 10) / 10
            full, empty = bar(busy, 5, signs.bar)
            memory = device.used_bytes / max(device.total_bytes, 1)
            text.append(f"{device.name} ", palette.dim)
            text.append(full, palette.warn if busy > 0.9 else palette.active)
            text.append(empty, palette.faint)
            text.append(f" {busy:4.0%}  ")
            full, empty = bar(round(memory * 20) / 20, 5, signs.bar)
            text.append(full, palette.bad if memory > 0.95 else palette.active)
            text.append(empty, palette.faint)
            used = f"{device.used_bytes / 1e9:.0f}"
            text.append(f" {used}/{size(device.total_bytes)}", palette.dim)
            if device.temperature is not None:
                text.append(f"  {device.temperature}°C", palette.dim)
            text.append("   ")
        if (text, text.spans) != (self._shown, self._shown.spans):
            self._shown = text
            self.update(text)
