"""The command `audit`: from models to a verdict on each class, and a report to send."""

import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.reasoning.settings import SCREEN_FIELDS, ScreenSettings
from dexter_tui import field_flags, paths
from dexter_tui.cli.output import (
    Json,
    TrustCode,
    TrustPickle,
    print_json,
    print_lines,
    print_view,
    say,
    start_runners,
)
from dexter_tui.cli.screening.request import MODEL_FIELDS, settings_of
from dexter_tui.formatting import duration

if TYPE_CHECKING:
    from dexter.reasoning.topic import Topic
    from dexter_tui.analysis.audit_estimate import Outlook
    from dexter_tui.analysis.screening_request import Prepared, ScreenRequest
    from dexter_tui.jobs.submit import Checked
    from store import Store
    from store.reading.card import VerdictCard

_MODEL_FIELDS = ["masked_lm", *MODEL_FIELDS]
_SMALL = 10  # classes up to which all are audited without being named
_SETTINGS = [name for name in SCREEN_FIELDS if name != "confirm"]


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    flags = (ScreenSettings, _SETTINGS), (RunConfig, _MODEL_FIELDS)
    app.command()(field_flags.accepts(audit, *flags))


def audit(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="classifiers, as for `run --classifier`",
            autocompletion=field_flags.known_classifiers,
        ),
    ],
    *,
    class_name: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="TEXT",
            help="a label or index; may be repeated  [default: all classes, of a model with at "
            f"most {_SMALL}]",
        ),
    ] = None,
    all_classes: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="the first N classes of the first model"),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="concepts: lab, photographs or a YAML file (docs/screening.md)  [default: lab for "
            "the lab's generator, else photographs]",
        ),
    ] = None,
    search: Annotated[
        bool,
        typer.Option(
            "--search",
            help="first search for words that nobody listed, and test them as well: a run of "
            "--preset quick for each model and class, up to a minute each with the lab's "
            "generator on a CPU",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="the folder of the reports  [default: reports in DEXTER_HOME]",
        ),
    ] = None,
    as_json: Json = False,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = False,
    **values: object,
) -> int:
    """Find what models rely on for each class, and write the report.

    Every model looks at one bank of pictures of each class, in which many concepts vary. The
    strongest findings are tested on pairs of pictures with fresh noise. With --search, so are the
    words of a search. It needs no input. Ctrl-C cancels it; the same command then continues with
    the pictures drawn so far. If the terminal closes, the work continues: `dexter-tui screen`
    lists it, `dexter-tui show ID` prints its verdicts, and `dexter-tui export ID -o FILE.html`
    writes the report.
    """
    from dexter_tui.analysis import screening_request
    from dexter_tui.analysis.screening_request import ScreenRequest
    from dexter_tui.jobs import trust
    from store import Store, run_queue

    folder = _folder_of_reports(output)
    run_values = {field: values[field] for field in _MODEL_FIELDS if field in values}
    settings = settings_of(values, _SETTINGS)
    agreed = trust.agreed_by({**run_values, "classifier": models}, code=trust_code,
                             pickle=trust_pickle)  # fmt: skip
    run_values |= {"trust_pickle": True} if trust_pickle else {}
    classes = _classes(models[0], class_name, all_classes, run_values, agreed)
    requests = [ScreenRequest(models, name, settings, pool, run_values, agreed) for name in classes]
    prepared = screening_request.prepare_all(requests, paths.home(), say)
    searches = [
        _searches(one, ready.topic, run_values, agreed) if search else []
        for one, ready in zip(requests, prepared, strict=True)
    ]
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        queued = _queue(store, prepared, searches)
        code, ids = _follow(store, queued)
        if not ids:
            return code
        cards = cards_of(store, ids)
        files = write_reports(store, ids, folder)
    if as_json:
        print_json({"cards": [one.to_json() for one in cards], "screenings": ids, "files": files})
    else:
        _print(store, cards)
        print_lines(files)
    return code


def _classes(
    model: str,
    named: Sequence[str] | None,
    first: int | None,
    values: Mapping[str, object],
    agreed: frozenset[str],
) -> list[str]:
    """Return the classes to audit; InputError where a large classifier needs them named."""
    from dexter_tui.jobs import submit

    if named and first is not None:
        raise InputError("--class and --all-classes exclude each other", remedy="give one")
    if named:
        return list(dict.fromkeys(named))
    own = {**values, "classifier": model, "class_name": "0"}
    configs = field_flags.configs(None, [0], own)
    [checked] = submit.described(configs, paths.home(), agreed=agreed, constant=True)
    labels = checked.info.labels
    if first is None and len(labels) > _SMALL:
        raise InputError(
            f"{model} has {len(labels)} classes",
            field="class_name",
            remedy="name some with --class, or take the first with --all-classes N",
        )
    return [str(index) for index in range(min(first or len(labels), len(labels)))]


def _searches(
    request: "ScreenRequest",
    topic: "Topic",
    values: Mapping[str, object],
    agreed: frozenset[str],
) -> "list[Checked]":
    """Return a checked search for each model of a class; InputError for a refused one.

    It searches for words that make a picture of a rival one of the class.
    """
    from dexter.config import MASK
    from dexter.reasoning.topic import control_prompt
    from dexter_tui.jobs import submit

    own: dict[str, object] = {**values, "class_name": request.class_name}
    if topic.rivals:
        own["template"] = f"{control_prompt(topic.rivals[0])} with {MASK} and {MASK}"
    models = [{**own, "classifier": name} for name in request.classifiers]
    configs = [config for one in models for config in field_flags.configs("quick", [0], one)]
    return submit.check(configs, paths.home(), agreed=agreed)


@dataclass(frozen=True)
class _Queued:
    """The queued work of an audit."""

    screenings: list[str]
    jobs: "dict[str, Outlook]"
    """The outlook of each screening's job"""
    runs: dict[str, float]
    """The expected seconds of each search"""


def _queue(
    store: "Store", prepared: "Sequence[Prepared]", searches: "Sequence[Sequence[Checked]]"
) -> _Queued:
    """Print the estimate of the whole and of its stages, then queue them."""
    from dexter.planning.estimate import estimate
    from dexter_tui.analysis import screening_request
    from dexter_tui.analysis.audit_estimate import outlook, together

    outlooks = [
        outlook(store, one, searched=bool(own)) for one, own in zip(prepared, searches, strict=True)
    ]
    seconds = [[estimate(one.config).total_seconds for one in own] for own in searches]
    searching = together(list(itertools.chain(*seconds)))
    say(f"about {duration(searching + together([one.seconds for one in outlooks]))} in all")
    if searching:
        say(f"  searches for words: up to {duration(searching)}")
    for one in outlooks:
        say(f"  {one.line()}")
    queued = _Queued([], {}, {})
    for ready, own, expected, work in zip(prepared, searches, seconds, outlooks, strict=True):
        found = screening_request.request_screening(store, ready, searches=own)
        if found.screening_id not in queued.screenings:  # a label and its index name one class
            queued.screenings.append(found.screening_id)
        queued.jobs[found.job_id] = work
        queued.runs.update(zip(found.run_ids, expected, strict=True))
    return queued


def _follow(store: "Store", queued: _Queued) -> tuple[int, list[str]]:
    """Have the work done and show its progress; return the exit code and what was screened."""
    from dexter_tui.cli.audit.time_left import TimeLeft
    from dexter_tui.cli.live_progress import watch
    from dexter_tui.jobs.team import Team
    from store.states import State

    start_runners(store)
    team = Team(store, [*queued.runs, *queued.jobs])
    names = {name: one.class_name for name, one in queued.jobs.items()}
    left = TimeLeft(store, queued.jobs, queued.runs)
    watch(team, left.line, names)
    for error in dict.fromkeys(work.error_line for work in team.work() if work.error_line):
        say(error)
    if any(work.state is State.CANCELLED for work in team.work()):
        say("cancelled; the same command continues with the pictures drawn so far")
    done = {work.id for work in team.work() if work.state is State.SUCCEEDED}
    screened = [one for one, job in zip(queued.screenings, queued.jobs, strict=True) if job in done]
    return team.exit_code(), screened


def cards_of(store: "Store", screening_ids: Sequence[str]) -> "list[VerdictCard]":
    """Return the cards of screenings, class by class."""
    from store.reading import card
    from store.reading.browse import Browse

    browse = Browse(store.home)
    return [one for name in screening_ids for one in card.of_screening(browse, name)]


def _print(store: "Store", cards: "Sequence[VerdictCard]") -> None:
    from dexter_tui.presentation.card_view import card_view
    from store.reading.browse import Browse

    browse = Browse(store.home) if sys.stdout.isatty() else None
    for one in cards:
        print_view(card_view(one, browse))
        print_lines([""])


def _folder_of_reports(output: Path | None) -> Path:
    """Return the folder of the reports; InputError for one that cannot be written."""
    folder = (paths.home() / "reports" if output is None else paths.expanded(output)).absolute()
    if folder.suffix in (".html", ".md") and not folder.exists():
        raise InputError(
            f"{folder.name} is the name of a report, and an audit writes several files",
            field="output",
            value=str(output),
            remedy="name a folder",
        )
    nearest = folder
    while not nearest.exists():
        nearest = nearest.parent
    if output is not None and not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        why = "is no folder" if not nearest.is_dir() else "cannot be written"
        raise InputError(
            f"{nearest} {why}", field="output", value=str(output), remedy="name another folder"
        )
    return folder


def write_reports(store: "Store", ids: Sequence[str], folder: Path) -> list[str]:
    """Write the report on screenings as HTML and Markdown; return the paths."""
    from dexter_tui.exchange.write import write
    from store.errors import explained

    with explained(folder, instead="name another folder"):
        folder.mkdir(parents=True, exist_ok=True)
    stem = f"audit-{'-'.join(ids[:3])}"
    return [
        str(write(store, list(ids), folder / f"{stem}{suffix}", form))
        for suffix, form in ((".html", "html"), (".md", "markdown"))
    ]
