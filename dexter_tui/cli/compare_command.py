"""The command `compare`: who is compared, what is missing, and the process that compares.

Nothing here loads torch: `dexter_tui.analysis.comparison_worker` does the work, in its own process.
"""

import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.config import PRESETS, RunConfig
from dexter.errors import InputError
from dexter.reasoning.settings import FIELDS, CompareSettings
from dexter_tui import field_flags, paths
from dexter_tui.analysis.comparison_process import follow, start
from dexter_tui.analysis.comparison_request import (
    Side,
    _add,
    _check_baseline,
    _config_to_search,
    _lacking,
    _refuse_lacking,
    _sides,
)
from dexter_tui.cli.output import say

if TYPE_CHECKING:
    from store import Store


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    own = inspect.signature(compare)
    compare.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[
            *(p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD),
            *field_flags.parameters(CompareSettings, FIELDS),
            *(
                p
                for p in field_flags.run_parameters()
                if p.name not in ("classifier", "class_name")
            ),
        ]
    )
    app.command()(compare)


def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="two to eight classifiers, as for `run --classifier`, or studies; or the id of "
            "a stored comparison; none: the stored comparisons",
        ),
    ] = None,
    *,
    class_name: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="TEXT", help="a label or index; may be repeated"),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="hold the others against this one")
    ] = None,
    run_missing: Annotated[
        bool, typer.Option("--run-missing", help="first search where there is no finished study")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="seeds of such searches")
    ] = 3,
    jobs: Annotated[int | None, typer.Option(min=1, help="runs at the same time")] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"settings of such searches: {', '.join(PRESETS)}"),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="start it, and do not wait")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="one JSON value on standard output")
    ] = False,
    **values: object,
) -> int:
    """Test the same claims on several classifiers, on the same pictures; show where they differ.

    Without --concepts, each classifier's newest finished study of the class proposes them. Further
    options are the settings that a study must have, and those of searches with --run-missing.
    Ctrl-C ends it; the pictures drawn so far stay.
    """
    from store import Store

    given = list(dict.fromkeys(names or ()))
    if len(given) == 1 and _is_comparison(given[0]):
        return _show_stored(given[0], baseline, as_json=as_json)
    if not given:
        return _list_stored(as_json=as_json)
    asked = {name: values[name] for name in FIELDS if name in values}
    settings = field_flags.given({**asked, **_both(values)}, CompareSettings)
    checked_settings = CompareSettings.from_values(settings)
    run_values = {k: v for k, v in values.items() if k in RunConfig.model_fields}
    with Store.open(paths.home()) as store:
        store.reconcile()
        sides = _sides(store, given, class_name or [], preset, run_values, say)
        _check_baseline(baseline, sides)
        code = _search(
            store, sides, run_values, preset, seeds, jobs,
            missing=run_missing, needed=not checked_settings.concepts,
        )  # fmt: skip
        if code:
            return code
        comparison_id = _add(store, sides, checked_settings, baseline)
        process = start(store, comparison_id)
        if detach:
            print(json.dumps({"id": comparison_id}) if as_json else comparison_id)
            return 0
        code = follow(store, comparison_id, process, say)
    if code:
        return code
    return _show_stored(comparison_id, None, as_json=as_json)


def _both(values: Mapping[str, object]) -> dict[str, object]:
    """Flags that a search and a comparison share."""
    return {name: values.get(name) for name in ("score_images", "device")}


def _is_comparison(name: str) -> bool:
    return name.startswith("c") and ":" not in name


# Searches that are missing


def _search(
    store: "Store",
    classes: Sequence[Sequence[Side]],
    values: Mapping[str, object],
    preset: str | None,
    seeds: int,
    jobs: int | None,
    *,
    missing: bool,
    needed: bool,
) -> int:
    """Have the searches made that are missing; the exit code."""
    from rich.console import Console

    from dexter_tui.cli.live_progress import watch
    from dexter_tui.jobs import submit
    from dexter_tui.jobs.team import Team

    lacking = _lacking(classes)
    if not missing and needed:
        _refuse_lacking(lacking)
    if not lacking or not missing:
        return 0
    configs = [
        _config_to_search(side, sides, preset, values).model_copy(update={"seed": seed})
        for side, sides in lacking
        for seed in range(seeds)
    ]
    say(f"searches first: {len(configs)} runs")
    run_ids = submit.enqueue(store, configs)
    team = Team(store, run_ids, jobs)
    team.start()
    watch(team, Console(file=sys.stderr, highlight=False))
    for number, (side, _) in enumerate(lacking):
        run = store.run(run_ids[number * seeds])
        side.study = run.study
        side.config = RunConfig.model_validate(run.config)
    for error in dict.fromkeys(run.error for run in team.runs() if run.error):
        say(error)
    return team.exit_code()


# The comparison


# Stored ones


def _show_stored(name: str, baseline: str | None, *, as_json: bool) -> int:
    from rich.console import Console

    from dexter_tui.presentation.comparison_tables import comparison_view
    from store import Store, comparison_records
    from store.reading import comparisons
    from store.reading.browse import Browse

    home = paths.home()
    if not (home / "store.sqlite").exists():
        raise InputError(f"{home}: no store here yet; start a run, or set DEXTER_HOME")
    with Store.open(home) as store:
        comparison_id = comparison_records.comparison(store, name).id
        if baseline is not None:
            comparison_records.set_baseline(store, comparison_id, baseline)
    page = comparisons.page(Browse(home), comparison_id)
    if as_json:
        print(json.dumps(page, ensure_ascii=False, indent=2))
    else:
        Console(highlight=False).print(comparison_view(page))
    return 0


def _list_stored(*, as_json: bool) -> int:
    from rich.console import Console

    from dexter_tui.presentation.comparison_tables import comparisons_view
    from store.reading import comparisons
    from store.reading.browse import Browse

    found = comparisons.listed(Browse(paths.home()))
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    elif found:
        Console(highlight=False).print(comparisons_view(found))
    else:
        say("no comparisons; dexter-tui compare lab:birds-biased lab:birds-balanced "
             "--class waterbird --run-missing")  # fmt: skip
    return 0
