"""Devices, slots and who may run where."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import recorded
import sqlalchemy as sa
import tiny

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter_tui.cli import live_progress, output
from dexter_tui.jobs import control, launch, submit
from dexter_tui.jobs.runner import Runner
from dexter_tui.jobs.team import Team
from dexter_tui.machine import devices, doctor
from dexter_tui.machine.devices import Device, Reading, Ring, select_visible
from store import Store, StoreError, run_queue, run_records
from store.clock import SKEW
from store.locks import FileLock
from store.states import Kind
from store.tables import Run

GPUS = [
    (Device(f"GPU-{letter}1", "card", 10**9, index), None) for index, letter in enumerate("abc")
]
MIG = [
    (Device("GPU-a1", "card", 10**9, 0), None),
    (Device("MIG-b1", "part", 10**8, 1), None),
    (Device("MIG-b2", "part", 10**8, 1), None),
]


@pytest.mark.parametrize(
    ("visible", "chosen"),
    [
        (None, "GPU-a1 GPU-b1 GPU-c1"),
        ("", ""),
        ("2,0", "GPU-c1 GPU-a1"),
        ("1, 7, 0", "GPU-b1"),  # CUDA stops at the first that is not there
        ("-1", ""),
        ("GPU-b,GPU-a1", "GPU-b1 GPU-a1"),
        ("GPU-", ""),  # fits more than one
        ("0,0", "GPU-a1"),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(visible, chosen):
    assert [device.uuid for device, _ in select_visible(GPUS, visible)] == chosen.split()


def test_instances_of_a_divided_gpu_are_devices():
    assert [d.uuid for d, _ in select_visible(MIG, None)] == ["GPU-a1", "MIG-b1", "MIG-b2"]
    assert [d.uuid for d, _ in select_visible(MIG, "1,0")] == ["MIG-b1", "GPU-a1"]
    assert [d.uuid for d, _ in select_visible(MIG, "MIG-b2")] == ["MIG-b2"]


def test_without_gpus_runs_go_to_the_cpu():
    slots = devices.slots({}, cpu_slots=3)
    assert [slot.name for slot in slots] == ["cpu-0", "cpu-1", "cpu-2"]
    assert {slot.accepts for slot in slots} == {frozenset({"cpu", "auto"})}
    assert slots[0].environment({})["CUDA_VISIBLE_DEVICES"] == ""
    assert len(devices.slots({})) == len(os.sched_getaffinity(0))
    assert len(devices.slots({devices.CPU_SLOTS: "2"})) == 2
    for name in (devices.CPU_SLOTS, devices.DEMO):
        with pytest.raises(InputError, match=f"{name} is 'x', which is no number"):
            devices.slots({name: "x"})
    assert devices.slot("cpu-40", {}).name == "cpu-40"
    with pytest.raises(LookupError):
        devices.slot("GPU-demo-0", {})


def test_with_gpus_the_cpu_takes_only_what_asks_for_it():
    slots = devices.slots({devices.DEMO: "2"}, cpu_slots=1)
    assert [slot.name for slot in slots] == ["GPU-demo-0", "GPU-demo-1", "cpu-0"]
    assert [slot.accepts for slot in slots] == [
        {"auto", "cuda", "cuda:0"},
        {"auto", "cuda", "cuda:1"},
        {"cpu"},
    ]
    # Invented devices compute on the CPU.
    assert slots[0].environment({})["CUDA_VISIBLE_DEVICES"] == ""


def test_the_ring_keeps_the_last_readings():
    ring = Ring([devices.DemoTelemetry(2), devices.CpuTelemetry()], seconds=0.001)
    assert [device.uuid for device in ring.devices] == ["GPU-demo-0", "GPU-demo-1", "cpu"]
    for _ in range(devices.KEPT_SECONDS + 5):
        ring.read()
    for kept in ring.readings.values():
        assert len(kept) == devices.KEPT_SECONDS
        assert all(a.at <= b.at for a, b in zip(kept, list(kept)[1:], strict=False))
        assert all(0 <= reading.used_bytes <= reading.total_bytes for reading in kept)
    cpu = ring.readings["cpu"][-1]
    assert cpu.utilisation is None or 0 <= cpu.utilisation <= 1
    ring.readings["cpu"].clear()
    ring.start()
    while not ring.readings["cpu"]:
        os.sched_yield()
    ring.stop()


def test_recent_readings_are_a_mean_and_one_that_is_gone_is_left_out():
    result = iter([(0.2, None), (0.6, 100.0), (1.0, 140.0)])

    class Source:
        def devices(self):
            return [GPUS[0][0], GPUS[1][0]]

        def read(self, uuid):
            if uuid == "GPU-b1":
                raise LookupError("it fell off the bus")
            utilisation, power = next(result)
            return Reading(
                uuid, time.monotonic(), 5, 10, utilisation=utilisation, power=power, temperature=60
            )

    ring = Ring([Source()])
    assert ring.recent(60) == []
    for _ in range(3):
        ring.read()
    [(device, reading)] = ring.recent(60)
    assert device.uuid == "GPU-a1"
    assert reading.utilisation == pytest.approx(0.6)
    assert reading.power == pytest.approx(120)
    assert (reading.temperature, reading.used_bytes) == (60, 5)
    assert ring.recent(0) == []


def test_readings_that_were_stopped_before_they_began_do_not_begin():
    """A dashboard may be closed while another thread still finds its devices."""
    ring = Ring([devices.DemoTelemetry(1)], seconds=0.001)
    ring.stop()
    ring.start()
    ring.stop()
    assert "telemetry" not in {thread.name for thread in threading.enumerate()}


class Card:
    """Reports what a test sets for a card."""

    def __init__(self, **values):
        self.values = {"used_bytes": 0, "total_bytes": 24 * 2**30, **values}

    def devices(self):
        return []

    def read(self, uuid):
        return Reading(uuid, 0.0, **self.values)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home") as store:
        yield store


def queued(store, device="auto", **changes):
    config = RunConfig.from_preset(
        "default", classifier="lab:birds", class_name="a", generator="some/hub-id", device=device,
        **changes,
    )  # fmt: skip
    classifier = store.ensure_classifier("lab:birds", None, ["a"], 64)
    study = store.ensure_study(classifier, "a", 0, {})
    return store.run(recorded.add_run(store, study, 0, config.model_dump(mode="json")))


@pytest.mark.parametrize(
    ("card", "device", "lacking"),
    [
        ({}, "auto", None),
        ({"processes": (7, 8)}, "auto", "in use by 2 other processes"),
        ({"processes": (7,)}, "cuda:0", None),  # the user named it: shared, if there is room
        ({"processes": (7,), "used_bytes": 23 * 2**30}, "cuda:0", "are free"),
        # In a container the processes of others are not seen, but their memory is.
        ({"used_bytes": 23 * 2**30}, "auto", "are free"),
        # More than the whole card has: waiting would not help.
        ({"total_bytes": 10**9}, "auto", None),
    ],
)
def test_a_run_waits_for_room_on_a_gpu(store, card, device, lacking):
    [slot] = [s for s in devices.slots({devices.DEMO: "1"}) if s.on_gpu]
    runner = Runner(store, slot)
    runner._telemetry = Card(**card)
    result = runner._lacking(queued(store, device))
    assert result is None if lacking is None else lacking in (result or "")


def test_a_run_waits_for_memory_of_the_cpu_only_while_other_runs_have_it(store):
    runner = Runner(store, devices.slot("cpu-0", {}))
    runner._telemetry = Card(used_bytes=24 * 2**30)
    run = queued(store, "cpu")
    assert runner._lacking(run) is None
    assert recorded.claim(store, slot="cpu-1").id == run.id
    assert "of memory" in (runner._lacking(queued(store, "cpu")) or "")


def test_a_run_goes_to_another_card_while_the_first_has_no_room(store, monkeypatch):
    monkeypatch.setenv("DEXTER_HOME", str(store.home))
    monkeypatch.setenv(devices.DEMO, "2")
    monkeypatch.setenv(devices.CPU_SLOTS, "1")
    queued(store)
    with FileLock(run_queue.runner_lock(store, "GPU-demo-0"), wait=False):
        run_queue.set_slot(store, "GPU-demo-0", "GPU-demo-0")
        assert control.ensure_runners(store) == []  # its runner is about to take the run
        run_queue.set_slot(store, "GPU-demo-0", "GPU-demo-0", note="in use by 2 other processes")
        assert control.ensure_runners(store) == ["GPU-demo-1"]


def test_a_slot_is_silent_no_longer_than_its_work(store):
    queued(store, "cpu")
    run = recorded.claim(store, slot="cpu-0").id
    runner = Runner(store, devices.slot("cpu-0", {}))
    with FileLock(run_queue.slot_lock(store, "cpu-0"), wait=False):
        for promise, silent in ((1e-6, True), (3600.0, False)):
            with store._write() as session:
                sign = {"promise": promise, "pid": None}  # no process to end
                run_records.beat(store, session, Run, run, sign)
            runner._tick()
            runner._tick()
            [slot] = run_queue.slots(store)
            assert (slot.note is not None) is silent


def test_a_runner_makes_room_for_that_of_a_newer_version(store):
    queued(store, "cpu")
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    runner = Runner(store, devices.slot("cpu-0", {}))
    assert runner.work() == 0 and runner.ending
    assert not run_queue.activities(store)  # no worker was started


def test_a_package_that_cannot_be_imported_is_named_in_the_slot_and_by_the_doctor(
    store, tmp_path, monkeypatch
):
    torch = tmp_path / "torch"
    torch.mkdir()
    (torch / "__init__.py").write_text("raise OSError('libcudnn.so.9: no such file')")
    (torch / "version.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DEXTER_HOME", str(store.home))
    queued(store, "cpu")

    def python(*arguments):
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    assert python("dexter_tui.jobs.runner", "cpu-0").returncode == 1
    what = "torch is installed, but cannot be imported: libcudnn.so.9: no such file"
    [slot] = run_queue.slots(store)
    assert slot.broken and slot.note is not None and what in slot.note
    answer = python("dexter_tui", "doctor", "--json")
    assert answer.returncode == 1
    [found] = [one for one in json.loads(answer.stdout) if one["check"] == "packages"]
    assert (found["status"], found["detail"]) == ("error", what)


def test_slots_that_gave_up_are_waited_for_only_when_they_are_tried_again(store, monkeypatch):
    monkeypatch.setenv("DEXTER_HOME", str(store.home))
    monkeypatch.setenv(devices.CPU_SLOTS, "1")
    note = "no worker took anything"
    run = queued(store, "cpu").id
    team = Team(store, [run])
    monkeypatch.setenv(SKEW, str(store.home / "skew"))  # the clock is set back meanwhile
    (store.home / "skew").write_text("-3600")
    run_queue.set_slot(store, "cpu-0", "cpu", note=note, broken=True)
    assert not team.working()
    assert store.run(run).error == note
    team = Team(store, [queued(store, "cpu").id])
    output.start_runners(store)
    assert team.working()  # while the runner is about to take the slot
    team.cancel()
    runner = control._started.pop((store.home, "cpu-0"))
    runner.terminate()
    runner.wait()


def test_a_command_looks_at_all_of_its_runs_at_once(store):
    ids = [queued(store, "cpu").id for _ in range(12)][::-1]
    team = Team(store, ids)
    team.work()
    asked = []
    sa.event.listen(store._reader, "before_cursor_execute", lambda *a: asked.append(a))
    assert [work.id for work in team.work()] == ids
    assert len(asked) < len(ids)
    with pytest.raises(StoreError, match="no run 'rgone'"):
        Team(store, [*ids, "rgone"]).work()


def test_a_slot_takes_only_runs_for_its_device(store):
    cpu, card = queued(store, "cpu"), queued(store, "cuda:1")
    anywhere = queued(store, "auto")
    slots = {slot.name: slot for slot in devices.slots({devices.DEMO: "2"}, cpu_slots=1)}
    waiting = {name: run_queue.queue(store, devices=slot.accepts) for name, slot in slots.items()}
    assert {name: [run.id for run in runs] for name, runs in waiting.items()} == {
        "GPU-demo-0": [anywhere.id],
        "GPU-demo-1": [card.id, anywhere.id],
        "cpu-0": [cpu.id],
    }
    claimed = recorded.claim(store, devices=slots["GPU-demo-1"].accepts, slot="GPU-demo-1")
    assert (claimed.id, claimed.slot) == (card.id, "GPU-demo-1")


def test_the_highest_priority_goes_first_then_the_oldest(store):
    runs = [queued(store).id for _ in range(4)]
    control.set_priority(store, runs[2], 5)
    control.set_priority(store, runs[0], -1)
    order = [runs[2], runs[1], runs[3], runs[0]]
    assert [run.id for run in run_queue.queue(store)] == order
    assert run_queue.claim(store, fits=lambda kind, config: False) is None
    assert not run_queue.is_alive(store, runs[2])
    assert [recorded.claim(store).id for _ in range(4)] == order


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({}, False),
        ({"logind.conf": "#KillUserProcesses=yes\n"}, False),
        ({"logind.conf": "[Login]\nKillUserProcesses=yes\n"}, True),
        (
            {
                "logind.conf": "KillUserProcesses=yes\n",
                "logind.conf.d/a.conf": "KillUserProcesses = no\n",
            },
            False,
        ),
    ],
)
def test_whether_logout_kills_is_read_from_the_system(tmp_path, monkeypatch, files, kills):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(
        launch, "_LOGIND", (tmp_path / "logind.conf", Path(tmp_path, "logind.conf.d"))
    )
    launch._kills_user_processes.cache_clear()
    assert launch._kills_user_processes() is kills
    launch._kills_user_processes.cache_clear()


def test_a_command_that_leaves_work_behind_warns_of_logout_once(
    tmp_path, monkeypatch, store, capsys
):
    (tmp_path / "logind.conf").write_text("KillUserProcesses=yes\n")
    monkeypatch.setattr(launch, "_LOGIND", (tmp_path / "logind.conf", tmp_path / "none"))
    monkeypatch.setenv("USER", "somebody-without-lingering")
    caches = (launch._kills_user_processes, output._warn_of_logout)
    for cache in caches:
        cache.cache_clear()
    # No slot of this machine takes it.
    job = run_queue.add_job(store, Kind.PROBE, {}, config={"device": "cuda:7"}, device="cuda:7")
    for _ in range(2):
        assert live_progress.follow(store, job, detach=True) == 0
    assert capsys.readouterr().err.count("KillUserProcesses") == 1
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def nvml(monkeypatch):
    """The driver's library as it answers for two cards; this machine need not have one. Returns a
    function that makes a call of it refuse, for some cards."""
    import pynvml

    class NotSupported(pynvml.NVMLError):
        def __new__(cls):
            return Exception.__new__(cls)

        def __str__(self):
            return "not supported"

    answers: dict[str, Callable[..., Any]] = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
        "nvmlDeviceGetMigMode": lambda handle: None,
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle[-1]}",
        "nvmlDeviceGetName": lambda handle: "card",
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=3, total=10),
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [SimpleNamespace(pid=5)],
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=50),
        "nvmlDeviceGetTemperature": lambda handle, which: 60,
        "nvmlDeviceGetPowerUsage": lambda handle: 1000,
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 12080,
        "nvmlSystemGetDriverVersion": lambda: "570",
        "nvmlShutdown": lambda: None,
    }

    def refuse(name, cards=(0, 1)):
        def answer(handle, *others):
            if int(str(handle)[-1]) in cards:
                raise NotSupported
            return answers[name](handle, *others)

        monkeypatch.setattr(pynvml, name, answer)

    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    refuse("nvmlDeviceGetMigMode")
    return refuse


def test_nvml_is_read_by_uuid(nvml):
    nvml("nvmlDeviceGetPowerUsage")
    # A worker is shown its own card alone, and still knows what the user calls it.
    env = {devices.VISIBLE: "1,0"}
    for slot in devices.slots(env, cpu_slots=1):
        shown = {**env, **slot.environment(env)}
        assert shown[devices.VISIBLE] == (slot.device.uuid if slot.on_gpu else "")
        assert devices.slot(slot.name, shown) == slot
        again = {**shown, **slot.environment(shown)}
        assert again == shown
    telemetry = devices.NvidiaTelemetry("1,0")
    assert [(d.uuid, d.index) for d in telemetry.devices()] == [("GPU-1", 0), ("GPU-0", 1)]
    reading = telemetry.read("GPU-1")
    assert (reading.free_bytes, reading.utilisation, reading.power) == (7, 0.5, None)
    assert (reading.temperature, reading.processes) == (60, (5,))


@pytest.mark.parametrize("call", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo"])
def test_a_card_that_does_not_answer_leaves_the_others(nvml, call):
    nvml(call, cards=[0])
    assert [slot.name for slot in devices.slots({}, cpu_slots=1)] == ["GPU-1", "cpu-0"]
    driver = doctor.read_driver()
    assert driver is not None and [gpu.index for gpu in driver.gpus] == [1]


def test_a_card_need_not_list_its_processes(nvml):
    nvml("nvmlDeviceGetComputeRunningProcesses")
    reading = devices.NvidiaTelemetry().read("GPU-1")
    assert (reading.free_bytes, reading.processes) == (7, ())
    driver = doctor.read_driver()
    assert driver is not None and [gpu.processes for gpu in driver.gpus] == [0, 0]


def test_a_generator_that_no_device_has_the_memory_for_is_refused_before_queueing(tmp_path):
    def config(folder):
        names = {"generator": str(folder), "classifier": "lab:any", "class_name": "0"}
        return RunConfig.from_preset("quick", **names, device="cpu")

    submit.check_memory(config(tiny.generator_folder()))
    folder = shutil.copytree(tiny.generator_folder(), tmp_path / "generator")
    file = folder / "unet" / "config.json"
    unet = json.loads(file.read_text())
    wide = [100_000 * channels for channels in unet["block_out_channels"]]
    file.write_text(json.dumps({**unet, "block_out_channels": wide}))
    with pytest.raises(InputError, match=r"of memory by formula, and CPU, .* --dtype") as refused:
        submit.check_memory(config(folder))
    assert refused.value.field == "generator"
