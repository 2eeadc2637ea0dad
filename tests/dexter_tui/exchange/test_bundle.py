"""Bundles and run folders: there and back again, byte by byte; what was changed stays out."""

import io
import itertools
import json
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import shown_store
from hostile import HOSTILE, hostile_comparison
from markdown_it import MarkdownIt
from PIL import Image
from shown_store import DONE, FAILED, STUDY

from dexter_tui.exchange import bundle_reader, bundle_writer
from store import Store, StoreError, artifacts, comparison_records, study_records
from store.data_reports import records
from store.reading.browse import Browse
from store.upkeep import retention
from store.upkeep.transfer import Chosen, gather


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = shown_store.copy(tmp_path / "home")
    monkeypatch.setenv("DEXTER_HOME", str(path))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def with_comparison(home: Path) -> str:
    """A comparison of the store's first study with itself, with a picture of the bank."""
    with Store.open(home) as store:
        study = store.study(STUDY)
        members: list[dict[str, Any]] = [
            {"class_name": "waterbird", "position": at, "name": name, "class_index": 0,
             "classifier_id": study.classifier_id, "config": {},
             "study_id": STUDY if at == 0 else None}
            for at, name in enumerate(("lab:birds-biased", "other"))
        ]  # fmt: skip
        found = comparison_records.add_comparison(
            store, {"concepts": ["sea"]}, members, baseline="other"
        )
        ids = [member.id for member in comparison_records.members(store, found)]
        buffer = io.BytesIO()
        Image.radial_gradient("L").resize((128, 64)).convert("RGB").save(buffer, "PNG")
        sheet = store.put_artifact(buffer.getvalue(), "image/png")
        requests = [("a duck", 1), ("a duck with sea", 1)]
        study_records.add_pictures(store, "g", requests, sha256=sheet, side=64)
        context = {
            "context": "class", "saturated": False, "control_mean": 0.4, "pairs": 1, "effect": 0.5,
            "low": 0.1, "high": 0.9, "control_prompts": ["a duck"], "control_seeds": [1],
            "treated_prompts": ["a duck with sea"], "seeds": [1], "control": [0.1],
            "treated": [0.6],
        }  # fmt: skip
        claim = {
            "concept": "sea", "slot": "background", "direction": 1, "sources": {}, "effect": 0.5,
            "low": 0.1, "high": 0.9, "p": 0.001, "p_corrected": 0.01, "pairs": 1, "flips": 1,
            "flip_low": 0.0, "flip_high": 1.0, "over_represented": False, "core": False,
            "min_effect": 0.1, "verdict": "confirmed", "reason": None, "generator": "g",
            "contexts": [context],
        }  # fmt: skip
        difference = {"a_id": ids[0], "b_id": ids[1], "effect": 0.5, "low": 0.1, "high": 0.9,
                      "p": 0.001, "p_corrected": 0.01, "pairs": 1, "verdict": "differ"}  # fmt: skip
        comparison_records.record_findings(
            store,
            found,
            members={i: {"pictures": 2} for i in ids},
            claims={ids[0]: [claim], ids[1]: [{**claim, "verdict": "refuted"}]},
            differences=[{**difference, "concept": concept} for concept in ("snow", "sea")],
            activations=[
                {"member_id": i, "source_id": ids[0], "prompt": "p", "value": 0.5, "low": 0.4,
                 "high": 0.6, "n": 50, "hits": 25, "mean": 0.5}
                for i in ids
            ],
            disagreements=[{"a_id": ids[0], "b_id": ids[1], "rank": 1, "prompt": "a duck",
                            "seed": 1, "a": 0.1, "b": 0.9}],
            pictures=2, cross_pictures=0, drawn=2, generator="g",
        )  # fmt: skip
        retention.set_note(store, found, "for colleagues")
        retention.set_note(store, DONE, "the best one")
        retention.set_tag(store, [DONE], "keep", given=True)
    return found


def test_screenings_come_back_the_same_from_an_empty_store(
    home: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown_store.screen(home)
    names = [shown_store.SCREENING, shown_store.WATCHED]
    with Store.open(home) as store:
        retention.set_note(store, names[0], "for colleagues")

    def pages() -> list[Any]:
        found = [cli("screen", name, "--json").json for name in names]
        for finding in (f for page in found for m in page["members"] for f in m["findings"]):
            (finding["confirmation"] or {}).pop("id", None)  # the number of its row
        return found

    shown = pages()
    assert shown[0]["members"][0]["findings"][0]["confirmation"]["predictiveness"]["n"] == 40
    assert cli("export", *names, "-o", tmp_path / "one.zip").code == 0
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "other"))
    assert cli("import", tmp_path / "one.zip", "--json").json["added"] == names
    assert pages() == shown
    assert cli("export", *names, "-o", tmp_path / "two.zip").code == 0
    with zipfile.ZipFile(tmp_path / "one.zip") as one, zipfile.ZipFile(tmp_path / "two.zip") as two:
        assert one.namelist() == two.namelist()
        assert [name for name in one.namelist() if one.read(name) != two.read(name)] == []
        assert len(one.read("data/screenings.csv").splitlines()) == 1 + 5 * 6
        assert "screen --class waterbird --watch /training" in one.read("commands.md").decode()
        # As in the table of the terminal.
        assert "- Part of the class: duck\n" in one.read("report.md").decode()
    assert cli("import", tmp_path / "one.zip", "--json").json["known"] == names


def test_reports_on_pictures_come_back_the_same_from_an_empty_store(
    home: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown_store.report_on_pictures(home)
    names = {
        shown_store.SLICES: "slices",
        shown_store.DEBIASED: "debias",
        shown_store.WHATIF: "whatif",
        shown_store.BIAS: "explain-bias",
    }

    def pages() -> list[Any]:
        return [cli(kind, name, "--json").json for name, kind in names.items()]

    shown = pages()
    assert cli("export", *names, "-o", tmp_path / "one.zip").code == 0
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "other"))
    assert cli("import", tmp_path / "one.zip", "--json").json["added"] == sorted(names)
    assert pages() == shown
    assert cli("export", *names, "-o", tmp_path / "two.zip").code == 0
    with zipfile.ZipFile(tmp_path / "one.zip") as one, zipfile.ZipFile(tmp_path / "two.zip") as two:
        assert [name for name in one.namelist() if one.read(name) != two.read(name)] == []
        said = one.read("commands.md").decode()
    command = "--classifier lab:birds-biased --data lab:birds --concepts sea --group place"
    assert f"dexter-tui slices {command}" in said
    assert f"dexter-tui debias {command}" in said
    about = "--classifier lab:birds-biased --class waterbird"
    assert f"dexter-tui whatif {about} --image /home/user/duck.png --device cpu" in said
    assert f"dexter-tui explain-bias {about} --data lab:people --device cpu" in said
    # The strip of the what-if is there: the user's picture, and two redrawn ones.
    page, files = tmp_path / "page.md", tmp_path / "page_files"
    assert cli("export", shown_store.WHATIF, "-o", page).code == 0
    shown_in = [file for file in files.iterdir() if f"page_files/{file.name}" in page.read_text()]
    assert len(shown_in) == 3
    assert cli("export", shown_store.WHATIF, "-o", tmp_path / "page.html").code == 0
    assert (tmp_path / "page.html").read_text().count("data:image/png") == 3
    assert cli("import", tmp_path / "one.zip", "--json").json["known"] == sorted(names)
    # The weights stay where they were found.
    answer = cli("debias", shown_store.DEBIASED, "--output", tmp_path / "weights.safetensors")
    assert answer.code == 2 and "cannot be copied" in answer.err
    kept = records.folder(tmp_path / "other", shown_store.DEBIASED) / records.WEIGHTS
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"weights")
    copy = tmp_path / "weights.safetensors"
    answer = cli("debias", shown_store.DEBIASED, "--output", copy)
    assert answer.out.endswith(f"\n{copy}\n") and copy.read_bytes() == b"weights"
    # With the what-if goes the user's picture, but not what the bank has of the generator.
    assert cli("delete", shown_store.WHATIF, "--yes", "--really").code == 0
    rows = "SELECT prompt FROM picture WHERE seed IN (0, 7)"
    assert {name for (name,) in Browse(tmp_path / "other").rows(rows)} == {
        shown_store.BASE, f"{shown_store.BASE} with room"
    }  # fmt: skip


def test_commands_load_the_same_models_again(
    home: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    shown_store.screen(home)
    shown_store.report_on_pictures(home)
    compared = shown_store.compare(home)
    names = [DONE, shown_store.SCREENING, shown_store.SLICES, compared]
    models = {"classifier": "checkpoint:/m/birds.pth", "class_name": "waterbird",
              "arch": "resnet50", "generator": "lab"}  # fmt: skip
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        for table in ("screened", "member"):
            connection.execute(f"UPDATE {table} SET config = ?", (json.dumps(models),))
        connection.execute("UPDATE member SET study_id = NULL")
        connection.execute("UPDATE comparison SET baseline = 'lab:birds-biased'")
        connection.execute("UPDATE bank SET pool = 'mine.yaml', pool_text = 'x'")
        own = "json_set(config, '$.classifier', 'python:/m/net.py:load')"
        connection.execute(f"UPDATE run SET config = {own}")
        own = (
            'json_set(request, \'$.models\', json(\'{"arch": "resnet50", "trust_pickle": true}\'))'
        )
        connection.execute(f"UPDATE data_report SET request = {own} WHERE kind = 'slices'")
    assert cli("export", *names, "-o", tmp_path / "bundle").code == 0
    written = (tmp_path / "bundle" / "commands.md").read_text()
    assert "trust" not in written  # who pastes a command has not agreed to run another's code
    lines = dict(re.findall("^dexter-tui (run|screen|slices|compare) (.*)$", written, re.M))
    wanted = {
        "run": ["--generator lab"],
        "screen": ["--arch resnet50", "--generator lab", "--concepts mine.yaml"],
        "slices": ["--arch resnet50"],
        "compare": ["--arch resnet50", "--generator lab", "--baseline lab:birds-biased"],
    }
    assert {
        name: [text for text in texts if text in lines[name]] for name, texts in wanted.items()
    } == wanted


def test_a_screening_that_is_not_finished_is_in_no_bundle(
    home: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    shown_store.screen(home)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE screening SET state = 'waiting'")
    refused = cli("export", shown_store.SCREENING, "-o", tmp_path / "one.zip")
    assert refused.code == 2 and "is not finished" in refused.err
    assert not (tmp_path / "one.zip").exists()


def test_a_bundle_comes_back_the_same_from_an_empty_store(
    home: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = with_comparison(home)
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE caption SET text = text || id, id = 100 - id")  # not by hash
    assert cli("export", found, FAILED, "-o", tmp_path / "one").code == 0
    assert cli("export", found, FAILED, "-o", tmp_path / "one.zip").code == 0
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "other"))
    result = cli("import", tmp_path / "one", "--json")
    assert result.code == 0, result.err
    assert set(result.json["added"]) == {found, STUDY, DONE, FAILED}
    assert cli("export", found, FAILED, "-o", tmp_path / "two").code == 0
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    known = (one["report.md"] + one["records.jsonl"]).decode()
    pictures = [Path(name).stem for name in one if name.startswith("frames/")]
    assert [name for name in pictures if name not in known] == []
    assert cli("export", found, FAILED, "-o", tmp_path / "two.zip").code == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    names = "report.md records.jsonl manifest.sha256 commands.md config.json environment.json"
    assert set(names.split()) <= one.keys()
    assert {
        f"data/{n}.csv" for n in ["runs", "steps", "frames", "claims", "differences"]
    } <= one.keys()
    assert {f"plots/losses-{STUDY}.png", f"plots/claims-{found}-1.png"} <= one.keys()
    assert "dexter-tui run --classifier lab:birds-biased" in one["commands.md"].decode()

    again = cli("import", tmp_path / "one.zip", "--json").json
    assert again["added"] == []
    assert cli("doctor", "--json").json is not None
    shown = cli("show", DONE, "--json").json
    assert shown["words"] == ["water", "sea"]
    assert len(shown["history"]) == 40
    assert cli("query", "--search", "colleagues", "--json").json[0]["ref"] == found
    assert cli("compare", found, "--json").json["differences"][0]["concept"] == "snow"
    assert cli("export", found, "-o", tmp_path / "two").code == 2  # never over what is there


def test_what_was_imported_about_a_study_is_rebuilt_with_its_runs(
    home: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_comparison(home)
    assert cli("export", STUDY, "-o", tmp_path / "one.zip").code == 0
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "other"))
    assert cli("import", tmp_path / "one.zip").code == 0

    def findings() -> list[Any]:
        claims = cli("query", "SELECT concept, effect, verdict FROM claims_all", "--json").json
        tags = cli("query", "SELECT run_id, name FROM tag", "--json").json
        return [claims, tags, cli("note", DONE).out]

    before = findings()
    assert all(before)
    (tmp_path / "other" / "store.sqlite").unlink()
    rebuilt = cli("doctor", "--rebuild")
    assert rebuilt.code == 0
    lost = "comparisons, screenings, probes and reports on pictures exist only in backups"
    assert lost in " ".join(rebuilt.out.split())
    assert findings() == before


def test_a_journal_that_cannot_be_written_is_no_fault_of_the_bundle(
    home: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("export", DONE, "-o", tmp_path / "one.zip").code == 0
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "other"))
    journal = tmp_path / "other" / "runs" / DONE / "journal.jsonl"
    journal.mkdir(parents=True)
    refused = cli("import", tmp_path / "one.zip")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert f"{journal}: Is a directory; imported" in refused.err
    assert "export the bundle again" not in refused.err
    journal.rmdir()
    assert cli("import", tmp_path / "one.zip", "--json").json["known"] == [STUDY, DONE]
    cli("doctor", "--repair")
    assert journal.exists()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_what_was_tampered_with_is_refused_and_nothing_is_written(
    home: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "bundle"
    cli("export", DONE, "-o", source)
    other = tmp_path / "other"
    monkeypatch.setenv("DEXTER_HOME", str(other))
    Store.open(other).close()
    before = {path: data for path, data in contents(other).items() if "sqlite" not in path}
    manifest = (source / "manifest.sha256").read_bytes()
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")

    def refused(change: Callable[[Path], object], said: str) -> None:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy)
        change(copy)
        result = cli("import", copy)
        assert result.code == 2, said
        assert said in result.err
        assert len(result.err.strip().splitlines()) == 1
        with Store.open(other) as store:
            assert store.runs() == []

    def rewrite(copy: Path, name: str, data: bytes) -> None:
        """Change a file, and the manifest so that it fits."""
        lines = (copy / "manifest.sha256").read_text().splitlines()
        kept = [line for line in lines if not line.endswith(f"  {name}")]
        (copy / name).write_bytes(data)
        kept.append(f"{artifacts.digest(data)}  {name}")
        (copy / "manifest.sha256").write_text("\n".join(kept) + "\n")

    def replace(copy: Path, name: str, data: bytes) -> None:
        (copy / name).write_bytes(data)

    for at in (0, 63, 64, 66, len(manifest) // 2, len(manifest) - 1):
        refused(partial(replace, name="manifest.sha256", data=flipped(manifest, at)), "")
    for name in ("report.md", "records.jsonl", "data/steps.csv"):
        data = (source / name).read_bytes()
        refused(
            partial(replace, name=name, data=flipped(data, len(data) // 2)),
            "was changed after the export",
        )
    refused(lambda copy: (copy / "report.md").unlink(), "report.md is missing")
    refused(lambda copy: (copy / "extra.txt").write_text("x"), "is not in manifest.sha256")
    refused(lambda copy: (copy / "manifest.sha256").unlink(), "")
    refused(
        lambda copy: (copy / "manifest.sha256").write_bytes(
            manifest + f"{'0' * 64}  ../outside.txt\n".encode()
        ),
        "not a valid file name",
    )
    refused(
        lambda copy: (copy / "manifest.sha256").write_bytes(
            manifest + f"{'0' * 64}  {outside}\n".encode()
        ),
        "not a valid file name",
    )
    refused(lambda copy: (copy / "link.md").symlink_to(outside), "is a link")
    records = (source / "records.jsonl").read_text()
    for old, new, said in (
        (DONE, "../../evil", "no id of a run"),
        ('"step": 7,', '"step": "x",', "is not a number"),
        ('"state": "succeeded"', '"state": "running"', "only ended runs"),
        ('{"', "[", "is not JSON"),
        ('"record": "tag"', '"record": "alembic_version"', ""),
        ('"steps_done": 40', '"steps_done": 99999999999999999999999', ""),
    ):
        if old in records:
            changed = records.replace(old, new).encode()
            refused(partial(rewrite, name="records.jsonl", data=changed), said)
    assert outside.read_text() == "mine"
    after = {path: data for path, data in contents(other).items() if "sqlite" not in path}
    assert all(name.split("/")[0] in ("artifacts", "thumbnails", "locks") or name in before
               for name in after)  # fmt: skip

    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as written:
        for name, data in contents(source).items():
            written.writestr(name, data)
        written.writestr("../outside.txt", "theirs")
    result = cli("import", archive)
    assert (result.code, "not a valid file name" in result.err) == (2, True)
    (tmp_path / "broken.zip").write_bytes(archive.read_bytes()[:-40])
    result = cli("import", tmp_path / "broken.zip")
    assert (result.code, "broken.zip: cut off: its end is missing" in result.err) == (2, True)
    assert cli("import", outside).code == 2
    assert cli("import", tmp_path / "nothing").code == 2
    assert outside.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "kind", "column", "part", "value"),
    [
        (DONE, "run", "config", "steps", 7),
        ("comparison", "comparison", "settings", "concepts", ["snow"]),
        ("comparison", "member", None, "name", "others"),
        (shown_store.SCREENING, "screening", "settings", "min_effect", 0.2),
        (shown_store.WATCHED, "screened", None, "name", "another"),
        (shown_store.SLICES, "data_report", None, "data_hash", "b" * 64),
    ],
)
def test_another_of_the_same_id_is_refused(
    home: Path, tmp_path: Path, name: str, kind: str, column: str | None, part: str, value: object
) -> None:
    if name == "comparison":
        name = with_comparison(home)
    elif name in (shown_store.SCREENING, shown_store.WATCHED):
        shown_store.screen(home)
    elif name == shown_store.SLICES:
        shown_store.report_on_pictures(home)
    with Store.open(home) as store:
        records, _ = gather(store, Chosen(store, [name]))
        files = bundle_writer.contents(store, [name])
    with Store.open(tmp_path / "other") as store:
        bundle_writer.write_folder(files, tmp_path / "bundle")
        assert name in bundle_reader.import_bundle(store, tmp_path / "bundle").added
        assert name in bundle_reader.import_bundle(store, tmp_path / "bundle").known
        changed = next(record for record in records if record["record"] == kind)
        (changed if column is None else changed[column])[part] = value
        files["records.jsonl"] = "".join(json.dumps(r) + "\n" for r in records).encode()
        del files["manifest.sha256"]
        files["manifest.sha256"] = bundle_writer.manifest(files)
        bundle_writer.write_folder(files, tmp_path / "changed")
        with pytest.raises(StoreError, match=f"{name}: another of this id"):
            bundle_reader.import_bundle(store, tmp_path / "changed")


def test_what_is_named_twice_is_written_and_deleted_once(
    home: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    compared = shown_store.compare(home)
    shown_store.screen(home)
    shown_store.report_on_pictures(home)
    names = [compared, shown_store.SCREENING, shown_store.SLICES]
    twice = [name[:end] for name in names for end in (9, 6)]
    for given, target in ((names, tmp_path / "once.md"), (twice, tmp_path / "twice.md")):
        assert cli("export", *given, "-o", target).code == 0
    once, again = ((tmp_path / f"{name}.md").read_text() for name in ("once", "twice"))
    assert again.replace("twice_files", "once_files") == once
    deleted = cli("delete", *twice, "--yes", "--really", "--json")
    assert deleted.json == {
        "runs": [],
        "studies": [],
        "comparisons": [compared],
        "screenings": [shown_store.SCREENING],
        "data_reports": [shown_store.SLICES],
        "pictures": 0,
    }


def test_a_claim_without_pairs_has_no_effect_anywhere(
    home: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE claim SET pairs = 0, effect = 0, low = -1, high = 1, reason = 'saturated' "
            "WHERE verdict = 'inconclusive'"
        )
    assert cli("export", STUDY, "-o", tmp_path / "report.md").code == 0
    for shown in (cli("show", STUDY).out, (tmp_path / "report.md").read_text()):
        assert shown.count("not measured") == 1 and "-1.00" not in shown


def test_the_pages_hold_together(home: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    found = with_comparison(home)
    cli("export", found, "-o", tmp_path / "bundle")
    text = (tmp_path / "bundle" / "report.md").read_text()
    tokens = [t for b in MarkdownIt("gfm-like").parse(text) for t in (b, *(b.children or ()))]
    sources = [t.attrGet("src") for t in tokens if t.type == "image"]
    links = [t.attrGet("href") for t in tokens if t.type == "link_open"]
    assert len(sources) > 5 and len(links) == 4
    for target in (*sources, *links):
        assert (tmp_path / "bundle" / str(target)).is_file(), target
    for picture in (tmp_path / "bundle").rglob("*.png"):
        Image.open(picture).load()
    levels = [int(t.tag[1]) for t in tokens if t.type == "heading_open"]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))

    assert cli("export", found, "-o", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    seen: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, dict(attrs)))

    Reader().feed(page)
    images = [attrs for tag, attrs in seen if tag == "img"]
    assert len(images) >= len(sources) - 1
    kinds = tuple(f"data:image/{kind};base64," for kind in ("png", "svg+xml"))
    assert all(str(attrs["src"]).startswith(kinds) for attrs in images)
    assert all(attrs["alt"] for attrs in images)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in seen}


def test_hostile_text_is_shown_as_text_in_the_html(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "own"))
    found = hostile_comparison(tmp_path / "own")
    assert cli("export", found, "-o", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not set(page) & {"\x1b", "\u202e"}
    assert cli("export", found, "-o", tmp_path / "bundle").code == 0
    assert HOSTILE[0] not in (tmp_path / "bundle" / "commands.md").read_text()


def reference_run(folder: Path) -> Path:
    """A run folder as the public code writes it."""
    run = folder / "291_20251128-170559-babd0823"
    (run / "frames").mkdir(parents=True)
    args = {"class_to_activate": 291, "classifier": "robust50", "optim_steps": 100, "lr": 0.1,
            "mask_type": "multi_mask", "bs": 1, "seed": 3, "api_key": "sk-secret",
            "vlm_id": "llava:13b", "llm_id": "gpt-oss:120b", "prefix": ""}  # fmt: skip
    (run / "args.json").write_text(json.dumps(args))
    words = [
        ("lion", "mane", "grass", "sun", "eye", "rock"),
        ("cat", "mane", "dust", "sky", "a", "b"),
    ]
    (run / "pred_words.txt").write_text("".join(f"{w}\n" for w in words) + "not a tuple\n")
    prompt = " a picture of a {} with {} and {} and {} and {} and {}."
    (run / "291_prompt.txt").write_text(
        "".join(
            f"Step prompt:  {prompt.format(*w)}\nTarget prompt: {prompt.format(*w)}\n{'*' * 50}\n"
            for w in words
        )
    )
    for number in (4, 12):
        Image.new("RGB", (32, 32), (number, 9, 9)).save(run / "frames" / f"{number}.png")
    rule = "-" * 22
    (run / "caption.txt").write_text(f"A lion.\n{rule}\nA cat\nin dust.\n{rule}\n")
    (run / "report.txt").write_text("### lion\nIt looks for **manes**.\n")
    best = "a picture of a lion with mane and grass and sun and eye and rock"
    (run / "as_dexter_prompts.txt").write_text(
        f"Best Activation Score Prompt: {best} - 0.87\n{best} - 0.87\nother - 0.5\n"
    )
    (run / "as_captions.txt").write_text(
        "Best Activation Score Caption: A lion. - 0.9\nA lion. - 0.9\n"
    )
    return run


def test_a_run_folder_of_the_public_code_comes_in_and_goes_out(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "own"))
    run = reference_run(tmp_path)
    result = cli("import", run, "--json")
    assert result.code == 0, result.err
    study, run_id = result.json["added"]
    shown = cli("show", run_id, "--json").json
    assert shown["words"] == ["lion", "mane", "grass", "sun", "eye", "rock"]
    assert shown["activation_score"]["value"] == 0.87
    assert shown["activation_score"]["low"] < 0.87 < shown["activation_score"]["high"]
    assert len(shown["history"]) == 2
    assert len(shown["pictures"]) == 2
    assert shown["class_name"].startswith("lion")
    found = cli("show", study, "--json").json
    assert {c["text"] for c in found["captions"]} == {"A lion.", "A cat\nin dust."}
    assert found["reports"][0]["author"] == "gpt-oss:120b"
    for file in (tmp_path / "own").rglob("*"):
        assert not file.is_file() or b"sk-secret" not in file.read_bytes(), file
    again = cli("import", run, "--json").json
    assert again == {"added": [], "known": [study, run_id], "notes": []}

    assert cli("export", run_id, "-o", tmp_path / "out", "--as", "reference").code == 0
    [written] = (tmp_path / "out").iterdir()
    assert written.name.startswith("291_20251128-170559-")
    args = json.loads((written / "args.json").read_text())
    assert (args["class_to_activate"], args["classifier"], args["seed"]) == (291, "robust50", 3)
    assert "api_key" not in args
    theirs = (run / "pred_words.txt").read_text().splitlines()[:2]
    assert (written / "pred_words.txt").read_text().splitlines() == theirs
    for name in ("291_prompt.txt", "report.txt", "as_dexter_prompts.txt", "as_captions.txt"):
        assert (written / name).read_text() == (run / name).read_text(), name
    assert len(list((written / "frames").iterdir())) == 2
    assert cli("export", run_id, "-o", tmp_path / "page.md").code == 0


def test_captions_and_scores_come_back_with_their_pictures(
    home: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores() -> list[dict[str, Any]]:
        sql = "SELECT text, value, n, hits FROM score WHERE kind = 'prompt'"
        return list(cli("query", sql, "--json").json)

    def captions() -> dict[int, str | None]:
        sql = "SELECT seed, text FROM frame LEFT JOIN caption USING (sha256) WHERE kind = 'frame'"
        return {row["seed"]: row["text"] for row in cli("query", sql, "--json").json}

    before, scored = captions(), scores()
    assert {row["n"] for row in scored} - {100}, scored
    assert before[3] is None and before[6] is not None
    assert cli("export", DONE, "-o", tmp_path / "out", "--as", "reference").code == 0
    [run] = (tmp_path / "out").iterdir()
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "other"))
    assert cli("import", run).code == 0
    assert captions() == before and scores() == scored


def test_the_current_folder_is_replaced_by_no_bundle(
    home: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    for form in ((), ("--as", "reference")):
        refused = cli("export", DONE, "-o", ".", *form)
        assert (refused.code, "the current folder" in refused.err) == (2, True), refused.err
    assert empty.is_dir() and not list(empty.iterdir())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("args.json", "{", "not JSON"),
        ("args.json", "[]", "not a JSON object of options"),
        ("args.json", '{"class_to_activate": 5000}', "class 5000"),
        ("args.json", '{"class_to_activate": "x"}', "args.json"),
        ("args.json", '{"mask_type": "both"}', "mask_type"),
        ("args.json", '{"score_images": 0}', "score_images"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, cli: Callable[..., Any], name: str, text: str, said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DEXTER_HOME", str(tmp_path / "own"))
    run = reference_run(tmp_path)
    (run / name).write_text(text)
    result = cli("import", run)
    assert result.code == 2
    assert said in result.err
    assert len(result.err.strip().splitlines()) == 1


# Retention


def test_deleting_asks_twice_and_takes_what_nothing_else_needs(
    home: Path, cli: Callable[..., Any]
) -> None:
    with Store.open(home) as store:
        before = len(store.runs())
        frames = store.frames(DONE)
    assert cli("note", DONE, "nobody else's business").code == 0
    assert cli("tag", STUDY, "--name", "keep").code == 0
    kept = home / "studies" / f"{STUDY}.json"
    assert "business" in kept.read_text()
    assert cli("delete", DONE).code == 2  # nobody to ask
    result = cli("delete", DONE, "--yes")
    assert (result.code, "--really" in result.err) == (2, True)
    with Store.open(home) as store:
        assert len(store.runs()) == before
    result = cli("delete", DONE, "--yes", "--really", "--json")
    assert result.code == 0, result.err
    with Store.open(home) as store:
        assert len(store.runs()) == before - 1
        assert store.study(STUDY)
        others = {f.sha256 for run in store.runs() for f in store.frames(run.id)}
        for sha256 in {frame.sha256 for frame in frames}:
            assert store.artifact_path(sha256).exists() is (sha256 in others)
    assert not (home / "runs" / DONE).exists()
    assert "business" not in kept.read_text()
    assert cli("delete", FAILED, "--yes", "--really").code == 0
    assert not kept.exists()
    assert (
        cli("query", f"select * from studies_summary where study_id = '{STUDY}'", "--json").json
        == []
    )
    assert "no study" in cli("show", STUDY).err
    troubles = [f for f in cli("doctor", "--json").json if f["check"] == "store"]
    assert all(f["status"] != "error" for f in troubles)


def test_a_study_in_a_comparison_stays(home: Path, cli: Callable[..., Any]) -> None:
    found = with_comparison(home)
    result = cli("delete", STUDY, "--yes", "--really")
    assert (result.code, found in result.err) == (2, True)
    assert cli("query", "--search", "colleagues", "--json").json[0]["ref"] == found
    assert cli("delete", found, STUDY, "--yes", "--really").code == 0
    assert cli("compare", "--json").json == []
    assert cli("query", "--search", "colleagues", "--json").json == []


def test_archived_runs_leave_the_lists_and_come_back(home: Path, cli: Callable[..., Any]) -> None:
    listed = lambda *more: {run["id"] for run in cli("runs", "--json", *more).json}  # noqa: E731
    before = listed()
    assert cli("archive", DONE, DONE).code == 0
    assert listed() == before - {DONE}
    assert listed("--archived") == before
    assert cli("archive", DONE, "--back").code == 0
    assert listed() == before
    assert cli("tag", DONE, "--name", "a b").code == 2
    assert cli("note", DONE, "look\x1b here").out == "look� here\n"
    assert cli("note", DONE).out == "look� here\n"
    assert cli("note", DONE, "").out == ""
