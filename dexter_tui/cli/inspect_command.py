"""The command `inspect`: what is recognised about a model, and its answers to 16 pictures."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dexter.classifiers.address import SCHEMES
from dexter.config import RunConfig, fields_of
from dexter_tui import field_flags, paths
from dexter_tui.cli.output import Json, TrustCode, print_json, print_view, say
from dexter_tui.formatting import plain, plain_table, size
from store.reading.origin import origin

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dexter.planning.inspection import Inspection

_COLUMNS = 14  # of a picture in cells
_A_ROW = 4
_LABELS = 12  # that are listed; --json lists all
_FIELDS = frozenset(
    {*fields_of("classifier"), "generator", "device", "dtype"} - {"classifier"},
)


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    app.command()(inspect)


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="a file, folder, hub id or any value of `run --classifier`",
            autocompletion=field_flags.known_classifiers,
        ),
    ],
    trust_code: TrustCode = False,
    as_json: Json = False,
    **values: object,
) -> None:
    """Show what is recognised about a classifier, with its answers to 16 pictures.

    The pictures show things of its labels, or other things where the lab's generator draws none
    of them. Wrong answers to all of them point to labels in another order, or to pictures that
    were scaled or normalised otherwise in training.
    """
    from dexter.planning.preflight import check_models
    from dexter_tui.jobs import submit, trust

    given = {name: value for name, value in values.items() if value is not None}
    overrides = {**paths.settings(), **field_flags.given(given)}
    known = {name: overrides[name] for name in _FIELDS if name in overrides}
    config = RunConfig.from_preset("quick", classifier=model, class_name="0", **known)
    config = submit.with_full_paths(config)
    agreed = trust.agreed_by({**given, "classifier": model}, code=trust_code)
    trust.require([config], agreed)
    check_models(config)
    if sys.stderr.isatty():
        say("loading the models and drawing 16 pictures")
    with redirect_stdout(sys.stderr):  # a user's file may print
        found = _look(config)
    if as_json:
        print_json(
            {
                **asdict(found.info),
                "answers": [
                    {"prompt": prompt, "seed": seed, "answers": answers}
                    for prompt, seed, answers in found.answers
                ],
                "seconds_per_picture": found.seconds,
                "bytes_per_picture": found.bytes,
                "trial": found.fault,
            }
        )
    else:
        print_view(_view(found, config.generator, pictures=sys.stdout.isatty()))


field_flags.accepts(inspect, (RunConfig, _FIELDS))


def _look(config: RunConfig) -> "Inspection":
    from dexter.device import select_device
    from dexter.generation.generator import generator_of
    from dexter.planning.inspection import look
    from dexter_tui.jobs import trust

    device = select_device(config.device)
    classifier = trust.load_classifier(config, device)
    words = _lab_words(classifier.labels) if config.generator == "lab" else None
    return look(classifier, generator_of(config, device).pictures, words)


def _lab_words(labels: Sequence[str]) -> list[str]:
    """Return things that the lab draws: of each label in turn, or any if it draws none of them."""
    from dexter.lab import world
    from dexter.planning.inspection import PICTURES
    from dexter.reasoning.topic import first_name, load_world

    subjects = load_world().subjects
    known = [own for label in labels if (own := subjects.get(first_name(label)))]
    if len(known) >= PICTURES:
        return [own[0] for own in known]
    words = [own[at % len(own)] for at in range(PICTURES) for own in known]
    return words[:PICTURES] or list(world.THINGS)


def _view(found: "Inspection", generator: str, *, pictures: bool) -> "RenderableType":
    info = found.info
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    served = info.spec.partition(":")[0] in SCHEMES  # which scales pictures itself
    more = f" and {len(info.labels) - _LABELS} more" if len(info.labels) > _LABELS else ""
    for name, value in (
        ("recognised", info.recognised),
        ("labels", ", ".join(map(_first, info.labels[:_LABELS])) + more),
        ("input", "" if served else f"{info.image_size} x {info.image_size} px"),
        ("gradient", "yes" if info.gradients else "no: searched by its scores alone"),
        ("time", f"{found.seconds * 1000:.1f} ms a picture, {found.device}"),
        ("memory", f"{size(found.bytes)} a picture, for its gradient" if found.bytes else ""),
        ("trial", found.fault),
        ("pictures", origin(info.spec, generator).removeprefix("pictures ")),
    ):
        if value:
            facts.add_row(name, plain(value))
    table = plain_table()
    for column in ("picture", "answers"):
        table.add_column(column)
    for prompt, _, answers in found.answers:
        best = [f"{_first(one['label'])} {one['probability']:.2f}" for one in answers]
        table.add_row(plain(prompt), plain(", ".join(best) or "no label"))
    parts: list[RenderableType] = [plain(info.spec, "bold"), facts, ""]
    if pictures:
        parts += [_grid(found), ""]
    return Group(*parts, table)


def _first(label: str) -> str:
    """Return the first name in a label: "can opener" for "can opener, tin opener"."""
    return label.split(",")[0]


def _grid(found: "Inspection") -> "RenderableType":
    """Return the pictures in half blocks, four in a row, each above its first answer."""
    from PIL import Image

    from dexter_tui.machine.terminal_images import half_blocks

    grid = Table.grid(padding=(0, 1))
    cells: list[Any] = []
    for image, (_, _, answers) in zip(found.images, found.answers, strict=True):
        drawn = Text.from_ansi(half_blocks(Image.fromarray(image), _COLUMNS))
        first = answers[0] if answers else {"label": "no label", "probability": 0.0}
        words = plain(f"{_first(str(first['label']))} {first['probability']:.2f}"[:_COLUMNS])
        cells.append(Group(drawn, words))
    for at in range(0, len(cells), _A_ROW):
        grid.add_row(*cells[at : at + _A_ROW])
    return grid
