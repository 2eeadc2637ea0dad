"""Labelled pictures in every form: what is read, what is skipped, what is refused."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dexter.classifiers.reading import Preprocessing
from dexter.data.folder import DataSet, Why, class_indices, read_data
from dexter.data.pictures import batches
from dexter.errors import InputError


def picture(path: Path, colour: tuple[int, int, int] = (200, 30, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20), colour).save(path)


def rows(data: DataSet) -> list[tuple[str, str, str | None, dict[str, str]]]:
    return [(item.name, item.label, item.split, dict(item.groups)) for item in data.items]


def a_folder_a_class(root: Path) -> str:
    picture(root / "duck" / "1.png")
    picture(root / "duck" / "deep" / "2.JPG")
    picture(root / "owl" / "1.png")
    (root / "owl" / "._1.png").write_bytes(b"\x00\x05\x16\x07")
    (root / "owl" / "notes.txt").write_text("no picture")
    (root / ".cache").mkdir()
    return str(root)


def folders_of_splits(root: Path) -> str:
    picture(root / "train" / "duck" / "1.png")
    picture(root / "valid" / "owl" / "1.png")
    picture(root / "test" / "owl" / "2.png")
    return str(root)


def imagefolder(root: Path) -> str:
    for split in ("train", "test"):
        picture(root / split / "1.png")
        (root / split / "metadata.csv").write_text("file_name,label,place\n1.png,duck,sea\n")
    return str(root)


def subpop(root: Path) -> str:
    picture(root / "1.png")
    (root / "metadata.csv").write_bytes(
        "\ufefffilename,split,y,a\r\n1.png,0,1,0\r\n2.png,2,0,1\r\n1.png,0,1,0\r\n3.png,1,,1\r\n"
        .encode()
    )  # fmt: skip
    return str(root / "metadata.csv")


def waterbirds(root: Path) -> str:
    picture(root / "a" / "1.jpg")
    (root / "metadata.csv").write_text(
        "img_id,img_filename,y,split,place,place_filename\n"
        + "".join(f"{n},a/{n}.jpg,{n % 2},{n % 3},{n % 2},/p/{n}.jpg\n" for n in range(1, 61))
    )
    return str(root)


def celeba(root: Path) -> str:
    picture(root / "img_align_celeba" / "img_align_celeba" / "1.jpg")
    (root / "list_attr_celeba.csv").write_text("image_id,Blond_Hair,Male\n1.jpg,1,-1\n2.jpg,-1,1\n")
    (root / "list_eval_partition.csv").write_text("image_id,partition\n1.jpg,0\n2.jpg,2\n")
    return str(root)


FORMS: list[
    tuple[Callable[[Path], str], str | None, int, tuple[str, str, str | None, dict[str, str]]]
]
FORMS = [
    (a_folder_a_class, None, 3, ("duck/1.png", "duck", None, {})),
    (folders_of_splits, None, 3, ("duck/1.png", "duck", "train", {})),
    (imagefolder, None, 2, ("1.png", "duck", "test", {"place": "sea"})),
    (subpop, None, 2, ("2.png", "0", "test", {"a": "1"})),
    (waterbirds, None, 60, ("a/1.jpg", "1", "validation", {"place": "1"})),
    (celeba, "Blond_Hair", 2, ("2.jpg", "-1", "test", {"Male": "1"})),
]


@pytest.mark.parametrize(("make", "label", "count", "row"), FORMS)
def test_each_form_is_read(
    make: Callable[[Path], str],
    label: str | None,
    count: int,
    row: tuple[str, str, str | None, dict[str, str]],
    tmp_path: Path,
) -> None:
    data = read_data(make(tmp_path), label=label)
    assert len(data.items) == count
    assert row in rows(data)
    skipped = data.skipped
    [(places, pictures), *_] = batches(data.items, 16, skipped)
    assert pictures.shape == (len(places), 16, 16, 3) and pictures.dtype == np.uint8
    assert len(places) + sum(n for why, n in skipped.counts.items() if why is Why.MISSING) == count
    if make is subpop:
        assert skipped.counts == {Why.DUPLICATE: 1, Why.NO_LABEL: 1, Why.MISSING: 1}


@pytest.mark.parametrize(
    ("rounds", "width", "at"), [(False, 18, 5), (True, 18, 5), (False, 19, 5), (True, 19, 6)]
)
def test_the_middle_of_a_picture_is_that_of_the_whole(
    rounds: bool, width: int, at: int, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (11, width, 3), np.uint8)
    (tmp_path / "duck").mkdir()
    Image.fromarray(pixels).save(tmp_path / "duck" / "1.png")
    data, step = read_data(str(tmp_path)), Preprocessing(11, 8, rounds=rounds)
    [(_, pictures)] = batches(data.items, 11, data.skipped, step=step)
    seen = step(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255)[0].permute(1, 2, 0)
    top = 2 if rounds else 1
    assert np.allclose(seen, pixels[top : top + 8, at : at + 8] / 255)


def test_splits_labels_and_digest(tmp_path: Path) -> None:
    data = read_data(subpop(tmp_path))
    assert [item.name for item in data.of_split("2").items] == ["2.png"]
    assert [item.name for item in data.of_split("Train").items] == ["1.png"]
    with pytest.raises(InputError, match=r"in the split 'val'.*choose from test, train"):
        data.of_split("val")
    assert data.digest() == read_data(str(tmp_path)).digest() != data.of_split("test").digest()
    assert class_indices(["1", "0"], ["landbird", "waterbird"]) == {"1": 1, "0": 0}
    assert class_indices(["Not_Blond"], ["blond", "not blond"]) == {"Not_Blond": 1}
    assert class_indices(["-1"], ["blond", "not blond"], {"-1": "not blond"}) == {"-1": 1}
    with pytest.raises(InputError, match=r"'-1' is a label of the data.*--map -1=LABEL"):
        class_indices(["-1"], ["blond", "not blond"])
    with pytest.raises(InputError, match=r"--map ''\"'\"';touch x=LABEL'"):
        class_indices(["';touch x"], ["blond"])
    with pytest.raises(InputError, match="is a label of the data"):
        class_indices(["9" * 5000], ["blond"])


def test_a_split_of_any_case_is_found(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,label,split\n1.png,duck,Fold_A\n")
    data = read_data(str(tmp_path))
    assert [item.name for item in data.of_split("Fold_A").items] == ["1.png"]
    with pytest.raises(InputError, match="choose from Fold_A"):
        data.of_split("Fold_B")


def test_a_label_is_one_of_several_names_and_never_of_two_classes() -> None:
    labels = ["crane", "tench, Tinca tinca", "crane"]
    assert class_indices(["Tinca_tinca"], labels) == {"Tinca_tinca": 1}
    with pytest.raises(InputError, match=r"'crane'.*0 \(crane\), 2 \(crane\).*--map crane=0"):
        class_indices(["crane"], labels)
    assert class_indices(["crane"], labels, {"crane": "2"}) == {"crane": 2}


def wide_png(side: int) -> bytes:
    """Return the head of a PNG of side x side px, and hardly anything else."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_broken_pictures_are_skipped_and_counted(tmp_path: Path) -> None:
    for n in range(40):
        picture(tmp_path / "duck" / f"{n:02}.png", (n, 2 * n, 3 * n))
    whole = (tmp_path / "duck" / "03.png").read_bytes()
    (tmp_path / "duck" / "03.png").write_bytes(whole[:40])
    (tmp_path / "duck" / "04.png").write_bytes(b"")
    (tmp_path / "duck" / "05.png").write_text("version https://git-lfs.github.com/spec/v1")
    (tmp_path / "duck" / "06.png").write_bytes(wide_png(20_000))
    (tmp_path / "duck" / "07.png").unlink()
    os.mkfifo(tmp_path / "duck" / "07.png")
    data = read_data(str(tmp_path))
    found = [place for places, _ in batches(data.items, 16, data.skipped) for place in places]
    assert found == [0, 1, 2, *range(8, 40)]
    assert data.skipped.counts == {Why.UNREADABLE: 3, Why.TOO_LARGE: 1, Why.MISSING: 1}
    assert ("duck/06.png", Why.TOO_LARGE) in data.skipped.names


def test_pictures_of_16_bits_keep_their_greys(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 16 * 16).reshape(16, 16)
    (tmp_path / "scan").mkdir()
    for name in ("1.png", "1.tif"):
        Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "scan" / name)
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "scan" / "2.tif")
    data = read_data(str(tmp_path))
    [(places, pictures)] = batches(data.items, 16, data.skipped)
    assert places == [0, 1] and data.skipped.counts == {Why.UNREADABLE: 1}
    for one in pictures:
        np.testing.assert_array_equal(one, np.repeat((ramp // 256)[..., None], 3, 2))


def test_pictures_in_hidden_folders_are_no_pictures_of_a_class(tmp_path: Path) -> None:
    """Notebooks and file managers keep copies there."""
    picture(tmp_path / "duck" / "1.png")
    picture(tmp_path / "duck" / ".ipynb_checkpoints" / "1-checkpoint.png")
    assert [item.name for item in read_data(str(tmp_path)).items] == ["duck/1.png"]


def test_a_class_may_have_the_name_of_a_split(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "1.png")
    picture(tmp_path / "bus" / "2.png")
    assert {(item.label, item.split) for item in read_data(str(tmp_path)).items} == {
        ("train", None),
        ("bus", None),
    }


def test_a_row_with_a_name_too_long_is_skipped(tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    (tmp_path / "metadata.csv").write_text(f"image,label\n{'x' * 300},duck\n1.png,duck\n")
    data = read_data(str(tmp_path))
    [(places, _)] = batches(data.items, 16, data.skipped)
    assert places == [1] and data.skipped.counts == {Why.UNREADABLE: 1}


def test_a_row_that_says_nothing_hides_no_other(tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\n1.png,\n,duck\n,owl\n1.png,duck\n")
    data = read_data(str(tmp_path))
    assert rows(data) == [("1.png", "duck", None, {})]
    assert data.skipped.counts == {Why.NO_LABEL: 3}
    assert str(data.skipped).startswith("3 without a label (")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("name,y\n", "metadata.csv has the columns name, y, but not any of file_name.*picture"),
        ("filename,truth\n", "but not any of label, y, .* for the label; name it with --label-c"),
        ("filename,y\n", "lists no picture with a label"),
        ("", "is empty"),
        ("filename,y\n1.png,\udcff\n", "cannot be read near line 1|is not UTF-8"),
        ("filename,\udcff\n", "is not UTF-8; pass a CSV file in UTF-8"),
    ],
)
def test_a_faulty_table_is_a_line(head: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes(head.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=message) as refused:
        read_data(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_what_is_no_data_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no labelled pictures"):
        read_data(str(tmp_path))
    with pytest.raises(InputError, match="is no folder and no file"):
        read_data(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no data 'cats'; choose .* lab:birds-small"):
        read_data("lab:cats")


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("birds-small", {("waterbird", "water"), ("landbird", "land")}),
        ("faces-old-men", {("old", "male"), ("young", "female")}),
    ],
)
def test_planted_data_are_even_where_they_are_measured(
    name: str, usual: set[tuple[str, str]]
) -> None:
    data = read_data(f"lab:{name}", size=100)
    column = "place" if name == "birds-small" else "gender"
    share = {}
    for split in ("train", "validation", "test"):
        items = data.of_split(split).items
        share[split] = np.mean([(one.label, one.groups[column]) in usual for one in items])
    assert len(data.of_split("train").items) == 2 * len(data.of_split("test").items) == 200
    assert min(share["train"], share["validation"]) > 0.9
    assert 0.35 < share["test"] < 0.65
