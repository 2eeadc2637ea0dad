"""The tables of comparisons: claims, differences, words, prompts and reports."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dexter.stats import LEVEL
from dexter_tui.formatting import ID_WIDTH, clean, plain, plain_table
from dexter_tui.presentation.verdicts import (
    DIFFERENCE_STYLES,
    DIFFERENCES,
    VERDICT_STYLES,
)
from store.reading.reasons import in_words

_COLUMNS = 4  # of classifiers, before letters replace their names
_DIFFERENCE = f"difference ({LEVEL:.0%} CI)"
_NO_WRAP = (_DIFFERENCE, "p-value", "comparison")
_LONG = 24  # characters of a name in a column


def comparison_view(page: Mapping[str, Any]) -> RenderableType:
    """Return all tables of a comparison."""
    names = list(page["classifiers"])
    short = short_names(names)
    parts: list[RenderableType] = [
        Text.assemble(
            (page["id"], "bold"), "  ", plain(", ".join(names)),
            " · ", plain(", ".join(page["classes"]), "bold"),
        )
    ]  # fmt: skip
    parts.append(plain(page["origin"], "yellow" if "toy" in page["origin"] else "dim"))
    if page["state"] != "done":
        parts.append(plain(f"{page['state']}: {page['error'] or 'not finished'}", "yellow"))
    parts += [plain(f"{short[name]}  {name}", "dim") for name in names if short[name] != name]
    parts += [plain(line, "dim") for line in pictures_lines(page)]
    for class_name in page["classes"]:
        parts += ["", plain(class_name, "bold underline"), *_class(page, class_name, short)]
    return Group(*parts)


def _class(
    page: Mapping[str, Any], class_name: str, short: Mapping[str, str]
) -> list[RenderableType]:
    def of_class(part: str) -> list[dict[str, Any]]:
        return [one for one in page[part] if one["class_name"] == class_name]

    parts: list[RenderableType] = []
    members = of_class("members")
    if any(member["runs"] for member in members):
        parts += ["", plain("Words", "bold"), words_table(members, short)]
    if of_class("claims"):
        parts += ["", plain("Claims", "bold"), claims_matrix(of_class("claims"), short)]
    if of_class("differences"):
        parts += ["", plain("Differences, on the same picture pairs", "bold")]
        parts.append(differences_table(of_class("differences"), short))
    for one in of_class("only_some"):
        holders = ", ".join(
            f"{name} ({'raises' if sign > 0 else 'lowers'})"
            for name, sign in one["held_by"].items()
        )
        parts.append(plain(f"Confirmed for some classifiers only: {one['concept']}: {holders}"))
    if of_class("cross_activation"):
        parts += ["", plain("Pictures of each prompt classified as the class (95% CI)", "bold")]
        parts.append(cross_matrix(of_class("cross_activation"), short))
    worst = of_class("disagreements")[:4]
    if worst:
        parts += ["", plain("Largest disagreements", "bold"), *disagreement_lines(worst)]
    if of_class("reports"):
        parts += ["", plain("Reports", "bold"), *report_parts(of_class("reports"))]
    if of_class("configuration"):
        parts += ["", plain("Settings that differ", "bold")]
        parts += setting_lines(of_class("configuration"))
    return parts


def disagreement_lines(rows: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """List the pictures on which two classifiers differ most."""
    return [
        plain(
            f"  {one['prompt']}, seed {one['seed']}: {one['a']} {one['p_a']:.2f}, "
            f"{one['b']} {one['p_b']:.2f}"
        )
        for one in rows
    ]


def setting_lines(rows: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """List the settings in which studies differ."""
    return [
        plain(f"  {one['setting']}: " + "; ".join(f"{k} {v}" for k, v in one["values"].items()))
        for one in rows
    ]


def pictures_lines(page: Mapping[str, Any]) -> list[str]:
    """Describe the cost of a comparison in pictures, and that of each classifier alone."""
    counts = page["pictures"]
    if counts["claims"] is None:
        return []
    alone = counts["one_alone"]
    lines = [f"pictures: {counts['claims']} for the claims, each shown to every classifier"]
    if set(alone.values()) == {counts["claims"]}:
        lines[0] += "; a single classifier would need the same number"
    else:
        each = ", ".join(f"{name} {number}" for name, number in alone.items())
        lines[0] += f" (candidates of all classifiers; needed alone: {each})"
    if counts["prompts"]:
        lines.append(f"          {counts['prompts']} for the prompts of the searches")
    if counts["drawn"] is not None:
        kept = counts["claims"] + (counts["prompts"] or 0) - counts["drawn"]
        lines.append(
            f"          {counts['drawn']} of these drawn for this comparison, {kept} reused"
        )
    if page["detector"] is None:
        lines.append("without an image-text model no claim can be confirmed")
    return lines


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Shorten names for columns: to their last part, or to letters if there are too many."""
    short = {
        name: name if len(name) <= _LONG else name.rstrip("/").rsplit("/", 1)[-1] for name in names
    }
    if len(names) <= _COLUMNS and len(set(short.values())) == len(names):
        return short
    return {name: chr(ord("A") + at) for at, name in enumerate(names)}


def _table(*columns: str) -> Table:
    table = plain_table()
    for column in columns:
        is_id = column == "comparison"
        table.add_column(
            plain(column),
            no_wrap=column in _NO_WRAP,
            min_width=ID_WIDTH if is_id else None,
            overflow="fold",  # the names of two classifiers may begin alike
        )
    return table


def words_table(members: Sequence[Mapping[str, Any]], short: Mapping[str, str]) -> Table:
    """Return the words and activation scores of each seed."""
    table = _table("classifier", "seed", "words", "score")
    for member in members:
        for number, run in enumerate(member["runs"]):
            score = ""
            if run["score_value"] is not None:
                score = f"{run['score_value']:.0%}"
                if run["score_low"] is not None:
                    score += f" [{run['score_low']:.0%}–{run['score_high']:.0%}]"
            table.add_row(
                plain(short[member["name"]] if not number else ""),
                str(run["seed"]),
                plain(", ".join(run["words"]) or run["state"]),
                score,
            )
    return table


def claims_matrix(claims: Sequence[Mapping[str, Any]], short: Mapping[str, str]) -> Table:
    """Return the claims, with a row per concept and a column per classifier."""
    table = _table("concept", *short.values())
    cells = {(claim["concept"], claim["classifier"]): claim for claim in claims}
    for concept in dict.fromkeys(claim["concept"] for claim in claims):
        row = [claim_cell(cells.get((concept, name))) for name in short]
        core = any(c["core"] for (name, _), c in cells.items() if name == concept)
        table.add_row(plain(concept + (" (core)" if core else ""), "bold"), *row)
    return table


def claim_cell(claim: Mapping[str, Any] | None) -> Text:
    """Return the effect, its interval and the verdict in two lines."""
    if claim is None:
        return Text()
    style = VERDICT_STYLES.get(claim["verdict"], "")
    verdict = clean(claim["verdict"])
    if claim["reason"]:
        verdict = clean(in_words(claim["reason"], claim["effect"], claim["direction"]))
    if not claim["pairs"]:
        return Text(verdict, style=style)
    text = Text(f"{claim['effect']:+z.2f} ", style=style)
    text.append(f"[{claim['low']:+z.2f}, {claim['high']:+z.2f}]\n", "dim")
    text.append(verdict, style)
    return text


def differences_table(differences: Sequence[Mapping[str, Any]], short: Mapping[str, str]) -> Table:
    """Return a row per concept and pair of classifiers; differing ones first."""
    order = list(DIFFERENCE_STYLES)
    table = _table("concept", "classifiers", _DIFFERENCE, "p-value", "verdict")
    table.padding = (0, 1, 0, 0)  # fits into 80 columns
    for one in sorted(differences, key=lambda d: (order.index(d["verdict"]), -abs(d["effect"]))):
        word = DIFFERENCES.get(one["verdict"], clean(one["verdict"]))
        verdict = Text(word, style=DIFFERENCE_STYLES.get(one["verdict"], ""))
        if one["reason"]:
            verdict.append(f", {clean(in_words(one['reason'], 0, 0))}")
        p = "<0.001" if one["p_corrected"] < 0.001 else f"{one['p_corrected']:.2g}"
        table.add_row(
            plain(one["concept"], "bold"),
            plain(f"{short[one['a']]} − {short[one['b']]}"),
            f"{one['effect']:+z.2f} [{one['low']:+z.2f}, {one['high']:+z.2f}]",
            p,
            verdict,
        )
    return table


def cross_matrix(activations: Sequence[Mapping[str, Any]], short: Mapping[str, str]) -> Table:
    """Return the activation scores, with a row per prompt and a column per classifier."""
    table = _table("prompt from", "prompt", *short.values())
    cells = {(one["prompt_of"], one["classifier"]): one for one in activations}
    prompts = {one["prompt_of"]: one["prompt"] for one in activations}
    for owner, prompt in prompts.items():
        row = []
        for name in short:
            one = cells.get((owner, name))
            row.append(
                "" if one is None else f"{one['value']:.0%} [{one['low']:.0%}–{one['high']:.0%}]"
            )
        table.add_row(plain(short[owner]), plain(prompt), *row)
    return table


def report_parts(sections: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Return the reports section by section; what the first report says as well is dim."""
    parts: list[RenderableType] = []
    for section in sections:
        texts = list(section["texts"].values())
        if len(texts) > 1 and all(text == texts[0] for text in texts):
            parts.append(
                Text.assemble(plain(section["section"], "underline"), "  identical in all")
            )
            parts += [Padding(plain(sentence), (0, 0, 0, 4)) for sentence in texts[0]]
            continue
        parts.append(plain(section["section"], "underline"))
        first = section["texts"][section["against"]]
        for name, sentences in section["texts"].items():
            parts.append(plain(f"  {name}", "bold"))
            for sentence in sentences:
                common = name != section["against"] and sentence in first
                parts.append(Padding(plain(sentence, "dim" if common else ""), (0, 0, 0, 4)))
    return parts


def comparisons_view(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return the stored comparisons as a table."""
    table = _table("comparison", "class", "classifiers", "state", "differing concepts")
    for one in found:
        table.add_row(
            plain(one["id"], "bold"),
            plain(", ".join(one["classes"])),
            plain(", ".join(one["classifiers"])),
            plain(one["state"]),
            str(one["differ"]),
        )
    return table
