"""A comparison as Markdown; all names and texts in it are data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from store.markdown.escaping import escape, line, table

Show = Callable[[str, int], str]
"""A picture of the bank, by prompt and seed, as Markdown; "" if it is not there any more."""

_VERDICTS = {"differ": "they differ", "alike": "alike", "open": "open"}
_PAIRS = 2  # shown of each claim


def title(page: Mapping[str, Any]) -> str:
    """What is compared."""
    return escape(f"{', '.join(page['classifiers'])}: {', '.join(page['classes'])}")


def blocks(
    page: Mapping[str, Any], pairs: Callable[[int], Sequence[Mapping[str, Any]]], show: Show
) -> list[str]:
    """The blocks of a comparison's page. ``pairs``: of a claim, what changed most first."""
    found = [f"- Comparison {page['id']}\n" + _pictures(page)]
    if page["state"] != "done":
        found.append(f"It is {escape(page['state'])}: {escape(page['error'] or 'not finished')}.")
    for class_name in page["classes"]:
        found += _class(page, class_name, pairs, show)
    return found


def _pictures(page: Mapping[str, Any]) -> str:
    told = page["pictures"]
    if told["claims"] is None:
        return "- No pictures yet"
    alone = "; ".join(f"{escape(name)} {count}" for name, count in told["one_alone"].items())
    lines = [
        f"- {told['claims']} pictures for the claims, each shown to all {len(page['classifiers'])} "
        f"classifiers; each alone would have taken: {alone}",
        f"- {told['prompts'] or 0} pictures of the prompts that were found",
    ]
    if page["detector"] is None:
        lines.append(
            "- No image-text model was there to tell whether concepts were drawn, so that no claim "
            "could be confirmed or refuted"
        )
    else:
        lines.append(f"- Whether concepts were drawn was judged by {escape(page['detector'])}")
    if page["baseline"]:
        lines.append(f"- Baseline: {escape(page['baseline'])}")
    return "\n".join(lines)


def _class(
    page: Mapping[str, Any],
    class_name: str,
    pairs: Callable[[int], Sequence[Mapping[str, Any]]],
    show: Show,
) -> list[str]:
    names = page["classifiers"]

    def of_class(part: str) -> list[dict[str, Any]]:
        return [one for one in page[part] if one["class_name"] == class_name]

    claims = of_class("claims")
    found = [f"## {escape(class_name)}, side by side"]
    if claims:
        found += ["### Claims", _matrix(claims, names)]
    if of_class("only_some"):
        found += ["### Claims that only some hold", _only_some(of_class("only_some"))]
    if of_class("differences"):
        found += ["### Differences on the same pairs", _differences(of_class("differences"))]
    examples = _examples(claims, pairs, show)
    if examples:
        found += ["### Pictures behind the claims", examples]
    if of_class("cross_activation"):
        found += [
            "### Prompts of one before the others",
            _cross(of_class("cross_activation"), names),
        ]
    if of_class("disagreements"):
        found += ["### Most different on", _disagreements(of_class("disagreements"), show)]
    if of_class("configuration"):
        rows = [["setting", *map(escape, names)]]
        rows += [
            [escape(one["setting"]), *(escape(str(one["values"].get(n, ""))) for n in names)]
            for one in of_class("configuration")
        ]
        found += ["### Settings that differ", table(rows)]
    if of_class("reports"):
        found += ["### Reports", _reports(of_class("reports"))]
    return found


def _matrix(claims: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    cells = {(claim["concept"], claim["classifier"]): claim for claim in claims}
    rows = [["concept", *map(escape, names)]]
    for concept in dict.fromkeys(claim["concept"] for claim in claims):
        row = [cells.get((concept, name)) for name in names]
        core = any(claim is not None and claim["core"] for claim in row)
        rows.append([escape(concept) + (" (core)" if core else ""), *map(_cell, row)])
    return table(rows)


def _cell(claim: Mapping[str, Any] | None) -> str:
    if claim is None:
        return ""
    verdict = str(claim["verdict"])
    if claim["reason"]:
        verdict += f", {str(claim['reason']).replace('_', ' ')}"
    if not claim["pairs"]:
        return escape(verdict)
    interval = f"{claim['effect']:+.2f} ({claim['low']:+.2f} to {claim['high']:+.2f})"
    return f"{interval}<br>{escape(verdict)}"


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
    rows = [["concept", "a", "b", "effect on a less that on b", "p", "pairs", ""]]
    for one in differences:
        p = one["p_corrected"]
        verdict = _VERDICTS.get(one["verdict"], one["verdict"])
        if one["reason"]:
            verdict += f", {one['reason'].replace('_', ' ')}"
        rows.append(
            [
                escape(one["concept"]),
                escape(one["a"]),
                escape(one["b"]),
                f"{one['effect']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})",
                "< 0.001" if p < 0.001 else f"{p:.2g}",
                str(one["pairs"]),
                escape(verdict),
            ]
        )
    return table(rows)


def _examples(
    claims: Sequence[Mapping[str, Any]],
    pairs: Callable[[int], Sequence[Mapping[str, Any]]],
    show: Show,
) -> str:
    rows = [["claim", "without", "with", "probability"]]
    for claim in claims:
        for pair in pairs(claim["id"])[:_PAIRS]:
            one, other = pair["control"], pair["treated"]
            pictures = [show(side["prompt"], side["seed"]) for side in (one, other)]
            if all(pictures):
                rows.append(
                    [
                        f"{escape(claim['classifier'])}: {escape(claim['concept'])}",
                        *pictures,
                        f"{one['p']:.2f} to {other['p']:.2f}",
                    ]
                )
    return table(rows) if len(rows) > 1 else ""


def _cross(activations: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    cells = {(one["prompt_of"], one["classifier"]): one for one in activations}
    rows = [["prompt of", "prompt", *(f"taken for it by {escape(name)}" for name in names)]]
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
    found = [["picture", "prompt", "probabilities"]]
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
        parts.append(f"#### {escape(section['section'])}")
        texts = list(section["texts"].values())
        if len(texts) > 1 and all(text == texts[0] for text in texts):
            parts.append("\n".join(f"- {line(sentence)}" for sentence in texts[0]) + "\n")
            parts.append("The same in all.")
            continue
        for name, sentences in section["texts"].items():
            parts.append(f"{escape(name)}:")
            parts.append("\n".join(f"- {line(sentence)}" for sentence in sentences))
    return "\n\n".join(parts)
