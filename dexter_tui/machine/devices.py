"""The devices that runs may use: what there is, how busy it is, and the slots on it.

A slot is a place for one run at a time. A GPU that this process may use (CUDA_VISIBLE_DEVICES) is
one slot, a MIG instance is one, and a CPU is as many as it has cores. GPUs are known by UUID,
because their numbers change with what is visible.
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

DEMO = "DEXTER_DEMO_DEVICES"  # so many devices are made up, and compute on the CPU
CPU_SLOTS = "DEXTER_CPU_SLOTS"
VISIBLE = "CUDA_VISIBLE_DEVICES"
# What VISIBLE was before a worker was shown its own device alone: numbers are those of the user.
VISIBLE_BEFORE = "DEXTER_VISIBLE_DEVICES"
KEPT_SECONDS = 600


@dataclass(frozen=True)
class Device:
    """Something to compute on."""

    uuid: str
    """"cpu", or the UUID of a GPU or MIG instance."""
    name: str
    total_bytes: int
    index: int | None = None
    """The N of "cuda:N", for what the user calls so; None for a CPU."""


@dataclass(frozen=True)
class Reading:
    """How busy a device is. None for what it does not tell."""

    uuid: str
    at: float
    """Seconds, of `time.monotonic`."""
    used_bytes: int
    total_bytes: int
    utilisation: float | None = None
    """Fraction of the time that it computes, 0 to 1."""
    temperature: float | None = None
    """Degrees Celsius."""
    power: float | None = None
    """Watts."""
    processes: tuple[int, ...] = ()
    """Ids of the processes that compute on it."""

    @property
    def free_bytes(self) -> int:
        """Memory that nobody uses."""
        return self.total_bytes - self.used_bytes


class Telemetry(Protocol):
    """Tells of devices."""

    def devices(self) -> Sequence[Device]:
        """Those that this process may use."""
        ...

    def read(self, uuid: str) -> Reading:
        """How busy one of them is now. LookupError if it is there no more."""
        ...


class CpuTelemetry:
    """This machine's CPU, by /proc."""

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
    """CUDA devices, by the driver's management library. RuntimeError where there is none."""

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
        """Each GPU by its number, or in its place its MIG instances where it is so divided."""
        nvml = self._nvml
        found = []
        for index in range(nvml.nvmlDeviceGetCount()):
            gpu = nvml.nvmlDeviceGetHandleByIndex(index)
            instances = self._instances(gpu)
            for handle in instances or [gpu]:
                uuid = nvml.nvmlDeviceGetUUID(handle)
                total = nvml.nvmlDeviceGetMemoryInfo(handle).total
                found.append((Device(uuid, nvml.nvmlDeviceGetName(handle), total, index), handle))
        return found

    def _instances(self, gpu: Any) -> list[Any]:
        nvml = self._nvml
        try:
            if nvml.nvmlDeviceGetMigMode(gpu)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
                return []
        except nvml.NVMLError:  # not of a kind that can be divided
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
            processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except nvml.NVMLError as error:
            raise LookupError(f"{uuid}: {error}") from error
        utilisation = self._maybe(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = self._maybe(nvml.nvmlDeviceGetPowerUsage, handle)
        return Reading(
            uuid,
            time.monotonic(),
            memory.used,
            memory.total,
            None if utilisation is None else utilisation.gpu / 100,
            self._maybe(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            None if power is None else power / 1000,
            tuple(process.pid for process in processes),
        )

    def _maybe(self, ask: Any, *arguments: Any) -> Any:
        """What a MIG instance or an older card does not tell is None."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None


def select_visible(
    found: Sequence[tuple[Device, Any]], visible: str | None
) -> list[tuple[Device, Any]]:
    """The devices that CUDA_VISIBLE_DEVICES names, in its order, as CUDA reads it.

    Numbers (of whole GPUs), UUIDs or unique beginnings of them; the first that is not there ends
    the list. None stands for all.
    """
    if visible is None:
        return list(found)
    chosen: list[tuple[Device, Any]] = []
    for part in (part.strip() for part in visible.split(",")):
        if part.isdecimal():
            fitting = [pair for pair in found if pair[0].index == int(part)]
            # Of a GPU that is divided, its number stands for its first instance.
            fitting = fitting[:1]
        else:
            fitting = [pair for pair in found if part and pair[0].uuid.startswith(part)]
        if len(fitting) != 1 or fitting[0] in chosen:
            break
        chosen += fitting
    return chosen


class DemoTelemetry:
    """Devices that are made up: to see how many would be shown, and for tests."""

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
    """CUDA_VISIBLE_DEVICES as the user set it; None if it was not set."""
    if VISIBLE_BEFORE in env:
        return None if env[VISIBLE_BEFORE] == "all" else env[VISIBLE_BEFORE]
    return env.get(VISIBLE)


def telemetry(env: Mapping[str, str] = os.environ) -> Telemetry | None:
    """Of this machine's GPUs, or of made up ones where `DEMO` asks for them; None without any."""
    if env.get(DEMO):
        return DemoTelemetry(int(env[DEMO]))
    try:
        found = NvidiaTelemetry(visible(env))
    except RuntimeError:
        return None
    return found if found.devices() else None


class Ring:
    """The last readings of all devices, one a second, taken by a thread of its own.

    They are for the eye and go into no store.
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
        """Begin to read, unless it was stopped before it came to that."""
        if not self._stop.is_set():
            thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
            thread.start()
            self._thread = thread  # only now can it be waited for

    def stop(self) -> None:
        """End the thread."""
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

    def lately(self, seconds: float) -> list[tuple[Device, Reading]]:
        """Each device with its last reading, its utilisation and power being means of so long.

        One that told nothing in that time is left out.
        """
        since = time.monotonic() - seconds
        found = []
        for device in self.devices:
            recent = [one for one in list(self.readings[device.uuid]) if one.at >= since]
            if recent:
                last = replace(
                    recent[-1],
                    utilisation=_mean([one.utilisation for one in recent]),
                    power=_mean([one.power for one in recent]),
                )
                found.append((device, last))
        return found

    def _work(self) -> None:
        while not self._stop.wait(self._seconds):
            self.read()


def _mean(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return sum(told) / len(told) if told else None


# Slots


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time."""

    name: str
    """Also in the names of its files."""
    device: Device
    accepts: frozenset[str]
    """The values of a run's `device` that it serves."""

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU, or plays one."""
        return self.device.index is not None

    @property
    def on_cuda(self) -> bool:
        """Whether it is a real GPU."""
        return self.on_gpu and not self.device.uuid.startswith("GPU-demo-")

    def environment(self, env: Mapping[str, str] = os.environ) -> dict[str, str]:
        """What makes a process see this device and no other GPU."""
        before = visible(env)
        return {
            VISIBLE: self.device.uuid if self.on_cuda else "",
            VISIBLE_BEFORE: "all" if before is None else before,
        }


def slots(env: Mapping[str, str] = os.environ, *, cpu_slots: int | None = None) -> list[Slot]:
    """All slots of this machine, GPUs first. `cpu_slots` instead of one for each core."""
    gpus = telemetry(env)
    found = [] if gpus is None else [_gpu_slot(device) for device in gpus.devices()]
    # What may run anywhere is not put on a CPU where there are GPUs.
    accepts = frozenset({"cpu"} if found else {"cpu", "auto"})
    count = cpu_slots or int(env.get(CPU_SLOTS) or cores())
    [cpu] = CpuTelemetry().devices()
    return found + [Slot(f"cpu-{number}", cpu, accepts) for number in range(count)]


def slot(name: str, env: Mapping[str, str] = os.environ) -> Slot:
    """The slot of a name. LookupError if this machine has none such."""
    number = name.removeprefix("cpu-")
    cpu_slots = int(number) + 1 if number.isdecimal() else None
    for found in slots(env, cpu_slots=cpu_slots):
        if found.name == name:
            return found
    raise LookupError(f"no device slot {name!r} on this machine")


def reader(slot: Slot, env: Mapping[str, str] = os.environ) -> Telemetry:
    """What tells how busy the slot's device is."""
    source = telemetry(env) if slot.on_gpu else None
    return source or CpuTelemetry()


def cores() -> int:
    """Cores of the CPU that this process may use."""
    return len(os.sched_getaffinity(0))


def _gpu_slot(device: Device) -> Slot:
    return Slot(device.uuid, device, frozenset({"auto", "cuda", f"cuda:{device.index}"}))


def _meminfo() -> dict[str, int]:
    """/proc/meminfo, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) * 1024 for name, rest in (x.split(":", 1) for x in lines)}
