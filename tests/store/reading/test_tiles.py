"""The choice of pictures that differ, and the heat map of a difference."""

import io
from pathlib import Path

from PIL import Image

from store.reading.diverse import diverse
from store.reading.tiles import difference


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_near_identical_pictures_are_chosen_once_and_groups_take_turns(tmp_path: Path) -> None:
    shades = {"a": 0, "b": 1, "c": 250, "d": 120, "e": 121}
    for name, shade in shades.items():
        (tmp_path / name).write_bytes(png((shade, shade, shade)))
    groups = [["a", "b", "c"], ["d", "e"]]
    assert diverse(groups, tmp_path.joinpath, 8) == ["a", "d", "c"]
    assert diverse(groups, tmp_path.joinpath, 2) == ["a", "d"]
    assert diverse([[], []], tmp_path.joinpath, 2) == []


def test_the_largest_change_is_the_hottest() -> None:
    before = Image.new("RGB", (3, 1))
    after = Image.new("RGB", (3, 1))
    after.putpixel((1, 0), (0, 40, 0))
    after.putpixel((2, 0), (80, 10, 0))
    files = []
    for picture in (before, after):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        files.append(buffer.getvalue())
    heat = Image.open(io.BytesIO(difference(*files))).convert("RGB")
    cold, warm, hot = (heat.getpixel((x, 0)) for x in range(3))
    assert (cold, hot) == ((0, 0, 0), (255, 255, 200))
    assert sum(cold) < sum(warm) < sum(hot)
