"""Rows of runs as their workers record them, written straight into a store."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from store import Store, run_queue, run_records
from store.journal import replay
from store.journal.replay import RunFields
from store.tables import Run


def add_run(
    store: Store, study_id: str, seed: int, config: Mapping[str, Any], *, priority: int = 0
) -> str:
    """Queue a run; return its id."""
    [run_id] = store.add_runs(study_id, [(seed, config)], priority=priority)
    return run_id


def claim(store: Store, **choice: Any) -> Run:
    """Claim the next run as `run_queue.claim` does; a run must be due."""
    run = run_queue.claim(store, **choice)
    assert isinstance(run, Run)
    return run


def update_run(store: Store, run_id: str, **fields: Unpack[RunFields]) -> None:
    """Write fields of a run and its heartbeat."""
    with store._write() as session:
        run_records.beat(store, session, Run, run_id, fields)


def record_steps(store: Store, run_id: str, steps: Sequence[Mapping[str, Any]]) -> None:
    """Write steps (columns of `Step`) in one transaction; those already there are replaced."""
    if not steps:
        return
    with store._write() as session:
        run_records.beat(store, session, Run, run_id, {"steps_done": steps[-1]["step"]})
        replay.write_steps(session, run_id, steps)


def record_prompts(store: Store, run_id: str, prompts: Sequence[Mapping[str, Any]]) -> None:
    """Replace the run's prompts, best first: words, text, mean_loss, pictures."""
    with store._write() as session:
        run_records.beat(store, session, Run, run_id, {})
        replay.write_prompts(session, run_id, prompts)


def record_frame(
    store: Store,
    run_id: str,
    *,
    kind: str,
    seed: int,
    prompt: str,
    predicted_class: int,
    target_probability: float,
    hit: bool,
    sha256: str,
    step: int = 0,
) -> None:
    """Write a picture's row; one of the same kind, step and seed is replaced.

    `kind` is "preview" (of a step) or "frame" (of the best prompt); `sha256` is from
    `put_artifact`.
    """
    row = {
        "kind": kind,
        "step": step,
        "seed": seed,
        "prompt": prompt,
        "predicted_class": predicted_class,
        "target_probability": target_probability,
        "hit": hit,
        "sha256": sha256,
    }
    with store._write() as session:
        run_records.beat(store, session, Run, run_id, {})
        replay.write_frame(session, run_id, row)
