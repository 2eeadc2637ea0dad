"""The reports on pictures, for people."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from dexter_tui.formatting import plain, plain_table, short_spec, stage_line, state_line
from dexter_tui.presentation.explanation_tables import bias_view, whatif_view
from store.data_reports.explanations import BiasResult, WhatIfResult
from store.data_reports.page import DataPage
from store.data_reports.results import DebiasResult, SliceRow, SlicesResult

SHOWN = 12  # slices in the table; --all lists the others


def reports_view(pages: Sequence[DataPage]) -> Table:
    """Return the list of stored reports."""
    table = _table("id", "classifier", "data or class", "outcome", left=range(4))
    for page in pages:
        table.add_row(page.id, plain(short_spec(page.classifier)), plain(page.data),
                      plain(outcome_line(page)))  # fmt: skip
    return table


def outcome_line(page: DataPage) -> str:
    """Return the outcome of a report in a few words, or its state."""
    result = page.result
    if isinstance(result, SlicesResult):
        hard = sum(one.gap_high < 0 for one in result.slices)
        if not result.slices:
            return "no slices"
        return f"{hard} of {len(result.slices)} slices surely harder"
    if isinstance(result, DebiasResult):
        first, best = result.outcomes[0], result.main_outcome
        if best is None:
            return f"worst group {first.worst:.2f}"
        return f"worst group {first.worst:.2f} to {best.worst:.2f} by {best.method}"
    if isinstance(result, WhatIfResult | BiasResult):
        return result.outcome
    if page.state == "running":
        return stage_line(page.stage or "starting", page.done, page.total)
    return state_line(page.state, page.error)


def report_view(
    page: DataPage, *, every: bool = False, strip: RenderableType | None = None
) -> RenderableType:
    """Return a report; ``strip``: the pictures of a what-if."""
    if isinstance(page.result, WhatIfResult):
        return whatif_view(page.result, strip)
    if isinstance(page.result, BiasResult):
        return bias_view(page.result)
    if isinstance(page.result, SlicesResult):
        return _slices_view(page, page.result, None if every else SHOWN)
    if isinstance(page.result, DebiasResult):
        return _debias_view(page, page.result)
    return Group(_facts(page_facts(page)), plain(outcome_line(page)))


def page_facts(page: DataPage) -> list[tuple[str, str]]:
    """Return names and values that say what a report is about; empty ones are left out."""
    found = [("report", page.id), ("classifier", page.classifier), ("data", page.data)]
    result = page.result
    if result is None:
        return found
    if isinstance(result, WhatIfResult):
        found += [
            ("generator", f"{result.generator}, noise {result.seed}"),
            ("concepts", result.concepts),
            ("your picture", result.of_picture),
        ]
        return [(name, value) for name, value in found if value]
    skipped = ", ".join(f"{count} {why}" for why, count in result.skipped.items())
    if isinstance(result, BiasResult):
        driven = result.data_driven
        found += [
            ("generator", result.generator),
            ("without data", f"{result.data_free.source}, screening {result.screening}"),
            ("labelled", "" if driven is None else driven.source),
            ("skipped", skipped),
        ]
    elif isinstance(result, SlicesResult):
        names = dict.fromkeys(name for name, _ in result.skipped_first)
        first = "; ".join(list(names)[:3])
        judged = any(one.judged for one in result.slices)
        found += [
            ("pictures", f"{result.pictures:,}"),
            ("split", result.split or ""),
            ("skipped", f"{skipped} (first: {first})" if skipped else ""),
            ("labels", ", ".join(f"{value} = {label}" for value, label in result.labels.items())),
            ("concepts", f"{result.concepts}, as seen by {result.image_text}"),
            ("accuracy", f"{result.accuracy:.3f}"),
            ("groups", "true groups judge the slices; they chose none" if judged else ""),
        ]
    else:
        how = "all weights trained" if result.weights == "all" else "last layer fitted"
        found += [
            ("concept", f"{result.concept} ({result.concepts}), as seen by {result.image_text}"),
            ("chosen from", result.chosen_from),
            ("classes", ", ".join(result.labels)),
            ("pictures", f"{result.fitted:,} fitted, {result.tested:,} measured; {how}"),
            ("skipped", skipped),
            ("measured by", result.measured_by),
            ("average", "weighted by the groups of the fitted pictures"),
        ]
    return [(name, value) for name, value in found if value]


def _facts(rows: Iterable[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, value in rows:
        grid.add_row(name, plain(value))
    return grid


def _table(*columns: str, left: Iterable[int] = (0,)) -> Table:
    table = plain_table()
    for at, column in enumerate(columns):
        text = at in set(left)
        table.add_column(column, justify="left" if text else "right", no_wrap=not text,
                         overflow="fold")  # fmt: skip
    return table


# Slices


def _slices_view(page: DataPage, result: SlicesResult, most: int | None) -> RenderableType:
    shown = result.slices[:most]
    parts: list[RenderableType] = [_facts(page_facts(page)), "", plain(result.verdict, "bold")]
    if shown:
        parts += ["", slices_table(shown)]
    if any(one.judged for one in shown):
        parts += ["", judged_table(shown)]
    for name, rows in result.baselines.items():
        parts += ["", plain(name, "bold"), slices_table(rows[:most])]
        if any(one.judged for one in rows):
            parts += ["", judged_table(rows[:most])]
    if result.patterns:
        parts += ["", patterns_table(result)]
        parts.append(plain("left out, reweighted: share of the gap between average and worst group "
                           "that goes", "dim"))  # fmt: skip
    if len(shown) < len(result.slices):
        parts.append(plain(f"{len(result.slices) - len(shown)} more with --all", "dim"))
    return Group(*parts)


def slices_table(slices: Sequence[SliceRow]) -> Table:
    """Return slices with their gaps."""
    table = _table("", "slice", "pictures", "accuracy", "gap to the rest of the class", left=(1,))
    for number, one in enumerate(slices, 1):
        table.add_row(
            str(number),
            plain(one.name, "bold" if one.gap_high < 0 else ""),
            str(one.size),
            f"{one.accuracy:.2f}",
            f"{one.gap:+z.2f} [{one.gap_low:+z.2f}, {one.gap_high:+z.2f}]",
        )
    return table


def judged_table(slices: Sequence[SliceRow]) -> Table:
    """Return the agreement of slices with true groups."""
    table = _table("", "true group", "F1", "AUROC", "precision@10", left=(1,))
    for number, one in enumerate(slices, 1):
        if (judged := one.judged) is not None:
            table.add_row(
                str(number),
                plain(judged.group),
                f"{judged.f1:.2f}",
                "" if judged.auroc is None else f"{judged.auroc:.2f}",
                f"{judged.precision_at:.2f}",
            )
    return table


def patterns_table(result: SlicesResult) -> Table:
    """Return the conjunctions with most errors."""
    table = _table("conjunction", "pictures", "support", "wrong", "left out", "reweighted")
    for one in result.patterns:
        table.add_row(
            plain(" and ".join(one.attributes)),
            str(one.pictures),
            f"{one.support:.1%}",
            f"{one.errors:.2f}",
            "" if one.left_out is None else f"{one.left_out:.0%}",
            "" if one.reweighted is None else f"{one.reweighted:.0%}",
        )
    return table


# Debiasing


def _debias_view(page: DataPage, result: DebiasResult) -> RenderableType:
    parts: list[RenderableType] = [_facts(page_facts(page)), "", outcomes_table(result)]
    if any(one.true_groups for one in result.outcomes):
        parts.append(plain("* fitted or chosen by true groups: a bracket, no result", "dim"))
    parts += ["", groups_table(result)]
    if result.effects:
        parts += ["", effects_table(result)]
    return Group(*parts)


def outcomes_table(result: DebiasResult) -> Table:
    """Return the methods with their accuracies."""
    chosen = any(one.chosen_by for one in result.outcomes)
    columns = ["method", *(["chosen by"] if chosen else []), "worst group", "seeds", "average",
               "worst class"]  # fmt: skip
    table = _table(*columns, left=range(2 if chosen else 1))
    for one in result.outcomes:
        seeds = f"{one.least:.2f} to {one.most:.2f}" if one.seeds > 1 else ""
        mark = " *" if one.true_groups else ""
        table.add_row(
            plain(one.method + mark, "bold" if one.method == result.main else ""),
            *([plain(one.chosen_by)] if chosen else []),
            f"{one.worst:.2f} [{one.low:.2f}, {one.high:.2f}]",
            seeds,
            f"{one.average:.2f}",
            f"{one.worst_class:.2f}",
        )
    return table


def groups_table(result: DebiasResult) -> Table:
    """Return the accuracy of each group before and after."""
    best = result.main_outcome
    shown = [result.outcomes[0], *([best] if best is not None else [])]
    table = _table("accuracy by group", *(one.method for one in shown))
    for at, name in enumerate(result.groups):
        values = [one.by_group[at] if at < len(one.by_group) else None for one in shown]
        table.add_row(plain(name), *("" if v is None else f"{v:.2f}" for v in values))
    return table


def effects_table(result: DebiasResult) -> Table:
    """Return the effects of the same screening before and after."""
    table = _table("screened again", "before", f"after {result.screened}", "falls by")
    for one in result.effects:
        table.add_row(
            plain(f"{one.concept} ({one.slot})"),
            f"{one.before:+z.2f} [{one.before_low:+z.2f}, {one.before_high:+z.2f}]",
            f"{one.after:+z.2f} [{one.after_low:+z.2f}, {one.after_high:+z.2f}]",
            one.fall,
        )
    return table
