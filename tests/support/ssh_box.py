"""A box that is reached over SSH: an sshd on the loopback of this machine, with a key of its own.

Needs the package openssh-server, no systemd, and root.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waiting import until

from dexter_tui.jobs.placement.files import RunFolder
from dexter_tui.paths import PACKAGED

_PROGRAMS = ("sshd", "ssh", "ssh-keygen")
_SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile {folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
"""
_CLIENT = """
Host box
  HostName 127.0.0.1
  Port {port}
  User root
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
"""
# The account's start files print something, as they often do.
_PYTHON = """#!/bin/sh
echo 'Welcome to the box'
export {exports}
exec {python} "$@"
"""


def missing() -> str | None:
    """Return why no box can be started here; None if it can."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    absent = [name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"{', '.join(absent)} not found: install openssh-server"
    return None if os.geteuid() == 0 else "sshd is started as root"


class SshBox:
    """An sshd, with `folder` as the disk of its machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
        for name in ("key", "host_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        for name, text in (("sshd_config", _SERVER), ("ssh_config", _CLIENT)):
            (folder / name).write_text(text.format(port=port, folder=folder))
        host_key = (folder / "host_key.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
        values = {
            "PYTHONPATH": PACKAGED,
            "DEXTER_HOME": self.home,
            "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"],
            "HF_HUB_OFFLINE": "1",
        }
        exports = " ".join(f"{name}='{value}'" for name, value in values.items())
        (folder / "python").write_text(_PYTHON.format(exports=exports, python=sys.executable))
        (folder / "python").chmod(0o755)

    def run(self, run_id: str) -> RunFolder:
        """Return the folder of a run there."""
        return RunFolder(self.folder / "dexter", run_id)

    def table(self, name: str, *settings: str) -> str:
        """Return the table of config.toml for this box."""
        return "\n".join(
            [
                f"[places.{name}]",
                'kind = "ssh"',
                'host = "box"',
                f'folder = "{self.folder}/dexter"',
                f'python = "{self.folder}/python"',
                f'flags = ["-F", "{self.folder}/ssh_config"]',
                *settings,
                "",
            ]
        )

    def start(self) -> None:
        """Have it accept connections."""
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        program = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        assert program is not None
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until((self.folder / "sshd.pid").exists)

    def sessions(self) -> list[int]:
        """Return the processes of sshd that serve a connection."""
        assert self._process is not None
        return [pid for pid, parent in _parents().items() if parent == self._process.pid]

    def drop(self) -> None:
        """Cut all connections, and accept none."""
        assert self._process is not None
        sessions = self.sessions()
        self._process.kill()
        self._process.wait()
        for pid in sessions:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        (self.folder / "sshd.pid").unlink(missing_ok=True)

    def workers(self) -> dict[str, int]:
        """Return the processes of attempts, by the run and its attempt, as "RUN/T"."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                if "dexter_tui.jobs.placement.worker" in words and str(self.folder) in words[-3]:
                    found[f"{Path(words[-3]).name}/{words[-2]}"] = int(entry.name)
        return found

    def stop(self) -> None:
        """End sshd, its connections, and what was started over them."""
        self.drop()
        for pid in self.workers().values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            found[int(entry.name)] = int(fields[1])
    return found


@contextmanager
def running(folder: Path) -> Iterator[SshBox]:
    """Give a box that is stopped at the end."""
    box = SshBox(folder)
    box.start()
    try:
        yield box
    finally:
        box.stop()
