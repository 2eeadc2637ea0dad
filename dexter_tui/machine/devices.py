"""The devices of the machine: their load, and the slots for runs on them.

A slot is a place for one run at a time. A visible GPU (CUDA_VISIBLE_DEVICES) or MIG instance is one
slot; a CPU has one slot per core. GPUs are identified by UUID, because their numbers depend on
which are visible.
"""

import math
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from dexter.errors import InputError

DEMO = "DEXTER_DEMO_DEVICES"  # number of simulated devices, which compute on the CPU
CPU_SLOTS = "DEXTER_CPU_SLOTS"
VISIBLE = "CUDA_VISIBLE_DEVICES"
# The user's value of VISIBLE, before it was narrowed to the device of a worker.
VISIBLE_BEFORE = "DEXTER_VISIBLE_DEVICES"
KEPT_SECONDS = 600


@dataclass(frozen=True)
class Device:
    """A CPU, GPU or MIG instance."""

    uuid: str
    """"cpu", or the UUID of a GPU or MIG instance."""
    name: str
    total_bytes: int
    index: int | None = None
    """The N of the user's "cuda:N"; None for a CPU"""


@dataclass(frozen=True)
class Reading:
    """The load of a device at a time. None for values that it does not report."""

    uuid: str
    at: float
    """Time in seconds, by `time.monotonic`"""
    used_bytes: int
    total_bytes: int
    utilisation: float | None = None
    """Fraction of time that the device is busy, 0 to 1"""
    temperature: float | None = None
    """Degrees Celsius."""
    power: float | None = None
    """Watts."""
    processes: tuple[int, ...] = ()
    """Ids of the processes that use the device; none where it does not report them"""

    @property
    def free_bytes(self) -> int:
        """The free memory."""
        return self.total_bytes - self.used_bytes


class Telemetry(Protocol):
    """A source of readings of devices."""

    def devices(self) -> Sequence[Device]:
        """Return the devices that this process may use."""
        ...

    def read(self, uuid: str) -> Reading:
        """Read the current load of a device. Raise LookupError if it is gone."""
        ...


class CpuTelemetry:
    """The CPU of this machine, read from /proc."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def devices(self) -> Sequence[Device]:
        return [Device("cpu", f"CPU, {cores()} cores", _meminfo()["MemTotal"])]

    def read(self, uuid: str) -> Reading:
        memory = _meminfo()
        total = memory["MemTotal"]
        used = total - memory.get("MemAvailable", total)
        return Reading(uuid, time.monotonic(), used, total, self._utilisation())

    def _utilisation(self) -> float | None:
        try:
            numbers = [float(n) for n in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        except (OSError, ValueError):
            return None
        idle, total = numbers[3] + numbers[4], sum(numbers)
        before, self._before = self._before, (idle, total)
        if before is None or total == before[1]:
            return None
        return 1 - (idle - before[0]) / (total - before[1])


class NvidiaTelemetry:
    """The CUDA devices, read through NVML. Raises RuntimeError without a driver."""

    def __init__(self, visible: str | None = None) -> None:
        import pynvml

        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise RuntimeError(str(error)) from error
        self._handles: dict[str, Any] = {}
        self._devices = []
        for number, (device, handle) in enumerate(select_visible(self._all(), visible)):
            self._handles[device.uuid] = handle
            self._devices.append(Device(device.uuid, device.name, device.total_bytes, number))

    def _all(self) -> list[tuple[Device, Any]]:
        """Return all GPUs, with a partitioned GPU replaced by its MIG instances."""
        nvml = self._nvml
        found = []
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                gpu = nvml.nvmlDeviceGetHandleByIndex(index)
                for handle in self._instances(gpu) or [gpu]:
                    uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
                    total = nvml.nvmlDeviceGetMemoryInfo(handle).total
                    found.append((Device(uuid, name, total, index), handle))
            except nvml.NVMLError:  # it fell off the bus, or reports no memory of its own
                continue
        return found

    def _instances(self, gpu: Any) -> list[Any]:
        nvml = self._nvml
        try:
            if nvml.nvmlDeviceGetMigMode(gpu)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
                return []
        except nvml.NVMLError:  # this GPU does not support MIG
            return []
        instances = []
        for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            try:
                instances.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number))
            except nvml.NVMLError_NotFound:
                continue
        return instances

    def devices(self) -> Sequence[Device]:
        return self._devices

    def read(self, uuid: str) -> Reading:
        nvml = self._nvml
        handle = self._handles[uuid]
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError as error:
            raise LookupError(f"{uuid}: {error}") from error
        utilisation = self._maybe(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = self._maybe(nvml.nvmlDeviceGetPowerUsage, handle)
        processes = self._maybe(nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        return Reading(
            uuid,
            time.monotonic(),
            memory.used,
            memory.total,
            None if utilisation is None else utilisation.gpu / 100,
            self._maybe(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            None if power is None else power / 1000,
            tuple(process.pid for process in processes or ()),
        )

    def _maybe(self, query: Any, *arguments: Any) -> Any:
        """Return a value, or None if the device does not report it."""
        try:
            return query(*arguments)
        except self._nvml.NVMLError:
            return None


def select_visible(
    found: Sequence[tuple[Device, Any]], visible: str | None
) -> list[tuple[Device, Any]]:
    """Return the devices in CUDA_VISIBLE_DEVICES, in its order, as CUDA interprets it.

    Entries are numbers of whole GPUs, UUIDs or unique prefixes; the first unknown entry ends the
    list. None selects all devices.
    """
    if visible is None:
        return list(found)
    chosen: list[tuple[Device, Any]] = []
    for part in (part.strip() for part in visible.split(",")):
        if part.isdecimal():
            matches = [pair for pair in found if pair[0].index == int(part)]
            # The number of a partitioned GPU selects its first instance.
            matches = matches[:1]
        else:
            matches = [pair for pair in found if part and pair[0].uuid.startswith(part)]
        if len(matches) != 1 or matches[0] in chosen:
            break
        chosen += matches
    return chosen


class DemoTelemetry:
    """The simulated devices, for demonstrations and tests."""

    def __init__(self, count: int) -> None:
        self._devices = [
            Device(f"GPU-demo-{number}", f"Demo GPU {number}", 24 * 2**30, number)
            for number in range(count)
        ]

    def devices(self) -> Sequence[Device]:
        return self._devices

    def read(self, uuid: str) -> Reading:
        device = next(device for device in self._devices if device.uuid == uuid)
        at = time.monotonic()
        wave = (1 + math.sin(at / 7 + (device.index or 0))) / 2
        used = int(device.total_bytes * (0.05 + 0.3 * wave))
        return Reading(uuid, at, used, device.total_bytes, wave, 38 + 30 * wave, 60 + 190 * wave)


def visible(env: Mapping[str, str]) -> str | None:
    """Return CUDA_VISIBLE_DEVICES as set by the user, or None."""
    if VISIBLE_BEFORE in env:
        return None if env[VISIBLE_BEFORE] == "all" else env[VISIBLE_BEFORE]
    return env.get(VISIBLE)


def telemetry(env: Mapping[str, str] = os.environ) -> Telemetry | None:
    """Return the telemetry of the GPUs, or of simulated ones (`DEMO`); None without any."""
    if env.get(DEMO):
        return DemoTelemetry(_number(DEMO, env[DEMO]))
    try:
        found = NvidiaTelemetry(visible(env))
    except RuntimeError:
        return None
    return found if found.devices() else None


class Ring:
    """The last readings of all devices, one per second, taken by a thread.

    They are for display and are not stored.
    """

    def __init__(self, sources: Sequence[Telemetry], *, seconds: float = 1.0) -> None:
        self._sources = sources
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.devices = [device for source in sources for device in source.devices()]
        self.readings: dict[str, deque[Reading]] = {
            device.uuid: deque(maxlen=KEPT_SECONDS) for device in self.devices
        }

    def start(self) -> None:
        """Start the thread, unless the ring was stopped."""
        if not self._stop.is_set():
            thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
            thread.start()
            self._thread = thread  # only a started thread can be joined

    def stop(self) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def read(self) -> None:
        """Take one reading of each device."""
        for source in self._sources:
            for device in source.devices():
                try:
                    self.readings[device.uuid].append(source.read(device.uuid))
                except (LookupError, OSError):
                    continue

    def recent(self, seconds: float) -> list[tuple[Device, Reading]]:
        """Return each device with its last reading, with mean utilisation and power over `seconds`.

        Omits devices without a reading in that time.
        """
        since = time.monotonic() - seconds
        found = []
        for device in self.devices:
            readings = [one for one in list(self.readings[device.uuid]) if one.at >= since]
            if readings:
                last = replace(
                    readings[-1],
                    utilisation=_mean([one.utilisation for one in readings]),
                    power=_mean([one.power for one in readings]),
                )
                found.append((device, last))
        return found

    def _work(self) -> None:
        while not self._stop.wait(self._seconds):
            self.read()


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time."""

    name: str
    """The name, also used for its files"""
    device: Device
    accepts: frozenset[str]
    """The values of a run's `device` that the slot serves"""

    @property
    def on_gpu(self) -> bool:
        """True for a GPU, also a simulated one."""
        return self.device.index is not None

    @property
    def on_cuda(self) -> bool:
        """True for a real GPU."""
        return self.on_gpu and not self.device.uuid.startswith("GPU-demo-")

    def environment(self, env: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return the environment in which a process sees this device and no other GPU."""
        before = visible(env)
        return {
            VISIBLE: self.device.uuid if self.on_cuda else "",
            VISIBLE_BEFORE: "all" if before is None else before,
        }


def slots(env: Mapping[str, str] = os.environ, *, cpu_slots: int | None = None) -> list[Slot]:
    """Return all slots, GPUs first. `cpu_slots` replaces one CPU slot per core."""
    gpus = telemetry(env)
    found = [] if gpus is None else [_gpu_slot(device) for device in gpus.devices()]
    # With GPUs, runs on "auto" do not use the CPU.
    accepts = frozenset({"cpu"} if found else {"cpu", "auto"})
    given = env.get(CPU_SLOTS)
    count = cpu_slots or (_number(CPU_SLOTS, given) if given else cores())
    [cpu] = CpuTelemetry().devices()
    return found + [Slot(f"cpu-{number}", cpu, accepts) for number in range(count)]


def _number(name: str, value: str) -> int:
    """Return the number that a variable of the environment gives; raise InputError."""
    if not value.isdecimal():
        raise InputError(f"{name} is {value!r}, which is no number", remedy="set it to 1 or more")
    return int(value)


def slot(name: str, env: Mapping[str, str] = os.environ) -> Slot:
    """Return the slot with this name. Raise LookupError if it does not exist."""
    number = name.removeprefix("cpu-")
    cpu_slots = int(number) + 1 if number.isdecimal() else None
    for found in slots(env, cpu_slots=cpu_slots):
        if found.name == name:
            return found
    raise LookupError(f"no device slot {name!r} on this machine")


def reader(slot: Slot, env: Mapping[str, str] = os.environ) -> Telemetry:
    """Return the telemetry of the slot's device."""
    source = telemetry(env) if slot.on_gpu else None
    return source or CpuTelemetry()


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _gpu_slot(device: Device) -> Slot:
    return Slot(device.uuid, device, frozenset({"auto", "cuda", f"cuda:{device.index}"}))


def _meminfo() -> dict[str, int]:
    """Read /proc/meminfo in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) * 1024 for name, rest in (x.split(":", 1) for x in lines)}
