"""The Markdown of a report on pictures; all names and texts in it are data."""

from collections.abc import Callable, Sequence

from store.data_reports.explanations import BiasResult, WhatIfResult
from store.data_reports.page import DataPage
from store.data_reports.results import TITLES, DebiasResult, SliceRow, SlicesResult
from store.markdown import explanation
from store.markdown.escaping import escape, table
from store.states import EXPLAINING


def title(pages: Sequence[DataPage]) -> str:
    """Return the title of reports on pictures."""
    names = dict.fromkeys(
        f"{TITLES[page.kind]} of {page.classifier}, {page.data}"
        if page.kind in EXPLAINING
        else f"{page.kind} of {page.classifier} on {page.data}"
        for page in pages
    )
    return escape("; ".join(names))


def blocks(page: DataPage, show: Callable[[tuple[str, str, int]], str]) -> list[str]:
    """Return the blocks of a report; ``show`` gives a picture of the bank as Markdown."""
    facts = [
        f"- Classifier: {escape(page.classifier)}",
        f"- Pictures: {escape(page.data)}, hash {escape(page.data_hash[:16])}",
    ]
    if page.kind in EXPLAINING:
        facts[1] = f"- About: {escape(page.data)}"
    found = [f"### {escape(TITLES[page.kind])} {escape(page.id)}"]
    if page.result is None:
        return [*found, "\n".join(facts), f"State: {escape(page.error or page.state)}"]
    if isinstance(page.result, WhatIfResult):
        return [*found, "\n".join(facts), *explanation.whatif(page.result, show)]
    if isinstance(page.result, BiasResult):
        return [*found, "\n".join(facts), *explanation.bias(page.result)]
    skipped = [f"{count} {why}" for why, count in page.result.skipped.items()]
    facts += [f"- Skipped: {escape(', '.join(skipped))}"] if skipped else []
    own = _slices(page.result) if isinstance(page.result, SlicesResult) else _debias(page.result)
    return [*found, "\n".join(facts), *own]


def _slices(result: SlicesResult) -> list[str]:
    facts = [
        f"- Concepts: {escape(result.concepts)}, as seen by {escape(result.image_text)}",
        f"- Accuracy on {result.pictures} pictures: {result.accuracy:.3f}",
        *([f"- Split: {escape(result.split)}"] if result.split else []),
    ]
    if result.true_groups:
        facts.append(f"- True groups ({escape(result.true_groups)}) judge; they chose no slice")
    found = [f"{escape(result.verdict)}.", "\n".join(facts)]
    if result.slices:
        found.append(_slices_table(result.slices))
    for name, rows in result.baselines.items():
        found += [f"#### {escape(name)}", _slices_table(rows)]
    if result.patterns:
        patterns = [
            [
                escape(" and ".join(one.attributes)),
                str(one.pictures),
                f"{one.support:.1%}",
                f"{one.errors:.2f}",
                "" if one.left_out is None else f"{one.left_out:.0%}",
                "" if one.reweighted is None else f"{one.reweighted:.0%}",
            ]
            for one in result.patterns
        ]
        head = ["Conjunction", "Pictures", "Support", "Wrong", "Gap falls if left out",
                "If reweighted"]  # fmt: skip
        found += ["#### Conjunctions", table([head, *patterns])]
    return found


def _slices_table(slices: Sequence[SliceRow]) -> str:
    judged = any(one.judged for one in slices)
    head = ["Slice", "Pictures", "Accuracy", "Gap to the rest of the class"]
    head += ["True group", "F1", "AUROC", "Precision@10"] if judged else []
    rows = []
    for one in slices:
        row = [
            escape(one.name),
            str(one.size),
            f"{one.accuracy:.2f}",
            f"{one.gap:+z.2f} ({one.gap_low:+z.2f} to {one.gap_high:+z.2f})",
        ]
        if judged and one.judged is not None:
            auroc = "" if one.judged.auroc is None else f"{one.judged.auroc:.2f}"
            row += [escape(one.judged.group), f"{one.judged.f1:.2f}", auroc,
                    f"{one.judged.precision_at:.2f}"]  # fmt: skip
        rows.append(row + [""] * (len(head) - len(row)))
    return table([head, *rows])


def _debias(result: DebiasResult) -> list[str]:
    how = "all weights trained" if result.weights == "all" else "the last layer fitted again"
    facts = [
        f"- Concept: {escape(result.concept)} ({escape(result.concepts)}), as seen by "
        f"{escape(result.image_text)}",
        *([f"- Chosen from {escape(result.chosen_from)}"] if result.chosen_from else []),
        f"- {result.fitted} pictures fitted, {result.tested} measured; {how}",
        f"- Measured by {escape(result.measured_by)}; the average is weighted by the groups of the "
        "fitted pictures",
    ]
    rows = [
        [
            escape(one.method) + (" (**bracket**)" if one.true_groups else ""),
            escape(one.chosen_by),
            f"{one.worst:.2f} ({one.low:.2f} to {one.high:.2f})",
            f"{one.least:.2f} to {one.most:.2f}" if one.seeds > 1 else "",
            f"{one.average:.2f}",
            f"{one.worst_class:.2f}",
        ]
        for one in result.outcomes
    ]
    head = ["Method", "Chosen by", "Worst group", "Seeds", "Average", "Worst class"]
    found = ["\n".join(facts), table([head, *rows])]
    if any(one.true_groups for one in result.outcomes):
        found.append("A bracket is fitted or chosen by true groups, so that it is no result.")
    best = result.main_outcome
    shown = [result.outcomes[0], *([best] if best is not None else [])]
    groups = [
        [escape(name), *(f"{value:.2f}" for value in values)]
        for name, *values in zip(result.groups, *(one.by_group for one in shown), strict=False)
    ]
    found.append(table([["Accuracy by group", *(escape(one.method) for one in shown)], *groups]))
    if result.effects:
        rows = [
            [
                escape(f"{one.concept} ({one.slot})"),
                f"{one.before:+z.2f} ({one.before_low:+z.2f} to {one.before_high:+z.2f})",
                f"{one.after:+z.2f} ({one.after_low:+z.2f} to {one.after_high:+z.2f})",
                one.fall,
            ]
            for one in result.effects
        ]
        head = ["Screened again", "Before", f"After {escape(result.screened)}", "Falls by"]
        found += ["#### The same screening", table([head, *rows])]
    return found
