"""The export of studies, comparisons and screenings as GitHub-flavoured Markdown, with pictures.

Words, prompts, labels and reports come from models and foreign files. They are data: they can
neither format the page nor control a terminal that shows it.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from store import artifacts
from store.data_reports import page as data_pages
from store.errors import StoreError, explained
from store.markdown import answer, comparison, data_report, screening
from store.markdown.escaping import escape, table
from store.markdown.forest import forest
from store.markdown.study import blocks as study_blocks
from store.reading import card, comparisons, screenings
from store.reading.browse import Browse, answer_names
from store.reading.diverse import diverse, small
from store.reading.origin import origin
from store.store import Store
from store.tables import Classifier, Frame, Run, Step, Study, to_json

METHOD = """\
DEXTER (arXiv 2510.14741) searches, without training data, for the words of a prompt whose pictures
the classifier assigns to the class. These words show what the classifier looks for. Where the class
is to be lowered, the prompt names it, and the search is for words with which the classifier gives
another one. A driver is a word that by itself lowers the loss of a run's prompts. The activation
score is the fraction of fresh pictures of the best prompt, from noise that no search has used, that
get the answer that was searched, with its 95% Wilson interval. p(class) is the probability that the
classifier gives the class."""

_IN_FACTS = ("classifier", "class_name")  # settings that a study's first lines state
_BEST_FRAMES = 8
_FRAMES_PER_ROW = 4
_LABELS = 12
_BARS = "▁▂▃▄▅▆▇█"
_TREND_WIDTH = 40
_EDGE = 192  # pixels, side of every picture
_HASH = re.compile(r"\b[0-9a-f]{40,64}\b")


def markdown(
    store: Store,
    names: Sequence[str],
    path: Path,
    *,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write a report to `path` and its pictures to `<stem>_files`; return `path`.

    `names` are ids or unique prefixes. A study whose runs name a preset in `presets` (settings by
    preset) shows only settings that differ from the preset. The file is written completely or not
    at all.
    """
    if not path.parent.is_dir():
        raise StoreError(
            "no such folder", field=str(path.parent), remedy="create it or name another file"
        )
    if path.is_dir():
        raise StoreError("this is a folder", field=str(path), remedy="name a file")
    folder = path.with_name(f"{path.stem}_files")
    text, pictures = render(store, names, folder.name, presets=presets)
    with explained(path, instead="name another file"):
        _write(path, text, folder, pictures)
    return path


def render(
    store: Store,
    names: Sequence[str],
    folder: str,
    *,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[str, dict[str, bytes]]:
    """Return the report on what is named, and its pictures by name in `folder`."""
    browse = Browse(store.home)

    def named(letter: str) -> list[str]:
        return [name for name in names if name.startswith(letter)]

    # By id, once each: two names can be prefixes of one id.
    screened = {one["id"]: one for one in (screenings.page(browse, name) for name in named("x"))}
    reports = {one.id: one for one in (data_pages.page(browse, name) for name in named("d"))}
    pages = {one["id"]: one for one in (comparisons.page(browse, name) for name in named("c"))}
    others = [name for name in names if not name.startswith(("x", "d", "c"))]
    members = [member for page in pages.values() for member in page["members"]]
    studies = [member["study"] for member in members if member["study"]]
    sections = _sections(store, [*others, *dict.fromkeys(studies)])
    page = _Page(store, folder, presets or {})
    text = page.render(sections, [*pages.values()], [*screened.values()], [*reports.values()])
    return text, page.pictures


def _sections(store: Store, names: Sequence[str]) -> list[tuple[Study, list[Run]]]:
    """Return the studies in the given order, each with the requested runs, by seed."""
    studies: dict[str, Study] = {}
    runs: dict[str, dict[str, Run]] = {}
    for name in names:
        found = store.find(name)
        study = found if isinstance(found, Study) else found.study
        chosen = store.runs(study_id=study.id) if isinstance(found, Study) else [found]
        studies[study.id] = study
        runs.setdefault(study.id, {}).update({run.id: run for run in chosen})
    return [
        (study, sorted(runs[study.id].values(), key=lambda run: (run.seed, run.created_at)))
        for study in studies.values()
    ]


def _write(path: Path, text: str, folder: Path, pictures: Mapping[str, bytes]) -> None:
    made: list[Path] = []
    try:
        if pictures:
            folder.mkdir(exist_ok=True)
        for name, data in pictures.items():
            if not (folder / name).exists():
                artifacts.write_atomic(folder / name, data, mode=0o666)
                made.append(folder / name)
        artifacts.write_atomic(path, text.encode(), mode=0o666)
    except OSError:
        for picture in made:
            picture.unlink()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise
    # Pictures of an earlier report of this name that this one does not show.
    for old in folder.glob("*") if folder.is_dir() else ():
        if re.fullmatch(r"[0-9a-f]{64}\.(png|jpg|webp|svg)", old.name) and old.name not in pictures:
            old.unlink()


class _Page:
    """A renderer that collects the pictures of its report, by file name."""

    def __init__(self, store: Store, folder: str, presets: Mapping[str, Mapping[str, Any]]) -> None:
        self.store = store
        self.browse = Browse(store.home)
        self.folder = folder
        self.presets = presets
        self.pictures: dict[str, bytes] = {}
        self.settings_shown: dict[str, str] = {}

    def render(
        self,
        sections: Sequence[tuple[Study, list[Run]]],
        pages: Sequence[Mapping[str, Any]] = (),
        screened: Sequence[Mapping[str, Any]] = (),
        reports: Sequence[data_pages.DataPage] = (),
    ) -> str:
        if pages:
            title = comparison.title(pages[0])
        elif sections:
            title = _title(sections)
        elif screened:
            title = screening.title(screened)
        else:
            title = data_report.title(reports)
        blocks = [f"# {title}"]
        if pages or sections or screened:
            blocks += [*self._answer(sections, pages, screened), "## Appendix"]
        blocks += ["### Method", METHOD] if pages or sections else []
        for one in screened:
            blocks += screening.blocks(one)
        for report in reports:
            blocks += data_report.blocks(report, self._of_bank)
        for page in pages:
            blocks += self._comparison(page)
        if len(sections) > 1:
            blocks += ["### Summary", _summary(sections)]
        for study, runs in sections:
            blocks += self._study(study, runs)
        return "\n\n".join(blocks) + "\n"

    def _answer(
        self,
        sections: Sequence[tuple[Study, list[Run]]],
        pages: Sequence[Mapping[str, Any]],
        screened: Sequence[Mapping[str, Any]],
    ) -> list[str]:
        """Return the verdicts: of screenings, comparisons, and the studies that are in none."""
        compared = {member["study"] for page in pages for member in page["members"]}
        cards = [one for page in screened for one in card.of_screening(self.browse, page["id"])]
        cards += [one for page in pages for one in card.of_comparison(self.browse, page["id"])]
        alone = [
            card.of_study(self.browse, study.id)
            for study, _ in sections
            if study.id not in compared
        ]
        cards += [one for one in alone if one is not None]

        def pairs(finding: card.Finding) -> Sequence[Mapping[str, Any]]:
            if finding.claim is None:
                return []
            return comparisons.pairs(self.browse, finding.claim, limit=12)

        def show(side: Mapping[str, Any]) -> str:
            return self._tile(side["tile"], side["prompt"])

        def plot(of: Sequence[card.VerdictCard]) -> str:
            data = forest(of).encode()
            return answer.plot_text(of, self._file(data, ".svg"))

        return answer.blocks(cards, pairs, show, plot)

    def _comparison(self, page: Mapping[str, Any]) -> list[str]:
        def show(prompt: str, seed: int) -> str:
            return self._of_bank((page["generator"], prompt, seed))

        return comparison.blocks(page, show)

    def _of_bank(self, request: tuple[str, str, int]) -> str:
        """Return the Markdown of a picture by generator, prompt and seed; "" if it is gone."""
        return self._tile(comparisons.tile(self.browse, *request), request[1])

    def _tile(self, place: str | None, prompt: str) -> str:
        """Return the Markdown of a picture of the bank; "" if it is gone."""
        if place is None:
            return ""
        return self._image(comparisons.tile_bytes(self.browse, place), prompt)

    def _image(self, data: bytes, text: str) -> str:
        return f"![{escape(text)}]({self._file(_sized(data), '.png')})"

    def _file(self, data: bytes, suffix: str) -> str:
        """Add a file to the report; return its address."""
        name = f"{artifacts.digest(data)}{suffix}"
        self.pictures[name] = data
        return f"{quote(self.folder)}/{name}"

    def _study(self, study: Study, runs: list[Run]) -> list[str]:
        blocks = [
            f"### {escape(study.classifier.spec)}: {escape(study.class_name)}",
            _facts(study, study.classifier, runs),
            *study_blocks(self.store, study),
            "#### Best frames",
            self._frames(study, runs),
            "#### Runs",
            _runs(runs),
        ]
        trends = self._trends(runs)
        if trends:
            blocks += ["#### Loss by step", trends]
        return [*blocks, "#### Settings that differ", self._settings(study, runs)]

    def _frames(self, study: Study, runs: list[Run]) -> str:
        by_run = [self.store.frames(run.id, kind="frame") for run in runs]
        best = _best_frames(
            by_run,
            lambda frame: small(self.store.read_artifact(frame.sha256)),
            lower=study.settings.get("direction") == "lower",
        )
        if not best:
            return "No frames yet."
        seeds = {run.id: run.seed for run in runs}
        rows = []
        for start in range(0, len(best), _FRAMES_PER_ROW):
            row = best[start : start + _FRAMES_PER_ROW]
            rows.append([self._picture(frame) for frame in row])
            rows.append([_caption(frame, study, seeds[frame.run_id]) for frame in row])
        width = max(map(len, rows))
        return table([row + [""] * (width - len(row)) for row in rows])

    def _picture(self, frame: Frame) -> str:
        return self._image(self.store.read_artifact(frame.sha256), frame.prompt)

    def _trends(self, runs: list[Run]) -> str:
        lines = []
        for run in runs:
            totals = [value for value in map(_total, self.store.steps(run.id)) if value is not None]
            if totals:
                lines.append(
                    f"seed {run.seed:<4} {sparkline(totals)}  {totals[0]:.3f} to {totals[-1]:.3f}"
                )
        return "\n".join(["```text", *lines, "```"]) if lines else ""

    def _settings(self, study: Study, runs: list[Run]) -> str:
        same = self.settings_shown.setdefault(study.settings_hash, study.id)
        if same != study.id:
            return f"Same as study {same}."
        shown = {name: value for name, value in study.settings.items() if name not in _IN_FACTS}
        preset = str(runs[0].config.get("preset")) if runs else ""
        lead = ""
        if preset in self.presets:
            defaults = self.presets[preset]
            shown = {
                name: value
                for name, value in shown.items()
                if name not in defaults or to_json(defaults[name]) != to_json(value)
            }
            lead = f"Preset {escape(preset)}" + (", except:\n\n" if shown else ".")
        rows = [[escape(name), escape(_value(value))] for name, value in sorted(shown.items())]
        return lead + (table([["setting", "value"], *rows]) if rows else "")


def _title(sections: Sequence[tuple[Study, list[Run]]]) -> str:
    classes = {study.class_name: None for study, _ in sections}
    specs = {study.classifier.spec: None for study, _ in sections}
    subject = " and ".join(specs) if len(specs) < 4 else f"{len(specs)} classifiers"
    verb = "looks" if len(specs) == 1 else "look"
    return escape(f"What {subject} {verb} for in {', '.join(classes)}")


def _summary(sections: Sequence[tuple[Study, list[Run]]]) -> str:
    rows = [["classifier", "class", "words by seed", "mean activation score (range)", "runs"]]
    for study, runs in sections:
        scores = [run.score_value for run in runs if run.score_value is not None]
        mean = (
            f"{sum(scores) / len(scores):.2f} ({min(scores):.2f} to {max(scores):.2f})"
            if scores
            else ""
        )
        words = "; ".join(f"{run.seed}: {_words(run)}" for run in runs if run.words)
        rows.append(
            [
                escape(study.classifier.spec),
                escape(study.class_name),
                words,
                mean,
                f"{len(scores)} of {len(runs)} scored",
            ]
        )
    return table(rows)


def _facts(study: Study, classifier: Classifier, runs: list[Run]) -> str:
    labels = ", ".join(classifier.labels[:_LABELS])
    if len(classifier.labels) > _LABELS:
        labels += f" and {len(classifier.labels) - _LABELS} more"
    ended = max((run.ended_at for run in runs if run.ended_at), default=None)
    lines = [
        f"- Study {study.id}" + (f", ended {ended:%Y-%m-%d %H:%M} UTC" if ended else ""),
        f"- Classifier: {escape(classifier.spec)}, "
        f"weights {escape((classifier.weights_hash or 'unknown')[:12])}, "
        f"{classifier.image_size} px",
        f"- Labels ({len(classifier.labels)}): {escape(labels)}",
        f"- Class: {escape(study.class_name)} (index {study.class_index})"
        + (", to be lowered" if study.settings.get("direction") == "lower" else ""),
        f"- {escape(_origin(study, classifier, runs))}",
    ]
    return "\n".join(lines)


def _origin(study: Study, classifier: Classifier, runs: list[Run]) -> str:
    preset = runs[0].config.get("preset") if runs else None
    line = origin(classifier.spec, study.settings.get("generator"), preset)
    return line[0].upper() + line[1:]


def _runs(runs: list[Run]) -> str:
    header = (
        "seed, run, state, words, drivers, activation score, pictures, frames (hits/tried), steps, "
        "stop reason or error"
    )
    rows = [header.split(", ")]
    rows += [
        [
            str(run.seed),
            run.id,
            str(run.state),
            _words(run),
            escape(", ".join(run.words_that_carry)),
            _score(run),
            _text(run.score_n),
            "" if run.frames_tried is None else f"{run.frames_hit}/{run.frames_tried}",
            str(run.steps_done),
            escape(run.stop_reason or run.error or ""),
        ]
        for run in runs
    ]
    return table(rows)


def _best_frames(
    by_run: list[list[Frame]], pixels: Callable[[Frame], bytes], *, lower: bool
) -> list[Frame]:
    """Return the best frames that differ, hits alone if there are any, from each run in turn."""
    sign = 1 if lower else -1
    hits = [[frame for frame in frames if frame.hit] for frames in by_run]
    ranked = [
        sorted(frames, key=lambda frame: sign * frame.target_probability)
        for frames in (hits if any(hits) else by_run)
    ]
    return diverse(ranked, pixels, _BEST_FRAMES)


def _caption(frame: Frame, study: Study, run_seed: int) -> str:
    answers = answer_names(study.classifier.labels, study.class_index, study.settings)
    verdict = f"p(class) = {frame.target_probability:.2f}"
    if frame.predicted_class != study.class_index:
        known = 0 <= frame.predicted_class < len(answers)
        other = answers[frame.predicted_class] if known else str(frame.predicted_class)
        verdict += f", classified as {escape(other)}"
    return f"{escape(frame.prompt)}<br>{verdict}<br>seed {run_seed}, noise {frame.seed}"


def _words(run: Run) -> str:
    return escape(", ".join(run.words or ()))


def _score(run: Run) -> str:
    if run.score_value is None:
        return ""
    if run.score_low is None or run.score_high is None:
        return f"{run.score_value:.2f}"
    return f"{run.score_value:.2f} ({run.score_low:.2f} to {run.score_high:.2f})"


def _total(step: Step) -> float | None:
    return step.losses.get("total")


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _value(value: object) -> str:
    """Return the text of a setting, with hashes shortened: the full ones are in the JSON."""
    text = value if isinstance(value, str) else to_json(value)
    return _HASH.sub(lambda match: f"{match[0][:12]}…", text)


def _sized(data: bytes) -> bytes:
    """Return a picture as PNG of the one size that reports use."""
    import io

    from PIL import Image, ImageOps

    picture = Image.open(io.BytesIO(data)).convert("RGB")
    smooth = max(picture.size) > _EDGE
    method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    buffer = io.BytesIO()
    ImageOps.pad(picture, (_EDGE, _EDGE), method, color="#808080").save(buffer, "PNG")
    return buffer.getvalue()


def sparkline(values: Sequence[float], width: int = _TREND_WIDTH) -> str:
    """Draw values as at most `width` bars; each bar is the mean of neighbouring values."""
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    means = [sum(values[start:stop]) / (stop - start) for start, stop in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)
