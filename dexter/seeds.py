"""The seeds of pictures, in disjoint ranges: no prompt is scored on noise of its own search.

A picture is a function of (generator, prompt, seed). The search of each run has its own range.
All runs share the ranges of scoring, frames, evidence and screening, so two prompts or two
classifiers are compared on the same noise.

All seeds are below 2**32: torch's CPU generator reads only the low 32 bits, and two seeds that
differ by a multiple of 2**32 give the same picture.
"""

from typing import Literal, get_args

Purpose = Literal["score", "frames", "evidence", "screening", "search"]

MAX_RUN_SEED = 999
RANGE_SIZE = 2**22  # 1004 ranges of 4 million pictures each fit below 2**32

_SHARED: tuple[Purpose, ...] = ("score", "frames", "evidence")


def seed_range(purpose: Purpose, run_seed: int = 0) -> tuple[int, int]:
    """Return the seeds ``[start, end)`` reserved for ``purpose``, for the record.

    ``run_seed`` (0 to 999) affects only "search". Raises ValueError for an unknown purpose or a run
    seed out of range.
    """
    if purpose not in get_args(Purpose):
        raise ValueError(f"no such purpose: {purpose!r}; one of {', '.join(get_args(Purpose))}")
    if not 0 <= run_seed <= MAX_RUN_SEED:
        raise ValueError(f"run seed {run_seed} is not in 0 to {MAX_RUN_SEED}")
    if purpose == "screening":  # added last, so that no other range moves
        slot = len(_SHARED) + MAX_RUN_SEED + 1
    else:
        slot = _SHARED.index(purpose) if purpose in _SHARED else len(_SHARED) + run_seed
    return slot * RANGE_SIZE, (slot + 1) * RANGE_SIZE


def picture_seeds(purpose: Purpose, start: int, count: int, run_seed: int = 0) -> list[int]:
    """Return ``count`` seeds of the range of ``purpose``, from index ``start`` (0-based).

    Raises ValueError if they would leave the range.
    """
    first, end = seed_range(purpose, run_seed)
    if start < 0 or count < 0 or first + start + count > end:
        raise ValueError(f"seeds {start} to {start + count} leave the {RANGE_SIZE} of {purpose!r}")
    return list(range(first + start, first + start + count))
