"""The limits of an import: sizes, memory, kinds of files, and hashes that are computed again."""

import io
import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import outside
import pytest
from PIL import Image

from dexter_tui.exchange import bundle_reader
from dexter_tui.exchange.bundle_writer import MANIFEST, RECORDS, manifest
from dexter_tui.jobs import trust
from store import Store, StoreError, artifacts
from store.checking.checks import check
from store.upkeep.records import grouped
from store.upkeep.transfer import classifier_key, restore

LIMIT = 300_000  # kB of memory
# Not ru_maxrss, which a child inherits from the process that started it.
IMPORT = """
import re, sys
from dexter_tui.cli.entry import main
code = main(["import", sys.argv[1]])
print(code, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def archive(path: Path, files: dict[str, bytes]) -> Path:
    files = {MANIFEST: manifest(files), **files}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        for name, data in files.items():
            written.writestr(name, data)
    return path


def line(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def a_run(spec: str = "lab:birds-biased") -> list[dict[str, Any]]:
    """The records of a classifier, a study and a run of it."""
    at = "2026-01-01T00:00:00Z"
    row = {"spec": spec, "weights_hash": None, "labels": ["a", "b"], "image_size": 64}
    key = classifier_key(row)
    study = {"id": "sforeign1", "classifier": key, "class_name": "a", "class_index": 0,
             "settings": {"steps": 5}, "settings_hash": "x", "created_at": at}  # fmt: skip
    run = {"id": "rforeign1", "study_id": "sforeign1", "seed": 0, "state": "succeeded",
           "config": {"steps": 5}, "config_hash": "x", "created_at": at}  # fmt: skip
    return [
        {"record": "classifier", **row, "key": key, "created_at": at},
        {"record": "study", **study},
        {"record": "run", **run},
    ]


def many_files(path: Path) -> Path:
    return archive(path, {f"data/{number}.csv": b"" for number in range(60_000)})


def nested_records(path: Path) -> Path:
    hollow = b'{"record": "note", "of": [' + b"[]," * 600_000 + b"[]]}\n"
    return archive(path, {RECORDS: hollow * 8})


def long_run(path: Path) -> Path:
    steps = [
        {"record": "step", "run_id": "rforeign1", "step": number, "words": ["sea"] * 8,
         "losses": {f"term {k}": 1 / (number + k) for k in range(8)}}
        for number in range(1, 12_000)
    ]  # fmt: skip
    return archive(path, {RECORDS: b"".join(map(line, [*a_run(), *steps]))})


def large_picture(path: Path) -> Path:
    buffer = io.BytesIO()
    Image.new("RGBA", (4096, 4096), (9, 90, 9, 128)).save(buffer, "PNG")
    sha256 = artifacts.digest(buffer.getvalue())
    frame = {"record": "frame", "run_id": "rforeign1", "kind": "frame", "step": 0, "seed": 0,
             "prompt": "p", "predicted_class": 0, "target_probability": 0.5, "hit": True,
             "sha256": sha256, "created_at": "2026-01-01T00:00:00Z"}  # fmt: skip
    records = b"".join(map(line, [*a_run(), frame]))
    return archive(path, {RECORDS: records, f"frames/{sha256}.png": buffer.getvalue()})


def zeros(path: Path) -> Path:
    return archive(path, {RECORDS: line(a_run()[0]), "data/steps.csv": bytes(300_000_000)})


@pytest.mark.parametrize("make", [many_files, nested_records, long_run, large_picture, zeros])
def test_an_import_takes_at_most_300_mb_or_is_refused(
    make: Callable[[Path], Path], home: Path, tmp_path: Path
) -> None:
    source = make(tmp_path / "bundle.zip")
    assert source.stat().st_size < 50_000_000
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, source],
        env={**os.environ, "DEXTER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    code, memory = map(int, done.stdout.split()[-2:])
    assert code in (0, 2), done.stderr
    assert len(done.stderr.splitlines()) == (1 if code else 0), done.stderr
    assert code == (0 if make in (long_run, large_picture) else 2)
    assert memory <= LIMIT


def test_a_file_that_is_larger_than_declared_is_refused(home: Path, tmp_path: Path) -> None:
    source = archive(tmp_path / "b.zip", {RECORDS: line(a_run()[0]), "data/a.csv": bytes(5000)})
    data = source.read_bytes()
    source.write_bytes(data.replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    with Store.open(home) as store:
        assert not outside.taken(lambda: bundle_reader.import_bundle(store, source))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_plain_file_is_refused_and_not_waited_for(
    cli: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    (folder / "data").mkdir(parents=True)
    (folder / RECORDS).write_bytes(line(a_run()[0]))
    (folder / MANIFEST).write_bytes(manifest({RECORDS: line(a_run()[0])}))
    os.mkfifo(folder / "data" / "pipe")
    os.mkfifo(tmp_path / "pipe")
    run = ["run", "--classifier", "lab:birds-biased", "--class", "waterbird"]
    for command in (
        ["import", folder],
        ["import", tmp_path / "pipe"],
        ["queue", "add", "--file", tmp_path / "pipe"],
        ["queue", "add", "--file", "/dev/zero"],
        [*run, "--labels", tmp_path / "pipe"],
        [*run, "--labels", "/dev/zero"],
        [*run, "--words", f"@{tmp_path / 'pipe'}"],
        [*run, "--words", f"@{tmp_path}"],
    ):
        outcome = cli(*command)
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1), (command, outcome.err)


def test_a_copied_hash_joins_no_study(home: Path) -> None:
    with Store.open(home) as store:
        row = store.ensure_classifier("lab:birds-biased", None, ["a", "b"], 64)
        own = store.ensure_study(row, "a", 0, {"steps": 99})
        foreign = a_run()
        foreign[1]["settings_hash"] = store.study(own).settings_hash
        result = restore(store, grouped(foreign), lambda sha256: (b"", ""))
        assert result.added == ["sforeign1", "rforeign1"]
        assert store.runs(study_id=own) == []
        study, run = store.study("sforeign1"), store.run("rforeign1")
        assert study.settings_hash != store.study(own).settings_hash
        assert len(run.config_hash) == 64 and trust.needs(run.config) == []
        foreign[0]["key"] = "0" * 64
        with pytest.raises(StoreError, match="wrong key"):
            restore(store, grouped(foreign), lambda sha256: (b"", ""))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (1, {"class_index": 7}), (1, {"created_at": "0001-01-01T00:00:00Z"}),
        (1, {"created_at": 5}), (2, {"seed": -1}), (2, {"seed": True}), (2, {"seed": 2**70}),
        (2, {"score_value": 1.5}), (2, {"words": [1]}), (2, {"prompt": "\ud800"}),
        (2, {"prompt": "a\0b"}), (2, {"prompt": "x" * 20_001}), (2, {"config": {"template": 5}}),
        (2, {"word_gains": [{"word": "a"}]}), (2, {"seconds": float("nan")}),
        (2, {"id": "../evil"}), (2, {"state": "running"}),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_true_is_refused(
    kind: int, changes: dict[str, Any], home: Path
) -> None:
    records = a_run()
    for record in records:
        check(record)
    records[kind] |= changes
    with Store.open(home) as store:
        assert not outside.taken(lambda: restore(store, grouped(records), lambda sha256: (b"", "")))
        assert store.runs() == []


def test_a_full_disk_is_not_blamed_on_the_bundle(home: Path, tmp_path: Path) -> None:
    source = archive(tmp_path / "bundle.zip", {RECORDS: b"".join(map(line, a_run()))})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.open(home) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            with pytest.raises(StoreError, match="the disk is full"):
                bundle_reader.import_bundle(store, source)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert bundle_reader.import_bundle(store, source)
