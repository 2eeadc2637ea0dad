"""The first part of a report, for a reader who wants the answer: verdicts, pairs, plot, limits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from store.markdown.escaping import code, escape, table
from store.markdown.forest import has_rows, summary
from store.reading.card import Finding, Line, Style, VerdictCard
from store.reading.origin import is_toy

Show = Callable[[Mapping[str, Any]], str]
"""Returns the Markdown of one side of a pair; "" if its picture is gone."""
Plot = Callable[[Sequence[VerdictCard]], str]
"""Returns the Markdown of the forest plot of some cards."""
Pairs = Callable[[Finding], Sequence[Mapping[str, Any]]]
"""Returns the pairs of a finding, largest change first."""

_PAIRS = 3  # shown for each finding
_FINDINGS = 4  # with pairs, for each card


def blocks(cards: Sequence[VerdictCard], pairs: Pairs, show: Show, plot: Plot) -> list[str]:
    """Return the blocks: all verdicts, each card with its pairs, plots, matrices and limits."""
    found = ["## Verdict"]
    if len(cards) > 1:
        found.append(_summary(cards))
    for card in cards:
        found += [f"### {escape(card.title)}: {escape(card.headline)}", card_text(card)]
        found += _pair_blocks(card, pairs, show)
    tested = [card for card in cards if card.findings]
    by_class: dict[str, list[VerdictCard]] = {}
    for card in tested:
        by_class.setdefault(card.class_name, []).append(card)
    plotted = {name: own for name, own in by_class.items() if has_rows(own)}
    if plotted:
        found.append("## All concepts")
    for name, own in plotted.items():
        if len(plotted) > 1:
            found.append(f"### {escape(name)}")
        found.append(plot(own))
        if len(own) > 1:
            found.append(matrix(own))
    if tested:
        found += ["## Limits", limits(tested)]
    return found


def _summary(cards: Sequence[VerdictCard]) -> str:
    """Return a list with the verdict of each card, so that one look shows them all."""
    return "\n".join(f"- {escape(one.title)}: {escape(one.headline)}" for one in cards)


def card_text(card: VerdictCard) -> str:
    """Return a card as a Markdown quotation."""
    lines = [_capital(escape(card.origin)), *map(_line_text, card.lines())]
    return "\n".join(f"> {line}<br>" for line in lines).removesuffix("<br>")


def _line_text(line: Line) -> str:
    text = "".join(_part(part, style) for part, style in line.parts)
    return _capital(text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _part(text: str, style: Style) -> str:
    """Return the escaped text with its outer spaces; a concept in bold, a command as code."""
    if style == "concept":
        return f"**{escape(text)}**" if escape(text) else ""
    if style == "command":
        return code(text)
    lead = " " if text.startswith(" ") else ""
    tail = " " if text.endswith(" ") and text.strip() else ""
    return f"{lead}{escape(text)}{tail}"


def _pair_blocks(card: VerdictCard, pairs: Pairs, show: Show) -> list[str]:
    """Return a table of pairs for each finding, with captions under the pictures."""
    found = []
    for one in [*card.biases, *card.lowers, *card.core][:_FINDINGS]:
        rows = [[f"without {escape(one.concept)}", f"with {escape(one.concept)}"]]
        for pair in pairs(one):
            if len(rows) > 2 * _PAIRS:
                break  # each picture that is asked for becomes a file beside the report
            sides = [pair["control"], pair["treated"]]
            pictures = [show(side) for side in sides]
            if all(pictures):
                rows.append(pictures)
                rows.append([_caption(card, side) for side in sides])
        if len(rows) > 1:
            found.append(f"Pairs for **{escape(one.concept)}**, largest change first{_where(one)}:")
            found.append(table(rows))
    return found


def _where(one: Finding) -> str:
    """Return where a finding holds: its effect in pictures of the class, and of its rivals."""
    names = {"class": "in pictures of the class", "rivals": "of its rivals"}
    shown = [f"{names[name]} {effect:+z.2f}" for name, effect in one.contexts if name in names]
    return f" ({', '.join(shown)})" if shown else ""


def _caption(card: VerdictCard, side: Mapping[str, Any]) -> str:
    return (
        f"p({escape(card.class_name)}) = {side['p']:.2f}<br>{escape(side['prompt'])}, "
        f"seed {side['seed']}"
    )


def matrix(cards: Sequence[VerdictCard]) -> str:
    """Return a table with a row per concept and a column per classifier."""
    rows = [["concept", *(escape(card.classifier) for card in cards)]]
    by_card = [{one.concept: one for one in card.findings} for card in cards]
    for concept in dict.fromkeys(concept for own in by_card for concept in own):
        found = [own.get(concept) for own in by_card]
        core = " (core)" if any(one is not None and one.core for one in found) else ""
        rows.append([escape(concept) + core, *map(_cell, found)])
    return table(rows)


def _cell(one: Finding | None) -> str:
    if one is None:
        return "not tested"
    verdict = str(one.verdict)
    if one.reason:
        verdict += f", {one.why}"
    return f"{one.interval}<br>{escape(verdict)}" if one.pairs else escape(verdict)


def plot_text(cards: Sequence[VerdictCard], path: str) -> str:
    """Return the Markdown of a plot in a file."""
    return f"![{escape(summary(cards))}]({path})"


def limits(cards: Sequence[VerdictCard]) -> str:
    """Return the limits of the findings in plain words."""
    generators = {card.generator: None for card in cards}
    drawn_by = ", ".join(map(escape, generators))
    by_toy = any(is_toy(card.classifier, card.generator) for card in cards)
    lines = [
        "The pictures are by the lab's 64-pixel toy. They are a trial of the method, not a result "
        "about a classifier of photographs."
        if by_toy
        else f"The pictures are by {drawn_by}. A classifier may behave differently on other "
        "pictures.",
        "Only the concepts above were tested. A concept that nobody proposed, or that the "
        "generator cannot draw, may still matter.",
        "A concept stands for all its wordings (water for sea and lake), and its effect is their "
        "mean. A wording that differs clearly from the others is listed by itself; "
        "`dexter-tui probe` tests any other.",
        "An effect is the mean change of the probability of the class when the concept is added "
        "to the prompt, or takes the place of another one of its kind (a background, a colour). "
        "Effects below the smallest effect that counts, by default 0.10, are not findings.",
        "The tests of one study together raise a false alarm in at most 5% of studies. The "
        "sensitivity on a card is the effect that its tests find with a probability of at least "
        "95%.",
    ]
    return "\n".join(f"- {line}" for line in lines)
