"""The GPUs of another machine, as its nvidia-smi prints them."""

import csv
import math
import re

from dexter_tui.machine.devices import Device, Reading

COMMAND = (
    "nvidia-smi",
    "--format=csv,noheader,nounits",
    "--query-gpu=index,uuid,name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw",
)
MAX_GPUS = 64
_MIB = 2**20
_UUID = re.compile(r"[A-Za-z]+-[0-9A-Za-z-]{1,60}")


def parse(text: str) -> list[tuple[Device, Reading]]:
    """Return the GPUs in what `COMMAND` printed, each with its reading (`at` is 0).

    Lines of another form are left out. Values that a GPU does not report, such as ``[N/A]``, are
    None; its memory is then 0.
    """
    found = []
    lines = text.splitlines()[: 2 * MAX_GPUS]
    for row in csv.reader(lines, skipinitialspace=True):
        if len(row) != 8 or not row[0].isdecimal() or not _UUID.fullmatch(row[1]):
            continue
        busy, used, total, heat, power = map(_number, row[3:])
        size = round((total or 0.0) * _MIB)
        device = Device(row[1], row[2], size, int(row[0][:4]))
        found.append(
            (
                device,
                Reading(
                    row[1],
                    0.0,
                    round((used or 0.0) * _MIB),
                    size,
                    None if busy is None else min(max(busy / 100, 0.0), 1.0),
                    heat,
                    power,
                ),
            )
        )
    return found[:MAX_GPUS]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:  # [N/A], [Not Supported], [Unknown Error]
        return None
    return value if math.isfinite(value) else None
