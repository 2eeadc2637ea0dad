"""The tables of screenings: effects of concepts, and their course over checkpoints."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dexter_tui.formatting import ID_WIDTH, clean, plain, plain_table, stage_line, state_line
from dexter_tui.presentation.verdicts import VERDICT_STYLES
from store.reading import screenings
from store.reading.reasons import in_words

WORDS = {
    "raises": "raises",
    "lowers": "lowers",
    "explained": "explained",
    "not_drawn": "not drawn",
    "weak": "weak",
    "open": "undecided",
    "none": "no dependence",
}
STYLES = {"raises": "bold red", "lowers": "bold blue", "explained": "yellow"}
_LISTED = ("not_drawn", "weak", "open", "none")
"""The verdicts whose concepts are listed by name, without numbers."""
_BAR = 11
_STEPS = "▁▂▃▄▅▆▇█"
_NAMES = 3  # concepts named in a list
SERIES = 8
"""Concepts in the course over checkpoints."""


def screening_view(page: Mapping[str, Any], *, every: bool = False) -> RenderableType:
    """Return all tables of a screening; `every`: also the numbers of what has no effect."""
    parts: list[RenderableType] = [title(page)]
    if page["state"] != "done":
        parts.append(plain(state_line(page["state"], page["error"] or progress(page)), "yellow"))
    parts += [plain(line, "dim") for line in facts(page)]
    if page["watch"]:
        parts += ["", course_table(page)]
        members = [m for m in page["members"] if m["findings"]][-1:]
    else:
        members = page["members"]
    for member in members:
        parts += ["", plain(member["name"], "bold underline")]
        parts += member_parts(member, screenings.min_effect(page), every=every)
    return Group(*parts)


def title(page: Mapping[str, Any]) -> Text:
    """Return the id, the classifiers and the class."""
    names = page["classifiers"]
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return Text.assemble(
        (page["id"], "bold"), "  ", plain(shown), " · ", plain(page["class_name"], "bold")
    )


def progress(page: Mapping[str, Any]) -> str:
    """Return how far an unfinished screening is."""
    count = f" {page['done']} of {page['total']}" if page["total"] else ""
    return f"{page['stage'] or 'not begun'}{count}"


def facts(page: Mapping[str, Any]) -> list[str]:
    """Return the pictures, the concepts and the level of a screening."""
    if not page["pictures"]:
        return [f"concepts: {page['pool']}"]
    count = len([member for member in page["members"] if member["findings"]])
    who = "1 classifier" if count == 1 else f"{count} classifiers"
    lines = [
        f"concepts: {page['pool']}; {page['pictures']} pictures, each shown to {who}; "
        f"{page['drawn']} drawn for this screening and its pairs"
    ]
    if page["detector"] is None:
        lines.append("without an image-text model nothing is known about what was drawn")
    if page["watch"]:
        lines.append(f"watches {page['watch']['folder']}")
    return lines


def member_parts(
    member: Mapping[str, Any], min_effect: float, *, every: bool = False
) -> list[RenderableType]:
    """Return the findings about one classifier."""
    if member["error"]:
        return [plain(member["error"], "red")]
    if not member["findings"]:
        return [plain("not screened yet", "dim")]
    shown = [
        one for one in member["findings"] if not one["core"] and (every or one["verdict"] in STYLES)
    ]
    parts: list[RenderableType] = [plain(f"mean p(class) {member['mean']:.2f}", "dim")]
    if shown:
        parts.append(findings_table(shown))
    else:
        found = f"found no concept that raises or lowers the class by {min_effect:.2f} or more"
        parts.append(plain(found))
    if not every:
        parts += listed(member["findings"])
    return parts


def findings_table(findings: Sequence[Mapping[str, Any]]) -> Table:
    """Return a row per finding: effect, interval, share drawn, and the paired test."""
    # Fits into 80 columns.
    table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
    confirmed = any(one["confirmation"] for one in findings)
    names = [one["concept"] for one in findings]
    columns = ["concept", "verdict", "effect on p(class)", f"-1{'0':^{_BAR - 4}}+1", "drawn"]
    for column in columns + (["on fresh pairs"] if confirmed else []):
        table.add_column(plain(column), no_wrap=column not in ("concept", "on fresh pairs"))
    for one in findings:
        style = STYLES.get(one["verdict"], "dim")
        name = plain(one["concept"], "bold")
        if names.count(one["concept"]) > 1:
            name.append(f" ({clean(one['slot'])})", "dim")
        if one["explained_by"]:
            name.append("\n").append_text(plain(f"  by {', '.join(one['explained_by'])}", "yellow"))
        for beside in one["interactions"]:
            more = f"  beside {beside['concept']} {beside['effect']:+z.2f}"
            name.append("\n").append_text(plain(more, "dim"))
        drawn = "" if one["drawn"] is None else _percent(one["drawn"]["asked"])
        row: list[RenderableType] = [
            name,
            plain(WORDS.get(one["verdict"], one["verdict"]), style),
            f"{one['effect']:+z.2f} [{one['low']:+z.2f}, {one['high']:+z.2f}]",
            plain(bar(one), style),
            drawn,
        ]
        if confirmed:
            text = confirmation_text(one)
            if one["confirmation"] and one["confirmation"]["predictiveness"]:
                text.append(f", {order_text(one['confirmation']['predictiveness'])}", "dim")
            row.append(text)
        table.add_row(*row)
    return table


def confirmation_text(finding: Mapping[str, Any]) -> Text:
    """Return the verdict of the paired test of a finding."""
    claim = finding["confirmation"]
    if claim is None:
        return plain("not tested", "dim")
    text = plain(claim["verdict"], VERDICT_STYLES.get(claim["verdict"], ""))
    if claim["reason"]:
        reason = in_words(claim["reason"], claim["effect"], claim["direction"])
        text.append(f", {clean(reason)}")
    if claim["pairs"]:
        text.append(f" {claim['effect']:+z.2f}", "dim")
    return text


def order_text(share: Mapping[str, Any]) -> str:
    """Return how often the order of fresh prompts was as claimed."""
    return f"order right in {share['hits']} of {share['n']}"


def listed(findings: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Return a line of names for each verdict without an effect."""
    lines: list[RenderableType] = []
    for verdict in _LISTED:
        names = [f["concept"] for f in findings if f["verdict"] == verdict and not f["core"]]
        if names:
            line = plain(f"{WORDS[verdict]}: ", "bold")
            lines.append(line.append_text(plain(", ".join(names), "dim")))
    core = [f["concept"] for f in findings if f["core"]]
    if core:
        lines.append(
            plain("part of the class: ", "bold").append_text(plain(", ".join(core), "dim"))
        )
    return lines


def bar(finding: Mapping[str, Any], width: int = _BAR) -> str:
    """Draw an interval with its effect on a scale from -1 to 1."""

    def column(value: float) -> int:
        return max(0, min(round((value + 1) / 2 * (width - 1)), width - 1))

    cells = [" "] * width
    cells[column(0)] = "│"
    for at in range(column(finding["low"]), column(finding["high"]) + 1):
        cells[at] = "─"
    cells[column(finding["effect"])] = "●"
    return "".join(cells)


def course(page: Mapping[str, Any], count: int = SERIES) -> list[dict[str, Any]]:
    """Return the effects over the checkpoints of the concepts that ever matter most.

    Each has concept, slot and points: effect, low, high and verdict by checkpoint, None for one
    that was not screened.
    """
    found: dict[tuple[str, str], list[dict[str, Any] | None]] = {}
    members = page["members"]
    for at, member in enumerate(members):
        for one in member["findings"]:
            if not one["core"]:
                points = found.setdefault((one["concept"], one["slot"]), [None] * len(members))
                points[at] = {name: one[name] for name in ("effect", "low", "high", "verdict")}

    def weight(points: Sequence[Mapping[str, Any] | None]) -> float:
        return max(
            (abs(p["effect"]) * (1 + (p["verdict"] in ("raises", "lowers"))) for p in points if p),
            default=0.0,
        )

    ranked = sorted(found.items(), key=lambda item: -weight(item[1]))[:count]
    return [
        {"concept": concept, "slot": slot, "points": points} for (concept, slot), points in ranked
    ]


def course_table(page: Mapping[str, Any]) -> RenderableType:
    """Return a row per concept with its effects over the checkpoints."""
    members = page["members"]
    series = course(page)
    if not series:
        return plain("no checkpoint was screened yet", "dim")
    table = plain_table()
    table.add_column("concept")
    table.add_column("course", no_wrap=True)
    table.add_column("first", justify="right")
    table.add_column("last", justify="right")
    table.add_column("a finding from")
    for one in series:
        points = one["points"]
        known = [p for p in points if p]
        since = next(
            (
                member["name"]
                for member, p in zip(members, points, strict=True)
                if p and p["verdict"] in ("raises", "lowers")
            ),
            "",
        )
        last = known[-1]
        table.add_row(
            Text.assemble(plain(one["concept"], "bold"), plain(f" ({one['slot']})", "dim")),
            plain(sparkline([p and p["effect"] for p in points])),
            f"{known[0]['effect']:+z.2f}",
            plain(f"{last['effect']:+z.2f}", STYLES.get(last["verdict"], "")),
            plain(since),
        )
    names = [member["name"] for member in members]
    scale = f"each column is a checkpoint, {names[0]} to {names[-1]}; ▁ is -1, █ is +1"
    return Group(table, plain(scale, "dim"))


def sparkline(values: Sequence[float | None]) -> str:
    """Draw effects from -1 to 1, a character each; a gap for None."""
    return "".join(
        " " if v is None else _STEPS[max(0, min(round((v + 1) / 2 * 7), 7))] for v in values
    )


def outcome(one: Mapping[str, Any]) -> str:
    """Return the outcome of a listed screening in a few words, or its state."""
    if one["state"] == "running":
        return stage_line(one["stage"] or "starting", one["done"], one["total"])
    if one["state"] != "done":
        return state_line(one["state"], one["error"])
    count = len(one["classifiers"])
    text = "nothing found"
    if one["confirmed"]:
        confirmed = [own for own in one["confirmed"] if own["effect"] > 0] or one["confirmed"]
        many = len({own["classifier"] for own in confirmed})
        names = list(dict.fromkeys(own["concept"] for own in confirmed))
        some = ", ".join(names[:_NAMES]) + (" …" if len(names) > _NAMES else "")
        verb = "relies on" if confirmed[0]["effect"] > 0 else "loses confidence with"
        if many > 1:
            verb = "rely on" if confirmed[0]["effect"] > 0 else "lose confidence with"
        text = f"{verb} {some}" if count == 1 else f"{many} of {count} {verb} {some}"
    elif one["tested"]:
        text = "no bias confirmed"
    elif one["raises"] or one["lowers"]:
        text = f"{one['raises'] + one['lowers']} proposed, not tested"
    return f"{text}; {one['failed']} of {count} failed" if one["failed"] else text


def screenings_view(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return the stored screenings as a table."""
    table = plain_table()
    for column in ("screening", "class", "classifiers", "outcome"):
        is_id = column == "screening"
        table.add_column(plain(column), no_wrap=is_id, min_width=ID_WIDTH if is_id else None)
    for one in found:
        names = one["classifiers"]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        table.add_row(
            plain(one["id"], "bold"),
            plain(one["class_name"]),
            plain(", ".join(names[:3]) + more),
            plain(outcome(one)),
        )
    return table


def csv_rows(page: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return the findings of all classifiers as columns and rows."""
    columns = ["classifier", "concept", "slot", "verdict", "effect", "low", "high", "log_odds",
               "log_odds_low", "log_odds_high", "pictures", "drawn", "drawn_otherwise", "direct",
               "explained_by", "core", "confirmation", "reason", "paired_effect", "order_right",
               "order_pairs"]  # fmt: skip
    rows = []
    for member in page["members"]:
        for one in member["findings"]:
            odds, claim = one["log_odds"], one["confirmation"] or {}
            drawn = one["drawn"] or {"asked": None, "otherwise": None}
            rows.append(
                [
                    member["name"],
                    *(
                        one[name]
                        for name in ("concept", "slot", "verdict", "effect", "low", "high")
                    ),
                    odds["effect"],
                    odds["low"],
                    odds["high"],
                    one["pictures"],
                    drawn["asked"],
                    drawn["otherwise"],
                    one["direct"],
                    "; ".join(one["explained_by"]),
                    int(one["core"]),
                    claim.get("verdict"),
                    claim.get("reason"),
                    claim.get("effect"),
                    *((claim.get("predictiveness") or {}).get(name) for name in ("hits", "n")),
                ]
            )
    return columns, rows


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
