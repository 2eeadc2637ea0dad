"""A Slurm of one node on the loopback of this machine, with all its files in one folder.

Needs the packages slurm-wlm and munge, no systemd, and root. Two GPUs are feigned: device files of
which Slurm takes care, and CUDA_VISIBLE_DEVICES of their numbers.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waiting import until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
_CONF = """
ClusterName=dexter
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
ReturnToService=2
SlurmdTimeout=20
KillWait=5
MinJobAge=300
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=60 State=UP OverSubscribe=NO
"""


def missing() -> str | None:
    """Return why no cluster can be started here; None if it can."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"{', '.join(absent)} not found: install slurm-wlm and munge"
    return None if os.geteuid() == 0 else "Slurm's programs are started as root"


def free_port() -> int:
    """Return a port of the loopback on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Cluster:
    """A running Slurm; `environment` has its commands find it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = socket.gethostname().split(".")[0]
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", "spool"):
            (folder / name).mkdir()
        # CPUs that are not there: the daemon is to believe the file.
        text = _CONF.format(folder=folder, host=self.host, controller=free_port(), node=free_port())
        (folder / "slurm.conf").write_text(text + "SlurmdParameters=config_overrides\n")
        devices = []
        for number in range(2):
            device = folder / f"gpu{number}"
            subprocess.run(["mknod", str(device), "c", "1", "3"], check=True)
            devices.append(f"Name=gpu File={device}")
        (folder / "gres.conf").write_text("\n".join(devices) + "\n")
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)

    def start(self) -> None:
        """Start all daemons; return when the node is ready."""
        folder = self.folder
        options = [f"--{one}={folder}/munge.{one.split('-')[0]}" for one in (
            "key-file", "socket", "pid-file", "log-file", "seed-file")]  # fmt: skip
        self._start("munged", "--foreground", "--force", "--num-threads=2", *options)
        until(lambda: (folder / "munge.socket").exists())
        self.start_controller()
        self.start_node()
        until(lambda: self.ask("sinfo", "-h", "-o", "%T") in ("idle", "mixed"))

    def start_controller(self) -> None:
        self._start("slurmctld", "-D")

    def start_node(self) -> None:
        self._start("slurmd", "-D", "-N", self.host)

    def kill_node(self) -> None:
        """Kill the node's daemon and those that watch its jobs; the jobs' processes go on."""
        self._processes["slurmd"].kill()
        self._processes["slurmd"].wait()
        for pid in self._own("slurmstepd"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self._own("slurmstepd"))

    def lists(self, job: str | None) -> bool:
        """Return whether Slurm has a job in its queue."""
        return job in self.ask("squeue", "-h", "-o", "%i").split()

    def jobs_named(self, name: str) -> int:
        """Return the number of jobs that Slurm ever had under a name."""
        jobs = self.ask("scontrol", "--oneliner", "show", "jobs").splitlines()
        return sum(f"JobName={name} " in line for line in jobs)

    def _start(self, name: str, *options: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            path = shutil.which(name, path=self.environment["PATH"])
            assert path is not None
            own = {**os.environ, **self.environment}
            own.pop("DEXTER_HOME", None)  # it outlives the test
            self._processes[name] = subprocess.Popen(
                [path, *options],
                env=own,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def ask(self, *command: str) -> str:
        """Return the output of a command of Slurm; "" if it failed."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def _own(self, name: str) -> list[int]:
        """Return the processes of a program that were started by this cluster."""
        mark = f"SLURM_CONF={self.folder}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if command.startswith(name.encode()) and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def stop(self) -> None:
        """End all daemons and what is left of their jobs."""
        for job in self.ask("squeue", "-h", "-o", "%i").split():
            self.ask("scancel", job)
        deadline = time.monotonic() + 20
        while self.ask("squeue", "-h", "-o", "%i") and time.monotonic() < deadline:
            time.sleep(0.2)
        for pid in self._own("slurmstepd"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Give a cluster that is stopped at the end."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
