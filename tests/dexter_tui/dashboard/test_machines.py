"""The screen of the devices with machines of places: 8 GPUs, 64 over 8 hosts, and hostile ones.

`PYTHONPATH=tests/support python tests/dexter_tui/dashboard/test_machines.py` writes tests/screens.
"""

import asyncio
import os
import re
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import shown_store
from piloting import dashboard, driven, press, settle, text, until

from dexter_tui.jobs.placement import machines
from dexter_tui.jobs.placement.machines import Machine
from dexter_tui.machine import nvidia_smi
from store import Store, run_queue
from store.clock import now
from store.locks import try_lock

REPOSITORY = Path(__file__).parents[3]
KEPT = REPOSITORY / "tests" / "screens"
PRINTED = (REPOSITORY / "tests" / "data" / "nvidia_smi_8.csv").read_text()
SIZES = ((80, 24), (200, 50))


def place(home: Path, number: int, *, seconds: float = 4.0, **values: object) -> None:
    """Have a keeper have seen a machine."""
    name = f"gpubox{number}"
    uuids = [device.uuid for device, _ in nvidia_smi.parse(PRINTED)]
    work = {str(gpu): f"r{number}{gpu}boxes" for gpu in (0, 2, 3)} | {uuids[6]: "other"}
    history = {
        uuid: [0.1 * ((at * (n + 1)) % 10) for at in range(60)] for n, uuid in enumerate(uuids)
    }
    known = Machine(
        place=name, at=now() - timedelta(seconds=seconds), host=f"node{number}.lab", gpus=PRINTED,
        work=work, history=history,
    )  # fmt: skip
    folder = machines.folder(home, name)
    folder.mkdir(parents=True)
    machines.write(folder, known.model_copy(update=values))


def filled(folder: Path, count: int) -> Path:
    """Return a home with machines, a run at another place, and one that waits for a machine."""
    home = shown_store.copy(folder)
    for number in range(count):
        place(home, number)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE run SET place = 'gpubox0' WHERE state = 'queued'")
        connection.execute(
            "INSERT INTO attempt (run_id, attempt, place, intended_at, seen, seen_at, quarantined) "
            "VALUES (?, 1, 'cluster', datetime('now'), 'pending (Resources), job 7', "
            "datetime('now', '-5 seconds'), 0)",
            (shown_store.LIVE,),
        )
    return home


async def drawn(home: Path, size: tuple[int, int]) -> str:
    """Return the screen, but for what differs from machine to machine."""
    async with dashboard(home).run_test(size=size) as pilot:
        await settle(pilot)
        await press(pilot, "m")
        shown = re.sub(r"│\s*CPU .*│", "│", text(pilot))
        return re.sub(r"\b\d:\d\d ago", "0:00 ago", shown) + "\n"


def file(count: int, size: tuple[int, int]) -> Path:
    return KEPT / f"machines-{8 * count}-gpus.{size[0]}x{size[1]}.txt"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("count", [1, 8])
@driven
async def test_all_gpus_of_all_hosts_are_on_the_screen(
    count: int, size: tuple[int, int], tmp_path: Path
) -> None:
    shown = await drawn(filled(tmp_path / "home", count), size)
    assert shown == file(count, size).read_text(), f"{file(count, size)} is another"
    for number in range(count):
        assert f"gpubox{number}" in shown
        for gpu in (0, 2, 3):
            assert f"r{number}{gpu}bo" in shown
    assert "cluster" in shown and "pending (Resources), job 7, seen" in shown
    assert "queued: 1 gpubox0" in shown


@driven
async def test_what_cannot_be_believed_is_left_or_shown_as_it_is(tmp_path: Path) -> None:
    home = shown_store.copy(tmp_path / "home")
    hostile = "\x1b[2J[bold]\u202eevil\u202c " + "w" * 500
    place(home, 0, host=hostile, work={"0": hostile}, seconds=7200.0)
    place(home, 1, gpus=None, work={"": "rabcdefg"})
    place(home, 2, gpus=hostile + "\n" + PRINTED.replace("0, GPU-3f1d4c1a", "nan, GPU-", 1))
    for name, data in (("torn", b'{"place": "to'), ("other", b"[]")):
        folder = machines.folder(home, name)
        folder.mkdir(parents=True)
        (folder / "machine.json").write_bytes(data)
    (machines.folder(home, "link")).mkdir()
    (machines.folder(home, "link") / "machine.json").symlink_to("/etc/passwd")
    shown = await drawn(home, (200, 50))
    assert "\x1b" not in shown and "[bold]" in shown
    assert "seen 2:00:0" in shown
    assert re.search(r"gpubox1  seen 0:00 ago  node1\.lab  no nvidia-smi  rabcdefg", shown)
    assert "of 7 GPUs" in shown


@driven
async def test_work_whose_process_is_gone_is_on_no_device(tmp_path: Path) -> None:
    home = shown_store.copy(tmp_path / "home")
    with Store.open(home) as store:
        run_queue.set_slot(store, "cpu-0", "cpu")
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("UPDATE run SET slot = 'cpu-0' WHERE id = ?", (shown_store.LIVE,))
        async with dashboard(home, read_only=True).run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            await press(pilot, "m")
            await until(pilot, lambda: "CPU" in text(pilot))
            assert shown_store.LIVE not in text(pilot)
            lock = try_lock(run_queue.lock_path(store, shown_store.LIVE))
            assert lock is not None
            with lock:
                await press(pilot, "escape", "m")
                await until(pilot, lambda: shown_store.LIVE in text(pilot))


def test_values_that_a_gpu_does_not_report_are_none() -> None:
    found = nvidia_smi.parse(PRINTED)
    assert [device.index for device, _ in found] == list(range(8))
    device, first = found[0]
    assert (device.name, device.total_bytes) == ("NVIDIA A100-SXM4-80GB", 81920 * 2**20)
    assert (first.utilisation, first.temperature, first.power) == (0.99, 61.0, 387.42)
    assert found[6][1].power is None and found[7][1].utilisation is None
    for text_ in ("", "NVIDIA-SMI has failed because it couldn't communicate\n", "a, b\n", '"',
                  "0, GPU-x, n, nan, inf, -1, x, y\n" * 300):  # fmt: skip
        for _, reading in nvidia_smi.parse(text_):
            assert reading.utilisation is None and reading.used_bytes == 0
    assert len(nvidia_smi.parse("0, GPU-x, n, 1, 1, 1, 1, 1\n" * 300)) == nvidia_smi.MAX_GPUS


async def _write(folder: Path) -> None:
    for count in (1, 8):
        home = filled(folder / f"{count}", count)
        for size in SIZES:
            file(count, size).write_text(await drawn(home, size))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HOME": folder, "COLORTERM": "truecolor", "TZ": "UTC"}
        asyncio.run(_write(Path(folder)))
    sys.exit()
