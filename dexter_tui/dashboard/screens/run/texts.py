"""The texts of a run: its title, prompts, the words that drive its result, and its settings."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from dexter_tui.dashboard.cells import padded
from dexter_tui.dashboard.themes import Palette, Signs
from dexter_tui.dashboard.widgets.claim_list import interval_bar
from dexter_tui.dashboard.widgets.summaries import (
    fitted,
    local_time,
    origin_text,
    settings_text,
    state_parts,
)
from dexter_tui.formatting import clean, short_path, short_spec, size
from store.reading.browse import Browse, PromptRow, RunRow, WordGainRow

_BAR = 16  # columns of an interval bar


def title_text(run: RunRow, width: int, palette: Palette, signs: Signs) -> Text:
    """Return a run in one line: what it explains, and how far it is."""
    target = Text(f"{short_spec(run.classifier)} {signs.arrow} ", palette.dim)
    target.append(clean(run.class_name), f"bold {palette.accent}")
    parts = [
        (10, Text(clean(run.id), f"bold {palette.primary}")),
        (9, target),
        (6, Text(f"seed {run.seed}", palette.dim)),
        (7, origin_text(run.classifier, run.config, run.config.get("preset"), palette)),
        *state_parts(run, palette, signs),
    ]
    if run.activity:
        parts.append((9, Text(clean(run.activity), palette.active)))
    text = fitted(parts, width)
    if run.error:
        text.append(f"  {clean(run.error)}", palette.bad)
    return text


def prompts_text(prompts: Sequence[PromptRow], palette: Palette) -> Text:
    """List the prompts, best first."""
    text = Text(no_wrap=True, overflow="ellipsis")
    if not prompts:
        return text.append("Prompts are ranked when the search ends.", palette.dim)
    text.append(f"{'rank':>4}  {'mean loss':>9}  {'pictures':>8}  words\n", palette.dim)
    longest = max(cell_len(", ".join(map(clean, prompt.words))) for prompt in prompts)
    for prompt in prompts:
        loss = "" if prompt.mean_loss is None else f"{prompt.mean_loss:.3f}"
        text.append(f"{prompt.rank:>4}  ", palette.dim)
        text.append(f"{loss:>9}  {prompt.pictures:>8}  ")
        words = ", ".join(map(clean, prompt.words))
        padding = " " * max(min(longest, 40) - cell_len(words), 0)
        text.append(f"{words}{padding}", f"bold {palette.accent}")
        text.append(f"   {clean(prompt.text)}\n", palette.dim)
    return text


def gains_text(gains: Sequence[WordGainRow], palette: Palette, signs: Signs) -> Text:
    """Show the loss reduction of each word with its interval; a tick marks the drivers."""
    text = Text(no_wrap=True, overflow="ellipsis")
    if not gains:
        return text
    first, last = min(0.0, *(g.low for g in gains)), max(0.0, *(g.high for g in gains))
    if first == last:  # all pictures scored the same
        last = 1.0
    mark = signs.states["succeeded"]
    title = f"Words that drive the result ({mark}), estimated from every picture in the search"
    text.append(f"\n{title}\n", "bold")
    header = f"  {'word':<14} {'':<{_BAR}} {'loss reduction (95% CI)':<25}{'pictures':>8}\n"
    text.append(header, palette.dim)
    for gain in gains:
        colour = palette.good if gain.carries else palette.dim
        text.append(f"{mark if gain.carries else '':<2}", colour)
        text.append(f"{padded(clean(gain.word), 14)} ", f"bold {colour}")
        interval = (gain.low, gain.gain, gain.high)
        interval_bar(text, interval, (first, last), _BAR, colour, palette, signs)
        text.append(f" {gain.gain:+z.2f} ({gain.low:+z.2f} to {gain.high:+z.2f})".ljust(26))
        text.append(f"{gain.pictures:>8}\n", palette.dim)
    return text


def config_text(run: RunRow, browse: Browse, palette: Palette) -> Text:
    """List the facts and settings of a run."""
    from dexter.config import PRESETS, RunConfig

    # In the order of the fields of RunConfig.
    stored = run.config
    order = [name for name in RunConfig.model_fields if name in stored]
    config = {name: stored[name] for name in dict.fromkeys((*order, *stored))}
    config.pop("word_effects", None)  # hundreds, which the screening shows
    name = str(config.get("preset", "default"))
    preset: dict[str, object] = {}
    if name in PRESETS:
        made = RunConfig.from_preset(name, classifier="any", class_name="any")
        own = ("classifier", "class_name", "seed")  # never part of a preset
        preset = {k: v for k, v in made.model_dump(mode="json").items() if k not in own}
    key = browse.find(run.study_id)
    study = browse.studies([-key])[-key].settings if key is not None else {}
    facts = {
        "run": run.id,
        "study": run.study_id,
        "recognised": str(study.get("recognised") or ""),
        "attempt": str(run.attempt),
        "created": local_time(run.created_at),
        "started": local_time(run.started_at),
        "ended": local_time(run.ended_at),
        "stop reason": run.stop_reason or "",
        "tags": ", ".join(browse.tags([run.id]).get(run.id, ())),
        "note": browse.note(run.id).replace("\n", "; "),
        "peak memory": size(run.peak_memory_bytes) if run.peak_memory_bytes else "",
        "files": short_path(browse.log(run.id).parent),
    }
    return settings_text(config, preset, palette, facts)
