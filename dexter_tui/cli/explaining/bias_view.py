"""A bias explanation in a terminal, and as Markdown, HTML and JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dexter_tui.analysis.explaining.bias import Explanation


def _rows(found: "Explanation") -> list[list[str]]:
    """Return a row per concept: what pictures, labelled pictures and the lab's truth say."""
    driven = {} if found.driven is None else {
        (one.attribute, one.concept): one for one in found.driven.facts
    }  # fmt: skip
    rows = []
    for one in found.free.facts:
        if one.core:
            continue
        other = driven.get((one.attribute, one.concept))
        planted = None if found.planted is None else found.planted.get(one.concept)
        rows.append(
            [
                one.attribute,
                one.concept,
                _verdict(one),
                f"{one.effect:+z.2f} [{one.low:+z.2f}, {one.high:+z.2f}]",
                one.confirmation or "",
                *([] if found.driven is None else ["" if other is None else
                  f"{other.effect:+z.2f} [{other.low:+z.2f}, {other.high:+z.2f}]"]),
                *([] if found.planted is None else ["" if planted is None else f"{planted:+z.2f}"]),
            ]
        )  # fmt: skip
    return rows


def _verdict(fact: Any) -> str:
    text = str(fact.verdict).replace("_", " ")
    return f"{text} by {' and '.join(fact.explained_by)}" if fact.explained_by else text


def _columns(found: "Explanation") -> list[str]:
    return [
        "attribute",
        "concept",
        "verdict",
        "effect on p(class)",
        "on fresh pairs",
        *([] if found.driven is None else ["on labelled pictures"]),
        *([] if found.planted is None else ["measured truth"]),
    ]


def _lines(found: "Explanation") -> list[str]:
    """Return how far the two reports agree, a sentence each."""
    lines = []
    if found.agreement is not None:
        one = found.agreement
        lines.append(
            f"Claims in common: {one.both} of {one.claims} without data and of {one.reference} on "
            "labelled pictures."
        )
    if found.sts is not None:
        floor = "" if found.floor is None else f"; floor of unrelated reports {found.floor:.2f}"
        lines.append(f"Similarity of the texts ({found.encoder}): {found.sts:.2f}{floor}.")
    if found.rating is not None:
        lines.append(
            f"Consistency by {found.judge}: {found.rating:.2f} of 5, mean of {found.ratings} "
            "ratings."
        )
    if found.trouble is not None:
        lines.append(f"No rating: {found.trouble}")
    if found.skipped:
        lines.append(
            "Skipped: " + ", ".join(f"{count} {why}" for why, count in found.skipped.items()) + "."
        )
    return lines


def _limits(found: "Explanation") -> str:
    return (
        f"These findings hold for pictures by {found.generator}. A concept that it does not draw "
        "was not tested. Labels of data were not assigned at random: an effect on them can come "
        "from what goes along with a label."
    )


def view(found: "Explanation") -> Any:
    from rich.console import Group
    from rich.table import Table

    from dexter_tui.formatting import plain

    first, *rest = found.free.sentences
    parts: list[Any] = [plain(first, "bold red" if found.free.biases else "green")]
    parts += [plain(line) for line in rest]
    parts += [plain(f"from {found.free.source}, screening {found.screening}", "dim"), ""]
    if found.driven is not None:
        parts += [plain(f"On {found.driven.source}: {found.driven.text}"), ""]
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    columns = ["people", "verdict", "effect on p(class)"]
    tested = any(one.confirmation for one in found.free.facts)
    columns += ["pairs"] if tested else []
    columns += ["labelled"] if found.driven is not None else []
    columns += ["truth"] if found.planted is not None else []
    for at, column in enumerate(columns):
        table.add_column(column, no_wrap=at != 1, overflow="fold")
    for attribute, concept, verdict, effect, pairs, *rest in _rows(found):
        name = concept if attribute in ("gender", "age") else f"{concept} {attribute}"
        # Intervals of the labelled pictures are in the exports: they do not fit a terminal.
        short = [one.partition(" ")[0] for one in rest]
        cells = [name, verdict, effect, *([pairs] if tested else []), *short]
        table.add_row(*(plain(cell) for cell in cells))
    parts += [table, "", *(plain(line) for line in _lines(found)), plain(_limits(found), "dim")]
    return Group(*parts)


def write(found: "Explanation", target: Path) -> None:
    from dexter_tui.exchange import strip
    from dexter_tui.formatting import json_text
    from store.markdown.escaping import escape, table

    if target.suffix.lower() == ".json":
        strip.write_page(json_text(found.to_json()) + "\n", {}, target)
        return
    rows: Sequence[Sequence[str]] = [
        _columns(found),
        *([*map(escape, row)] for row in _rows(found)),
    ]
    blocks = [
        f"# Bias of {escape(found.classifier)}: {escape(found.class_name)}",
        f"> **{escape(found.verdict)}**",
        "## Without data",
        escape(" ".join(found.free.sentences)),
        f"From {escape(found.free.source)}, screening {escape(found.screening)}.",
    ]
    if found.driven is not None:
        blocks += [
            "## On labelled pictures",
            escape(found.driven.text),
            f"From {escape(found.driven.source)}.",
        ]
    blocks += ["## Effects", table([list(row) for row in rows])]
    if lines := _lines(found):
        blocks += ["## Agreement", "\n".join(f"- {escape(line)}" for line in lines)]
    blocks += ["## Limits", escape(_limits(found))]
    strip.write_page("\n\n".join(blocks) + "\n", {}, target)
