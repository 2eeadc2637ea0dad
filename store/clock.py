"""The program's clock and an identifier of the current boot."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Names a file with seconds to add to the time, to try the program with a wrong clock without
# touching the machine's own.
SKEW = "DEXTER_CLOCK_SKEW"

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux only


def now() -> datetime:
    """Return the time in UTC. It may jump: measure durations with `time.monotonic`."""
    time = datetime.now(UTC)
    skew = os.environ.get(SKEW)
    if skew and (file := Path(skew)).exists():
        time += timedelta(seconds=float(file.read_text() or 0))
    return time


def boot_id() -> str | None:
    """Return an identifier that is unique to this boot of the machine; None outside Linux."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else None
