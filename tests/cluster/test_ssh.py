"""Runs over SSH to this machine, by an sshd that these tests start: `make cluster-test`."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import short_run
from gate import Gate
from waiting import until

from dexter.config import RunConfig
from dexter_tui.jobs import control, submit, trust
from store import State, Store, run_queue
from store.journal.run_journal import Journal
from store.placed import attempts
from store.states import Outcome

MISSING = [name for name in ("/usr/sbin/sshd", "ssh", "rsync", "flock") if not shutil.which(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not found")


class Box:
    """An sshd on the loopback, and an ssh that finds it as "box"."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        Path("/run/sshd").mkdir(exist_ok=True)  # without it, sshd does not start
        (folder / "sshd.conf").write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        (folder / "ssh.conf").write_text(
            f"Host box\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
            f" IdentityFile {folder}/user\n IdentitiesOnly yes\n StrictHostKeyChecking no\n"
            f" UserKnownHostsFile {folder}/known\n LogLevel ERROR\n"
        )
        self.path = folder / "bin"
        self.path.mkdir()
        wrapper = self.path / "ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh.conf "$@"\n')
        wrapper.chmod(0o700)

    def start(self) -> None:
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "sshd.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Stop the sshd and drop its connections."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    box = Box(tmp_path)
    box.start()
    monkeypatch.setenv("PATH", f"{box.path}:{os.environ['PATH']}")
    yield box
    box.stop()


def test_a_run_over_ssh_is_paused_resumed_dropped_and_killed(
    box: Box, tmp_path: Path, home: Path
) -> None:
    home.mkdir()
    repository = Path(__file__).parents[2]
    python = tmp_path / "python"  # the box needs this repository, as an installation has it
    state = os.environ["XDG_STATE_HOME"]
    python.write_text(
        f"#!/bin/sh\nPYTHONPATH={repository} XDG_STATE_HOME={state} HF_HUB_OFFLINE=1 exec nice "
        f'{shutil.which("python")} "$@"\n'
    )
    python.chmod(0o700)
    (home / "config.toml").write_text(
        f'[places.box]\nkind = "ssh"\nhost = "box"\nfolder = "{tmp_path}/there"\n'
        f'python = "{python}"\n'
    )
    gate = Gate(tmp_path)
    values = {**short_run.settings(), "classifier": gate.classifier, "class_name": "waterbird"}
    config = RunConfig.from_preset("default", seed=3, steps=40, **values)
    gate.close(12)
    with Store.open(home) as store:
        checked = submit.check([config], home, agreed=trust.CODE, elsewhere=True)
        [run_id] = submit.add(store, checked, place="box")

        def reached(steps: int) -> bool:
            control.ensure_runners(store, again=True)
            return store.run(run_id).steps_done >= steps

        until(lambda: reached(10))
        control.pause(store, run_id)
        gate.close(1)  # every process may do one more step, and sees the request behind it
        until(lambda: store.run(run_id).state is State.PAUSED)
        steps = store.run(run_id).steps_done
        gate.close(6)
        control.resume(store, run_id)
        until(lambda: reached(steps + 1))
        [first, second] = attempts.attempts_of(store, run_id)
        assert (first.outcome, second.outcome) == (Outcome.FINISHED, None)
        # The connection is dropped: the worker goes on, and nothing is concluded.
        box.stop()
        slot = control.keeper_slot("box")

        def line() -> str:
            [row] = [row for row in run_queue.slots(store) if row.name == slot]
            return row.note or ""

        until(lambda: "states as of" in line())
        assert store.run(run_id).state is State.RUNNING
        box.start()
        until(lambda: not line())
        # The worker is killed.
        found = Journal(home / "runs" / run_id).read()
        pid = next(e["pid"] for e in found if e["kind"] == "start" and e["attempt"] == 2)
        os.kill(pid, signal.SIGKILL)
        gate.open()
        until(lambda: reached(40) and store.run(run_id).state is State.SUCCEEDED)
        outcomes = [one.outcome for one in attempts.attempts_of(store, run_id)]
        assert outcomes == [Outcome.FINISHED, Outcome.GONE, Outcome.FINISHED]
        assert [step.step for step in store.steps(run_id)] == list(range(1, 41))
