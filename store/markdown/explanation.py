"""The Markdown of what-ifs and bias explanations; all names and texts in it are data."""

from collections.abc import Callable

from store.data_reports.explanations import BiasFact, BiasResult, WhatIfResult
from store.markdown.escaping import escape, table


def whatif(result: WhatIfResult, show: Callable[[tuple[str, str, int]], str]) -> list[str]:
    """Return the blocks of a what-if; ``show`` gives a picture of the bank as Markdown."""
    pictures = [
        [show(request) for request in result.requests],
        ["<br>".join(map(escape, lines)) for lines in result.captions],
    ]
    steps = [
        ["Picture", "p(class)", "Decision", "Flips on fresh noise", "Drawn", "Mean p", "Prompt"]
    ]
    for step in result.steps:
        flips = step.flips
        interval = "" if flips is None else f" ({flips.low:.0%} to {flips.high:.0%})"
        steps.append(
            [
                escape(step.name),
                f"{step.p:.2f}",
                escape(step.decision),
                str(flips or "") + interval,
                str(step.seen or ""),
                f"{step.mean:.2f}",
                escape(step.prompt),
            ]
        )
    facts = [
        f"- Concepts: {escape(result.concepts)}",
        f"- Generator: {escape(result.generator)}, noise {result.seed}",
        *([f"- Your picture: {escape(result.of_picture)}"] if result.of_picture else []),
    ]
    return [
        f"**{escape(result.verdict)}** {escape(result.check)}",
        table(pictures),
        table(steps),
        "\n".join(facts),
        "The pictures of the strip share their noise and differ in the words alone. The change "
        "was searched on 4 noises and checked on others.",
    ]


def bias(result: BiasResult) -> list[str]:
    """Return the blocks of a bias explanation."""
    free, driven = result.data_free, result.data_driven
    blocks = [
        f"> **{escape(result.verdict)}**",
        "#### Without data",
        escape(free.text),
        f"From {escape(free.source)}, screening {escape(result.screening)}.",
    ]
    head = ["Attribute", "Concept", "Verdict", "Effect on p(class)", "On fresh pairs"]
    if driven is not None:
        head.append("On labelled pictures")
        blocks += [
            "#### On labelled pictures",
            escape(driven.text),
            f"From {escape(driven.source)}.",
        ]
    head += ["Measured truth"] if result.planted is not None else []
    rows = []
    for row in result.rows:
        cells = [row.fact.attribute, row.fact.concept, row.fact.said, row.fact.interval]
        cells.append(row.fact.confirmation or "")
        cells += [_interval(row.labelled)] if driven is not None else []
        if result.planted is not None:
            cells.append("" if row.truth is None else f"{row.truth:+z.2f}")
        rows.append([*map(escape, cells)])
    blocks += ["#### Effects", table([head, *rows])]
    if lines := result.agreement:
        blocks += ["#### Agreement", "\n".join(f"- {escape(line)}" for line in lines)]
    return [*blocks, "#### Limits", escape(result.limits)]


def _interval(fact: BiasFact | None) -> str:
    return "" if fact is None else fact.interval
