"""Times of writes into the store while others write, and the cost of recording a run.

    python -m benchmarks.store [--writers 4] [--seconds 20] [--runs 100] [--slots 4]

Writers are processes that record a run through its journal, as workers do: a batch of steps and a
picture about every second ("paced"), or as fast as they can ("back to back"). A write is all that
a run waits for: the picture's file, the journal, and the transaction. Then short runs of the lab
are queued on several slots: each must be done exactly once, and their logs show what it cost to
record them. Exit code 1 if a promise is not kept.
"""

import argparse
import gc
import json
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from small_pictures import noise

from dexter.config import RunConfig
from dexter_tui.jobs import control, submit
from dexter_tui.jobs.launch import log_file, slot_log
from dexter_tui.jobs.recorder import Recorder
from dexter_tui.machine import devices
from store import ENDED, State, Store, run_queue, run_records
from store.tables import Run

STEPS = 5  # in a batch: a lab step takes about 0.2 s
TARGET_SECONDS = 0.050
TARGET_SHARE = 0.02  # of a lab step's CPU time, for recording it
TELL_SECONDS = 10.0


def step(number: int) -> dict[str, object]:
    """Return the record of a step with six words."""
    return {
        "step": number,
        "losses": {"class": 1.234567, "masked_lm": 0.5, "total": 1.5},
        "target_probability": 0.25,
        "predicted_class": 1,
        "hits": 3,
        "words": ["sea", "lake", "duck", "boat", "blue", "sun"],
        "pseudo_targets": ["sea", "lake", "duck", "boat", "blue", "sun"],
        "best_words": ["sea", "lake", "duck", "boat", "blue", "sun"],
        "best_loss": 1.2,
        "entropy": 2.5,
        "temperature": 1.0,
        "seconds": 0.2,
    }


def write(home: Path, pause: float, seconds: float, seed: int, results: Any) -> None:
    """Record one run; the times of its writes."""
    rng = random.Random(seed)
    files, transactions, cpu, steps = [], [], 0.0, 0
    with Store.open(home) as store:
        run = run_queue.claim(store)
        assert isinstance(run, Run)
        recorder = Recorder(store, run)
        recorder.start(run)
        recorder.state(State.RUNNING)
        recorder.flush(30.0)
        catch_up = run_records.catch_up

        def timed(*arguments: Any, **options: Any) -> None:
            begun = time.perf_counter()
            catch_up(*arguments, **options)
            transactions.append(time.perf_counter() - begun)

        run_records.catch_up = timed
        pictures = [noise(seed * 1000 + n) for n in range(20)]
        gc.collect()
        gc.freeze()  # as workers do when their models are loaded
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begun_cpu = time.process_time()
            for _ in range(STEPS):
                steps += 1
                recorder.step(step(steps))
            recorder.frame(
                pictures[steps // STEPS % 20],
                kind="preview",
                step=steps,
                seed=steps,
                prompt="a picture of a sea with a lake",
                predicted_class=1,
                target_probability=0.25,
                hit=True,
            )
            begun = time.perf_counter()
            assert recorder.flush(30.0)
            files.append(time.perf_counter() - begun)
            cpu += time.process_time() - begun_cpu
            if pause:
                time.sleep(rng.uniform(0.5, 1.5) * pause)
        recorder.state(State.SUCCEEDED)
        recorder.settle(lambda: False)
        run_queue.release(store, run.id)
    results.put((files, transactions, cpu, steps))


def measure(writers: int, seconds: float, pause: float, home: Path) -> dict[str, float]:
    """Return the times in seconds of writes by this number of processes at once."""
    spawn = multiprocessing.get_context("spawn")
    with Store.open(home) as store:
        classifier = store.ensure_classifier("lab:birds", None, ["a", "b"], 64)
        study = store.ensure_study(classifier, "a", 0, {})
        store.add_runs(study, [(seed, {}) for seed in range(writers)])
    results = spawn.Queue()
    processes = [
        spawn.Process(target=write, args=(home, pause, seconds, seed, results))
        for seed in range(writers)
    ]
    for process in processes:
        process.start()
    parts = [results.get(timeout=seconds + 300) for _ in processes]
    for process in processes:
        process.join()
    flushes = sorted(second for part in parts for second in part[0])
    transactions = sorted(second for part in parts for second in part[1])
    cpu, steps = sum(part[2] for part in parts), sum(part[3] for part in parts)

    def percentile(values: list[float], share: float) -> float:
        return values[min(int(share * len(values)), len(values) - 1)]

    return {
        # The slowest of all first ones, which compile their statements; shown, and counted above.
        "first": max(part[1][0] for part in parts),
        "writes": len(transactions),
        "store_p50": percentile(transactions, 0.5),
        "store_p99": percentile(transactions, 0.99),
        "store_max": transactions[-1],
        "whole_p50": percentile(flushes, 0.5),
        "whole_p99": percentile(flushes, 0.99),
        "cpu_per_step": cpu / steps,
    }


def short_runs(count: int) -> list[RunConfig]:
    """Runs of the embedded lab, a few steps each."""
    few = {"steps": 6, "batch": 4, "stop": "none", "score_images": 4, "frames": 1, "frame_tries": 2}
    return [lab_run(seed=seed, **few) for seed in range(count)]


def lab_run(**changes: Any) -> RunConfig:
    """A run of the embedded lab, as the preset "quick" has it."""
    return RunConfig.from_preset(
        "quick", classifier="lab:birds-biased", class_name="waterbird", device="cpu", **changes
    )


def work_through(home: Path, configs: list[RunConfig], slots: int) -> dict[str, Any]:
    """Queue runs on a number of slots, wait for their end, and check them."""
    count = len(configs)
    os.environ |= {"DEXTER_HOME": str(home), devices.CPU_SLOTS: str(slots)}
    begun = time.monotonic()
    with Store.open(home) as store:
        run_ids = submit.enqueue(store, configs)
        told_at = begun
        while left := [run for run in store.runs() if run.state not in ENDED]:
            run_queue.reconcile(store)
            control.ensure_runners(store, again=True)
            if time.monotonic() - told_at > TELL_SECONDS:
                told_at = time.monotonic()
                done = count - len(left)
                rest = (told_at - begun) / done * len(left) if done else float("nan")
                print(f"{done} of {count} runs, {rest:.0f} s left", file=sys.stderr)
            time.sleep(0.5)
        runs = store.runs()
        logs = [log_file(store, run_id).read_text() for run_id in run_ids]
        everything = logs + [
            slot_log(store, slot.name).read_text() for slot in run_queue.slots(store)
        ]
        attempts = [
            sum(entry["kind"] == "start" for entry in run_records.journal(store, run_id).read())
            for run_id in run_ids
        ]
        steps = [len(store.steps(run_id)) for run_id in run_ids]
    costs = [re.search(r"took ([\d.]+) s of CPU, ([\d.]+) s of it", text) for text in logs]
    return {
        "runs": len(runs),
        "slots": len({run.slot for run in runs}),
        "seconds": time.monotonic() - begun,
        "succeeded": sum(run.state is State.SUCCEEDED for run in runs),
        "once": sum(
            (run.attempt, tries, made) == (1, 1, run.steps_total)
            for run, tries, made in zip(
                sorted(runs, key=lambda run: run_ids.index(run.id)), attempts, steps, strict=True
            )
        ),
        "locked": [line for text in everything for line in text.splitlines() if "locked" in line],
        "search_cpu": sum(float(cost[1]) for cost in costs if cost),
        "record_cpu": sum(float(cost[2]) for cost in costs if cost),
    }


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--runs", type=int, default=100, help="that are queued; 0: none")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, pause in (("paced", 1.0), ("back to back", 0.0)):
            home = Path(folder, name.replace(" ", "-"))
            found[name] = measure(arguments.writers, arguments.seconds, pause, home)
        if arguments.runs:
            found["run"] = work_through(Path(folder, "run"), [lab_run()], 1)
            runs = short_runs(arguments.runs)
            found["queue"] = work_through(Path(folder, "queue"), runs, arguments.slots)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    run, queue = found.pop("run", None), found.pop("queue", None)
    load = os.getloadavg()[0]
    print(f"{arguments.writers} writers, {os.cpu_count()} cores, load {load:.1f}; times in ms")
    names = f"{'':14}{'writes':>8}{'p50':>8}{'p99':>8}{'max':>8}{'with files p50':>16}{'p99':>8}"
    print(f"{names}{'first':>8}")
    for name, times in found.items():
        print(
            f"{name:14}{times['writes']:8.0f}{1e3 * times['store_p50']:8.1f}"
            f"{1e3 * times['store_p99']:8.1f}{1e3 * times['store_max']:8.1f}"
            f"{1e3 * times['whole_p50']:16.1f}{1e3 * times['whole_p99']:8.1f}"
            f"{1e3 * times['first']:8.1f}"
        )
    good = found["paced"]["store_p99"] <= TARGET_SECONDS
    print(f"p99 of a write, paced: {'within' if good else 'above'} {1e3 * TARGET_SECONDS:.0f} ms")
    print(f"recording costs {1e3 * found['paced']['cpu_per_step']:.2f} ms of CPU a step, paced")
    if run is None or queue is None:
        return 0 if good else 1
    share = run["record_cpu"] / run["search_cpu"]
    print(
        f"{queue['runs']} runs on {queue['slots']} slots in {queue['seconds']:.0f} s: "
        f"{queue['succeeded']} succeeded, {queue['once']} exactly once, "
        f"{len(queue['locked'])} times “locked” in their logs"
    )
    print(*queue["locked"], sep="\n")
    print(
        f"recording took {share:.2%} of the CPU time of a lab run's search "
        f"({'within' if share <= TARGET_SHARE else 'above'} {TARGET_SHARE:.0%})"
    )
    whole = queue["succeeded"] == queue["once"] == queue["runs"] and not queue["locked"]
    return 0 if good and whole and share <= TARGET_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
