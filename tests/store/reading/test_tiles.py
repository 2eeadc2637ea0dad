"""The choice of pictures that differ, and the heat map of a difference."""

import io

from PIL import Image

from store.reading.diverse import diverse, small
from store.reading.tiles import difference


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_near_identical_pictures_are_chosen_once_and_groups_take_turns() -> None:
    shades = {"a": 0, "b": 1, "c": 250, "d": 119, "e": 120}
    copies = {name: small(png((shade, shade, shade))) for name, shade in shades.items()}
    groups = [["a", "b", "c"], ["d", "e"]]
    assert diverse(groups, copies.__getitem__, 8) == ["a", "e", "c"]
    assert diverse(groups, copies.__getitem__, 2) == ["a", "e"]
    assert diverse([[], []], copies.__getitem__, 2) == []


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
    pixels = heat.tobytes()
    cold, warm, hot = pixels[:3], pixels[3:6], pixels[6:]
    assert (tuple(cold), tuple(hot)) == ((0, 0, 0), (255, 255, 200))
    assert sum(cold) < sum(warm) < sum(hot)
