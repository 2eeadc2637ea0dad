"""The commands about the queue and the work on the slots."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dexter.config import PRESETS, RunConfig
from dexter.errors import InputError
from dexter_tui import EXIT_FAILED, field_flags, formatting, paths
from dexter_tui.cli.listing.completion import ids
from dexter_tui.cli.output import (
    Json,
    On,
    TrustCode,
    TrustEndpoint,
    TrustPickle,
    open_store,
    print_json,
    print_lines,
    print_text,
    print_view,
    say,
    say_space,
    settle,
    start_runners,
)
from dexter_tui.jobs.status import describe
from dexter_tui.jobs.sweeps import checked_sweeps, sweep_configs
from store.checking.checks import PRIORITIES

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from store import Store
    from store.run_queue import Work

SHOWN = 20  # of what waits, in `status`

IDS_HELP = (
    "runs, jobs, studies, comparisons, screenings or reports on pictures: ids or unique prefixes"
)
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ID...",
        autocompletion=ids,
        help=IDS_HELP,
    ),
]
queue_app = typer.Typer(rich_markup_mode=None, help="Add, list and reorder waiting jobs.")


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
        typer.Option(metavar="SPEC", help="as for `run`; repeatable"),
    ] = None,
    class_name: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="TEXT", help="as for `run`; repeatable"),
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
        typer.Option(min=1, max=1000, metavar="N", help="number of runs (seeds 0 to N-1)"),
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
    priority: Annotated[
        int,
        typer.Option(min=PRIORITIES[0], max=PRIORITIES[1], metavar="N", help="more goes first"),
    ] = 0,
    on: On = None,
    trust_code: TrustCode = False,
    trust_endpoint: TrustEndpoint = False,
    as_json: Json = False,
    **values: object,
) -> None:
    """Queue a run for each classifier, class, preset and seed, and have runners do them.

    Prints the runs' ids. Nothing is queued if one of them is refused. Code that only the file
    names needs --trust-code or --trust-pickle, and a server --trust-endpoint.
    """
    from dexter_tui.jobs import submit, trust
    from dexter_tui.jobs.placement import places
    from store import Store

    if on is not None:
        places.place(on)
    own: dict[str, object] = {
        "classifier": classifier,
        "class_name": class_name,
        "preset": preset,
        "seeds": seeds,
        "seed": seed,
        **values,
    }
    given = {name: value for name, value in own.items() if value is not None}
    sweeps = (
        [given] if file is None else [{**sweep, **given} for sweep in checked_sweeps(file, own)]
    )
    configs = [config for sweep in sweeps for config in sweep_configs(sweep)]
    agreed = trust.agreed_by(given, code=trust_code, endpoint=trust_endpoint)
    warnings: list[str] = []
    checked = submit.check(
        configs, paths.home(), warn=warnings.append, agreed=agreed, elsewhere=on is not None
    )
    with Store.open(paths.home()) as store:
        for line in warnings:
            say(line)
        run_ids = submit.add(store, checked, priority, place=on)
        start_runners(store)
        _answer(store, run_ids, as_json=as_json)


queue_app.command()(field_flags.accepts(add, (RunConfig, field_flags.RUN_FLAGS)))


@queue_app.command("list")
def list_queue(as_json: Json = False) -> None:
    """List the queued runs and jobs, in the order in which they will be taken."""
    from dexter_tui.presentation import job_tables
    from store import run_queue

    with open_store() as store:
        settle(store)
        queued = run_queue.queue(store)
        if as_json:
            print_json(
                [{**job_tables.any_json(work), "priority": work.priority} for work in queued]
            )
        elif queued:
            print_view(queue_view(queued))
        else:
            say("nothing is queued; `dexter-tui queue add` takes the flags of `run`")


@queue_app.command()
def clear(as_json: Json = False) -> None:
    """Cancel all queued runs and jobs; `retry` queues them again."""
    from dexter_tui.jobs import control
    from store import StoreError, run_queue

    with open_store() as store:
        run_queue.reconcile(store)
        cleared = []
        for work in run_queue.queue(store):
            try:
                cleared.append(control.cancel(store, work.id).id)
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
) -> int:
    """Move queued runs and jobs forward or back."""
    from dexter_tui.jobs import control
    from store import State, run_queue

    if (priority is not None) + first + last != 1:
        raise InputError("give one of --priority, --first and --last")
    with open_store() as store:
        run_queue.reconcile(store)
        chosen, refused = _chosen(store, names, {State.QUEUED}, "reorder")
        priorities = [work.priority for work in run_queue.queue(store)]
        if first:
            priority = max(priorities, default=0) + 1
        elif last:
            priority = min(priorities, default=0) - 1
        assert priority is not None
        target = priority

        def move(store: "Store", name: str) -> "Work":
            return control.set_priority(store, name, target)

        return _act(store, move, chosen, refused, as_json=as_json)


# Runs and jobs


def pause(
    names: Names = None,
    all_: Annotated[bool, typer.Option("--all", help="all queued and running ones")] = False,
    as_json: Json = False,
) -> int:
    """Pause runs and jobs: keep their place, free the memory."""
    from dexter_tui.jobs import control
    from store import State

    states = {State.QUEUED, State.STARTING, State.RUNNING}
    return _each(control.pause, names, states, "pause", all_=all_, as_json=as_json)


def cancel(
    names: Names = None,
    all_: Annotated[bool, typer.Option("--all", help="all that have not ended")] = False,
    as_json: Json = False,
) -> int:
    """Cancel runs and jobs at their next step."""
    from dexter_tui.jobs import control
    from store import ACTIVE, State

    states = (ACTIVE | {State.QUEUED, State.PAUSED}) - {State.CANCELLING}
    return _each(control.cancel, names, states, "cancel", all_=all_, as_json=as_json)


def retry(
    names: Names = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="of runs, not from the checkpoint")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="all failed, lost or cancelled ones")] = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    trust_endpoint: TrustEndpoint = False,
    as_json: Json = False,
) -> int:
    """Queue failed, lost or cancelled runs and jobs again."""
    from dexter_tui.jobs import control, trust
    from store import State

    agreed = trust.agreed_by(code=trust_code, pickle=trust_pickle, endpoint=trust_endpoint)

    def again(store: "Store", name: str) -> "Work":
        return control.retry(store, name, from_start=from_start, agreed=agreed)

    states = {State.FAILED, State.LOST, State.CANCELLED}
    return _each(again, names, states, "retry", all_=all_, as_json=as_json, start=True)


def _each(
    act: "Callable[[Store, str], Work]",
    names: Sequence[str] | None,
    states: Any,
    verb: str,
    *,
    all_: bool,
    as_json: bool,
    start: bool = False,
) -> int:
    from store import run_queue

    if names and all_:
        raise InputError(f"{verb}: --all and ids exclude each other", remedy="give one")
    if not names and not all_:
        raise InputError(
            f"{verb}: nothing is named", remedy="name runs, jobs or studies, or pass --all"
        )
    with open_store() as store:
        run_queue.reconcile(store)
        chosen: list[Work]
        refused: list[str] = []
        if all_:
            chosen = [*store.runs(states=states), *run_queue.jobs(store, states=states)]
        else:
            chosen, refused = _chosen(store, names, states, verb)
        return _act(store, act, chosen, refused, as_json=as_json, start=start)


def _act(
    store: "Store",
    act: "Callable[[Store, str], Work]",
    chosen: "Sequence[Work]",
    refused: Sequence[str],
    *,
    as_json: bool,
    start: bool = False,
) -> int:
    """Act on the chosen work, print it, and report the rest; return the exit code."""
    from store import StoreError

    done, problems = [], list(refused)
    for work in chosen:
        try:
            done.append(act(store, work.id).id)
        except (InputError, StoreError) as error:  # perhaps it has moved meanwhile
            if len(chosen) == 1 and not refused:
                raise
            problems.append(str(error))
    if start and done:
        start_runners(store)
    _answer(store, done, as_json=as_json)
    for problem in problems:
        say(problem)
    return EXIT_FAILED if problems else 0


def _chosen(
    store: "Store", names: Sequence[str] | None, states: Any, verb: str
) -> "tuple[list[Work], list[str]]":
    """Return the named work that is in one of the states, and why the rest is not.

    A single name that cannot be used is refused.
    """
    from store import StoreError

    if not names:
        raise InputError(f"{verb}: nothing is named", remedy="name runs, jobs or studies")
    chosen: dict[str, Work] = {}
    problems: list[str] = []
    for name in names:
        try:
            chosen.update((work.id, work) for work in named(store, name, states, verb))
        except StoreError as error:
            if len(names) == 1:
                raise
            problems.append(str(error))
    return list(chosen.values()), problems


def named(store: "Store", name: str, states: Any, verb: str) -> "list[Work]":
    """Return the named work; of what has jobs, those that are in one of the states."""
    from store import StoreError, comparison_records, run_queue, screening_records
    from store.data_reports import records as data_records
    from store.states import is_job

    some: list[Work]
    if name.startswith("c"):
        of = comparison_records.comparison(store, name).id
        some = [*run_queue.jobs(store, comparison_id=of, states=states)]
    elif name.startswith("d"):
        report = data_records.data_report(store, name)
        of = report.id
        some = [job for job in run_queue.jobs(store, states=states) if job.id == report.job_id]
    elif name.startswith("x"):
        of = screening_records.screening(store, name).id
        some = [*run_queue.jobs(store, screening_id=of, states=states)]
    elif name.startswith("s"):
        of = store.study(name).id
        some = [
            *reversed(store.runs(study_id=of, states=states)),
            *run_queue.jobs(store, study_id=of, states=states),
        ]
    else:
        work = run_queue.find(store, name)
        if work.state not in states:
            kind = "job" if is_job(work.id) else "run"
            raise StoreError(f"{kind} {work.id} is {work.state.value}; nothing to {verb}")
        of, some = work.id, [work]
    if not some:
        raise StoreError(f"{of}: none of its runs and jobs is one to {verb}")
    return some


# status


def status(as_json: Json = False) -> None:
    """Show device slots, running jobs and the queue."""
    from store import ACTIVE

    with open_store() as store:
        settle(store)
        answer = describe(store)
    say_space(store.home)
    if as_json:
        print_json(answer)
        return
    print_view(slots_view(answer["slots"]))
    if answer["places"]:
        print_view(places_view(answer["places"]))
    waiting = [
        work for work in answer["jobs"] if work["slot"] is None or work["state"] not in ACTIVE
    ]
    if waiting:
        print_view(work_view(waiting[:SHOWN]))
        if len(waiting) > SHOWN:
            say(f"and {len(waiting) - SHOWN} more; `dexter-tui queue list` shows all")
    count = answer["waiting"]
    verb = "waits" if count == 1 else "wait"
    print_text(
        f"{answer['queued']} queued"
        + (f" ({count} {verb} for runs or after a crash)" if count else "")
        + f", {answer['paused']} paused"
    )
    if answer["queued"] and not any(slot["runner"] for slot in answer["slots"]):
        say("no runner is alive; `dexter-tui queue start` starts them")


@queue_app.command()
def start(
    jobs: Annotated[
        int | None, typer.Option(min=1, help="number of CPU slots or GPUs to use")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the runners that the queue calls for: those of before a reboot are gone."""
    from store import run_queue

    with open_store() as store:
        run_queue.reconcile(store)
        started = start_runners(store, jobs)
    if as_json:
        print_json(started)
    else:
        print_lines(started or ["nothing to start"])


def slots_view(slots: Sequence[Mapping[str, Any]]) -> "Group":
    """Return a table of the slots and, below it, what keeps them from working."""
    from rich.console import Group

    table = formatting.plain_table()
    for name in ("slot", "device", "work", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("progress", no_wrap=True, ratio=1, overflow="ellipsis")
    table.add_column("sign", no_wrap=True)
    notes = []
    for slot in slots:
        run, job, starting = slot["run"], slot["job"], slot["starting"]
        work = run or job or starting
        progress = slot["activity"] or ""
        if not progress and run and run["steps_total"]:
            progress = f"{run['steps']}/{run['steps_total']}"
        elif not progress and job and job["stage"]:
            progress = formatting.stage_line(job["stage"], job["done"], job["total"])
        state = "starting" if starting else "idle" if slot["runner"] else "off"
        sign = slot["seconds_since_sign"]
        table.add_row(
            formatting.plain(slot["name"]),
            formatting.plain(slot["device"]),
            f"{'run' if run else work['kind']} {work['id']}" if work else "",
            state if starting or not work else work["state"],
            formatting.plain(progress),
            "" if sign is None else f"{formatting.duration(sign)} ago",
        )
        note = "no sign for longer than it promised" if slot["silent"] else slot["note"]
        if note:
            notes.append(formatting.plain(f"{slot['name']}: {note}", "yellow"))
    return Group(table, *notes)


def places_view(attempts: Sequence[Mapping[str, Any]]) -> "Table":
    """Return a table of the attempts at other places, with the age of what is known of them."""

    table = formatting.plain_table()
    for name in ("place", "run", "attempt"):
        table.add_column(name, no_wrap=True)
    table.add_column("state there", no_wrap=True, ratio=1, overflow="ellipsis")
    table.add_column("seen", no_wrap=True)
    for one in attempts:
        age = one["seconds_since_seen"]
        table.add_row(
            formatting.plain(one["place"]),
            one["run"],
            str(one["attempt"]),
            formatting.plain(one["state"]),
            "never" if age is None else f"{formatting.duration(age)} ago",
        )
    return table


def work_view(works: Sequence[Mapping[str, Any]]) -> "Group":
    """Return a table of runs and jobs that wait and, below it, what went wrong with them."""
    from rich.console import Group

    table = formatting.plain_table()
    for name in ("work", "state", "priority"):
        table.add_column(name, no_wrap=True)
    table.add_column("of", no_wrap=True, ratio=1, overflow="ellipsis")
    errors = []
    for work in works:
        table.add_row(
            f"{work['kind']} {work['id']}", work["state"], str(work["priority"]), work["of"] or ""
        )
        if work["error"]:
            errors.append(formatting.plain(f"{work['id']}: {work['error']}", "yellow"))
    return Group(table, *errors)


def queue_view(queued: "Sequence[Work]") -> "Group":
    """Return a table of the queued runs and jobs and, below it, why some of them wait."""
    from rich.console import Group

    from store.clock import now
    from store.tables import Run

    table = formatting.plain_table()
    for name in ("work", "priority", "seed"):
        table.add_column(name, no_wrap=True)
    for name in ("classifier", "class"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    notes = []
    away = any(isinstance(work, Run) and work.place for work in queued)
    if away:
        table.add_column("place", no_wrap=True)
    for work in queued:
        config = work.config or {}
        run = work if isinstance(work, Run) else None
        spec = run.study.classifier.spec if run else config.get("classifier", "")
        table.add_row(
            f"{work.kind.value} {work.id}",
            str(work.priority),
            str(run.seed) if run else "",
            formatting.plain(formatting.short_spec(spec)),
            formatting.plain(run.study.class_name if run else config.get("class_name", "")),
            *([formatting.plain((run and run.place) or "here")] if away else []),
        )
        note = work.error_line or ""
        if work.not_before is not None and work.not_before > now():
            note += f" (again in {(work.not_before - now()).total_seconds():.0f} s)"
        if note:
            notes.append(formatting.plain(f"{work.id}: {note.strip()}", "yellow"))
    return Group(table, *notes)


def _answer(store: "Store", ids: Sequence[str], *, as_json: bool) -> None:
    """Print the runs and jobs as they stand now: JSON, or their ids."""
    from dexter_tui.presentation import job_tables
    from store import run_queue

    if as_json:
        print_json([job_tables.any_json(run_queue.find(store, name)) for name in ids])
    else:
        print_lines(ids)
