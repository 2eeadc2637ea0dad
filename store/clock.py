"""The program's clock and the machine's identity."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Names a file with seconds that are added to the time: what a clock that was set wrongly does to
# the program is tried out with it, the machine's own clock is never touched.
SKEW = "DEXTER_CLOCK_SKEW"

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux only


def now() -> datetime:
    """The time, in UTC. It may jump: what decides on durations takes `time.monotonic`."""
    time = datetime.now(UTC)
    skew = os.environ.get(SKEW)
    if skew and (file := Path(skew)).exists():
        time += timedelta(seconds=float(file.read_text() or 0))
    return time


def boot_id() -> str | None:
    """What tells this start of the machine from every other; None where no such thing is known."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else None
