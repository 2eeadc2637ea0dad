"""The command `compare`: it queues a comparison, follows it, and shows what was found."""

from collections.abc import Mapping
from typing import Annotated

import typer

from dexter.config import PRESETS, RunConfig
from dexter.errors import InputError
from dexter.reasoning.settings import FIELDS, CompareSettings
from dexter_tui import field_flags, paths
from dexter_tui.analysis.comparison_request import Request, request_comparison
from dexter_tui.cli.listing import completion, typed
from dexter_tui.cli.output import (
    Detach,
    Json,
    TrustCode,
    TrustEndpoint,
    open_browse,
    open_store,
    print_json,
    print_text,
    print_view,
    say,
    start_runners,
)


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    of_run = field_flags.RUN_FLAGS - {"classifier", "class_name"}
    app.command()(field_flags.accepts(compare, (CompareSettings, FIELDS), (RunConfig, of_run)))


def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="two to eight classifiers, as for `run --classifier`, or studies; or the id of "
            "a stored comparison; none: the stored comparisons",
            autocompletion=completion.comparable,
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
        int | None,
        typer.Option(min=1, max=1000, metavar="N", help="seeds of such searches (default 3)"),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="runs at the same time")] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"settings of such searches: {', '.join(PRESETS)}"),
    ] = None,
    detach: Detach = False,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_endpoint: TrustEndpoint = False,
    **values: object,
) -> int:
    """Test the same claims on several classifiers.

    Without --concepts, each classifier's newest finished study of the class proposes them. Further
    options are the settings that a study must have, and those of searches with --run-missing.
    Ctrl-C cancels it; the pictures drawn so far stay.
    """
    from dexter_tui.cli.live_progress import follow, watch
    from dexter_tui.jobs import trust
    from dexter_tui.jobs.team import Team
    from store import Store, run_queue

    given = list(dict.fromkeys(names or ()))
    if len(given) == 1 and _is_comparison(given[0]):
        typed.refuse_others(given[0], "baseline", "as_json")
        return show_stored(given[0], baseline, as_json=as_json)
    if not given:
        if typed.any_but("as_json"):
            raise InputError(
                "no classifier or study is named", remedy="name two to eight before the options"
            )
        return _list_stored(as_json=as_json)
    for field, value in (("seeds", seeds), ("jobs", jobs)):
        if value is not None and not run_missing:
            raise InputError(
                "has no effect without --run-missing",
                field=field,
                value=value,
                remedy="omit it, or pass both",
            )
    asked = {name: values[name] for name in FIELDS if name in values}
    settings = field_flags.given({**asked, **_both(values)}, CompareSettings)
    checked_settings = CompareSettings.from_values(settings)
    run_values = {k: v for k, v in values.items() if k in RunConfig.model_fields}
    request = Request(
        names=given,
        settings=checked_settings,
        classes=class_name or [],
        baseline=baseline,
        run_missing=run_missing,
        seeds=3 if seeds is None else seeds,
        preset=preset,
        values=run_values,
        typed=trust.agreed_by({**run_values, "classifier": given}),
        agreed=trust.agreed_by(
            code=trust_code,
            pickle=values.get("trust_pickle") is True,
            endpoint=trust_endpoint,
        ),
    )
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        asked_for = request_comparison(store, request, say)
        comparison_id = asked_for.comparison_id
        if asked_for.run_ids and not detach:
            say(f"searches first: {len(asked_for.run_ids)} runs")
            start_runners(store, jobs)
            team = Team(store, asked_for.run_ids, jobs)
            watch(team)
            for error in dict.fromkeys(run.error for run in team.runs() if run.error):
                say(error)
            if code := team.exit_code():
                run_queue.reconcile(store)  # the comparison failed with them
                return code
        if code := follow(store, asked_for.job_id, detach=detach):
            return code
    if detach:
        if as_json:
            print_json({"id": comparison_id})
        else:
            print_text(comparison_id)
        return 0
    return show_stored(comparison_id, None, as_json=as_json)


def _both(values: Mapping[str, object]) -> dict[str, object]:
    """Flags that a search and a comparison share."""
    return {name: values.get(name) for name in ("score_images", "device")}


def _is_comparison(name: str) -> bool:
    return name.startswith("c") and ":" not in name


# Stored ones


def show_stored(name: str, baseline: str | None, *, as_json: bool) -> int:
    """Show a stored comparison, the verdict cards first; store its baseline if given."""
    from dexter_tui.presentation.card_view import card_view
    from dexter_tui.presentation.comparison_tables import comparison_view
    from store import comparison_records
    from store.reading import card, comparisons
    from store.reading.browse import Browse

    with open_store() as store:
        comparison_id = comparison_records.comparison(store, name).id
        if baseline is not None:
            comparison_records.set_baseline(store, comparison_id, baseline)
    browse = Browse(paths.home())
    page = comparisons.page(browse, comparison_id)
    if as_json:
        print_json(page)
    else:
        for one in card.of_comparison(browse, comparison_id):
            print_view(card_view(one))
            print_text("")
        print_view(comparison_view(page))
    return 0


def _list_stored(*, as_json: bool) -> int:
    from dexter_tui.presentation.comparison_tables import comparisons_view
    from store.reading import comparisons

    found = comparisons.listed(open_browse(may_lack=True))
    if as_json:
        print_json(found)
    elif found:
        print_view(comparisons_view(found))
    else:
        say("no comparisons; dexter-tui compare lab:birds-biased lab:birds-balanced "
             "--class waterbird --run-missing")  # fmt: skip
    return 0
