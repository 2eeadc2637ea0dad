"""Benchmarks of the product on the lab; each module prints a table and writes JSON."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.append(str(REPOSITORY / "tests" / "support"))  # some share the tests' helpers
