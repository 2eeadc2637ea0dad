"""The commands about the queue and what is at work."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dexter.config import PRESETS
from dexter.errors import InputError
from dexter_tui import field_flags, formatting, paths
from dexter_tui.cli.output import open_store, print_json, print_view, say
from dexter_tui.jobs.status import describe
from dexter_tui.jobs.sweeps import read_sweeps, sweep_configs

if TYPE_CHECKING:
    from rich.table import Table

    from store import Store
    from store.tables import Run

Json = Annotated[bool, typer.Option("--json", help="one JSON value on standard output")]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID...", help="runs or studies, or beginnings of their ids"),
]

queue_app = typer.Typer(rich_markup_mode=None, help="The runs that wait: add, list, reorder, …")


def register(app: typer.Typer) -> None:
    """Add the commands to the application's."""
    app.add_typer(queue_app, name="queue")
    for command in (status, pause, cancel, retry):
        app.command()(command)
    queue_app.command("cancel")(cancel)


# queue


def add(
    *,
    classifier: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="as for `run`; may be repeated"),
    ] = None,
    class_name: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="TEXT", help="as for `run`; may be repeated"),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"may be repeated: {', '.join(PRESETS)}  [default: default]",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, max=1000, metavar="N", help="a run for each seed 0 to N-1"),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, max=999, metavar="K", help="this seed; may be repeated  [default: 0]"),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="settings by name, or a list of such; classifier, class, preset and seed "
            "may each be a list",
        ),
    ] = None,
    priority: Annotated[int, typer.Option(metavar="N", help="more goes first")] = 0,
    as_json: Json = False,
    **values: object,
) -> None:
    """Queue a run for each classifier, class, preset and seed, and have runners do them.

    Prints the runs' ids. Nothing is queued if one of them is refused.
    """
    from dexter_tui.jobs import control, submit
    from store import Store

    own: dict[str, object] = {
        "classifier": classifier,
        "class_name": class_name,
        "preset": preset,
        "seeds": seeds,
        "seed": seed,
        **values,
    }
    given = {name: value for name, value in own.items() if value is not None}
    sweeps = [given] if file is None else [{**sweep, **given} for sweep in read_sweeps(file)]
    configs = [config for sweep in sweeps for config in sweep_configs(sweep)]
    checked = submit.check(configs, paths.home(), warn=say)
    _warn_of_logout()
    with Store.open(paths.home()) as store:
        run_ids = submit.add(store, checked, priority)
        control.ensure_runners(store, again=True)
        _answer(store, run_ids, as_json=as_json)


_own = inspect.signature(add)
add.__signature__ = _own.replace(  # type: ignore[attr-defined]
    parameters=[
        *(p for p in _own.parameters.values() if p.kind is not p.VAR_KEYWORD),
        *(p for p in field_flags.run_parameters() if p.name not in _own.parameters),
    ]
)
queue_app.command()(add)


@queue_app.command("list")
def list_queue(as_json: Json = False) -> None:
    """The queued runs, in the order in which they will be taken."""
    from dexter_tui.presentation import run_tables

    with open_store() as store:
        store.reconcile()
        runs = store.queue()
        if as_json:
            print_json([{**run_tables.run_json(run), "priority": run.priority} for run in runs])
        elif runs:
            print_view(queue_table(runs))
        else:
            say("nothing is queued; `dexter-tui queue add` takes the flags of `run`")


@queue_app.command()
def clear(as_json: Json = False) -> None:
    """Cancel all queued runs; `retry` queues them again."""
    from dexter_tui.jobs import control
    from store import StoreError

    with open_store() as store:
        store.reconcile()
        cleared = []
        for run in store.queue():
            try:
                cleared.append(control.cancel(store, run.id).id)
            except StoreError as error:
                say(str(error))
        _answer(store, cleared, as_json=as_json)


@queue_app.command()
def reorder(
    names: Names = None,
    priority: Annotated[int | None, typer.Option(metavar="N", help="more goes first")] = None,
    first: Annotated[bool, typer.Option("--first", help="before all others")] = False,
    last: Annotated[bool, typer.Option("--last", help="behind all others")] = False,
    as_json: Json = False,
) -> None:
    """Move queued runs forward or back."""
    from dexter_tui.jobs import control
    from store import State

    if (priority is not None) + first + last != 1:
        raise InputError("give one of --priority, --first and --last")
    with open_store() as store:
        store.reconcile()
        runs = _chosen(store, names, {State.QUEUED}, "reorder")
        priorities = [run.priority for run in store.queue()]
        if first:
            priority = max(priorities) + 1
        elif last:
            priority = min(priorities) - 1
        assert priority is not None
        for run in runs:
            control.set_priority(store, run.id, priority)
        _answer(store, [run.id for run in runs], as_json=as_json)


# Runs


def pause(names: Names = None, all_: Annotated[bool, typer.Option("--all")] = False,
          as_json: Json = False) -> None:  # fmt: skip
    """Have runs keep their place in a checkpoint and their processes end; `resume` goes on."""
    from dexter_tui.jobs import control
    from store import State

    states = {State.QUEUED, State.STARTING, State.RUNNING}
    _each(control.pause, names, states, "pause", all_=all_, as_json=as_json)


def cancel(names: Names = None, all_: Annotated[bool, typer.Option("--all")] = False,
           as_json: Json = False) -> None:  # fmt: skip
    """End runs at their next step."""
    from dexter_tui.jobs import control
    from store import ACTIVE, State

    states = (ACTIVE | {State.QUEUED, State.PAUSED}) - {State.CANCELLING}
    _each(control.cancel, names, states, "cancel", all_=all_, as_json=as_json)


def retry(
    names: Names = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="not from the checkpoint")
    ] = False,
    all_: Annotated[bool, typer.Option("--all")] = False,
    as_json: Json = False,
) -> None:
    """Queue runs again that failed, were lost or cancelled, to go on from their checkpoints."""
    from dexter_tui.jobs import control
    from store import State

    def again(store: "Store", run_id: str) -> "Run":
        return control.retry(store, run_id, from_start=from_start)

    states = {State.FAILED, State.LOST, State.CANCELLED}
    _each(again, names, states, "retry", all_=all_, as_json=as_json, start=True)


def _each(
    act: "Callable[[Store, str], Run]",
    names: Sequence[str] | None,
    states: Any,
    verb: str,
    *,
    all_: bool,
    as_json: bool,
    start: bool = False,
) -> None:
    from dexter_tui.jobs import control

    if bool(names) == all_:
        raise InputError(f"{verb}: name runs or studies, or give --all")
    with open_store() as store:
        store.reconcile()
        runs = store.runs(states=states) if all_ else _chosen(store, names, states, verb)
        for run in runs:
            act(store, run.id)
        if start and runs:
            control.ensure_runners(store, again=True)
        _answer(store, [run.id for run in runs], as_json=as_json)


def _chosen(store: "Store", names: Sequence[str] | None, states: Any, verb: str) -> "list[Run]":
    """The runs of the names, and of a study those that are in one of the states."""
    from store import StoreError
    from store.tables import Study

    if not names:
        raise InputError(f"{verb}: name runs or studies")
    runs: dict[str, Run] = {}
    for name in names:
        found = store.find(name)
        if isinstance(found, Study):
            of_study = store.runs(study_id=found.id, states=states)
            if not of_study:
                raise StoreError(f"study {found.id}: none of its runs is one to {verb}")
            runs.update((run.id, run) for run in reversed(of_study))
        elif found.state in states:
            runs[found.id] = found
        else:
            raise StoreError(f"run {found.id} is {found.state.value}; nothing to {verb}")
    return list(runs.values())


# status


def status(as_json: Json = False) -> None:
    """The device slots, what is at work on them, and what waits."""
    with open_store() as store:
        answer = describe(store)
    if as_json:
        print_json(answer)
        return
    print_view(slots_table(answer["slots"]))
    print(
        f"{answer['queued']} queued, {answer['paused']} paused"
        + (f", {answer['waiting']} of them wait after a crash" if answer["waiting"] else "")
    )
    if answer["queued"] and not any(slot["runner"] for slot in answer["slots"]):
        say("no runner is at work; `dexter-tui queue start` starts them")


@queue_app.command()
def start(
    jobs: Annotated[int | None, typer.Option(min=1, help="on so many CPU slots or GPUs")] = None,
    as_json: Json = False,
) -> None:
    """Start the runners that the queue calls for: those of before a reboot are gone."""
    from dexter_tui.jobs import control

    _warn_of_logout()
    with open_store() as store:
        store.reconcile()
        started = control.ensure_runners(store, jobs=jobs, again=True)
    if as_json:
        print_json(started)
    else:
        print("\n".join(started) if started else "nothing to start")


def slots_table(slots: Sequence[Mapping[str, Any]]) -> "Table":
    """The slots, a line each."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for name in ("slot", "device", "run", "state", "steps", "sign"):
        table.add_column(name, no_wrap=True)
    table.add_column("", ratio=1)
    for slot in slots:
        run = slot["run"]
        idle = "idle" if slot["runner"] else "off"
        sign = slot["seconds_since_sign"]
        note = slot["note"] or ""
        if slot["silent"]:
            note = "no sign for longer than it promised"
        table.add_row(
            formatting.plain(slot["name"]),
            formatting.plain(slot["device"]),
            run["id"] if run else "",
            run["state"] if run else idle,
            f"{run['steps']}/{run['steps_total']}" if run and run["steps_total"] else "",
            "" if sign is None else f"{formatting.duration(sign)} ago",
            formatting.plain(note, "yellow"),
        )
    return table


def queue_table(runs: "Sequence[Run]") -> "Table":
    """The queued runs, a line each."""
    from rich.table import Table

    from store.clock import now

    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for name in ("run", "priority", "seed", "classifier", "class"):
        table.add_column(name, no_wrap=True)
    table.add_column("", ratio=1)
    for run in runs:
        note = run.error or ""
        if run.not_before is not None and run.not_before > now():
            note += f" (again in {(run.not_before - now()).total_seconds():.0f} s)"
        table.add_row(
            run.id,
            str(run.priority),
            str(run.seed),
            formatting.plain(run.study.classifier.spec),
            formatting.plain(run.study.class_name),
            formatting.plain(note, "yellow"),
        )
    return table


def _answer(store: "Store", run_ids: Sequence[str], *, as_json: bool) -> None:
    """The runs as they stand now: JSON, or their ids."""
    from dexter_tui.presentation import run_tables

    if as_json:
        print_json([run_tables.run_json(store.run(run_id)) for run_id in run_ids])
    else:
        for run_id in run_ids:
            print(run_id)


def _warn_of_logout() -> None:
    from dexter_tui.jobs import launch

    if launch.logout_kills():
        say(launch.LOGOUT_WARNING)


# The command line's own ways to print, imported late because it imports this module.
