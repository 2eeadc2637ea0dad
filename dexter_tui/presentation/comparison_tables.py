"""Comparisons for people: the claims in a matrix, differences, words, reports."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dexter_tui.formatting import clean, plain

VERDICTS = {"confirmed": "bold red", "refuted": "green", "inconclusive": "dim"}
DIFFERENCES = {"differ": "bold red", "alike": "green", "open": "dim"}
REASONS = {
    "not_drawn": "not seen drawn",
    "too_few_pairs": "too few pairs",
    "no_better_than_placebo": "like placebos",
    "saturated": "no room",
}
_COLUMNS = 4  # of classifiers, before letters stand for them
_LONG = 24  # characters of a name in a column


def comparison_view(page: Mapping[str, Any]) -> RenderableType:
    """All of a comparison."""
    names = list(page["classifiers"])
    short = short_names(names)
    parts: list[RenderableType] = [
        Text.assemble(
            (page["id"], "bold"), "  ", plain(", ".join(names)),
            " · ", plain(", ".join(page["classes"]), "bold"),
        )
    ]  # fmt: skip
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
        parts += ["", plain("Differences, on the same pairs of pictures", "bold")]
        parts.append(differences_table(of_class("differences"), short))
    for one in of_class("only_some"):
        held = ", ".join(
            f"{name} ({'raises' if sign > 0 else 'lowers'})"
            for name, sign in one["held_by"].items()
        )
        parts.append(plain(f"Only some: {one['concept']}: {held}"))
    if of_class("cross_activation"):
        parts += ["", plain("How often each takes the others' prompts for the class", "bold")]
        parts.append(cross_matrix(of_class("cross_activation"), short))
    worst = of_class("disagreements")[:4]
    if worst:
        parts += ["", plain("Most different on", "bold"), *disagreement_lines(worst)]
    if of_class("configuration"):
        parts += ["", plain("Settings that differ", "bold")]
        parts += setting_lines(of_class("configuration"))
    if of_class("reports"):
        parts += ["", plain("Reports", "bold"), *report_parts(of_class("reports"))]
    return parts


def disagreement_lines(rows: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Pictures on which two classifiers differ most, a line each."""
    return [
        plain(
            f"  {one['prompt']}, seed {one['seed']}: {one['a']} {one['p_a']:.2f}, "
            f"{one['b']} {one['p_b']:.2f}"
        )
        for one in rows
    ]


def setting_lines(rows: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Settings in which studies differ, a line each."""
    return [
        plain(f"  {one['setting']}: " + "; ".join(f"{k} {v}" for k, v in one["values"].items()))
        for one in rows
    ]


def pictures_lines(page: Mapping[str, Any]) -> list[str]:
    """What the comparison cost in pictures, and what each classifier alone would have."""
    told = page["pictures"]
    if told["claims"] is None:
        return []
    count = len(page["classifiers"])
    alone = told["one_alone"]
    lines = [f"pictures: {told['claims']} for the claims, each shown to all {count} classifiers"]
    same = set(alone.values()) == {told["claims"]}
    if same:
        lines[0] += f"; one classifier alone takes {told['claims']} as well"
    else:
        each = ", ".join(f"{name} {number}" for name, number in alone.items())
        lines[0] += f" (the union of their candidates; alone: {each})"
    if told["prompts"]:
        lines.append(f"          {told['prompts']} for the prompts that were found")
    kept = told["claims"] + (told["prompts"] or 0) - told["drawn"]
    lines.append(f"          {told['drawn']} of these were generated now, {kept} were there")
    if page["detector"] is None:
        lines.append(
            "no image-text model told whether concepts were drawn, so that none is confirmed"
        )
    return lines


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names for columns: the last part of a long one, letters where there are too many."""
    short = {
        name: name if len(name) <= _LONG else name.rstrip("/").rsplit("/", 1)[-1] for name in names
    }
    if len(names) <= _COLUMNS and len(set(short.values())) == len(names):
        return short
    return {name: chr(ord("A") + at) for at, name in enumerate(names)}


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for column in columns:
        table.add_column(plain(column))
    return table


def words_table(members: Sequence[Mapping[str, Any]], short: Mapping[str, str]) -> Table:
    """Words and activation scores over the seeds, a line each."""
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
    """A line for each concept, a column for each classifier."""
    table = _table("concept", *short.values())
    cells = {(claim["concept"], claim["classifier"]): claim for claim in claims}
    for concept in dict.fromkeys(claim["concept"] for claim in claims):
        row = [claim_cell(cells.get((concept, name))) for name in short]
        core = any(c["core"] for (of, _), c in cells.items() if of == concept)
        table.add_row(plain(concept + (" (core)" if core else ""), "bold"), *row)
    return table


def claim_cell(claim: Mapping[str, Any] | None) -> Text:
    """The effect, its interval and the verdict, in two lines."""
    if claim is None:
        return Text()
    style = VERDICTS.get(claim["verdict"], "")
    verdict = clean(claim["verdict"])
    if claim["reason"]:
        verdict = REASONS.get(claim["reason"], clean(claim["reason"]))
    if not claim["pairs"]:
        return Text(verdict, style=style)
    text = Text(f"{claim['effect']:+.2f} ", style=style)
    text.append(f"[{claim['low']:+.2f}, {claim['high']:+.2f}]\n", "dim")
    text.append(verdict, style)
    return text


def differences_table(differences: Sequence[Mapping[str, Any]], short: Mapping[str, str]) -> Table:
    """A line for each concept and two classifiers; what differs first."""
    order = list(DIFFERENCES)
    table = _table("concept", "classifiers", "difference", "p", "")
    for one in sorted(differences, key=lambda d: (order.index(d["verdict"]), -abs(d["effect"]))):
        verdict = Text(one["verdict"], style=DIFFERENCES.get(one["verdict"], ""))
        if one["reason"]:
            verdict.append(f", {REASONS.get(one['reason'], clean(one['reason']))}")
        p = "< 0.001" if one["p_corrected"] < 0.001 else f"{one['p_corrected']:.2g}"
        table.add_row(
            plain(one["concept"], "bold"),
            plain(f"{short[one['a']]} – {short[one['b']]}"),
            f"{one['effect']:+.2f} [{one['low']:+.2f}, {one['high']:+.2f}]",
            p,
            verdict,
        )
    return table


def cross_matrix(activations: Sequence[Mapping[str, Any]], short: Mapping[str, str]) -> Table:
    """A line for each prompt, a column for each classifier."""
    table = _table("prompt of", "prompt", *short.values())
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
    """Reports section by section, with what is another in the second, third, ..."""
    parts: list[RenderableType] = []
    for section in sections:
        texts = list(section["texts"].values())
        if len(texts) > 1 and all(text == texts[0] for text in texts):
            parts.append(Text.assemble(plain(section["section"], "underline"), "  the same in all"))
            parts += [Padding(plain(sentence), (0, 0, 0, 4)) for sentence in texts[0]]
            continue
        parts.append(plain(section["section"], "underline"))
        for name, sentences in section["texts"].items():
            parts.append(plain(f"  {name}", "dim"))
            if name == section["against"]:
                parts += [Padding(plain(sentence), (0, 0, 0, 4)) for sentence in sentences]
            else:
                parts.append(Padding(changes_text(section["changes"][name]), (0, 0, 0, 4)))
    return parts


def changes_text(changes: Sequence[Sequence[str]]) -> Text:
    """Words of both, and those that only one report has."""
    text = Text()
    styles = {"=": "", "-": "red strike", "+": "green"}
    for sign, words in changes:
        shown = clean(words)
        shown = {"-": f"[-{shown}-]", "+": f"{{+{shown}+}}"}.get(sign, shown)
        text.append(shown + " ", styles[sign])
    return text


def comparisons_view(found: Sequence[Mapping[str, Any]]) -> Table:
    """Stored comparisons, a line each."""
    table = _table("comparison", "class", "classifiers", "state", "differ")
    for one in found:
        table.add_row(
            plain(one["id"], "bold"),
            plain(", ".join(one["classes"])),
            plain(", ".join(one["classifiers"])),
            plain(one["state"]),
            str(one["differ"]),
        )
    return table
