"""Half an hour of a dashboard in use while runs come and go: does it live, does its memory grow?

    python -m benchmarks.soak [--minutes 30]

A real dashboard in a pseudo-terminal of 120 x 40 cells. One thread makes runs that search, finish
or fail, and deletes old ones; another presses the keys of someone who looks at everything, at a
pace at which a machine stays idle, and resizes the window. Exit code 1 if the dashboard ended,
wrote of a defect, used more than 150 MB, or its memory grew by more than 5% after the first five
minutes (a sixth of the time, where that is less than half an hour).
"""

import argparse
import contextlib
import itertools
import random
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

import recorded
from fake_terminal import FakeTerminal

from benchmarks.ui import dashboard, draw_frame, step_row
from store import State, Store, run_queue
from store.upkeep import retention

MOST_GROWTH = 0.05
MOST_BYTES = 150e6
MINUTE = 60.0
KEY_SECONDS = 2.0
KEPT_RUNS = 12
STEPS = 60

ENTER, ESCAPE, TAB, UP, DOWN = b"\r", b"\x1b", b"\t", b"\x1b[A", b"\x1b[B"
# What someone does who looks at everything; it begins and ends at home.
ROUND: tuple[bytes | tuple[int, int], ...] = (
    b"g", b"j", b"j", ENTER, b"h", b"l", b"g", b"+", b"0", b"2", b"3", b"l", b"j", b"+", b"-",
    ENTER, b"l", b"l", ESCAPE, b"4", b"5", b"6", b"1", b" ", (80, 24), b" ", b"s", b"2", b"3",
    b"4", b"5", b"6", b"1", ESCAPE, ESCAPE, b"?", DOWN, ESCAPE, (200, 50), b"s", b"s", b"S", b"s",
    b"s", b"s", b"s", b"s", b"s", b"S", b"/", b"s", b"e", b"a", ENTER, b"n", b"N", ESCAPE,
    b"C", b" ", b" ", ESCAPE,
    (1, 1), (120, 40), b":", b"select * from runs_summary", b"\x1b[15~", ESCAPE, b"c", ESCAPE,
    b"n", b"\x1bOS", b"birds", TAB, TAB, UP, ESCAPE, b"y", b" ", b" ", ESCAPE, b"\x1bOQ",
    DOWN, DOWN, UP, ESCAPE, b"G", b"g",
)  # fmt: skip


class Comings(threading.Thread):
    """Runs, one after another, each about half a minute long; the oldest are deleted."""

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self.made = 0
        self.deleted = 0
        self._home = home
        self._stop_it = threading.Event()

    def run(self) -> None:
        there: deque[str] = deque()
        with Store.open(self._home) as store:
            classifier = store.ensure_classifier("lab:birds", None, ["waterbird", "other"], 64)
            while not self._stop_it.is_set():
                # Four seeds of a study, then another study.
                settings = {"template": "a [MASK]", "steps": STEPS, "salt": self.made // 4}
                study = store.ensure_study(classifier, "waterbird", 0, settings)
                run_id = recorded.add_run(store, study, self.made % 4, settings)
                self._search(store, run_id)
                there.append(run_id)
                self.made += 1
                if len(there) > KEPT_RUNS:
                    retention.delete(store, retention.doomed(store, [there.popleft()]))
                    self.deleted += 1

    def _search(self, store: Store, run_id: str) -> None:
        run_queue.claim(store, ids=[run_id])
        run_queue.set_state(store, run_id, State.RUNNING)
        recorded.update_run(store, run_id, steps_total=STEPS, device="cpu")
        log = store.home / "runs" / run_id / "log"
        log.parent.mkdir(exist_ok=True)
        for step in range(1, STEPS + 1):
            if self._stop_it.wait(0.5):
                break
            recorded.record_steps(store, run_id, [step_row(step)])
            with log.open("a") as file:
                file.write(f"step {step}: {random.random()}\n")
            if step % 6 == 0:
                draw_frame(store, run_id, "preview", step)
        if self.made % 5 == 4:
            run_queue.finish_run(store, run_id, State.FAILED, error="out of memory: try less")
            return
        words = step_row(1)["words"]
        recorded.record_prompts(
            store,
            run_id,
            [{"words": words, "text": f"a {words[0]}", "mean_loss": 1.0, "pictures": 8}],
        )
        for _ in range(4):
            draw_frame(store, run_id, "frame", 0)
        run_queue.finish_run(store, 
            run_id, State.SUCCEEDED, words=words, prompt=f"a {words[0]}", score_value=0.5,
            score_low=0.4, score_high=0.6, score_n=50,
        )  # fmt: skip

    def end(self) -> None:
        """No more runs."""
        self._stop_it.set()
        self.join()


def soak(minutes: float) -> bool:
    """Run the soak, print a line a minute, and return True if it passed."""
    # What is exported on the way goes to the current folder.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        home = Path(folder)
        comings = Comings(home)
        comings.start()
        while not (home / "store.sqlite").exists():
            time.sleep(0.1)
        terminal = dashboard(home)
        try:
            terminal.wait_for(b"Palette")
            memory = _use(terminal, comings, minutes)
            if not memory:
                said = bytes(terminal.output)[-3000:].decode(errors="replace")
                print(f"the dashboard ended by itself:\n{said}")
        finally:
            terminal.close()
            comings.end()
        defects = home / "dashboard.log"
        result = defects.read_text() if defects.exists() else ""
    if not memory:
        return False
    early = max(memory[: max(round(len(memory) / 6), 1)])
    growth = memory[-1] / early - 1
    print(f"runs: {comings.made} made, {comings.deleted} deleted")
    print(
        f"memory after the first sixth {early / 1e6:.1f} MB, at the end {memory[-1] / 1e6:.1f} MB"
    )
    print(f"growth {growth:+.1%}   wanted: < {MOST_GROWTH:.0%}")
    print(f"most memory {max(memory) / 1e6:.1f} MB   wanted: < {MOST_BYTES / 1e6:.0f} MB")
    if result:
        print(f"defects:\n{result[-3000:]}")
    return growth < MOST_GROWTH and max(memory) < MOST_BYTES and not result


def _use(terminal: FakeTerminal, comings: Comings, minutes: float) -> list[int]:
    """Press keys for so long; the memory at the end of each minute, none if it ended."""
    memory: list[int] = []
    start, before = time.monotonic(), 0
    for key in itertools.cycle(ROUND):
        if isinstance(key, tuple):
            terminal.resize(*key)
        else:
            terminal.type(key)
        time.sleep(KEY_SECONDS)
        passed = time.monotonic() - start
        if passed < (len(memory) + 1) * MINUTE:
            continue
        memory.append(terminal.memory_bytes())
        if not memory[-1]:
            return []
        sent = len(terminal.output)
        print(
            f"{passed / MINUTE:>3.0f} min  {memory[-1] / 1e6:6.1f} MB  "
            f"CPU {terminal.cpu_seconds():6.1f} s  {(sent - before) / MINUTE:7.0f} B/s  "
            f"{comings.made} runs",
            flush=True,
        )
        before = sent
        if passed >= minutes * MINUTE:
            return memory
    return memory


def main() -> None:
    """Use it for so long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    if not soak(parser.parse_args().minutes):
        sys.exit(1)


if __name__ == "__main__":
    main()
