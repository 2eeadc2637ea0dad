"""The Markdown of a screening; all names and texts in it are data."""

from collections.abc import Mapping, Sequence
from typing import Any

from store.markdown.escaping import escape, table
from store.reading.reasons import in_words
from store.reading.screenings import min_effect

METHOD = """\
A screening shows every classifier the same bank of pictures, whose prompts vary many concepts at
once and at random, and regresses the classifier's answers on the concepts. An effect is the change
of p(class), with an interval that holds for all concepts and looks together. A concept that the
generator does not draw was not tested. An effect is explained by what else was drawn along with the
concept. Beside another concept, an effect is larger or smaller by the difference given. Findings
are proposals from these pictures; those that were then tested on pairs of pictures with fresh noise
say so. A place is compared with the other places, in the bank and in pairs, and so are the values
of every slot of which a picture shows one. The order of fresh prompts is right where, of two
prompts that vary freely, the one that the claim says scores higher does."""

_LISTED = {
    "not_drawn": "Not drawn",
    "weak": "Weak",
    "open": "Undecided",
    "none": "No dependence",
}


def title(pages: Sequence[Mapping[str, Any]]) -> str:
    """Return the title of a report on screenings."""
    names = list(dict.fromkeys(name for page in pages for name in page["classifiers"]))
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    classes = ", ".join(dict.fromkeys(page["class_name"] for page in pages))
    return escape(f"{', '.join(names[:4])}{more}: {classes}")


def blocks(page: Mapping[str, Any]) -> list[str]:
    """Return the blocks of a screening."""
    detector = page["detector"]
    facts = [
        f"- Screening {page['id']} of {escape(page['class_name'])}",
        f"- Concepts: {escape(page['pool'])}",
        f"- Pictures: {page['pictures']}; {page['drawn']} drawn for this screening and its pairs",
        "- Image-text model: "
        + (escape(detector) if detector else "none, so nothing is known about what was drawn"),
    ]
    found = [f"### Screening {page['id']}", METHOD, "\n".join(facts)]
    if page["state"] != "done":
        found.append(f"State: {escape(page['state'])} ({escape(page['error'] or 'not finished')})")
    if page["watch"]:
        found += ["#### Course over checkpoints", _course(page)]
    for member in page["members"]:
        found += [f"#### {escape(member['name'])}", *_member(member, min_effect(page))]
    return found


def _member(member: Mapping[str, Any], least: float) -> list[str]:
    if member["error"] or not member["findings"]:
        return [escape(member["error"] or "Not screened yet.")]
    shown = [
        one
        for one in member["findings"]
        if one["verdict"] in ("raises", "lowers", "explained") and not one["core"]
    ]
    found = [f"Mean p(class): {member['mean']:.2f}"]
    none = f"Found no concept that raises or lowers the class by {least:.2f} or more."
    found.append(_findings(shown) if shown else none)
    lists = []
    for verdict, label in _LISTED.items():
        names = [
            one["concept"]
            for one in member["findings"]
            if one["verdict"] == verdict and not one["core"]
        ]
        if names:
            lists.append(f"- {label}: {escape(', '.join(names))}")
    core = [one["concept"] for one in member["findings"] if one["core"]]
    if core:
        lists.append(f"- Part of the class: {escape(', '.join(core))}")
    if lists:
        found.append("\n".join(lists))
    return found


def _findings(findings: Sequence[Mapping[str, Any]]) -> str:
    rows = [["concept", "slot", "verdict", "effect on p(class)", "log-odds", "drawn",
             "on fresh pairs"]]  # fmt: skip
    for one in findings:
        verdict = str(one["verdict"])
        if one["explained_by"]:
            verdict += f" by {', '.join(one['explained_by'])}"
        odds, drawn = one["log_odds"], one["drawn"]
        shown = "" if drawn is None or drawn["asked"] is None else f"{drawn['asked']:.0%}"
        rows.append(
            [
                escape(one["concept"]),
                escape(one["slot"]),
                escape(verdict),
                "<br>".join([_interval(one), *map(_beside, one["interactions"])]),
                _interval(odds),
                shown,
                _confirmation(one["confirmation"]),
            ]
        )
    return table(rows)


def _beside(one: Mapping[str, Any]) -> str:
    return f"beside {escape(one['concept'])}: {_interval(one)} more"


def _interval(one: Mapping[str, Any]) -> str:
    return f"{one['effect']:+z.2f} ({one['low']:+z.2f} to {one['high']:+z.2f})"


def _confirmation(claim: Mapping[str, Any] | None) -> str:
    if claim is None:
        return "not tested"
    verdict = str(claim["verdict"])
    if claim["reason"]:
        verdict += f", {in_words(claim['reason'], claim['effect'], claim['direction'])}"
    lines = [escape(verdict), *([_interval(claim)] if claim["pairs"] else [])]
    if share := claim["predictiveness"]:
        lines.append(
            f"order of fresh prompts right in {share['hits']} of {share['n']} "
            f"({share['low']:.0%} to {share['high']:.0%})"
        )
    return "<br>".join(lines)


def _course(page: Mapping[str, Any]) -> str:
    """Return a row per concept that is ever a finding, and a column per checkpoint."""
    members = [member for member in page["members"] if member["findings"]]
    ever = {
        (one["concept"], one["slot"])
        for member in members
        for one in member["findings"]
        if one["verdict"] in ("raises", "lowers") and not one["core"]
    }
    rows = [["concept", *(escape(member["name"]) for member in members)]]
    effects = [
        {(one["concept"], one["slot"]): one["effect"] for one in member["findings"]}
        for member in members
    ]
    for key in sorted(ever):
        rows.append(
            [escape(key[0]), *(f"{own[key]:+z.2f}" if key in own else "" for own in effects)]
        )
    return table(rows) if ever else "No checkpoint has a finding."
