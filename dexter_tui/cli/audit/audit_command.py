"""The command `audit`: from models to a verdict on each class, and a report to send."""

import inspect
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dexter.config import RunConfig, fields_of
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
)
from dexter_tui.formatting import duration

if TYPE_CHECKING:
    from dexter_tui.analysis.screening_request import Prepared
    from store import Store
    from store.reading.card import VerdictCard
    from store.run_queue import Work

_MODEL_FIELDS = [
    name
    for name in fields_of("classifier", "generator", "machine")
    if name not in ("classifier", "trust_pickle")
]
_SMALL = 10  # classes up to which all are audited without being named
_SETTINGS = [name for name in SCREEN_FIELDS if name != "confirm"]


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    own = inspect.signature(audit)
    audit.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[
            *(p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD),
            *field_flags.parameters(ScreenSettings, _SETTINGS),
            *field_flags.parameters(RunConfig, _MODEL_FIELDS),
        ]
    )
    app.command()(audit)


def audit(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="classifiers, as for `run --classifier`")
    ],
    *,
    class_name: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="TEXT", help="a label or index; may be repeated"),
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
    strongest findings are tested on pairs of pictures with fresh noise. It asks nothing; Ctrl-C
    cancels, and the pictures drawn so far stay.
    """
    from dexter_tui.analysis import screening_request
    from dexter_tui.analysis.screening_request import ScreenRequest
    from dexter_tui.jobs import trust
    from store import Store, run_queue

    run_values = {field: values[field] for field in _MODEL_FIELDS if field in values}
    settings = ScreenSettings.from_values(
        field_flags.given(
            {field: values.get(field) for field in (*_SETTINGS, "device")}, ScreenSettings
        )
    )
    agreed = trust.agreed_by({**run_values, "classifier": models}, code=trust_code,
                             pickle=trust_pickle)  # fmt: skip
    run_values |= {"trust_pickle": True} if trust_pickle else {}
    classes = _classes(models[0], class_name, all_classes, run_values, agreed)
    prepared = [
        screening_request.prepare(
            ScreenRequest(models, name, settings, pool, run_values, agreed), paths.home(), say
        )
        for name in classes
    ]
    with Store.open(paths.home()) as store:
        run_queue.reconcile(store)
        outlooks = [outlook(store, one) for one in prepared]
        _announce(outlooks)
        queued = [screening_request.request_screening(store, one) for one in prepared]
        if code := _follow(store, [one.job_id for one in queued], Whole(outlooks)):
            return code
        ids = [one.screening_id for one in queued]
        cards = cards_of(store, ids)
        files = write_reports(store, ids, output)
    if as_json:
        print_json({"cards": [one.to_json() for one in cards], "screenings": ids, "files": files})
    else:
        _print(store, cards)
        print_lines(files)
    return 0


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
    [checked] = submit.described(field_flags.configs(None, [0], own), agreed=agreed)
    labels = checked.info.labels
    if first is None and len(labels) > _SMALL:
        raise InputError(
            f"{model} has {len(labels)} classes",
            field="class_name",
            remedy="name some with --class, or take the first with --all-classes N",
        )
    return [str(index) for index in range(min(first or len(labels), len(labels)))]


@dataclass(frozen=True)
class Outlook:
    """The expected work of an audit of one class: pictures, and seconds on one device."""

    class_name: str
    screening: int
    confirmation: int
    seconds: float

    @property
    def pictures(self) -> int:
        """The pictures of both stages."""
        return self.screening + self.confirmation


def outlook(store: "Store", prepared: "Prepared") -> Outlook:
    """Estimate the pictures of the screening and of the pairs that confirm its findings."""
    from dexter.planning.estimate import estimate
    from dexter.reasoning.evidence import PLACEBO_PAIRS
    from dexter.stats import LOOKS
    from dexter_tui.analysis import screening_request
    from store import screening_records

    of_screening = screening_request.outlook(store, prepared)
    settings, members = prepared.settings, len(prepared.members)
    # Placebos and controls are shared by all models; most claims are decided at the first look.
    confirmation = settings.placebos * PLACEBO_PAIRS + LOOKS[-1]
    confirmation += members * settings.candidates * LOOKS[0]
    bank = screening_records.bank(store, prepared.bank_key)
    pace = bank.pace if bank is not None and bank.pace is not None else None
    pace = pace or estimate(prepared.config).seconds_per_picture
    drawn = of_screening.missing + of_screening.budget - of_screening.planned
    return Outlook(
        prepared.topic.class_name, drawn, confirmation, of_screening.seconds + confirmation * pace
    )


def _announce(outlooks: Sequence[Outlook]) -> None:
    """Print the estimate of the whole, and of each class below it."""
    total = sum(one.seconds for one in outlooks)
    say(f"about {duration(total)} in all, one class after the other")
    for one in outlooks:
        say(
            f"  {one.class_name}: about {duration(one.seconds)}; {one.screening} pictures to find "
            f"concepts, then up to {one.confirmation} to test them"
        )


class Whole:
    """The time left of all jobs together, from the pictures done and the time since the start."""

    def __init__(self, outlooks: Sequence[Outlook]) -> None:
        self._expected = sum(one.pictures for one in outlooks)
        self._begun: float | None = None

    def line(self, works: "Sequence[Work]") -> str:
        """Return the estimate; "" before the first pictures."""
        done = sum(getattr(work, "steps_done", 0) for work in works)
        if self._begun is None and done:
            self._begun = time.monotonic()
            return ""
        if self._begun is None or not done:
            return ""
        left = max(self._expected - done, 0) * (time.monotonic() - self._begun) / done
        return f"audit: {done} of about {self._expected} pictures, about {duration(left)} left"


def _follow(store: "Store", job_ids: Sequence[str], whole: Whole) -> int:
    """Have the jobs done and show their progress; return the exit code."""
    from dexter_tui.cli.live_progress import watch
    from dexter_tui.cli.output import console_on
    from dexter_tui.jobs.team import Team

    team = Team(store, job_ids)
    team.start()
    watch(team, console_on(sys.stderr), whole.line)
    for error in dict.fromkeys(work.error_line for work in team.work() if work.error_line):
        say(error)
    return team.exit_code()


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


def write_reports(store: "Store", ids: Sequence[str], output: Path | None) -> list[str]:
    """Write the report on screenings as HTML and Markdown; return the paths."""
    from dexter_tui.exchange.write import write
    from store.errors import explained

    folder = (paths.home() / "reports" if output is None else output.expanduser()).absolute()
    with explained(folder, instead="name another folder"):
        folder.mkdir(parents=True, exist_ok=True)
    stem = f"audit-{'-'.join(ids[:3])}"
    return [
        str(write(store, list(ids), folder / f"{stem}{suffix}", form))
        for suffix, form in ((".html", "html"), (".md", "markdown"))
    ]
