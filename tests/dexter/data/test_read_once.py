"""Labelled pictures are read again only when their folder has changed."""

import os
from pathlib import Path

import pytest

from dexter.data.read_once import ReadOnce
from dexter.errors import InputError


def later(path: Path) -> None:
    """Date a change a second after the last one."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


def test_a_folder_is_read_again_after_a_change(tmp_path: Path) -> None:
    for name in ("train/duck/a.png", "test/duck/b.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    read = ReadOnce()
    first = read(str(tmp_path))
    assert read(str(tmp_path)) is first and len(first.items) == 2
    (tmp_path / "train" / "duck" / "c.png").touch()
    later(tmp_path / "train" / "duck")
    assert len(read(str(tmp_path)).items) == 3

    table = tmp_path / "test" / "metadata.csv"
    table.write_text("file_name,label,place\nduck/b.png,duck,sea\n")
    later(table.parent)
    assert read(str(tmp_path)).columns == ["place"]
    table.write_text("file_name,label,sky\nduck/b.png,duck,sea\n")
    later(table)
    assert read(str(tmp_path)).columns == ["sky"]


def test_other_settings_are_read_and_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    read = ReadOnce()
    for nothing in (str(tmp_path / "data"), "~nobody-of-this-name/data", "a\0b", "long" * 2000):
        with pytest.raises(InputError, match="is no folder"):
            read(nothing)
    table = tmp_path / "data"
    table.write_text("file,label,other\na.png,duck,goose\n")
    assert read(str(table)).labels == ["duck"]
    assert read(str(table), label="other").labels == ["goose"]
