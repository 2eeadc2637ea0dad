"""Comparisons as they are read: the settings in which their members differ."""

import sqlite3
from contextlib import closing
from pathlib import Path

import shown_store

from store.reading import comparisons
from store.reading.browse import Browse


def test_differing_settings_are_settings_or_weights_of_a_model(tmp_path: Path) -> None:
    home = shown_store.copy(tmp_path / "home")
    comparison = shown_store.compare(home)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        for number, study in enumerate((shown_store.STUDY, shown_store.OTHER)):
            connection.execute(
                "UPDATE study SET settings = json_set(settings, '$.steps', ?1, '$.recognised', "
                "'net ' || ?1, '$.weights', json_object('generator', 'sha256:' || ?1)) "
                "WHERE id = ?2",
                (number, study),
            )
    found = comparisons.page(Browse(home), comparison)["configuration"]
    assert [(one["setting"], [*one["values"].values()]) for one in found] == [
        ("steps", [0, 1]),
        ("weights of generator", ["sha256:0", "sha256:1"]),
    ]
