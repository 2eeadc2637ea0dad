"""The claims, reports and probes as tables and as JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dexter_tui.presentation.verdicts import VERDICT_STYLES
from store import Store, study_records
from store.reading.causation import causation, lines
from store.reading.reasons import concept_names, in_words
from store.tables import Claim as ClaimRow
from store.tables import Evidence, Probe, Study

if TYPE_CHECKING:
    from rich.console import RenderableType


def claim_json(claim: ClaimRow, pairs: Sequence[Evidence]) -> dict[str, Any]:
    """Return a claim as JSON, with necessity and sufficiency over its pairs."""
    values: dict[str, Any] = claim.model_dump(mode="json", exclude={"study_id", "probe_id"})
    found = causation(pairs, claim.direction)
    values["causation"] = None if found is None else found.json()
    values["flip_rate"] = claim.flips / claim.pairs if claim.pairs else None
    values["bias"] = claim.verdict == "confirmed" and not claim.core
    return values


def probe_json(probe: Probe, claim: ClaimRow, pairs: Sequence[Evidence]) -> dict[str, Any]:
    """Return a probe as JSON with its claim."""
    return {
        "question": probe.question,
        "classifier": probe.classifier.spec,
        "class_name": probe.class_name,
        "control": probe.control,
        "treated": probe.treated,
        **claim_json(claim, pairs),
    }


def study_json(store: Store, study: Study) -> dict[str, Any]:
    """Return the findings of a study as JSON, to add to its runs."""
    from store.reading import card
    from store.reading.bound import bound
    from store.reading.browse import Browse

    browse = Browse(store.home)
    found, bounded = card.of_study(browse, study.id), bound(browse, study.id)
    claims = study_records.claims(store, study.id)
    pairs = study_records.evidence(store, [claim.id for claim in claims])
    return {
        "card": None if found is None else found.to_json(),
        "bound": None if bounded is None else bounded.json(),
        "stages": [_row(stage) for stage in study_records.stages(store, study.id)],
        "captions": [
            {
                "picture": row.sha256,
                "model": row.model,
                "text": row.text,
                "input_tokens": row.input_tokens,
                "output_tokens": row.output_tokens,
            }
            for row in study_records.captions(store, study.id)
        ],
        "claims": [claim_json(claim, pairs[claim.id]) for claim in claims],
        "attribution": [
            row.model_dump(mode="json") for row in study_records.attribution(store, study.id)
        ],
        "scores": [_row(row) for row in study_records.scores(store, study.id)],
        "reports": [
            {
                "author": report.author,
                "created_at": report.created_at.isoformat(),
                "prompt_hash": report.prompt_hash,
                "input_tokens": report.input_tokens,
                "output_tokens": report.output_tokens,
                "body": report.body,
                "markdown": report.markdown,
            }
            for report in store.reports(study.id)
        ],
    }


def _row(row: Any) -> dict[str, Any]:
    values: dict[str, Any] = row.model_dump(mode="json", exclude={"study_id"})
    return values


_MARKS = {"unverified": "dim italic", "contradicted": "strike red"}


def claims_table(claims: Sequence[ClaimRow]) -> "RenderableType":
    """Return a table of claims."""
    from rich.text import Text

    from dexter_tui.formatting import plain, plain_table

    table = plain_table()
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("concept")
    table.add_column("verdict")
    table.add_column("effect on p(class)", no_wrap=True)
    table.add_column("p-value", no_wrap=True)
    table.add_column("pairs", justify="right", no_wrap=True)
    table.add_column("detected", no_wrap=True)
    names = concept_names((claim.concept, claim.slot) for claim in claims)
    for claim in claims:
        verdict = Text(claim.verdict, style=VERDICT_STYLES.get(claim.verdict, ""))
        if claim.verdict == "confirmed":
            verdict.append(" (core)" if claim.core else " (bias)", style="")
        if claim.reason:
            verdict.append(f", {in_words(claim.reason, claim.effect, claim.direction)}")
        drawn = ""
        if claim.detected_control is not None and claim.detected_treated is not None:
            drawn = f"{claim.detected_control:.0%} → {claim.detected_treated:.0%}"
        table.add_row(
            str(claim.number),
            plain(names[claim.concept, claim.slot]),
            verdict,
            effect_text(claim),
            "<0.001" if claim.p_corrected < 0.001 else f"{claim.p_corrected:.2g}",
            str(claim.pairs),
            drawn,
        )
    return table


def effect_text(claim: ClaimRow) -> str:
    """Return the effect with its interval."""
    if not claim.pairs:
        return "not measured"
    return f"{claim.effect:+z.2f} [{claim.low:+z.2f}, {claim.high:+z.2f}]"


def report_view(body: Mapping[str, Any]) -> "RenderableType":
    """Return a report of checked sentences."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from dexter_tui.formatting import plain

    parts: list[RenderableType] = [plain(body["title"], "bold"), ""]
    parts += [plain(one, "dim") for one in body["method"]]
    for section in body["sections"]:
        parts += ["", plain(section["title"], "bold")]
        for sentence in section["sentences"]:
            line = plain(sentence["text"], _MARKS.get(sentence["mark"], ""))
            if sentence["mark"] in _MARKS:
                note = f": {sentence['note']}" if sentence.get("note") else ""
                line = Text.assemble(line, plain(f" ({sentence['mark']}{note})", "yellow"))
            parts.append(Padding(line, (0, 0, 0, 2)))
    return Group(*parts)


def study_view(
    store: Store, study: Study, *, pictures: bool = False, method: bool = True
) -> "RenderableType":
    """Return the findings of a study: the verdict card, the claims and the newest report."""
    from rich.console import Group

    from dexter_tui.formatting import plain
    from dexter_tui.presentation.card_view import card_view
    from store.reading import card
    from store.reading.bound import bound
    from store.reading.browse import Browse

    browse = Browse(store.home)
    found = card.of_study(browse, study.id)
    assert found is not None
    parts: list[RenderableType] = [card_view(found, browse if pictures else None)]
    bounded = bound(browse, study.id)
    if bounded is not None:
        parts += ["", *(plain(one) for one in bounded.lines())]
    reports = [report for report in store.reports(study.id) if report.body is not None]
    claims = study_records.claims(store, study.id)
    if claims:
        parts += ["", claims_table(claims)]
    if method and reports and reports[0].body is not None:
        parts += ["", report_view(reports[0].body)]
    failed = [stage for stage in study_records.stages(store, study.id) if stage.state == "failed"]
    if failed:
        parts.append("")
        parts += [plain(f"{stage.name} failed: {stage.error}", "red") for stage in failed]
    return Group(*parts)


def probe_view(answer: Mapping[str, Any], pairs: Sequence[Evidence]) -> "RenderableType":
    """Return the result of a probe in a few lines."""
    from rich.table import Table
    from rich.text import Text

    from dexter_tui.formatting import clean, plain

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    verdict = Text(answer["verdict"], style=VERDICT_STYLES.get(answer["verdict"], ""))
    if answer["reason"]:
        reason = in_words(answer["reason"], answer["effect"], answer["direction"])
        verdict.append(f", {reason}")
    elif answer["verdict"] == "confirmed":
        does = "raises" if answer["direction"] > 0 else "lowers"
        verdict.append(f": the concept {does} the probability of {clean(answer['class_name'])}")
    grid.add_row("with concept", plain(answer["treated"]))
    grid.add_row("without", plain(answer["control"]))
    grid.add_row("verdict", verdict)
    grid.add_row(
        "effect",
        plain(
            f"{answer['effect']:+z.3f} [{answer['low']:+z.3f}, {answer['high']:+z.3f}] on "
            f"p({answer['class_name']}), {answer['pairs']} pairs, "
            f"p-value {answer['p_corrected']:.2g}"
        ),
    )
    if answer["flip_rate"] is not None:
        grid.add_row("prediction", plain(f"flipped in {answer['flip_rate']:.0%} of the pairs"))
    found = causation(pairs, answer["direction"])
    for name, value in [] if found is None else lines(found):
        grid.add_row(name, plain(value))
    if answer["detected"] is not None:
        grid.add_row(
            "drawn",
            plain(f"detection rate {100 * answer['detected']:+z.0f} points with the concept"),
        )
    if answer["placebo_threshold"] is not None:
        grid.add_row("placebo level", plain(f"{answer['placebo_threshold']:.3f}"))
    return grid
