"""Summaries of runs and studies in a few lines of text."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from dexter_tui.dashboard.cells import bar, fit, padded, sparkline
from dexter_tui.dashboard.themes import Palette, Signs
from dexter_tui.dashboard.widgets.run_list import template_text
from dexter_tui.formatting import clean, duration, short_spec
from store.reading.browse import FrameRow, RunRow, StageRow, StepRow, StudyRow
from store.reading.card import Line, VerdictCard
from store.reading.origin import is_toy, origin
from store.states import State


def run_facts(
    run: RunRow,
    steps: Sequence[StepRow],
    width: int,
    palette: Palette,
    signs: Signs,
    *,
    spaced: bool = True,
) -> Text:
    """Summarise a run: target, progress, trends of its losses, and words."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{short_spec(run.classifier)} {signs.arrow} ", palette.dim)
    text.append(clean(run.class_name), f"bold {palette.accent}")
    text.append(f"  {clean(template_text(run.config))}\n", palette.dim)
    config = run.config
    text.append_text(origin_text(run.classifier, config, config.get("preset"), palette))
    text.append("\n")
    text.append_text(fitted(state_parts(run, palette, signs), width)).append("\n")
    if run.error and run.state in (State.FAILED, State.LOST, State.CANCELLED):
        for part in wrapped(Text(clean(run.error), palette.bad), width):
            text.append_text(part).append("\n")
    text.append("\n" if spaced else "")
    for name, values, shown in trends(steps):
        text.append(f"{name:<9}", palette.dim).append(f"{shown:>6} ")
        line = sparkline(values, max(min(width - 17, 60), 8), signs.levels)
        text.append(f"{line}\n", palette.primary)
    text.append("\n" if spaced else "")
    text.append_text(words_table(run, steps[-1] if steps else None, width, palette))
    return text


def state_parts(run: RunRow, palette: Palette, signs: Signs) -> list[tuple[int, Text]]:
    """Return state, steps, time left and score of a run, each with its importance."""
    style = palette.state(run.state)
    parts = [(9, Text(f"{signs.states[run.state]} {run.state.value}", style))]
    if run.state is State.SUCCEEDED:
        parts.append((3, Text(f"{run.steps_done} steps")))
    elif run.steps_total:
        parts.append((8, Text(f"{run.steps_done}/{run.steps_total} steps")))
    if run.seconds_left is not None:
        parts.append((8, Text(f"{duration(run.seconds_left)} left")))
    if run.score_value is not None:
        score = Text("score ", palette.dim).append(f"{run.score_value:.0%}", palette.good)
        parts.append((8, score))
        if run.score_low is not None and run.score_high is not None:
            interval = f"[{100 * run.score_low:.0f}{signs.dash}{100 * run.score_high:.0f}]"
            parts.append((4, Text(interval, palette.dim)))
    elif run.frames_tried is not None:
        parts.append((5, Text(f"{run.frames_hit}/{run.frames_wanted} frames")))
    if run.device:
        parts.append((1, Text(clean(run.device), palette.dim)))
    if run.seconds is not None:
        parts.append((2, Text(duration(run.seconds), palette.dim)))
    return parts


def fitted(parts: Sequence[tuple[int, Text]], width: int) -> Text:
    """Join the parts in a line; omit the least important ones until the line fits."""
    kept = list(parts)
    while len(kept) > 1 and sum(len(part) + 2 for _, part in kept) - 2 > width:
        kept.remove(min(kept, key=lambda one: one[0]))
    line = Text("  ", no_wrap=True, overflow="ellipsis").join([part for _, part in kept])
    line.overflow = "ellipsis"
    return line


def trends(steps: Sequence[StepRow]) -> list[tuple[str, list[float | None], str]]:
    """Return loss, probability and entropy over the steps, each with its last value."""
    if not steps:
        return []
    rows: list[tuple[str, list[float | None], str]] = []
    for name, values, digits in (
        ("loss", [step.losses.get("total") for step in steps], 3),
        ("p(class)", [step.target_probability for step in steps], 2),
        ("entropy", [step.entropy for step in steps], 2),
    ):
        if any(value is not None for value in values):
            value = values[-1]
            rows.append((name, values, "" if value is None else f"{value:.{digits}f}"))
    return rows


def words_table(run: RunRow, step: StepRow | None, width: int, palette: Palette) -> Text:
    """Return a table of words: best so far, last tried and current target of each slot."""
    text = Text(no_wrap=True, overflow="ellipsis")
    best = run.words or (step.best_words if step else [])
    now = step.words if step else []
    targets = step.pseudo_targets if step else []
    slots = max(len(best), len(now))
    if not slots:
        return text.append("No words yet.", palette.dim)
    wide = width >= 54
    number, target = ("slot", "current target") if wide else ("#", "target")
    column = max((width - len(number) - 2) // 3, 8)
    heading = f"{number}  {'best so far':<{column}}{'tried':<{column}}{target}"
    text.append(f"{fit(heading, width)}\n", palette.dim)
    for slot in range(slots):
        text.append(f"{slot + 1:<{len(number) + 2}}", palette.dim)
        text.append(f"{_cell(best, slot, column)}", f"bold {palette.accent}")
        text.append(f"{_cell(now, slot, column)}")
        text.append(f"{_cell(targets, slot, column)}\n", palette.dim)
    text.right_crop(1)
    return text


def _cell(words: Sequence[str | None], slot: int, width: int) -> str:
    word = words[slot] if slot < len(words) else None
    return f"{padded(clean(word) if word else '', width - 1)} "


def study_facts(
    study: StudyRow,
    runs: Sequence[RunRow],
    card: VerdictCard | None,
    width: int,
    palette: Palette,
    signs: Signs,
) -> Text:
    """Summarise a study: target, verdict, states of its runs, and words by number of seeds."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{short_spec(study.classifier)} {signs.arrow} ", palette.dim)
    text.append(clean(study.class_name), f"bold {palette.accent}")
    text.append(f"  {clean(template_text(study.settings))}\n", palette.dim)
    _findings(text, study, card, width, palette)
    for state in State:
        if count := study.states.get(state):
            text.append(f"{signs.states[state]} {count} {state.value}  ", palette.state(state))
    text.append("\n\n")
    seeds = len({run.seed for run in runs})
    for word, count in word_counts(runs)[:8]:
        full, empty = bar(count / max(seeds, 1), 8, signs.bar)
        text.append(full, palette.accent).append(empty, palette.faint)
        text.append(f" {fit(clean(word), max(width - 28, 8))}", "bold")
        text.append(f"  {count} of {seeds} seeds\n", palette.dim)
    return text


def _findings(
    text: Text, study: StudyRow, card: VerdictCard | None, width: int, palette: Palette
) -> None:
    """Append the verdict card, or a line on the running report."""
    if card is not None and card.findings:
        text.append_text(card_text(card, width, palette)).append("\n\n")
        return
    text.append_text(origin_text(study.classifier, study.settings, None, palette)).append("\n")
    if study.stage is not None:
        text.append(
            f"Report: {study.stage.name} {stage_progress(study.stage, {})}\n", palette.active
        )
    elif study.states.get(State.SUCCEEDED):
        text.append("No report yet: open the study, press w\n", palette.dim)


_VERDICTS = frozenset({"bias", "clean", "untested"})


def card_text(card: VerdictCard, width: int, palette: Palette) -> Text:
    """Return a verdict card, wrapped to a width; the verdict is on the first line."""
    lines = _card_lines(card.lines(), width, palette)
    settings = {"generator": card.generator}
    lines.append(origin_text(card.classifier, settings, card.preset, palette))
    return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)


def verdict_lines(card: VerdictCard, width: int, palette: Palette) -> list[Text]:
    """Return only the verdict of a card, wrapped to a width."""
    return _card_lines([one for one in card.lines() if one.kind in _VERDICTS], width, palette)


def _card_lines(lines: Iterable[Line], width: int, palette: Palette) -> list[Text]:
    styles = {
        "bias": palette.bad,
        "clean": palette.good,
        "untested": palette.warn,
        "toy": palette.warn,
        "next": palette.dim,
        "pair": palette.primary,
    }
    found = []
    for line in lines:
        shown = Text(style=styles.get(line.kind, ""))
        for part, kind in line.parts:
            shown.append(clean(part), "bold" if kind == "concept" else "")
        found += wrapped(shown, width)
    return found


def wrapped(text: Text, width: int) -> list[Text]:
    """Return the lines of a text at a width, without a console."""
    from rich.console import Console

    return list(text.wrap(Console(width=width), width))


def origin_text(
    classifier: str, settings: Mapping[str, Any], preset: object, palette: Palette
) -> Text:
    """Return the line on generator and preset."""
    generator = settings.get("generator")
    style = palette.warn if is_toy(classifier, str(generator)) else palette.dim
    return Text(clean(origin(classifier, generator, preset)), style)


# Descriptions of the stages of a report.
_STAGES = {
    "captions": "describe the pictures",
    "claims": "test concepts from words and captions on picture pairs",
    "attribution": "find the words that drive the result",
    "scores": "score words and captions as prompts",
    "report": "write the report",
}


def stages_text(
    stages: Sequence[StageRow], left: Mapping[str, float], palette: Palette, signs: Signs
) -> Text:
    """Return the progress of a report; ``left`` holds its seconds left, by the running stage."""
    text = Text()
    for stage in stages:
        state, style = {
            "running": (State.RUNNING, palette.active),
            "done": (State.SUCCEEDED, palette.good),
            "failed": (State.FAILED, palette.bad),
        }.get(stage.state, (State.QUEUED, palette.dim))
        text.append(f"{signs.states[state]} {stage.name:<12}", style)
        if stage.state == "failed":
            text.append(clean(stage.error or "failed"), palette.bad)
        elif stage.state == "running":
            text.append(stage_progress(stage, left))
        else:
            text.append(_STAGES.get(stage.name, ""), palette.dim)
        text.append("\n")
        if stage.state == "running":
            text.append(f"  {'':<12}{_STAGES.get(stage.name, '')}\n", palette.dim)
    return text


def stage_progress(stage: StageRow, left: Mapping[str, float]) -> str:
    """Return the progress of a stage, such as "640/1800, about 0:25 left in all"."""
    count = f"{stage.done}/{stage.total}" if stage.total else "starting"
    if stage.name not in left:
        return count
    seconds = duration(left[stage.name])
    if stage.name == "captions":
        return f"{count}, {seconds} left, then claims"
    return f"{count}, about {seconds} left in all"


def word_counts(runs: Sequence[RunRow]) -> list[tuple[str, int]]:
    """Count the seeds that found each word, most frequent first."""
    found: dict[str, set[int]] = {}
    for run in runs:  # an imported study may repeat seeds
        for word in run.words:
            found.setdefault(word, set()).add(run.seed)
    return sorted(
        ((w, len(seeds)) for w, seeds in found.items()), key=lambda one: (-one[1], one[0])
    )


def caption_lines(
    frame: FrameRow, answers: Sequence[str], palette: Palette
) -> tuple[Text, Text, Text, Text, Text]:
    """Describe a picture: its source, seed, prompt, the answer and p of the target."""
    source = Text()
    if frame.kind == "preview":
        source.append("search sample", palette.dim).append(f" of step {frame.step}")
    else:
        source.append("best prompt", palette.dim)
    predicted = (
        answers[frame.predicted_class]
        if 0 <= frame.predicted_class < len(answers)
        else str(frame.predicted_class)
    )
    return (
        source,
        Text(f"seed {frame.seed}", palette.dim),
        Text(clean(frame.prompt), "italic"),
        Text.assemble(
            ("classified as ", palette.dim),
            (clean(predicted), palette.good if frame.hit else palette.warn),
        ),
        Text(f"p(class) {frame.target_probability:.2f}", palette.dim),
    )


def frame_caption(frame: FrameRow, answers: Sequence[str], palette: Palette) -> Text:
    """Describe a picture in three paragraphs: where it is from, its prompt, the prediction."""
    source, seed, prompt, predicted, p = caption_lines(frame, answers, palette)
    return Text("\n").join([source, seed, Text(), prompt, Text(), predicted, p])


def local_time(stored: str | None) -> str:
    """Convert a time of the store to local time, with its zone."""
    if stored is None:
        return ""
    return f"{datetime.fromisoformat(stored).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def local_minute(stored: str | None) -> str:
    """Convert a time of the store to a local minute; without a time, the title of such a column."""
    if stored is None:
        return f"created ({datetime.now().astimezone():%Z})"
    try:
        return f"{datetime.fromisoformat(stored).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:  # a damaged row
        return ""


def settings_text(
    config: dict[str, Any], preset: dict[str, Any], palette: Palette, facts: dict[str, str]
) -> Text:
    """List all settings, with a mark at those that differ from the preset."""
    text = Text()
    for name, value in facts.items():
        if value:
            text.append(f"  {name:<24}", palette.dim).append(f"{clean(value)}\n")
    text.append("\n")
    for name, value in config.items():
        differs = name in preset and _plain(preset[name]) != _plain(value)
        text.append("* " if differs else "  ", palette.accent)
        text.append(f"{name:<24}", palette.accent if differs else palette.dim)
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        text.append(clean("" if value is None else shown))
        if differs:
            text.append(f"   preset: {clean(preset[name])}", palette.dim)
        text.append("\n")
    return text


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
