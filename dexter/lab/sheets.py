"""The sheets: the lab's scenes and its generator's pictures, on one labelled page each.

    python -m dexter.lab.sheets --docs      refresh docs/lab.md and its two sheets

Scenes need only numpy and Pillow; torch is loaded only to generate pictures.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dexter.errors import InputError
from dexter.generator_presets import steps_of
from dexter.lab import shipped, world
from dexter.lab.scenes import Scene, caption, full_caption, render, sample_scene
from dexter.seeds import picture_seeds

Pixels = NDArray[np.uint8]
"""A picture, (H, W, 3)."""

ATTRIBUTION = "Art: OpenMoji (openmoji.org), CC BY-SA 4.0."
PICTURES = 3
"""The number of generated pictures per word."""
FEW = 12
"""The maximum number of words for which a sheet shows each picture's prompt."""


@dataclass(frozen=True)
class Tile:
    """A picture and its caption."""

    picture: Pixels
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """A row of pictures with a label on the left."""

    label: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Section:
    """A section of rows. beside: number of rows side by side; zoom: screen px per pixel."""

    title: str
    rows: tuple[Row, ...]
    beside: int = 1
    zoom: int = 2


# --- drawing --------------------------------------------------------------------------------------

_MARGIN, _GAP, _LINE = 20, 6, 19
_TITLE, _HEADING, _NOTE, _LABEL, _CAPTION = 34, 24, 18, 22, 16
"""Text sizes in px; pages are often shown at half size."""
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 34, 40), (105, 112, 122)


def draw(title: str, notes: Sequence[str], sections: Sequence[Section]) -> Image.Image:
    """Draw a page, as wide as its widest section."""
    label = max(round(_font(_LABEL).getlength(row.label)) for s in sections for row in s.rows)
    label += 14 if label else 0
    parts = [part for s in sections for part in (_heading(s.title), _body(s, label))]
    top = _texts([(title, _TITLE, _INK), *((note, _NOTE, _FAINT) for note in notes)])
    parts = [top, *parts]
    width = max(part.width for part in parts) + 2 * _MARGIN
    page = Image.new("RGB", (width, sum(p.height for p in parts) + 2 * _MARGIN), _PAPER)
    y = _MARGIN
    for part in parts:
        page.paste(part, (_MARGIN, y))
        y += part.height
    return page


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _texts(lines: Sequence[tuple[str, int, tuple[int, int, int]]]) -> Image.Image:
    width = max(round(_font(size).getlength(text)) for text, size, _ in lines) + 2
    part = Image.new("RGB", (width, sum(size + 9 for _, size, _ in lines) + 4), _PAPER)
    y = 0
    for text, size, colour in lines:
        ImageDraw.Draw(part).text((0, y), text, colour, _font(size))
        y += size + 9
    return part


def _heading(text: str) -> Image.Image:
    line = _texts([(text, _HEADING, _INK)])
    part = Image.new("RGB", (line.width, line.height + 16), _PAPER)
    part.paste(line, (0, 14))
    return part


def _body(section: Section, label: int) -> Image.Image:
    """Draw the rows, in columns from top to bottom. label: width of the labels in px."""
    rows = [_row(row, label, section.zoom) for row in section.rows]
    down = -(-len(rows) // section.beside)
    columns = [rows[at : at + down] for at in range(0, len(rows), down)]
    widths = [max(row.width for row in column) for column in columns]
    apart = 28
    part = Image.new(
        "RGB",
        (
            sum(widths) + apart * (len(columns) - 1),
            max(sum(row.height for row in column) for column in columns),
        ),
        _PAPER,
    )
    x = 0
    for column, width in zip(columns, widths, strict=True):
        y = 0
        for row in column:
            part.paste(row, (x, y))
            y += row.height
        x += width + apart
    return part


def _row(row: Row, label: int, zoom: int) -> Image.Image:
    font = _font(_CAPTION)
    tiles = [(_enlarged(tile.picture, zoom), tile.caption) for tile in row.tiles]
    texts = [_wrapped(text, picture.width, font) for picture, text in tiles]
    lines = max(len(text) for text in texts)
    height = max(picture.height for picture, _ in tiles)
    part = Image.new(
        "RGB",
        (
            label + sum(picture.width + _GAP for picture, _ in tiles),
            height + _GAP + lines * _LINE + (4 if lines else 0),
        ),
        _PAPER,
    )
    pen = ImageDraw.Draw(part)
    pen.text((0, height / 2), row.label, _INK, _font(_LABEL), anchor="lm")
    x = label
    for (picture, _), text in zip(tiles, texts, strict=True):
        part.paste(picture, (x, 0))
        for number, line in enumerate(text):
            pen.text(
                (x + picture.width / 2, height + 3 + number * _LINE), line, _INK, font, anchor="ma"
            )
        x += picture.width + _GAP
    return part


def _enlarged(picture: Pixels, zoom: int) -> Image.Image:
    image = Image.fromarray(picture, "RGB")
    # Nearest keeps every pixel, and gives the smallest files.
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


def _wrapped(text: str, width: int, font: Any) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def save(page: Image.Image, path: Path, limit: int | None = None) -> None:
    """Write a PNG; fewer colours, down to a palette of 64, keep it below `limit` bytes."""
    for colours in (None, 256, 128, 64):
        file = io.BytesIO()
        picture = page if colours is None else page.quantize(colours, Image.Quantize.FASTOCTREE)
        picture.save(file, format="PNG", optimize=True)
        if limit is None or file.tell() <= limit:
            break
    try:
        path.write_bytes(file.getvalue())
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}", value=str(path)
        ) from error


# --- scenes ---------------------------------------------------------------------------------------


def scenes_sections(seed: int = 0) -> list[Section]:
    """Return everything that scenes can contain, a scene with parts swapped, and captions."""
    wide = 12

    def shown(scene: Scene, text: str) -> Tile:
        return Tile(render(scene), text)

    def grid(title: str, tiles: Iterable[Tile]) -> Section:
        every = list(tiles)
        rows = [Row("", tuple(every[at : at + wide])) for at in range(0, len(every), wide)]
        return Section(title, tuple(rows))

    def plain(name: str) -> Scene:
        return Scene(
            name,
            "field",
            colour="red" if name in world.COLOURABLE else None,
            hair="brown" if name in world.PEOPLE else None,
            skin="light" if name in world.PEOPLE else None,
            seed=3,
        )

    woman = Scene("woman", "city", ("sun",), hair="blond", skin="light", age="young", seed=4)
    swaps = {
        "one scene …": woman,
        "background: sea": replace(woman, background="sea"),
        "background: snow": replace(woman, background="snow"),
        "hair: black": replace(woman, hair="black"),
        "skin: dark": replace(woman, skin="dark"),
        "age: old": replace(woman, age="old"),
        "gender": replace(woman, subject="man"),
        "item: balloon": replace(woman, items=("balloon",)),
        "no item": replace(woman, items=()),
        "the mark": replace(woman, mark=True),
        "subject: duck": replace(woman, subject="duck", hair=None, skin=None, age=None),
        "no subject": replace(woman, subject=None, hair=None, skin=None, age=None),
    }
    people = [
        *(shown(replace(plain("woman"), hair=hair), f"{hair} hair") for hair in world.HAIR),
        *(shown(replace(plain("man"), skin=skin), f"{skin} skin") for skin in world.SKIN),
        *(
            shown(replace(plain(who), age="old"), f"old {who}")
            for who in world.OLD_PEOPLE
        ),
    ]  # fmt: skip
    rng = np.random.default_rng(seed)
    random = [sample_scene(rng) for _ in range(wide)]
    return [
        grid("Places", (shown(Scene(None, place, seed=1), place) for place in world.BACKGROUNDS)),
        *(
            grid(title, (shown(plain(name), name) for name in names))
            for title, names in (
                ("Water birds and land birds", world.BIRDS),
                ("Animals", world.ANIMALS),
                ("Objects", world.OBJECTS),
            )
        ),
        grid("People", [*(shown(plain(name), name) for name in world.PEOPLE), *people[:8]]),
        grid(
            "Old people, colours",
            [
                *people[8:],
                *(
                    shown(replace(plain("car"), colour=colour), f"{colour} car")
                    for colour in world.COLOURS
                ),
            ],
        ),
        grid(
            "Things beside a subject",
            (shown(replace(plain("dog"), items=(item,)), item) for item in world.ITEMS),
        ),
        grid("The same scene with one part swapped", (shown(s, t) for t, s in swaps.items())),
        grid("Random scenes with captions", (
            shown(scene, caption(scene, rng)) for scene in random
        )),
        grid("More random scenes, with full captions", (
            shown(scene, full_caption(scene)) for scene in (sample_scene(rng) for _ in range(wide))
        )),
    ]  # fmt: skip


def scenes_sheet(seed: int = 0) -> Image.Image:
    """Draw the page about scenes. seed: seed of the random ones."""
    return draw(
        "The lab's world: scenes",
        [
            "A scene is data: a subject, a place, things, attributes and a seed. "
            "64 by 64 px, shown at twice the size.",
            ATTRIBUTION,
        ],
        scenes_sections(seed),
    )


# --- generated pictures ---------------------------------------------------------------------------

_PLACES = ("field", "sea", "city", "forest", "snow", "desert", "room", "lake")
_BIRDS = ("duck", "owl", "peacock", "swan", "parrot", "penguin")
_BEARERS: dict[str, Sequence[str]] = {
    "colour": ("car", "bus", "book", "fish", "guitar", "tent"),
    "hair": tuple(world.PEOPLE),
    "skin": tuple(world.PEOPLE),
    "age": tuple(world.OLD_PEOPLE),
}
"""The subjects to draw with an attribute, by slot."""

_GROUPS: dict[str, Sequence[str]] = {
    "Birds": tuple(world.BIRDS),
    "Animals": tuple(world.ANIMALS),
    "Objects": tuple(world.OBJECTS),
    "People": tuple(world.PEOPLE),
    "Places": world.BACKGROUNDS,
    "Things beside a subject": tuple(world.ITEMS),
    "Colours": tuple(world.COLOURS),
    "Hair": tuple(world.HAIR),
    "Skin and age": (*world.SKIN, *world.AGES),
    "Kinds": tuple(world.KINDS),
}


def prompts(word: str, count: int = PICTURES) -> list[str]:
    """Return prompts with a word in its usual place and other words in turn."""
    families = world.attribute_families().values()
    slot = next((str(family["slot"]) for family in families if word in family["words"]), None)
    if slot is None:
        raise InputError(
            f"{word!r} is not one of the lab's words",
            value=word,
            remedy=f"choose from {', '.join(world.CONTENT_WORDS)}",
        )
    texts = []
    for index in range(count):
        place = _PLACES[index % len(_PLACES)]
        if slot == "subject":
            text = f"{word} with {place}"
        elif slot in _BEARERS:
            bearers = _BEARERS[slot]
            text = f"{word} {bearers[index % len(bearers)]} with {place}"
        else:
            text = f"{_BIRDS[index % len(_BIRDS)]} with {word}"
        texts.append(f"a picture of a {text}")
    return texts


def pictures_sections(
    words: Sequence[str] | None = None,
    generator: Any = None,
    on_picture: Callable[[int, int], None] = lambda done, of: None,
) -> list[Section]:
    """Return a row of generated pictures per word; raise InputError for an unknown word.

    words: by default all except those for whole kinds. generator: from `load_generator`, by default
    the shipped one. on_picture: called with the number of drawn pictures and the total.
    """
    if words is None:
        words = [word for word in world.CONTENT_WORDS if word not in world.KINDS]
    asked = {word: prompts(word) for word in dict.fromkeys(words)}
    total = PICTURES * len(asked)
    if generator is None:
        import torch

        from dexter.generation.generator import load_generator

        torch.set_num_threads(1)
        generator = load_generator("lab")
    # The first seeds of the range, the same for every word: no selection.
    seeds = picture_seeds("score", 0, PICTURES) * len(asked)
    texts = [text for of_word in asked.values() for text in of_word]
    tiles = []
    for picture, text in zip(generator.pictures(texts, seeds, 32), texts, strict=True):
        label = text.removeprefix("a picture of a ") if len(asked) <= FEW else ""
        tiles.append(Tile(np.asarray(picture), label))
        on_picture(len(tiles), total)
    rows = {
        word: Row(word, tuple(tiles[at * PICTURES : (at + 1) * PICTURES]))
        for at, word in enumerate(asked)
    }
    return [
        Section(
            _title(group, shown), tuple(rows[word] for word in shown), 1 if len(asked) <= FEW else 3
        )
        for group, members in _GROUPS.items()
        if (shown := [word for word in asked if word in members])
    ]


def _title(group: str, words: Sequence[str]) -> str:
    """Return a group's heading, with the prompts of its first word."""
    texts = [text.removeprefix("a picture of a ") for text in prompts(words[0])]
    pattern = ", ".join(text.replace(words[0], "…", 1) for text in texts)
    return f"{group}: {pattern}"


def pictures_sheet(sections: Sequence[Section]) -> Image.Image:
    """Draw the page of generated pictures."""
    samples = next((m.samples for m in shipped.models() if m.name == "generator"), None)
    trained = f"Trained on {samples:,} samples; " if samples else ""
    return draw(
        "Pictures by the lab's generator",
        [
            f"{trained}{steps_of('lab')} steps, no guidance. Prompts are “a picture of a” plus the "
            "words in the headings; seeds are the first of their range, without selection.",
            ATTRIBUTION,
        ],
        sections,
    )


# --- for docs/ ------------------------------------------------------------------------------------

LIMIT = 1_000_000
"""The maximum size of a sheet in the repository, in bytes."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dexter.lab.sheets",
        description="Update the tables in docs/lab.md and its two sheets.",
    )
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the documents")
    parser.add_argument("--tables", action="store_true", help="only the tables, without torch")
    options = parser.parse_args()
    shipped.refresh_page(options.docs / shipped.PAGE.name)
    if not options.tables:
        save(scenes_sheet(), options.docs / "lab-scenes.png", LIMIT)
        save(pictures_sheet(pictures_sections()), options.docs / "lab-pictures.png", LIMIT)


if __name__ == "__main__":
    main()
