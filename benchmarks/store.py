"""How long a write into the store takes while others write, and what recording a run costs.

    python -m benchmarks.store [--writers 4] [--seconds 20]

Writers are processes that record a run through its journal, as workers do: a batch of steps and a
picture about every second ("paced"), or as fast as they can ("back to back"). A write is all that
a run waits for: the picture's file, the journal, and the transaction.
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path

from PIL import Image

from dexter_tui.recorder import Recorder
from store import State, Store

STEPS = 5  # in a batch: a lab step takes about 0.2 s
TARGET_SECONDS = 0.050


def picture(seed: int) -> bytes:
    """A picture of the lab's size that no PNG makes small."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (64, 64), random.Random(seed).randbytes(64 * 64 * 3)).save(buffer, "PNG")
    return buffer.getvalue()


def step(number: int) -> dict[str, object]:
    """What a step of six words tells."""
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


def write(home: Path, pause: float, seconds: float, seed: int, results: "object") -> None:
    """Record one run; the times of its writes."""
    rng = random.Random(seed)
    files, transactions, cpu, steps = [], [], 0.0, 0
    with Store.open(home) as store:
        run = store.claim_run()
        assert run is not None
        recorder = Recorder(store, run)
        recorder.start(run)
        recorder.state(State.RUNNING)
        recorder.flush(30.0)
        catch_up = store.catch_up

        def timed(*arguments: object, **options: object) -> None:
            begun = time.perf_counter()
            catch_up(*arguments, **options)  # type: ignore[arg-type]
            transactions.append(time.perf_counter() - begun)

        store.catch_up = timed  # type: ignore[method-assign]
        pictures = [picture(seed * 1000 + n) for n in range(20)]
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
        store.release(run.id)
    results.put((files, transactions, cpu, steps))  # type: ignore[attr-defined]


def measure(writers: int, seconds: float, pause: float, home: Path) -> dict[str, float]:
    """Times in seconds of the writes of so many processes at once."""
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
        "writes": len(transactions),
        "store_p50": percentile(transactions, 0.5),
        "store_p99": percentile(transactions, 0.99),
        "store_max": transactions[-1],
        "whole_p50": percentile(flushes, 0.5),
        "whole_p99": percentile(flushes, 0.99),
        "cpu_per_step": cpu / steps,
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--step-seconds", type=float, default=0.2, help="CPU time of a lab step")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, pause in (("paced", 1.0), ("back to back", 0.0)):
            home = Path(folder, name.replace(" ", "-"))
            found[name] = measure(arguments.writers, arguments.seconds, pause, home)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    load = os.getloadavg()[0]
    print(f"{arguments.writers} writers, {os.cpu_count()} cores, load {load:.1f}; times in ms")
    print(f"{'':14}{'writes':>8}{'p50':>8}{'p99':>8}{'max':>8}{'with files p50':>16}{'p99':>8}")
    for name, times in found.items():
        print(
            f"{name:14}{times['writes']:8.0f}{1e3 * times['store_p50']:8.1f}"
            f"{1e3 * times['store_p99']:8.1f}{1e3 * times['store_max']:8.1f}"
            f"{1e3 * times['whole_p50']:16.1f}{1e3 * times['whole_p99']:8.1f}"
        )
    cost = found["paced"]["cpu_per_step"]
    print(
        f"recording costs {1e3 * cost:.2f} ms of CPU a step: {cost / arguments.step_seconds:.1%} "
        f"of a step that takes {arguments.step_seconds:g} s"
    )
    good = found["paced"]["store_p99"] <= TARGET_SECONDS
    print(f"p99 of a write, paced: {'within' if good else 'above'} {1e3 * TARGET_SECONDS:.0f} ms")


if __name__ == "__main__":
    main()
