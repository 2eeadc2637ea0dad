"""The Markdown of a comparison; all names and texts in it are data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from store.markdown.escaping import escape, line, table
from store.reading.reasons import in_words

Show = Callable[[str, int], str]
"""Returns the Markdown of a picture of the bank, by prompt and seed; "" if it is gone."""


def title(page: Mapping[str, Any]) -> str:
    """Return the title of a comparison's report."""
    return escape(f"{', '.join(page['classifiers'])}: {', '.join(page['classes'])}")


def blocks(page: Mapping[str, Any], show: Show) -> list[str]:
    """Return the blocks of a comparison in the appendix, behind the verdicts."""
    found = [f"### Comparison {page['id']}", _pictures(page)]
    if page["state"] != "done":
        found.append(f"State: {escape(page['state'])} ({escape(page['error'] or 'not finished')})")
    for class_name in page["classes"]:
        found += _class(page, class_name, show)
    return found


def _pictures(page: Mapping[str, Any]) -> str:
    counts = page["pictures"]
    if counts["claims"] is None:
        return "- No pictures yet"
    alone = "; ".join(f"{escape(name)} {count}" for name, count in counts["one_alone"].items())
    lines = [
        f"- {escape(page['origin'])}",
        f"- Pictures for the claims: {counts['claims']}, each shown to every "
        f"classifier (needed for one classifier alone: {alone})",
        f"- Pictures of the best prompts: {counts['prompts'] or 0}",
    ]
    if page["detector"] is None:
        lines.append("- Image-text model: none, so no claim could be confirmed or refuted")
    else:
        lines.append(f"- Image-text model that detected concepts: {escape(page['detector'])}")
    if page["baseline"]:
        lines.append(f"- Baseline: {escape(page['baseline'])}")
    return "\n".join(lines)


def _class(page: Mapping[str, Any], class_name: str, show: Show) -> list[str]:
    names = page["classifiers"]

    def of_class(part: str) -> list[dict[str, Any]]:
        return [one for one in page[part] if one["class_name"] == class_name]

    found = [f"#### {escape(class_name)}"] if len(page["classes"]) > 1 else []
    if of_class("only_some"):
        found += [
            "#### Claims confirmed for some classifiers only",
            _only_some(of_class("only_some")),
        ]
    if of_class("differences"):
        found += ["#### Differences on the same pairs", _differences(of_class("differences"))]
    if of_class("cross_activation"):
        found += [
            "#### Cross-activation of prompts",
            _cross(of_class("cross_activation"), names),
        ]
    if of_class("disagreements"):
        found += ["#### Largest disagreements", _disagreements(of_class("disagreements"), show)]
    if of_class("reports"):
        found += ["#### Reports", _reports(of_class("reports"))]
    if of_class("configuration"):
        rows = [["setting", *map(escape, names)]]
        rows += [
            [escape(one["setting"]), *(escape(str(one["values"].get(n, ""))) for n in names)]
            for one in of_class("configuration")
        ]
        found += ["#### Settings that differ", table(rows)]
    return found


def _only_some(rows: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(
        f"- {escape(one['concept'])}: "
        + ", ".join(
            f"{escape(name)} ({'raises' if sign > 0 else 'lowers'})"
            for name, sign in one["held_by"].items()
        )
        for one in rows
    )


def _differences(differences: Sequence[Mapping[str, Any]]) -> str:
    rows = [["concept", "a", "b", "effect on a minus effect on b", "p-value", "pairs", "verdict"]]
    for one in differences:
        p = one["p_corrected"]
        verdict = str(one["verdict"])
        if one["reason"]:
            verdict += f", {in_words(one['reason'], 0, 0)}"
        rows.append(
            [
                escape(one["concept"]),
                escape(one["a"]),
                escape(one["b"]),
                f"{one['effect']:+z.2f} ({one['low']:+z.2f} to {one['high']:+z.2f})",
                "< 0.001" if p < 0.001 else f"{p:.2g}",
                str(one["pairs"]),
                escape(verdict),
            ]
        )
    return table(rows)


def _cross(activations: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    cells = {(one["prompt_of"], one["classifier"]): one for one in activations}
    rows = [["found for", "prompt", *(f"activation score on {escape(name)}" for name in names)]]
    for owner, prompt in {one["prompt_of"]: one["prompt"] for one in activations}.items():
        row = [escape(owner), escape(prompt)]
        for name in names:
            one = cells.get((owner, name))
            row.append(
                "" if one is None else f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
            )
        rows.append(row)
    return table(rows)


def _disagreements(rows: Sequence[Mapping[str, Any]], show: Show) -> str:
    found = [["picture", "prompt", "p(class)"]]
    for one in rows[:8]:
        found.append(
            [
                show(one["prompt"], one["seed"]),
                f"{escape(one['prompt'])}<br>noise {one['seed']}",
                f"{escape(one['a'])} {one['p_a']:.2f}<br>{escape(one['b'])} {one['p_b']:.2f}",
            ]
        )
    return table(found)


def _reports(sections: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for section in sections:
        parts.append(f"##### {escape(section['section'])}")
        texts = list(section["texts"].values())
        if len(texts) > 1 and all(text == texts[0] for text in texts):
            parts.append("\n".join(f"- {line(sentence)}" for sentence in texts[0]) + "\n")
            parts.append("Identical for all classifiers.")
            continue
        for name, sentences in section["texts"].items():
            parts.append(f"{escape(name)}:")
            parts.append("\n".join(f"- {line(sentence)}" for sentence in sentences))
    return "\n\n".join(parts)
