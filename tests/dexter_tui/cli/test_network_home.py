"""A home on a network file system is refused; its artifacts and runs may lie on one."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from store import Store
from store.checking import file_systems

LOCAL = ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", "fuse.fuse-overlayfs", "fuse.encfs"]
NETWORK = ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "beegfs_nodev", "cifs", "smb3", "ceph", "9p",
           "fuse", "fuse.sshfs", "fuse.rclone", "fuse.unheard-of"]  # fmt: skip


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Have the table of mounts say that a folder lies on a file system of a kind."""

    def mount(kind: str) -> Path:
        far = tmp_path / "far away"
        far.mkdir()
        table = tmp_path / "mountinfo"
        escaped = str(far).replace(" ", "\\040")
        table.write_text(
            "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
            "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
            f"31 27 0:40 /export {escaped} rw,relatime shared:7 master:2 - {kind} box:/x rw\n"
        )
        monkeypatch.setattr(file_systems, "MOUNTS", table)
        return far

    return mount


@pytest.mark.parametrize("kind", NETWORK)
def test_no_command_makes_or_opens_a_store_there(
    kind: str, cli: Any, mount: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = mount(kind) / "home"
    monkeypatch.setenv("DEXTER_HOME", str(home))
    for line in (
        "runs",
        "query SELECT",
        "status",
        "screen --classifier lab:birds-biased --class waterbird",
        "run --classifier lab:birds-biased --class waterbird",
    ):
        outcome = cli(*line.split())
        assert outcome.code == 2, line
        [error] = outcome.err.splitlines()
        assert error.startswith(
            f"dexter-tui: {home} is on a network file system ({kind}), where the locks of"
        )
        assert "; set DEXTER_HOME to a folder on a local disk, such as /var/tmp/" in error
        assert not home.exists()
    outcome = cli("doctor", "--json")
    [finding] = [one for one in outcome.json if one["check"] == "home"]
    assert (outcome.code, finding["status"]) == (1, "error")
    assert f"{home} is on a network file system ({kind})" in finding["detail"]
    assert "local disk" in finding["remedy"]
    assert cli("doctor", "--rebuild").code == 2


@pytest.mark.parametrize("kind", LOCAL)
def test_a_local_disk_is_fine(
    kind: str, cli: Any, mount: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = mount(kind) / "home"
    monkeypatch.setenv("DEXTER_HOME", str(home))
    assert cli("runs").code == 0
    [finding] = [one for one in cli("doctor", "--json").json if one["check"] == "home"]
    assert (finding["status"], finding["detail"]) == ("ok", f"{home} ({kind})")


def test_pictures_and_runs_may_lie_there(
    cli: Any, home: Path, mount: Callable[[str], Path]
) -> None:
    far = mount("nfs4")
    home.mkdir()
    for name in ("artifacts", "runs"):
        (far / name).mkdir()
        (home / name).symlink_to(far / name)
    with Store.open(home) as store:
        placed = store.place_artifact(b"data", "text/plain")
        assert store.read_artifact(placed["sha256"]) == b"data"
    assert list((far / "artifacts").rglob(placed["sha256"] + "*"))
    assert cli("runs").code == 0
    # Locks have to be local, whatever the tables are.
    shutil.rmtree(home / "locks")
    (far / "locks").mkdir()
    (home / "locks").symlink_to(far / "locks")
    assert cli("runs").code == 2


def test_a_mount_may_hide_another(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    nfs_below_disk = (
        "27 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "30 27 0:40 / /data/x rw - nfs box:/x rw\n"
        "31 27 254:1 / /data rw - xfs /dev/vdb rw\n"
    )
    for text, kind in (
        (nfs_below_disk, "xfs"),  # the disk was mounted later, over the other
        (nfs_below_disk.replace("30 27", "30 31"), "nfs"),
        ("27 1 254:0 / / rw - ext4 a rw\n28 27 0:41 / /data rw - autofs b rw\n"
         "29 28 0:42 / /data rw - nfs4 c rw\n", "nfs4"),
        ("5 5 0:1 / / rw - ext4 a rw\nnonsense\n", "unknown"),
        ("", "unknown"),
    ):  # fmt: skip
        table.write_text(text)
        assert file_systems.file_system(Path("/data/x/home"), table) == kind
    assert file_systems.file_system(Path("/proc/self")) == "proc"


@pytest.fixture
def fuse(tmp_path: Path) -> Iterator[Path]:
    """A folder that a program in user space serves."""
    program = shutil.which("bindfs")
    if program is None or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs bindfs and /dev/fuse")
    (tmp_path / "behind").mkdir()
    point = tmp_path / "point"
    point.mkdir()
    made = subprocess.run(
        [program, str(tmp_path / "behind"), str(point)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no FUSE mount here: {made.stderr.strip()}")
    yield point
    subprocess.run(["umount", str(point)], check=True)


def test_a_real_fuse_mount(fuse: Path, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEXTER_HOME", str(fuse / "home"))
    outcome = cli("runs")
    assert outcome.code == 2
    assert f"{fuse}/home is on a network file system (fuse" in outcome.err
    local = fuse.parent / "local"
    local.mkdir()
    (fuse / "runs").mkdir()
    (local / "runs").symlink_to(fuse / "runs")
    monkeypatch.setenv("DEXTER_HOME", str(local))
    assert cli("runs").code == 0
