"""The command `check`: a gate for the training of models, on stored findings."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from xml.sax.saxutils import escape, quoteattr

import typer

from dexter.errors import InputError
from dexter_tui import EXIT_FOUND, paths
from dexter_tui.cli.listing import completion
from dexter_tui.cli.output import Json, open_store, print_json, print_lines, say
from store.reading import card
from store.reading.browse import Browse
from store.reading.card import Finding, VerdictCard

if TYPE_CHECKING:
    from store import Store


def register(app: typer.Typer) -> None:
    """Add the command to the application's."""
    app.command()(check)


@dataclass(frozen=True)
class Dependence:
    """A confirmed dependence on a concept that is not part of the class."""

    classifier: str
    class_name: str
    concept: str
    effect: float
    low: float
    high: float
    baseline: float | None
    """The effect on the baseline; None if it was not confirmed there"""
    problem: str | None
    """The reason why the check fails: new or grown; None if it does not"""

    @property
    def line(self) -> str:
        """The dependence in a sentence."""
        before = "not confirmed" if self.baseline is None else f"{self.baseline:+z.2f}"
        verb = "relies on" if self.effect > 0 else "loses confidence with"
        return (
            f"{self.classifier} {verb} {self.concept} for {self.class_name}: {self.effect:+z.2f} "
            f"[{self.low:+z.2f}, {self.high:+z.2f}], baseline {before}"
        )


def dependences(
    cards: Sequence[VerdictCard], baselines: Sequence[VerdictCard], max_effect: float
) -> list[Dependence]:
    """Return the dependences of the cards, each compared with a baseline of the same class.

    A dependence is new if its effect exceeds ``max_effect`` and the baseline's does not, or has the
    other sign. It is grown if both do and its interval lies wholly beyond the baseline's.
    """
    found = []
    for own in cards:
        before = {} if (base := _baseline_of(own, baselines)) is None else _by_concept(base)
        for concept, one in _by_concept(own).items():
            known = before.get(concept)
            found.append(
                Dependence(
                    classifier=own.classifier,
                    class_name=own.class_name,
                    concept=concept,
                    effect=one.effect,
                    low=one.low,
                    high=one.high,
                    baseline=None if known is None else known.effect,
                    problem=_problem(one, known, max_effect),
                )
            )
    return found


def _by_concept(of: VerdictCard) -> dict[str, Finding]:
    return {one.concept: one for one in (*of.biases, *of.lowers) if not one.core}


def _baseline_of(own: VerdictCard, baselines: Sequence[VerdictCard]) -> VerdictCard | None:
    """Return the baseline's card of the same class, of the same classifier if there is one."""
    same_class = [one for one in baselines if one.class_name == own.class_name]
    same = [one for one in same_class if one.classifier == own.classifier]
    return next(iter(same or same_class), None)


def _problem(one: Finding, known: Finding | None, max_effect: float) -> str | None:
    if abs(one.effect) <= max_effect:
        return None
    if known is None or abs(known.effect) <= max_effect or known.effect * one.effect < 0:
        return "new"
    sign = 1 if one.effect > 0 else -1
    least = min(sign * one.low, sign * one.high)
    most = max(sign * known.low, sign * known.high)
    return "grown" if least > most else None


def check(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="a finished comparison or study  [default: the newest comparison]",
            autocompletion=completion.compared,
        ),
    ] = None,
    *,
    baseline: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="a comparison, study or bundle, or a classifier in the comparison, that says "
            "which dependences are accepted",
        ),
    ],
    max_effect: Annotated[
        float, typer.Option(min=0, max=1, metavar="X", help="largest effect of a new dependence")
    ] = 0.2,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write the result as JUnit XML")
    ] = None,
    github: Annotated[
        bool, typer.Option("--github", help="print annotations for GitHub Actions")
    ] = False,
    as_json: Json = False,
) -> int:
    """Fail with exit code 3 if a model has new or grown dependences.

    It compares stored findings and computes nothing. Exit code 0: none; 2: nothing to compare.
    """
    with open_store() as store:
        cards = _checked_cards(store, name)
        baselines = _baseline_cards(store, cards, baseline)
    cards = [one for one in cards if one.classifier != baseline]
    _refuse_idle(cards, baselines, baseline)
    found = dependences(cards, baselines, max_effect)
    failed = [one for one in found if one.problem is not None]
    if junit is not None:
        _write(junit, junit_xml(cards, found))
    if as_json:
        print_json(
            {
                "ok": not failed,
                "checked": [one.title for one in cards],
                "max_effect": max_effect,
                "dependences": [asdict(one) for one in found],
            }
        )
    else:
        print_lines(f"{one.problem or 'accepted'}: {one.line}" for one in found)
        noun = "dependence" if len(failed) == 1 else "dependences"
        say(f"{len(failed)} new or grown {noun} above {max_effect:g}")
    if github:
        _annotate(failed)
    return EXIT_FOUND if failed else 0


def _refuse_idle(
    cards: Sequence[VerdictCard], baselines: Sequence[VerdictCard], baseline: str
) -> None:
    """Raise InputError where there is nothing to compare, which must not pass for a good end."""
    if not cards:
        problem = f"{baseline} is the only classifier there; nothing to compare"
        raise InputError(problem, field="baseline", remedy="name another study or a bundle")
    classes = {one.class_name: None for one in cards}
    if not any(one.findings for one in baselines if one.class_name in classes):
        problem = f"{baseline}: nothing was tested for {', '.join(classes)}"
        raise InputError(problem, field="baseline", remedy="name another baseline")


def _annotate(failed: Sequence[Dependence]) -> None:
    """Print an error annotation for each dependence, in the commands of GitHub Actions."""
    for one in failed:
        title = _property(f"{one.problem} dependence on {one.concept}")
        print(f"::error title={title}::{_message(one.line)}", file=sys.stderr)


def _message(text: str) -> str:
    from dexter_tui.formatting import clean

    return clean(text).replace("%", "%25")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def junit_xml(cards: Sequence[VerdictCard], found: Sequence[Dependence]) -> str:
    """Return JUnit XML with a test per classifier, class and tested concept."""
    by_key = {(one.classifier, one.class_name, one.concept): one for one in found}
    cases = []
    for own in cards:
        for one in own.findings:
            dependence = by_key.get((own.classifier, own.class_name, one.concept))
            body = ""
            if dependence is not None and dependence.problem is not None:
                line = _xml(dependence.line)
                body = f"<failure message={quoteattr(line)}>{escape(line)}</failure>"
            cases.append(
                f"<testcase classname={quoteattr(_xml(own.title))} "
                f"name={quoteattr(_xml(one.concept))}>{body}</testcase>"
            )
    failures = sum(one.problem is not None for one in found)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuite name="dexter-tui check" tests="{len(cases)}" failures="{failures}">\n'
        + "\n".join(cases)
        + "\n</testsuite>\n"
    )


def _xml(text: str) -> str:
    """Return the text without the characters that XML cannot hold."""
    from dexter_tui.formatting import clean

    return clean(text)


def _write(path: Path, text: str) -> None:
    from store.errors import explained

    with explained(path, instead="name another file"):
        path.expanduser().write_text(text, encoding="utf-8")


# Reading


def _checked_cards(store: "Store", name: str | None) -> list[VerdictCard]:
    from store.reading import comparisons

    if name is None:
        listed = comparisons.listed(Browse(store.home))
        done = [one["id"] for one in listed if one["state"] == "done"]
        if not done:
            raise InputError(
                "no finished comparison to check",
                remedy="dexter-tui compare OLD NEW --class X",
            )
        name = str(done[0])
    cards = _cards(store, name)
    if not any(one.verdict != "untested" for one in cards):
        raise InputError(f"{name}: nothing was tested", remedy="make a report or comparison first")
    return cards


def _cards(store: "Store", name: str) -> list[VerdictCard]:
    """Return the cards of a comparison or study."""
    from store import comparison_records

    browse = Browse(store.home)
    if name.startswith("c"):
        return card.of_comparison(browse, comparison_records.comparison(store, name).id)
    found = card.of_study(browse, store.study(name).id)
    assert found is not None
    return [found]


def _is_id(store: "Store", name: str) -> bool:
    """Return True for the whole id of a comparison or study, also where a file has its name."""
    sql = "SELECT 1 FROM comparison WHERE id = ? UNION SELECT 1 FROM study WHERE id = ?"
    return bool(Browse(store.home).rows(sql, (name, name)))


def _baseline_cards(
    store: "Store", cards: Sequence[VerdictCard], baseline: str
) -> list[VerdictCard]:
    """Return the cards of a baseline; InputError or StoreError if there is none."""
    members = [one for one in cards if one.classifier == baseline]
    if members:
        return members
    path = Path(baseline).expanduser()
    if path.exists() and not _is_id(store, baseline):
        return _bundle_cards(path)
    if ":" in baseline or "/" in baseline or baseline[:1] not in ("c", "s"):
        names = dict.fromkeys(one.classifier for one in cards)
        raise InputError(
            f"{baseline}: no such bundle, and no such classifier in the comparison",
            field="baseline",
            value=baseline,
            remedy=f"choose from {', '.join(names)}, or name a bundle, comparison or study",
        )
    return _cards(store, baseline)


def _bundle_cards(path: Path) -> list[VerdictCard]:
    """Return the cards of all comparisons and studies in a bundle, the newest of each first."""
    from dexter_tui.exchange import bundle_reader
    from store import Store
    from store.reading import comparisons

    with tempfile.TemporaryDirectory(dir=paths.home()) as folder:
        with Store.open(Path(folder)) as own:
            bundle_reader.import_bundle(own, path)
        browse = Browse(Path(folder))
        cards = [
            one
            for listed in comparisons.listed(browse)
            for one in card.of_comparison(browse, listed["id"])
        ]
        for (study_id,) in browse.rows("SELECT id FROM study ORDER BY created_at DESC, id"):
            found = card.of_study(browse, study_id)
            cards += [found] if found is not None and found.findings else []
    return cards
