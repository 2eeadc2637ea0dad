"""The measurements of `make gpu-check` run on small networks, and its table holds them."""

import json

import pytest

from dexter_tui.machine import gpu_check
from dexter_tui.machine.gpu_measures import MEASURES, Bench, Row, measure

BENCH = Bench("cpu", small=True)


@pytest.mark.parametrize("name", ["parity", "layout", "graph", "out_of_memory", "compiled"])
def test_a_measurement_runs_on_small_networks(name):
    rows = list(MEASURES[name](BENCH))
    assert rows and all(row.passed is not False for row in rows), rows
    if name == "parity":
        assert "same words" in rows[0].result and "cosine of the updates 1.000" in rows[0].result


def test_a_measurement_ends_in_time():
    assert "not finished in the 0 s" in measure("memory", BENCH, 0.1)[0].result


def test_the_table_holds_every_row(tmp_path, monkeypatch):
    rows = [Row("one", True, "fine"), Row("two", False, "broken"), Row("three", None, "5 s")]
    monkeypatch.setattr(gpu_check, "_ROWS", rows)
    data, table = gpu_check.write(tmp_path / "new", "cpu")
    assert [row["check"] for row in json.loads(data.read_text())["rows"]] == ["one", "two", "three"]
    text = table.read_text()
    assert "| one | ok | fine |" in text and "| two | FAIL | broken |" in text
    assert "| three |  | 5 s |" in text
