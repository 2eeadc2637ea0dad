"""The records of a transfer as they arrive: read one by one, each checked, and grouped by kind.

A record is a JSON object a line. Hashes are computed again where rows are made of the records
(`store.upkeep.transfer`).
"""

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

from store.checking.checks import Record, check, no_constant, refuse

MAX_LINE = 2_000_000  # bytes of a record
MAX_RECORDS = 2_000_000
MAX_OF_RUN = 20_000  # records of a run, which are in memory together
MAX_BYTES_OF_RUN = 6_000_000


def grouped(records: Iterable[object]) -> dict[str, list[Record]]:
    """Check records, and return them by kind."""
    found: dict[str, list[Record]] = {}
    for one in records:
        record = check(one)
        found.setdefault(record["record"], []).append(record)
    return found


class Lines:
    """Checked records of one kind in a file of lines; each iteration reads them again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places = array("Q")

    def add(self, place: int) -> None:
        """Add the record that begins at this byte."""
        self._places.append(place)

    def __iter__(self) -> Iterator[Record]:
        for place in self._places:
            self._file.seek(place)
            record: Record = json.loads(self._file.readline())
            yield record


def spooled(file: IO[bytes]) -> Mapping[str, Lines]:
    """Check the records in a seekable file that nobody else writes; return them by kind."""
    found: dict[str, Lines] = {}
    of_run: dict[str, tuple[int, int]] = {}
    file.seek(0)
    place = number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            refuse(f"record {number}: longer than {MAX_LINE:,} bytes")
        if number > MAX_RECORDS:
            refuse(f"more than {MAX_RECORDS:,} records")
        try:
            record = json.loads(line, parse_constant=no_constant)
        except (ValueError, RecursionError):
            refuse(f"record {number} is not JSON")
        kind = check(record)["record"]
        if "run_id" in record:
            count, size = of_run.get(record["run_id"], (0, 0))
            of_run[record["run_id"]] = (count + 1, size + len(line))
            if count >= MAX_OF_RUN or size + len(line) > MAX_BYTES_OF_RUN:
                refuse(f"run {record['run_id']}: too many records")
        found.setdefault(kind, Lines(file)).add(place)
        place += len(line)
    return found
