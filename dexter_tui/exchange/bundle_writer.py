"""The bundles: all data of runs, studies, comparisons, screenings and reports on pictures in a
folder or .zip.

report.md           the report, with relative links to pictures
frames/ thumbnails/ all pictures of the runs and behind the claims
plots/              losses, activation scores, claims (drawn by matplotlib)
data/*.csv          the rows of these runs in the views of docs/queries.md
records.jsonl       all records, for `dexter-tui import`
config.json  environment.json  commands.md
manifest.sha256     the hash of every other file; check with `sha256sum -c manifest.sha256`
"""

import io
import json
import platform
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dexter.config import PRESETS, RunConfig, fields_of
from dexter.errors import InputError
from dexter_tui.field_flags import RUN_FLAGS, flag
from dexter_tui.formatting import command, json_escaped
from dexter_tui.presentation.answers import csv_text
from dexter_tui.presentation.run_tables import presets
from store import Store, artifacts
from store.checking import decoding
from store.errors import explained
from store.markdown.escaping import fenced
from store.markdown.report import render
from store.reading import queries
from store.states import EXPLAINING, Kind
from store.tables import Comparison, DataReport, Run, Screening, to_json
from store.upkeep.transfer import Chosen, gather

MANIFEST = "manifest.sha256"
RECORDS = "records.jsonl"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # date of files in a .zip: the same files give the same bytes
_PACKAGES = ("dexter-tui", "torch", "transformers", "diffusers", "accelerate", "peft",
             "safetensors", "numpy", "pillow", "sqlmodel", "sqlalchemy")  # fmt: skip
_MODELS = [
    name
    for name in fields_of("classifier", "generator")
    if name not in ("classifier", "trust_pickle")
]
"""The settings of a run that say how its classifier and its generator are loaded."""
ARTIFACT_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
MIMES = {suffix: mime for mime, suffix in artifacts.SUFFIXES.items()}


def contents(store: Store, names: Sequence[str]) -> dict[str, bytes]:
    """Return the files of a bundle by name."""
    chosen = Chosen(store, names)
    records, pictures = gather(store, chosen)
    text, shown = render(store, names, "frames", presets=presets())
    files = {f"frames/{name}": data for name, data in {**pictures, **shown}.items()}
    # Of the pictures of runs: those of the bank become files of their own when they are imported.
    for record in records:
        if record["record"] == "artifact":
            small = store.thumbnail_path(record["sha256"])
            if small.suffix == ".jpg" and small.exists():
                files[f"thumbnails/{small.name}"] = small.read_bytes()
    plots = _plots(store, chosen)
    files |= {f"plots/{name}": data for name, data in plots.items()}
    text += _section(plots)
    text += "\n## Reproduce\n\n[The commands](commands.md), [the configuration](config.json), "
    text += "[the environment](environment.json), [the data](data/runs.csv).\n"
    files["report.md"] = text.encode()
    files[RECORDS] = "".join(f"{json_escaped(to_json(record))}\n" for record in records).encode()
    files |= {f"data/{name}.csv": data for name, data in _tables(store, chosen).items()}
    files["config.json"] = _json(
        {
            study.id: {
                "settings": study.settings,
                "runs": {run.id: run.config for run in chosen.runs_of(study.id)},
            }
            for study in sorted(chosen.studies.values(), key=lambda study: study.id)
        }
        | {one.id: {"settings": one.settings} for one in chosen.comparisons.values()}
        | {one.id: {"settings": one.settings} for one in chosen.screenings.values()}
        | {one.id: one.request for one in chosen.data_reports.values()}
    )
    files["environment.json"] = _json(environment())
    files["commands.md"] = commands(store, chosen).encode()
    files[MANIFEST] = manifest(files)
    return files


def manifest(files: Mapping[str, bytes]) -> bytes:
    """Return the hashes of the files in the format of `sha256sum`."""
    return "".join(f"{artifacts.digest(files[name])}  {name}\n" for name in sorted(files)).encode()


def write_folder(files: Mapping[str, bytes], target: Path) -> Path:
    """Write the files into a new folder, atomically."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target}: already exists", remedy="name another folder or remove it")
    if target.resolve() == Path.cwd():  # a shell would stay in the folder that is replaced
        raise InputError(f"{target}: the current folder", remedy="name a new folder")
    if not target.parent.is_dir():
        raise InputError(
            f"{target.parent}: no such folder", remedy="create it or name another folder"
        )
    with explained(target, instead="name another folder"):
        made = target.with_name(f".new-{secrets.token_hex(8)}")
        try:
            for name, data in files.items():
                path = made / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            if target.exists():
                target.rmdir()
            made.replace(target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return target


def write_zip(files: Mapping[str, bytes], target: Path) -> Path:
    """Write the files into a .zip; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return write_file(buffer.getvalue(), target)


def write_file(data: bytes, target: Path) -> Path:
    """Write a file atomically."""
    if not target.parent.is_dir():
        raise InputError(
            f"{target.parent}: no such folder", remedy="create it or name another file"
        )
    if target.is_dir():
        raise InputError(f"{target}: is a folder", remedy="name a file")
    with explained(target, instead="name another file"):
        artifacts.write_atomic(target, data, mode=0o666)
    return target


def html_page(store: Store, names: Sequence[str]) -> bytes:
    """Return the report with pictures and plots as one HTML file."""
    from dexter_tui.exchange.html_page import page

    text, pictures = render(store, names, "frames", presets=presets())
    plots = _plots(
        store, Chosen(store, [name for name in names if not name.startswith(("x", "d"))])
    )
    text += _section(plots)
    files = {f"frames/{name}": data for name, data in pictures.items()}
    return page(text, files | {f"plots/{name}": data for name, data in plots.items()}).encode()


def _plots(store: Store, chosen: Chosen) -> dict[str, bytes]:
    from dexter_tui.exchange import plots

    return plots.draw(store, chosen)


def _section(plots: Iterable[str]) -> str:
    """Return the section of a report that shows plots; "" without any."""
    images = "\n\n".join(f"![{name[:-4].replace('-', ' ')}](plots/{name})" for name in plots)
    return f"\n## Plots\n\n{images}\n" if images else ""


def _json(value: object) -> bytes:
    return (json.dumps(json.loads(to_json(value)), indent=1, sort_keys=True) + "\n").encode()


def _tables(store: Store, chosen: Chosen) -> dict[str, bytes]:
    """Return the rows of the documented views as CSV, without row ids of this store."""
    runs, whole, compared, screened = (
        f"IN (SELECT value FROM json_each({queries.literal(to_json(sorted(ids)))}))"
        for ids in (chosen.runs, chosen.whole, chosen.comparisons, chosen.screenings)
    )
    of_runs, of_studies = f"run_id {runs}", f"source_id {whole}"
    wanted = {
        "runs": ("runs_summary", of_runs, "study_id, seed, run_id", ()),
        "steps": ("steps_wide", of_runs, "run_id, step", ()),
        "frames": ("frames_all", of_runs, "run_id, kind, step, seed", ("frame_id",)),
        "claims": (
            "claims_all",
            f"(source = 'study' AND {of_studies}) OR (source = 'comparison' "
            f"AND source_id {compared}) OR (source = 'screening' AND source_id {screened})",
            "source, source_id, classifier, class_name, number",
            ("claim_id",),
        ),
        "differences": (
            "comparisons_all",
            f"comparison_id {compared}",
            "comparison_id, class_name, a, b, concept",
            (),
        ),
        "screenings": (
            "screenings_all",
            f"screening_id {screened}",
            "screening_id, position, slot, concept",
            (),
        ),
    }
    schema = queries.schema(store.path)
    found = {}
    for name, (view, condition, order, without) in wanted.items():
        columns = [column for column in schema[view] if column not in without]
        sql = f"SELECT {', '.join(columns)} FROM {view} WHERE {condition} ORDER BY {order}"
        try:
            answer = queries.ask(
                store.path, sql, limit=queries.MAX_LIMIT, timeout=queries.MAX_TIMEOUT
            )
        except queries.DamagedJson as error:
            decoding.note_line(f"data/{name}.csv is left out: {error.problem}")
        else:
            found[name] = csv_text(answer).encode()
    return found


def environment() -> dict[str, Any]:
    """Return the versions of Python, the system and the packages."""
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "packages": packages,
    }


def commands(store: Store, chosen: Chosen) -> str:
    """Return the commands that reproduce the results, as Markdown."""
    lines = []
    for study in sorted(chosen.studies.values(), key=lambda study: study.id):
        for run in chosen.runs_of(study.id):
            lines.append(run_command(run))
        if study.id in chosen.whole and store.reports(study.id):
            report = command(["dexter-tui", "report", study.id])
            lines.append(f"{report}  # the study of the runs above")
    for comparison in chosen.comparisons.values():
        lines.append(_compare_command(store, comparison))
    for screening in chosen.screenings.values():
        lines.append(_screen_command(store, screening))
    for asked in chosen.data_reports.values():
        explains = asked.kind in EXPLAINING
        lines.append(_explain_command(asked) if explains else _data_command(asked))
    text = "\n".join(lines)
    return f"# Commands that reproduce these results\n\n{fenced(text, 'sh')}\n"


def run_command(run: Run) -> str:
    """Return the command that reproduces a run."""
    config = dict(run.config)
    preset = str(config.get("preset", "default"))
    given = ["dexter-tui", "run"]
    for name in ("classifier", "class_name"):
        given += _flag(name, config.get(name))
    given += ["--seed", str(run.seed)]
    if preset in PRESETS:
        given += ["--preset", preset]
    named = ("preset", "seed", "classifier", "class_name", "trust_pickle")
    names = sorted(name for name in config if name in RUN_FLAGS and name not in named)
    return command([*given, *_settings(config, preset, names)])


def _settings(config: Mapping[str, Any], preset: str, names: Iterable[str]) -> list[str]:
    """Return the flags of the settings that differ from a preset's.

    The generator of a classifier that is not the lab's is always named, because it has no default.
    """
    plain: dict[str, Any] = {}
    with suppress(InputError, KeyError):
        plain = RunConfig.from_preset(
            preset, classifier=config["classifier"], class_name=config["class_name"]
        ).model_dump(mode="json")
    if not str(config.get("classifier")).startswith("lab:"):
        plain.pop("generator", None)
    given = []
    for name in names:
        if name in config and (name not in plain or plain[name] != config[name]):
            given += _flag(name, config[name])
    return given


def _models(values: Mapping[str, Any]) -> list[str]:
    """Return the flags of the models of a report, which may be another's: no consent among them."""
    given = []
    for name, value in values.items():
        if name in RUN_FLAGS and name != "trust_pickle":
            given += _flag(name, value)
    return given


def _changed(model: type[BaseModel], names: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Return the flags of the stored settings that differ from the defaults of their model."""
    given = []
    for name in names:
        value, default = values.get(name), model.model_fields[name].default
        if value != (list(default) if isinstance(default, tuple) else default):
            given += _flag(name, value)
    return given


def _flag(name: str, value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool):
        return [flag(name) if value else f"--no-{flag(name)[2:]}"]
    if isinstance(value, (list, tuple)):
        return _option(name, ",".join(map(str, value))) if value else []
    return _option(name, str(value))


def _option(name: str, value: str) -> list[str]:
    """Return an option whose value is none itself, such as --class=--detach."""
    return [f"{flag(name)}={value}"] if value.startswith("-") else [flag(name), value]


def _screen_command(store: Store, screening: Screening) -> str:
    from dexter.reasoning.settings import SCREEN_FIELDS, ScreenSettings
    from store import screening_records

    given = ["dexter-tui", "screen", *_option("class_name", screening.class_name)]
    members = screening_records.screened(store, screening.id)
    if screening.watch is not None:
        given += _option("watch", str(screening.watch["folder"]))
    else:
        for member in members:
            given += _option("classifier", member.config.get("classifier", member.name))
    if members:
        given += _settings(members[0].config, "default", _MODELS)
    bank = screening_records.bank(store, screening.bank_key)
    if bank is not None:
        given += _option("pool" if bank.pool_text is None else "concepts", bank.pool)
    return command([*given, *_changed(ScreenSettings, SCREEN_FIELDS, screening.settings)])


def _data_command(report: DataReport) -> str:
    from dexter.data.settings import DebiasSettings, SlicesSettings

    asked = report.request
    names = [word for one in asked["concepts"] for word in one["name"].split(", ")]
    words = ",".join(dict.fromkeys(names))  # those of one slot stand together as well
    given = ["dexter-tui", report.kind, *_option("classifier", report.classifier.spec)]
    given += _option("data", asked["data"])
    if asked["screening"] or words:  # else of searches, a setting
        given += _option("concepts", asked["screening"] or words)
    for theirs, ours in asked["mapping"].items():
        given += _option("map", f"{theirs}={ours}")
    given += _models(asked.get("models", {}))
    settings = DebiasSettings if report.kind == Kind.DEBIAS else SlicesSettings
    return command([*given, *_changed(settings, settings.model_fields, asked["settings"])])


def _explain_command(report: DataReport) -> str:
    from dexter.reasoning.settings import SCREEN_FIELDS, ScreenSettings

    asked = report.request
    given = ["dexter-tui", report.kind, *_option("classifier", report.classifier.spec)]
    given += _option("class_name", asked["class_name"])
    if asked.get("pool_text") is not None:
        given += _option("concepts", asked["pool"])
    for name in ("image", "data"):
        if report.kind == Kind.EXPLAIN_BIAS or name == "image":
            given += _flag(name, asked.get(name))
    given += _models(asked["models"])
    if asked.get("sts", "auto") != "auto":
        given += _flag("sts", asked["sts"])
    names = SCREEN_FIELDS if report.kind == Kind.EXPLAIN_BIAS else ("image_text",)
    return command([*given, *_changed(ScreenSettings, names, asked["settings"])])


def _compare_command(store: Store, comparison: Comparison) -> str:
    from dexter.reasoning.settings import FIELDS, CompareSettings
    from store import comparison_records

    members = comparison_records.members(store, comparison.id)
    given: list[str] = []
    for class_name in dict.fromkeys(member.class_name for member in members):
        given += _option("class_name", class_name)
    if not any(member.study_id for member in members):  # a study knows its own
        given += _settings(members[0].config, "default", _MODELS)
    if comparison.baseline is not None:
        given += _option("baseline", comparison.baseline)
    given += _changed(CompareSettings, FIELDS, comparison.settings)
    names = list(dict.fromkeys(member.study_id or member.name for member in members))
    if any(name.startswith("-") for name in names):
        return command(["dexter-tui", "compare", *given, "--", *names])
    return command(["dexter-tui", "compare", *names, *given])
