"""The table of methods: `python -m benchmarks.methods [--parts ask causes detector ...]`.

A part that was measured is kept in `benchmarks/results/methods.json` and is not measured again
unless it is named with --again; the pictures lie in `build/bench-methods`.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.methods import ask, bound, causes, core, detector, sufficient, wasserstein
from benchmarks.methods.rows import Row, table

PARTS: dict[str, Callable[[], Sequence[Row]]] = {
    "ask": ask.measure,
    "causes": causes.measure,
    "sufficient": sufficient.measure,
    "detector": detector.measure,
    "bound": bound.measure,
    "output": bound.measure_output,
    "core": core.measure,
    "wasserstein": wasserstein.measure,
}
TARGET = Path(__file__).parent.parent / "results" / "methods.json"


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--again", nargs="+", choices=PARTS, default=[])
    parser.add_argument("--target", type=Path, default=TARGET)
    asked = parser.parse_args()
    kept: dict[str, Any] = json.loads(asked.target.read_text()) if asked.target.exists() else {}
    for name in asked.parts:
        if name in kept and name not in asked.again:
            continue
        rows = PARTS[name]()
        kept[name] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "rows": [asdict(r) for r in rows]}
        asked.target.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{name}: measured", flush=True)
    rows = [Row(**row) for name in PARTS if name in kept for row in kept[name]["rows"]]
    print(table(rows))
    for row in rows:
        print(f"\n{row.method}: {row.note}")


if __name__ == "__main__":
    main()
