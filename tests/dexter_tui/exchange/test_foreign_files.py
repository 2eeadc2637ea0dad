"""Run folders and texts that came by a Mac, by Windows, or over a broken line."""

import json
from pathlib import Path

import pytest
from PIL import Image

from dexter.classifiers.label_lists import read_labels
from dexter.errors import InputError
from dexter.loading import text_of
from store import Store, StoreError
from store.artifacts import open_picture

RULE = "-" * 22


@pytest.fixture
def folder(tmp_path):
    """A run folder with three frames and their captions."""
    run = tmp_path / "3_20260101-000000"
    (run / "frames").mkdir(parents=True)
    (run / "args.json").write_text(json.dumps({"class_to_activate": 3, "classifier": "resnet18"}))
    for number in (1, 2, 3):
        picture = Image.new("RGB", (8, 8), (60 * number, 80, 10))
        picture.save(run / "frames" / f"{number}.png")
    captions = ["one", "two", "three"]
    (run / "caption.txt").write_text("".join(f"{text}\n{RULE}\n" for text in captions))
    (run / "pred_words.txt").write_text("('lion',)\n" * 3)
    return run


def imported(cli, home, folder):
    """The lines on standard error, and the caption and type of each frame by its number."""
    outcome = cli("import", folder)
    assert outcome.code == 0, outcome.err
    with Store.open(home) as store:
        (run,) = store.runs()
        frames = store.frames(run.id)
        from store import study_records

        captions = {row.sha256: row.text for row in study_records.captions(store, run.study_id)}
        found = {
            frame.seed: (captions.get(frame.sha256), store.artifact(frame.sha256).mime)
            for frame in frames
        }
    return outcome.err, found


WHOLE = {n: (text, "image/png") for n, text in ((1, "one"), (2, "two"), (3, "three"))}


def test_side_files_of_macos_are_no_frames(cli, home, folder):
    (folder / "frames" / "._1.png").write_bytes(b"\0\5\x16\7" + bytes(90))
    (folder / "frames" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert imported(cli, home, folder) == ("", WHOLE)


def test_a_picture_has_the_type_of_its_content(cli, home, folder):
    Image.new("RGB", (8, 8)).save(folder / "frames" / "2.png", "JPEG")
    _, found = imported(cli, home, folder)
    assert found == {**WHOLE, 2: ("two", "image/jpeg")}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda whole: whole[:40], "cut off or damaged"),
        (lambda whole: b"", "an empty file"),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (lambda whole: b"<html></html>", "a web page"),
    ],
)
def test_an_unreadable_picture_is_named_and_left_out(cli, home, folder, data, said):
    file = folder / "frames" / "2.png"
    file.write_bytes(data(file.read_bytes()))
    err, found = imported(cli, home, folder)
    assert "frames/2.png left out" in err and said in err and "BytesIO" not in err
    assert found == {number: WHOLE[number] for number in (1, 3)}


def test_an_empty_caption_shifts_no_other(cli, home, folder):
    (folder / "caption.txt").write_text(f"one\n{RULE}\n\n{RULE}\nthree\n{RULE}\n")
    _, found = imported(cli, home, folder)
    assert found == {**WHOLE, 2: (None, "image/png")}


def test_more_captions_than_pictures_belong_to_none(cli, home, folder):
    (folder / "frames" / "1.png").unlink()
    err, found = imported(cli, home, folder)
    assert "caption.txt left out: it has 3 captions for 2 pictures" in err
    assert {text for text, _ in found.values()} == {None}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_texts_with_a_mark_are_read_without_it(cli, home, folder, encoding):
    for name in ("args.json", "caption.txt"):
        file = folder / name
        file.write_bytes(file.read_text().encode(encoding))
    assert imported(cli, home, folder) == ("", WHOLE)


class TestLabels:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_are_read_without_a_mark(self, tmp_path, encoding):
        file = tmp_path / "labels.txt"
        file.write_bytes("cat\r\nGroßer Hund\r\n".encode(encoding))
        assert read_labels(file) == ["cat", "Großer Hund"]

    @pytest.mark.parametrize(
        ("encoding", "said"), [("latin-1", "line 2 .*LATIN1"), ("utf-16-le", "UTF-16LE")]
    )
    def test_are_not_guessed(self, tmp_path, encoding, said):
        file = tmp_path / "labels.txt"
        file.write_bytes("cat\nGroßer Hund\n".encode(encoding))
        with pytest.raises(InputError, match=rf"{said}.*iconv -f"):
            read_labels(file)


def test_a_text_names_its_line():
    with pytest.raises(InputError, match="line 3 is not UTF-8"):
        text_of(b"a\nb\n\xff\n", Path("f"), field="labels")


def test_an_unreadable_picture_shows_no_object():
    with pytest.raises(StoreError) as refused:
        open_picture(b"no picture")
    assert "BytesIO" not in str(refused.value) and "another format" in str(refused.value)


@pytest.mark.parametrize("arguments", [["note", "r1234567", "a\udcffb"], ["import", "/x\udcff/y"]])
def test_arguments_that_are_not_utf8_are_refused_in_a_line(cli, arguments):
    outcome = cli(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "is not UTF-8" in outcome.err and outcome.err.count("\n") == 1
