"""The commands of `dexter-tui lab`: the embedded world, its models and its fleet.

Only `lab pictures` loads torch; the others read files or draw from data.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dexter import model_folders
from dexter.classifiers import list_classifiers
from dexter.errors import InputError
from dexter.lab import world
from dexter.lab.shipped import FleetMember
from dexter.model_folders import roots
from dexter_tui.cli.output import (
    Json,
    print_json,
    print_picture,
    print_text,
    print_view,
    show_progress,
)
from dexter_tui.formatting import plain, plain_table, size

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import RenderableType

Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE.png", help="target file")
]

lab_app = typer.Typer(
    rich_markup_mode=None, help="Explore the embedded lab: models, scenes, pictures, fleet."
)


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    app.add_typer(lab_app, name="lab")


@lab_app.callback(invoke_without_command=True)
def overview(context: typer.Context, as_json: Json = False) -> None:
    """Explore the embedded lab: models, scenes, pictures, fleet."""
    if context.invoked_subcommand is not None:
        return
    from dexter.lab import shipped, world

    models = shipped.models()
    classifiers = [
        info for info in list_classifiers(roots()) if not info.spec.startswith("lab:fleet/")
    ]
    fleet = _fleet()
    if as_json:
        print_json(
            {
                "words": len(world.CONTENT_WORDS),
                "models": [
                    {
                        "name": model.name,
                        "folder": str(model.folder),
                        "bytes": model.bytes,
                        "samples": model.samples,
                        "measured": model.card.measured,
                        "command": model.card.command,
                    }
                    for model in models
                ],
                "classifiers": [
                    {
                        "spec": info.spec,
                        "labels": info.labels,
                        "measured": _card(info.spec).measured,
                    }
                    for info in classifiers
                ],
                "fleet": [_member_json(member) for member in fleet],
            }
        )
        return

    parts: list[RenderableType] = [_world_view()]
    table = _table("model", "weights", "trained on", "")
    for model in models:
        seen = "" if model.samples is None else f"{model.samples:,} samples"
        table.add_row(
            plain(model.name, "bold"), size(model.bytes), seen, shipped.TITLES[model.name]
        )
    parts += ["", table if models else plain("no models: `make lab` trains them", "yellow")]
    for model in models:
        if numbers := _numbers(model.card.measured):
            parts += ["", plain(f"{model.name}, from its card", "dim"), numbers]
    if classifiers:
        table = _table("classifier", "worst group", "average", "")
        for info in classifiers:
            card = _card(info.spec)
            table.add_row(
                plain(info.spec, "bold"),
                plain(card.measured.get("accuracy, worst", "")),
                plain(card.measured.get("accuracy, average", "")),
                plain(card.about),
            )
        parts += ["", table]
    if fleet:
        planted = sum(member.plant is not None for member in fleet)
        parts += [
            "",
            plain(
                f"fleet: {len(fleet)} classifiers, {planted} with something planted; "
                "`dexter-tui lab fleet` lists them"
            ),
        ]
    print_view(Group(*parts))


@lab_app.command()
def scenes(
    output: Output = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of the random scenes")] = 0,
    as_json: Json = False,
) -> None:
    """Draw a sheet of everything a scene can hold, and random scenes with captions."""
    from dexter.lab import sheets

    path = output or Path("lab-scenes.png")
    _writable(path)
    _write(sheets.scenes_sheet(seed), path, as_json)


@lab_app.command()
def pictures(
    words: Annotated[
        str | None, typer.Option(metavar="LIST", help="comma-separated  [default: all]")
    ] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Draw a sheet of generated pictures for each word."""
    from dexter.lab import sheets

    chosen = [word.strip().lower() for word in words.split(",") if word.strip()] if words else None
    path = output or Path("lab-pictures.png")
    _writable(path)
    sections = sheets.pictures_sections(chosen, on_picture=_progress)
    _write(sheets.pictures_sheet(sections), path, as_json)


@lab_app.command()
def fleet(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="one classifier, with all families")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the classifiers with planted biases and their true dependences."""
    from dexter.lab import shipped, world

    members = shipped.fleet()
    if name is not None:
        wanted = name.removeprefix("lab:").removeprefix("fleet/")
        found = [member for member in members if member.name == wanted]
        if not found:
            raise InputError(
                f"the fleet has no classifier {name!r}",
                value=name,
                remedy="`dexter-tui lab fleet` lists them",
            )
        if as_json:
            print_json(_member_json(found[0]))
        else:
            print_view(_member_view(found[0], world.drawable_families()))
    elif as_json:
        print_json([_member_json(member) for member in members])
    else:
        print_view(_fleet_view(members))


# views


def _world_view() -> RenderableType:
    counts = ", ".join(
        f"{len(names)} {what}"
        for what, names in (
            *((group, names) for group, names in world.SUBJECT_GROUPS.items()),
            ("places", world.BACKGROUNDS),
            ("things beside a subject", world.ITEMS),
            ("colours", world.COLOURS),
            ("hair colours", world.HAIR),
            ("skin tones", world.SKIN),
            ("ages", world.AGES),
        )
    )
    return Group(
        plain(f"{len(world.CONTENT_WORDS)} words: {counts}"),
        plain("`dexter-tui lab scenes` and `lab pictures` show them; docs/lab.md explains", "dim"),
    )


def _numbers(measured: Mapping[str, str]) -> RenderableType | None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for what, value in measured.items():
        if what not in ("training samples", "classes", "training scenes"):
            # Cards list every word behind the mean; `--json` has them.
            grid.add_row(plain(f"  {what}"), plain(value.partition(" (")[0]))
    return grid if grid.row_count else None


def _fleet_view(members: Sequence[FleetMember]) -> RenderableType:
    table = _table("lab:fleet/…", "target", "planted", "depends on", "not on")
    for column in table.columns[:3]:
        column.no_wrap = True
    for member in members:
        effect = member.effects.get(member.plant or "")
        planted = plain(member.planted, "" if member.plant else "dim")
        table.add_row(
            plain(member.name),
            plain(member.target),
            planted if effect is None else Text.assemble(planted, " ", _effect(effect)),
            _effects(member.dependences()),
            str(member.count_negatives()),
        )
    table.columns[-1].justify = "right"
    legend = (
        "Numbers are effects on p(target) of drawing the attribute into the same scenes: "
        f"{world.POSITIVE:.2f} or more is a dependence. The last column counts the attributes with "
        f"an effect of at most {world.NEGATIVE:.2f}."
    )
    return Group(table, plain(legend, "dim"))


def _member_view(
    member: FleetMember, families: Mapping[str, tuple[str, Sequence[str]]]
) -> RenderableType:
    table = _table("attribute", "family", "effect on p(target)", "")
    for family, effect in sorted(
        member.effects.items(), key=lambda item: list(families).index(item[0])
    ):
        what = "core: part of the class" if family in member.core else ""
        what = what or ("planted" if family == member.plant else "")
        table.add_row(families[family][0], plain(family), _effect(effect), what)
    title = plain(f"{member.spec} · target {member.target} · planted: {member.planted}", "bold")
    return Group(title, table)


def _effects(effects: Mapping[str, float]) -> Text:
    parts = [Text.assemble(f"{family} ", _effect(effect)) for family, effect in effects.items()]
    return Text(", ").join(parts)


def _effect(effect: float) -> Text:
    style = "bold" if abs(effect) >= world.POSITIVE else ""
    return Text(f"{effect:+z.2f}".replace("-", "−"), style)


def _member_json(member: FleetMember) -> dict[str, Any]:
    return {
        "classifier": member.spec,
        "target": member.target,
        "plant": member.plant,
        "kind": member.kind,
        "strength": member.strength,
        "architecture": member.architecture,
        "random_labels": member.random_labels,
        "core": list(member.core),
        "effects": dict(member.effects),
        "dependences": list(member.dependences()),
    }


def _fleet() -> list[FleetMember]:
    from dexter.lab import shipped

    return shipped.fleet() if shipped.has_fleet() else []


def _card(spec: str) -> Any:
    from dexter.lab import shipped

    return shipped.read_card(model_folders.find("lab", "classifiers", spec.removeprefix("lab:")))


def _table(*columns: str) -> Table:
    table = plain_table()
    for column in columns:
        table.add_column(column, no_wrap=column in ("classifier", "model"))
    return table


# sheets


def _writable(path: Path) -> None:
    """Raise InputError before minutes of work if the target could not be written after them."""
    folder = path.expanduser().absolute().parent
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", field="output", remedy="create it first")


def _write(page: Image.Image, path: Path, as_json: bool) -> None:
    """Write the sheet, and show it if standard output is a terminal."""
    from dexter.lab import sheets

    path = path.expanduser().absolute()
    sheets.save(page, path)
    if as_json:
        print_json({"path": str(path)})
        return
    print_text(path)
    if sys.stdout.isatty():
        show(page)


def show(page: Image.Image) -> None:
    """Show the page as wide as the terminal, by Kitty graphics or Sixel.

    Other terminals show nothing: half blocks would be too coarse.
    """
    from dexter_tui.machine import terminal

    kind = terminal.probe("auto")
    if kind == "blocks":
        return
    from dexter_tui.machine.terminal_images import graphics

    picture = graphics(kind, page)
    if picture is not None:
        print_picture(picture)


def _progress(done: int, of: int) -> None:
    show_progress("pictures", done, of, every=8)
