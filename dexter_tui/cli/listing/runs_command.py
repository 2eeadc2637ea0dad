"""The command `runs`, which reads with plain sqlite3: importing SQLAlchemy takes a second."""

from collections.abc import Collection, Mapping
from typing import Annotated

import typer

from dexter.errors import InputError
from dexter_tui import paths
from dexter_tui.cli.listing import completion
from dexter_tui.cli.output import Json, open_store, print_json, print_view, say, settle
from store.locks import is_locked
from store.reading.browse import Browse, RunRow, StudyRow
from store.states import ACTIVE, State


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    app.command("runs")(list_runs)


def list_runs(
    study: Annotated[
        str | None,
        typer.Option(metavar="ID", help="only this study", autocompletion=completion.ids),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help="only runs in this state; repeatable",
            autocompletion=lambda: [one.value for one in State],
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="only this classifier", autocompletion=completion.models),
    ] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="only this class")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="only the newest N runs")
    ] = None,
    archived: Annotated[bool, typer.Option("--archived", help="archived runs as well")] = False,
    as_json: Json = False,
) -> None:
    """List the runs in the store, newest study first."""
    unknown = set(state or ()) - set(State)
    if unknown:
        name = unknown.pop()
        raise InputError(
            f"{name!r} is not a state",
            field="state",
            value=name,
            remedy=f"choose from {', '.join(State)}",
        )
    browse = Browse(paths.home())
    schema = browse.state_of_schema()
    if schema == "none":
        studies: list[tuple[StudyRow, list[RunRow]]] = []
    else:
        if schema != "current" or not _is_settled(browse):
            _reconcile()
        study_id = None
        if study is not None:
            key = browse.find(study)
            study_id = study if key is not None and key < 0 else _study_id(study)
        wanted: dict[str, Collection[object] | None] = {
            "study_id": {study_id} if study_id else None,
            "state": set(map(State, state)) if state else None,
            "classifier": {classifier} if classifier else None,
            "class_name": {class_name} if class_name else None,
        }
        studies = _listed(browse, wanted, limit, archived=archived)
    if as_json:
        print_json(_as_json([run.id for _, runs in studies for run in runs]))
    elif studies:
        from dexter_tui.presentation import run_tables

        print_view(run_tables.listed_view(studies))
    else:
        say("no runs; start one: dexter-tui run --classifier lab:birds-biased --class waterbird")


def _is_settled(browse: Browse) -> bool:
    """Return whether each active run has its process."""
    marks = ", ".join("?" * len(ACTIVE))
    rows = browse.rows(f"SELECT id FROM run WHERE state IN ({marks})", [s.value for s in ACTIVE])
    return all(is_locked(browse.home / "locks" / f"run-{run_id}.lock") for (run_id,) in rows)


def _reconcile() -> None:
    """Upgrade the store, and settle the runs whose process is gone."""
    with open_store() as store:
        settle(store)


def _study_id(name: str) -> str:
    """Return the id of a study by a unique prefix; raise StoreError if there is none."""
    with open_store() as store:
        return store.study(name).id


def _listed(
    browse: Browse,
    wanted: Mapping[str, Collection[object] | None],
    limit: int | None,
    *,
    archived: bool,
) -> list[tuple[StudyRow, list[RunRow]]]:
    """Return the wanted runs, of which at most the newest ``limit``, study by study."""
    keys = [key for key in browse.keys("", "created").keys if key > 0]
    if archived:
        keys += [key for key in browse.keys("tag:archived", "created").keys if key > 0]
    found = browse.runs(keys)
    runs = [
        run
        for run in found.values()
        if all(own is None or getattr(run, name) in own for name, own in wanted.items())
    ]
    runs.sort(key=lambda run: (run.created_at, run.key), reverse=True)
    groups: dict[str, list[RunRow]] = {}
    for run in runs[:limit]:
        groups.setdefault(run.study_id, []).append(run)
    study_keys = {study_id: browse.find(study_id) for study_id in groups}
    studies = browse.studies(-key for key in study_keys.values() if key is not None)
    by_id = {study.id: study for study in studies.values()}
    order = sorted(by_id, key=lambda name: (by_id[name].created_at, name), reverse=True)
    return [
        (by_id[name], sorted(groups[name], key=lambda run: (run.seed, run.created_at)))
        for name in order
    ]


def _as_json(run_ids: list[str]) -> list[object]:
    if not run_ids:
        return []
    from dexter_tui.presentation.run_tables import run_json

    with open_store() as store:
        return [run_json(store.run(run_id)) for run_id in run_ids]
