"""The Markdown of a study's findings: report, claims, word attribution, scores and captions.

All text from models is escaped: a report is data, and so is each of its sentences.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from store import study_records
from store.markdown.escaping import escape, fenced, line, printable, table
from store.reading.bound import bound
from store.reading.browse import Browse
from store.reading.causation import causation, lines
from store.reading.reasons import concept_names, in_words
from store.store import Store
from store.tables import Attribution, Claim, Evidence, Report, Score, Study

_MARKS = {"unverified": "unverified", "contradicted": "contradicts the evidence"}
_CAPTIONS = 12


def blocks(store: Store, study: Study) -> list[str]:
    """Return the blocks of a study's findings; empty if there are none."""
    found = []
    for report in _newest(store.reports(study.id)):
        found += [f"#### Report by {escape(report.author)}, {report.created_at:%Y-%m-%d}"]
        found.append(text_of(report))
    claims = study_records.claims(store, study.id)
    if claims:
        details = study_records.evidence(store, [claim.id for claim in claims])
        found += ["#### Claims", claims_table(claims), _pairs(claims, details)]
        found += _causes(claims, details)
    words = study_records.attribution(store, study.id)
    if words:
        found += ["#### Word attribution", attribution_text(words)]
    bounded = bound(Browse(store.home), study.id)
    if bounded is not None:
        found += ["#### Bound", "\n".join(f"- {line(one)}" for one in bounded.lines())]
    scores = study_records.scores(store, study.id)
    if scores:
        found += ["#### Activation scores of texts", scores_table(scores)]
    captions = study_records.captions(store, study.id)
    if captions:
        lines = dict.fromkeys(f"- {line(row.text[:500])}" for row in captions)
        found += [
            f"#### Captions by {escape(captions[-1].model)}",
            "\n".join(list(lines)[:_CAPTIONS]),
        ]
    return found


def _newest(reports: Sequence[Report]) -> list[Report]:
    """Return the newest report of each author."""
    return list({report.author: report for report in reversed(reports)}.values())


def text_of(report: Report) -> str:
    """Return a report as Markdown; one without checked sentences becomes literal text."""
    if report.body is not None:
        return report_markdown(report.body, level=5)
    text = "\n".join(map(printable, report.markdown.splitlines()))
    return fenced(text, "text")


def report_markdown(body: Mapping[str, Any], *, level: int = 2) -> str:
    """Return the sections of a report, with headings of ``level``."""
    parts = []
    if level < 3:
        parts.append(f"{'#' * (level - 1)} {escape(str(body['title']))}")
    parts.append("  \n".join(line(str(one)) for one in body["method"]))
    for section in body["sections"]:
        parts.append(f"{'#' * level} {escape(str(section['title']))}")
        parts.append("\n".join(f"- {_sentence(one)}" for one in section["sentences"]))
    return "\n\n".join(parts)


def _sentence(sentence: Mapping[str, Any]) -> str:
    text = line(str(sentence["text"]))
    mark = _MARKS.get(str(sentence["mark"]))
    if mark is None:
        return text
    note = escape(str(sentence.get("note") or ""))
    return f"{text} *({mark}{': ' + note if note else ''})*"


def claims_table(claims: Sequence[Claim]) -> str:
    """Return a table with a row for each claim."""
    rows = [
        [
            "claim",
            "concept",
            "verdict",
            "effect on p(class)",
            "p-value",
            "pairs",
            "flip rate",
            "placebo threshold",
            "drawn (without to with)",
            "prior",
        ]
    ]
    names = concept_names((claim.concept, claim.slot) for claim in claims)
    for claim in claims:
        verdict = str(claim.verdict)
        if claim.reason:
            verdict += f", {in_words(claim.reason, claim.effect, claim.direction)}"
        rows.append(
            [
                str(claim.number),
                escape(names[claim.concept, claim.slot]) + (" (core)" if claim.core else ""),
                escape(verdict),
                f"{claim.effect:+z.2f} ({claim.low:+z.2f} to {claim.high:+z.2f})"
                if claim.pairs
                else "not measured",
                "< 0.001" if claim.p_corrected < 0.001 else f"{claim.p_corrected:.2g}",
                str(claim.pairs),
                f"{claim.flips / claim.pairs:.0%}" if claim.pairs else "",
                _number(claim.placebo_threshold),
                ""
                if claim.detected_treated is None or claim.detected_control is None
                else f"{claim.detected_control:.0%} to {claim.detected_treated:.0%}",
                "" if claim.prior is None else f"{claim.prior:.0%}",
            ]
        )
    return table(rows)


def _pairs(claims: Sequence[Claim], details: Mapping[int, Sequence[Evidence]]) -> str:
    """Return the origin of each claim, and an example of its pairs."""
    lines = []
    names = concept_names((claim.concept, claim.slot) for claim in claims)
    for claim in claims:
        origin = "; ".join(
            f"{name} of {', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''}"
            if ids
            else f"from the {name}"
            for name, ids in sorted(claim.sources.items())
        )
        contexts = []
        for context in sorted(details.get(claim.id, ()), key=lambda row: row.context):
            if context.saturated:
                contexts.append(
                    f"{context.context}: left out, p(class) is {context.control_mean:.2f} without "
                    "the concept"
                )
            elif context.pairs:
                contexts.append(
                    f"{context.context}: {context.effect or 0:+z.2f} on {context.pairs} pairs such "
                    f"as “{context.control_prompts[0]}” and “{context.treated_prompts[0]}”, "
                    f"seeds {context.seeds[0]} to {context.seeds[-1]}"
                )
        parts = [part for part in (origin, *contexts) if part]
        lines.append(
            f"{claim.number}. {line(names[claim.concept, claim.slot])}: {escape('; '.join(parts))}"
        )
    return "\n".join(lines)


def _causes(claims: Sequence[Claim], details: Mapping[int, Sequence[Evidence]]) -> list[str]:
    """Return the blocks on necessity and sufficiency; empty without pairs."""
    found = [
        (claim, dict(lines(own)))
        for claim in claims
        for own in [causation(details.get(claim.id, ()), claim.direction)]
        if own is not None
    ]
    if not found:
        return []
    names = list(dict.fromkeys(name for _, own in found for name in own))
    rows = [
        [str(claim.number), escape(claim.concept), *(own.get(name, "") for name in names)]
        for claim, own in found
    ]
    return [
        table([["claim", "concept", *names], *rows]),
        "The decision counts as the class where p(class) is at least 0.50. PN is the share of the "
        "pictures with the concept and the decision that lose it without the concept. PS is the "
        "share of the pictures without both that get the decision with the concept.",
    ]


def attribution_text(words: Sequence[Attribution]) -> str:
    """Return a table of word effects for each run."""
    parts = []
    for run_id in dict.fromkeys(word.run_id for word in words):
        own = [word for word in words if word.run_id == run_id]
        rows = [["word", "drop in p(class) without the word", "weight in a linear fit"]]
        rows += [
            [
                escape(word.word),
                f"{word.leave_one_out:+z.2f} "
                f"({word.leave_one_out_low:+z.2f} to {word.leave_one_out_high:+z.2f})",
                f"{word.weight:+z.2f} ({word.low:+z.2f} to {word.high:+z.2f})",
            ]
            for word in own
        ]
        first = own[0]
        parts += [
            f"Prompt “{escape(first.prompt)}” of run {run_id}: R² of the fit {first.r2:.2f} "
            f"({first.r2_low:.2f} to {first.r2_high:.2f}) over {first.subsets} word subsets with "
            f"{first.seeds} pictures each.",
            table(rows),
        ]
    return "\n\n".join(parts)


def scores_table(scores: Sequence[Score]) -> str:
    """Return a table of texts with their activation scores."""
    rows = [["kind", "text", "activation score", "pictures"]]
    rows += [
        [
            escape(row.kind),
            escape(row.text[:300]),
            f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})",
            str(row.n),
        ]
        for row in scores
    ]
    return table(rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
