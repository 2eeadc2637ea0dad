"""The runs and studies as tables and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dexter_tui.formatting import ID_WIDTH, STATE_STYLES, plain, plain_table
from store.reading.origin import is_toy, origin

if TYPE_CHECKING:
    from store import Store
    from store.reading.browse import RunRow, StudyRow
    from store.tables import Attempt, Run, Step, Study


def run_json(run: "Run") -> dict[str, Any]:
    """Return a run as JSON."""
    score = None
    if run.score_value is not None:
        score = {
            "value": run.score_value,
            "low": run.score_low,
            "high": run.score_high,
            "n": run.score_n,
        }
    return {
        "id": run.id,
        "study": run.study_id,
        "state": run.state.value,
        "classifier": run.study.classifier.spec,
        "class_name": run.study.class_name,
        "direction": run.config.get("direction", "raise"),
        "search": run.config.get("search", "words"),
        "seed": run.seed,
        "words": run.words or [],
        "prompt": run.prompt,
        "word_gains": run.word_gains or [],
        "activation_score": score,
        "steps": run.steps_done,
        "steps_total": run.steps_total,
        "stop_reason": run.stop_reason,
        "frames": {
            "wanted": run.frames_wanted,
            "hit": run.frames_hit,
            "tried": run.frames_tried,
        },
        "error": run.error,
        "device": run.device,
        "attempt": run.attempt,
        "seconds": run.seconds,
        "peak_memory_bytes": run.peak_memory_bytes,
        "created_at": _time(run.created_at),
        "started_at": _time(run.started_at),
        "ended_at": _time(run.ended_at),
        "heartbeat_at": _time(run.heartbeat_at),
    }


def run_details_json(store: "Store", run: "Run") -> dict[str, Any]:
    """Return a run as JSON with all its records."""
    from store.placed import attempts

    return run_json(run) | {
        "place": run.place,
        "attempts": [_columns(one) for one in attempts.attempts_of(store, run.id)],
        "config": run.config,
        "seed_ranges": run.seed_ranges,
        "history": [_columns(step) for step in store.steps(run.id)],
        "prompts": [_columns(prompt) for prompt in store.prompts(run.id)],
        "pictures": [
            _columns(frame) | {"path": str(store.artifact_path(frame.sha256))}
            for frame in store.frames(run.id)
        ],
    }


def study_json(study: "Study", runs: Sequence["Run"]) -> dict[str, Any]:
    """Return a study as JSON with its runs."""
    return {
        "id": study.id,
        "classifier": study.classifier.spec,
        "class_name": study.class_name,
        "class_index": study.class_index,
        "settings": study.settings,
        "created_at": _time(study.created_at),
        "runs": [run_json(run) for run in runs],
    }


def _columns(row: "Any") -> dict[str, Any]:
    values: dict[str, Any] = row.model_dump(mode="json", exclude={"run_id"})
    return values


def _time(value: Any) -> str | None:
    return None if value is None else value.isoformat()


def score_text(run: "Run | RunRow") -> str:
    """Return the activation score with its interval in percent."""
    if run.score_value is None:
        return ""
    assert run.score_low is not None and run.score_high is not None
    return f"{run.score_value:.0%} [{run.score_low:.0%}–{run.score_high:.0%}]"


def steps_text(run: "Run | RunRow") -> str:
    """Return the number of steps done and the limit."""
    return f"{run.steps_done}/{run.steps_total}" if run.steps_total else str(run.steps_done)


def searched(settings: Mapping[str, Any]) -> str:
    """Return the template of a search, and that it lowers the class or is for embeddings."""
    template = str(settings.get("template", ""))
    what = "embeddings" if settings.get("search") == "continuous" else "words"
    if what == "embeddings" and settings.get("embeddings") == "output":
        what = "embeddings of the output"
    if settings.get("direction") == "lower":
        return f"{what} that lower it: {template}"
    return template if what == "words" else f"{what}: {template}"


def hit_meaning(settings: Mapping[str, Any], class_name: str = "the class") -> str:
    """Return the meaning of a hit."""
    lower = settings.get("direction") == "lower"
    return f"{'not ' if lower else ''}classified as {class_name}"


def study_title(study: "Study", preset: object = None) -> Text:
    """Return two lines on a study: id, classifier, class and template; generator and preset."""
    spec = study.classifier.spec
    return _title(study.id, spec, study.class_name, study.settings, preset)


def _title(
    study_id: str, spec: str, class_name: str, settings: Mapping[str, Any], preset: object
) -> Text:
    template = searched(settings)
    generator = settings.get("generator")
    toy = is_toy(spec, str(generator))
    return Text.assemble(
        (study_id, "bold"),
        "  ",
        plain(spec),
        " · ",
        plain(class_name, "bold"),
        " · ",
        plain(template, "dim"),
        "\n  ",
        plain(origin(spec, generator, preset), "yellow" if toy else "dim"),
    )


def runs_table(runs: "Iterable[Run | RunRow]") -> Table:
    """Return a table of the runs of a study."""
    table = plain_table()
    table.add_column("  run", no_wrap=True, min_width=ID_WIDTH + 2)
    table.add_column("seed", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("score", no_wrap=True)
    table.add_column("words", ratio=1)
    for run in runs:
        words = plain(", ".join(run.words or []))
        if run.error:  # `show` prints the whole error
            words = plain(run.error, "red")
            words.no_wrap, words.overflow = True, "ellipsis"
        table.add_row(
            f"  {run.id}",
            str(run.seed),
            Text(run.state.value, style=STATE_STYLES.get(run.state.value, "")),
            steps_text(run),
            score_text(run),
            words,
        )
    return table


def studies_view(runs: Iterable["Run"]) -> RenderableType:
    """Return runs grouped by study, newest study first."""
    parts: list[RenderableType] = []
    by_study = sorted(runs, key=lambda run: (run.study.created_at, run.study_id), reverse=True)
    for _, group in groupby(by_study, key=lambda run: run.study_id):
        members = sorted(group, key=lambda run: (run.seed, run.created_at))
        title = study_title(members[0].study, members[0].config.get("preset"))
        parts += [title, runs_table(members), ""]
    return Group(*parts[:-1])


def listed_view(
    studies: "Iterable[tuple[StudyRow, Sequence[RunRow]]]",
) -> RenderableType:
    """Return runs grouped by study."""
    parts: list[RenderableType] = []
    for study, runs in studies:
        preset = runs[0].config.get("preset") if runs else None
        title = _title(study.id, study.classifier, study.class_name, study.settings, preset)
        parts += [title, runs_table(runs), ""]
    return Group(*parts[:-1])


def run_view(store: "Store", run: "Run", *, pictures: bool) -> RenderableType:
    """Return the facts about a run."""
    from store.placed import attempts

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()

    def fact(name: str, value: object) -> None:
        if value not in (None, "", []):
            facts.add_row(name, value if isinstance(value, Text) else plain(value))

    fact("words", ", ".join(run.words or []))
    fact("prompt", run.prompt)
    aim = f" {hit_meaning(run.config)}" if run.config.get("direction") == "lower" else ""
    fact("score", run.score_n and f"{score_text(run)} of {run.score_n} fresh pictures{aim}")
    fact("run", f"{run.id}, seed {run.seed}")
    fact("state", Text(run.state.value, style=STATE_STYLES.get(run.state.value, "")))
    fact("error", run.error)
    fact(
        "steps", steps_text(run) + (f", stop reason: {run.stop_reason}" if run.stop_reason else "")
    )
    if run.config.get("straight_through") == 0:
        fact("search", "by the classifier's scores alone, without gradients")
    fact(
        "frames",
        run.frames_tried
        and f"{run.frames_hit} of {run.frames_tried} {hit_meaning(run.config)} "
        f"({run.frames_wanted} requested)",
    )
    fact("recognised", run.study.settings.get("recognised"))
    fact("device", run.device)
    for one in attempts.attempts_of(store, run.id):
        fact(f"attempt {one.attempt}", attempt_line(one))
    fact("time", run.seconds and f"{run.seconds:.0f} s, attempt {run.attempt}")
    fact("files", store.run_folder(run.id))
    prompts = store.prompts(run.id)[:5]
    title = study_title(run.study, run.config.get("preset"))
    parts: list[RenderableType] = [title, facts]
    if prompts:
        parts += ["", prompts_table(prompts)]
    if run.word_gains:
        parts += ["", gains_table(run.word_gains)]
    if pictures:
        parts += ["", frames_strip(store, run)]
    return Group(*parts)


def attempt_line(attempt: "Attempt") -> str:
    """Return what became of an attempt at another place, or what is known of it now."""
    if attempt.outcome is None:
        line = attempt.seen or "submitting"
    else:
        line = attempt.outcome.value + (f" ({attempt.reason})" if attempt.reason else "")
    count = attempt.quarantined
    left = f"; {count} {'entry' if count == 1 else 'entries'} not taken" if count else ""
    return f"at {attempt.place}: {line}{left}"


def frames_strip(store: "Store", run: "Run", count: int = 4, columns: int = 18) -> RenderableType:
    """Return the first hits side by side in half blocks, within 80 columns."""
    from dexter_tui.machine.terminal_images import half_blocks
    from store.artifacts import open_picture

    hits = [frame for frame in store.frames(run.id, kind="frame") if frame.hit][:count]
    strip = Table.grid(padding=(0, 1))
    strip.add_row(
        *(
            Text.from_ansi(half_blocks(open_picture(store.thumbnail_path(frame.sha256)), columns))
            for frame in hits
        )
    )
    return strip


def prompts_table(prompts: Sequence[Any]) -> Table:
    """Return the best prompts of a run by mean loss."""
    table = plain_table()
    table.add_column("best words")
    table.add_column("mean loss", justify="right")
    table.add_column("pictures", justify="right")
    for prompt in prompts:
        loss = "" if prompt.mean_loss is None else f"{prompt.mean_loss:.3f}"
        table.add_row(plain(", ".join(prompt.words)), loss, str(prompt.pictures))
    return table


def gains_table(gains: Sequence[dict[str, Any]]) -> Table:
    """Return the loss reduction of each word; the interval of a driver lies above 0."""
    table = plain_table()
    table.add_column("word")
    table.add_column("loss reduction (95% CI)")
    table.add_column("pictures", justify="right")
    table.add_column("")
    for gain in gains:
        interval = f"{gain['gain']:+z.2f} ({gain['low']:+z.2f} to {gain['high']:+z.2f})"
        driver = "driver" if gain["low"] > 0 else ""
        table.add_row(plain(gain["word"]), interval, str(gain["pictures"]), driver)
    return table


def seconds_left(run: "Run", steps: Sequence["Step"]) -> float | None:
    """Estimate the time to the end of a run from recent steps; None without any."""
    paces = [step.seconds for step in steps[-20:] if step.seconds is not None]
    if not paces or not run.steps_total:
        return None
    from store.reading.browse import steps_to_end

    steps_left = steps_to_end(
        run.steps_total - run.steps_done,
        run.config,
        compared=bool(run.words),
        scored=run.score_value is not None,
        frames=(run.frames_wanted or 0) - (run.frames_hit or 0),
    )
    return steps_left * sum(paces) / len(paces)


def presets() -> dict[str, dict[str, Any]]:
    """Return the settings of each preset, so that reports list only differences."""
    from dexter.config import PRESETS, RunConfig

    any_study = {"classifier": "any", "class_name": "any"}
    return {name: RunConfig.from_preset(name, **any_study).study_settings() for name in PRESETS}


def study_view(study: "Study", runs: Sequence["Run"], found: RenderableType) -> RenderableType:
    """Return a study: its findings, its runs, and the settings that differ from its preset."""
    preset = runs[0].config.get("preset") if runs else None
    defaults = presets().get(str(preset), {})
    settings = Table.grid(padding=(0, 2))
    settings.add_column(style="dim", no_wrap=True)
    settings.add_column()
    for name, value in study.settings.items():
        elsewhere = name in ("classifier", "class_name", "weights", "word_effects")
        if elsewhere or (name in defaults and defaults[name] == value):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        settings.add_row(plain(name), plain("" if text is None else text))
    differ = plain(f"Settings that differ from preset {preset}", "bold")
    title = study_title(study, preset)
    return Group(found, "", title, runs_table(runs), "", differ, settings)
