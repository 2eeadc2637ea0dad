"""A Ray of one node on the loopback of this machine, with two GPUs that do not exist."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from slurm_cluster import free_port
from waiting import until

MARK = "DEXTER_TEST_RAY"


def missing() -> str | None:
    """Return why no Ray can be started here; None if it can."""
    found = importlib.util.find_spec("ray") and importlib.util.find_spec("aiohttp_cors")
    return None if found else "Ray is not installed: install dexter-tui[ray]"


class RayCluster:
    """A Ray whose head can be killed and started again under the same address."""

    def __init__(self) -> None:
        # A short path: sockets lie below it.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self._dashboard = free_port()
        self._port = free_port()

    @property
    def address(self) -> str:
        """The address of its dashboard."""
        return f"http://127.0.0.1:{self._dashboard}"

    def start(self) -> None:
        """Start the head; return when it takes jobs."""
        env = {**os.environ, MARK: str(self.folder)}
        env.pop("DEXTER_HOME", None)
        options = {
            "port": self._port,
            "node-ip-address": "127.0.0.1",
            "dashboard-host": "127.0.0.1",
            "dashboard-port": self._dashboard,
            "dashboard-agent-listen-port": free_port(),
            "ray-client-server-port": free_port(),
            "temp-dir": self.folder,
            "num-cpus": 2,
            "num-gpus": 2,
            "object-store-memory": 100_000_000,
            "include-log-monitor": "false",
        }
        flags = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
        with (self.folder / "start.out").open("ab") as out:
            subprocess.run(
                [*command, "--disable-usage-stats", *flags],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                check=True,
            )
        until(self._answers)

    def _answers(self) -> bool:
        with suppress(URLError, OSError), urlopen(f"{self.address}/api/jobs/", timeout=10):
            return True
        return False

    def end_job(self, name: str) -> None:
        """Stop a job, as somebody else may."""
        with urlopen(Request(f"{self.address}/api/jobs/{name}/stop", b"{}"), timeout=60):
            pass

    def kill_head(self) -> None:
        """Kill all of Ray, but none of the processes of its jobs."""
        self._kill(lambda command: b"dexter_tui" not in command)

    def stop(self) -> None:
        """Kill all of Ray and what is left of its jobs."""
        self._kill(lambda command: True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill(self, is_wanted: Callable[[bytes], bool]) -> None:
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._has(entry) and is_wanted((entry / "cmdline").read_bytes()):
                    os.kill(int(entry.name), signal.SIGKILL)

    def _has(self, process: Path) -> bool:
        """Return whether a process is of this cluster; some overwrite their environment."""
        mark = f"{MARK}={self.folder}".encode()
        if mark in (process / "environ").read_bytes().split(b"\0"):
            return True
        files = [str(file.readlink()) for file in (process / "fd").iterdir()]
        return any(file.startswith(f"{self.folder}/") for file in files)


@contextmanager
def running() -> Iterator[RayCluster]:
    """Give a cluster that is stopped at the end."""
    cluster = RayCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
