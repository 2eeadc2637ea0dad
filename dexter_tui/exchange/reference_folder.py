"""The run folders of the public DEXTER code (perceivelab/dexter): import and export.

    args.json               the options; an API key in it is never read
    frames/STEP.png         pictures classified as the class
    pred_words.txt          the words of each such step, as a Python tuple
    CLASS_prompt.txt        the prompts of those steps, and of the pseudo-targets
    caption.txt, report.txt the output of models
    as_dexter_prompts.txt, as_captions.txt   texts with their activation scores
    labels.txt              one label per line; our addition, for classifiers unknown to that code

args.json names the number of pictures of a score as score_images, our addition; that code takes
100, as the preset "reference" does.

These files hold neither losses nor probabilities: imported runs have no losses, and their frames
have the probability 0.
"""

import ast
import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dexter.config import MASK, RunConfig
from dexter.errors import InputError
from dexter.loading import one_line, text_of
from dexter.reference_options import OPTIONS, classifier_settings, translate
from dexter.stats import wilson_interval
from store import Store, artifacts, study_records
from store.checking.checks import Record
from store.errors import StoreError, explained
from store.tables import Run, to_json
from store.upkeep.records import grouped
from store.upkeep.transfer import Restored, classifier_key, restore

_RULE = "-" * 22
_STARS = "*" * 50
_ARGUMENTS = OPTIONS - {"api_key"} | {"score_images"}
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
_NAMES = ("robust50", "fairfaces_resnet50", "waterbirds_resnet50", "waterbirds_balanced_resnet50",
          "resnet18", "resnet50", "alexnet", "vit_b_16", "vgg", "densenet", "swin_b")  # fmt: skip
MAX_TEXT = 3_000_000  # bytes of a text file
MAX_FRAMES = 10_000
MAX_FRAME = 32_000_000  # bytes of a picture
_LABELS = Path(__file__).resolve().parents[2] / "dexter" / "classifiers" / "labels"


def import_folder(store: Store, folder: Path) -> Restored:
    """Import a run folder. Raise InputError if it is not one."""
    if folder.is_symlink() or not (folder / "args.json").is_file():
        raise InputError(
            f"{folder}: not a run folder: args.json is missing",
            remedy="name a bundle or a run folder of the public DEXTER code",
        )
    args = _args(folder)
    config, labels, index = _config(folder, args)
    at = _time(folder).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    named = _frames(folder)
    hashes, mimes, notes = _pictures(folder, named)
    frames = {name: number for name, number in named.items() if name in hashes}
    words = _words(folder)
    prompts = _prompts(folder, index)
    scores = _scored(folder / "as_dexter_prompts.txt")
    classifier: Record = {
        "spec": config.classifier,
        "weights_hash": None,
        "labels": labels,
        "image_size": 224,
    }
    classifier |= {"key": classifier_key(classifier), "created_at": at, "record": "classifier"}
    settings = config.study_settings()
    values = config.model_dump(mode="json")
    identity = to_json([folder.name, args, sorted(frames)])
    run_id, study_id = _id("r", identity), _id("s", to_json([classifier["key"], index, settings]))
    best = max(scores, key=lambda scored: scored[1], default=None)
    prompt = best[0] if best else (prompts[-1][0] if prompts else None)
    best_words = _words_of(prompt, words)
    run: Record = {
        "record": "run",
        "id": run_id,
        "study_id": study_id,
        "seed": config.seed,
        "state": "succeeded",
        "config": values,
        "config_hash": _digest(values),
        "created_at": at,
        "ended_at": at,
        "steps_total": config.steps,
        "steps_done": len(words),
        "words": best_words,
        "prompt": prompt,
        "frames_hit": len(frames),
        "stop_reason": "imported",
        **_score(best[1] if best else None, config.score_images),
    }
    records: list[Record] = [
        classifier,
        {
            "record": "study",
            "id": study_id,
            "classifier": classifier["key"],
            "class_name": labels[index],
            "class_index": index,
            "settings": settings,
            "settings_hash": _digest(settings),
            "created_at": at,
        },
        run,
        {
            "record": "note",
            "of": run_id,
            "text": f"imported from {folder.name}, a run folder of the public DEXTER code, "
            "which has neither losses nor the probabilities of its frames",
            "updated_at": at,
        },
    ]
    for number, own in enumerate(words, 1):
        targets = prompts[number - 1][1] if number <= len(prompts) else None
        records.append(
            {"record": "step", "run_id": run_id, "step": number, "losses": {}, "words": own,
             "predicted_class": index, "pseudo_targets": targets}
        )  # fmt: skip
    for rank, (text, _) in enumerate(sorted(scores, key=lambda scored: -scored[1]), 1):
        records.append(
            {"record": "prompt", "run_id": run_id, "rank": rank, "text": text,
             "pictures": config.score_images, "words": _words_of(text, words)}
        )  # fmt: skip
    captions = _captions(folder)
    if len(captions) > len(named):
        notes.append(
            f"caption.txt left out: it has {len(captions)} captions for {len(named)} pictures"
        )
        captions = []
    for name, number in frames.items():
        sha256 = hashes[name]
        records.append(
            {"record": "frame", "run_id": run_id, "kind": "frame", "step": 0, "seed": number,
             "prompt": prompt or "", "predicted_class": index, "target_probability": 0.0,
             "hit": True, "sha256": sha256, "created_at": at}
        )  # fmt: skip
    for name, text in zip(sorted(named), captions, strict=False):  # in the order of the captions
        if not text or name not in hashes:
            continue
        records.append(
            {"record": "caption", "sha256": hashes[name],
             "model": str(args.get("vlm_id") or "imported")[:200], "prompt_hash": "",
             "text": text, "created_at": at}
        )  # fmt: skip
    report = _text(folder / "report.txt")
    if report:
        records.append(
            {"record": "report", "study_id": study_id, "markdown": report, "created_at": at,
             "author": str(args.get("llm_id") or "imported")[:200]}
        )  # fmt: skip
    for kind, scored in (("prompt", scores), ("caption", _scored(folder / "as_captions.txt"))):
        for text, value in dict(scored).items():
            found = _score(value, config.score_images)
            own_score = {name[6:]: v for name, v in found.items()}
            records.append(
                {"record": "score", "study_id": study_id, "kind": kind, "text": text, **own_score}
            )
    by_hash = {sha256: name for name, sha256 in hashes.items()}

    def picture(sha256: str) -> tuple[bytes, str]:
        name = by_hash[sha256]
        return _picture(folder / "frames" / name), mimes[name]

    result = restore(store, grouped(records), picture)
    result.notes += notes
    return result


def _args(folder: Path) -> dict[str, Any]:
    try:
        args = json.loads(_text(folder / "args.json"))
    except (ValueError, RecursionError):
        raise InputError(f"{folder / 'args.json'}: not JSON") from None
    if not isinstance(args, dict):
        raise InputError(f"{folder / 'args.json'}: not a JSON object of options")
    return {name: value for name, value in args.items() if name in _ARGUMENTS}


def _config(folder: Path, args: Mapping[str, Any]) -> tuple[RunConfig, list[str], int]:
    """Translate the options; return the configuration, the labels and the class index."""
    try:
        index = int(args.get("class_to_activate", 416))
        settings, _ = translate(args)
        known = {k: v for k, v in settings.items() if k in RunConfig.model_fields}
        preset = known.pop("preset", "reference")
        config = RunConfig.from_preset(str(preset), **{**known, "seed": args.get("seed") or 0})
    except (InputError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{folder / 'args.json'}: {one_line(error)}") from None
    own = _text(folder / "labels.txt").splitlines()
    name = config.labels if config.labels in ("celeba", "fairface", "waterbirds") else "imagenet"
    labels = own or (_LABELS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    if not 0 <= index < len(labels):
        raise InputError(
            f"{folder / 'args.json'}: class {index} is out of range 0 to {len(labels) - 1}"
        )
    return config, labels, index


def _text(path: Path) -> str:
    """Read a text file of the folder; return "" if it does not exist."""
    with explained(path):
        if path.is_symlink() or not path.is_file():
            return ""
        if path.stat().st_size > MAX_TEXT:
            raise InputError(
                f"{path}: {path.stat().st_size:,} bytes exceed the limit of {MAX_TEXT:,}"
            )
        data = path.read_bytes()
    try:
        return text_of(data, path)
    except InputError:
        if path.name == "labels.txt":
            raise  # a wrong letter would be another class
        return data.decode("latin-1").replace("\0", "\ufffd")


def _time(folder: Path) -> datetime:
    match = re.search(r"_(\d{8}-\d{6})", folder.name)
    if match:
        try:
            return datetime.strptime(match[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            pass
    return datetime.fromtimestamp((folder / "args.json").stat().st_mtime, UTC)


def _frames(folder: Path) -> dict[str, int]:
    """Return the names of the pictures with their numbers."""
    found: dict[str, int] = {}
    taken: set[int] = set()
    for path in sorted((folder / "frames").glob("*")):
        # Side files of macOS, such as ._1.png, are named like pictures.
        foreign = path.name.startswith(".") or path.suffix.lower() not in _SUFFIXES
        if foreign or path.is_symlink() or not path.is_file():
            continue
        digits = re.match(r"\d{1,9}", path.stem)
        number = int(digits[0]) if digits else len(taken)
        while number in taken:
            number += 1
        taken.add(number)
        found[path.name] = number
    return found


def _pictures(
    folder: Path, names: Mapping[str, int]
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Return hashes and types of the readable pictures by name, and notes about the others.

    Reads one at a time, for there may be thousands.
    """
    if len(names) > MAX_FRAMES:
        raise InputError(f"{folder}: {len(names):,} frames exceed the limit of {MAX_FRAMES:,}")
    hashes, mimes, notes = {}, {}, []
    for name in names:
        data = _picture(folder / "frames" / name)
        try:
            artifacts.open_picture(data)
        except StoreError as error:
            notes.append(f"frames/{name} left out: {error.problem}")
            continue
        hashes[name] = artifacts.digest(data)
        mimes[name] = artifacts.mime_of(data) or "image/png"
    return hashes, mimes, notes


def _picture(path: Path) -> bytes:
    with explained(path):
        size = path.stat().st_size
        if size > MAX_FRAME:
            raise InputError(f"{path}: {size:,} bytes exceed the limit of {MAX_FRAME:,}")
        return path.read_bytes()


def _words(folder: Path) -> list[list[str]]:
    found = []
    for line in _text(folder / "pred_words.txt").splitlines():
        try:
            words = ast.literal_eval(line.strip()) if len(line) < 10_000 else None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue  # like the reference
        if isinstance(words, (tuple, list)) and words:
            found.append([str(word) for word in words])
    return found


def _prompts(folder: Path, index: int) -> list[tuple[str, list[str] | None]]:
    """Return the prompt of each hit, with the words of its pseudo-targets."""
    found: list[tuple[str, list[str] | None]] = []
    for line in _text(folder / f"{index}_prompt.txt").splitlines():
        if line.startswith("Step prompt:"):
            found.append((line.removeprefix("Step prompt:").strip(), None))
        elif line.startswith("Target prompt:") and found:
            found[-1] = (found[-1][0], _split(line.removeprefix("Target prompt:")))
    return found


def _split(prompt: str) -> list[str] | None:
    """Return the words A, B and C of "a picture of a A with B and C."."""
    match = re.fullmatch(r"\s*a picture of a (.+?)\.?\s*", prompt)
    return re.split(r" with | and ", match[1]) if match else None


def _words_of(prompt: str | None, words: Sequence[list[str]]) -> list[str]:
    own = _split(prompt) if prompt else None
    return own or (list(words[-1]) if words else [])


def _captions(folder: Path) -> list[str]:
    """Return the captions in the order of the pictures' names; "" for an empty one."""
    parts = re.split(rf"^{_RULE}\s*$", _text(folder / "caption.txt"), flags=re.MULTILINE)
    captions = [part.strip() for part in parts]
    return captions if captions[-1] else captions[:-1]  # a rule follows each caption


def _scored(path: Path) -> list[tuple[str, float]]:
    """Return texts with their scores, without the first line, which repeats the best."""
    found = []
    for line in _text(path).splitlines()[1:]:
        text, dash, value = line.rpartition(" - ")
        try:
            score = float(value)
        except ValueError:
            continue
        if dash and 0 <= score <= 1:
            found.append((text, score))
    return found


def _score(value: float | None, pictures: int) -> dict[str, Any]:
    if value is None:
        return {}
    hits = round(value * pictures)
    low, high = wilson_interval(hits, pictures)
    return {"score_value": value, "score_low": low, "score_high": high, "score_n": pictures,
            "score_hits": hits}  # fmt: skip


def _digest(value: object) -> str:
    return artifacts.digest(to_json(value).encode())


def _id(letter: str, text: str) -> str:
    """Derive an id from the content."""
    digest = hashlib.sha256(text.encode()).digest()
    return letter + base64.b32encode(digest).decode().lower()[:7]


def write_all(store: Store, names: Sequence[str], target: Path) -> Path:
    """Write a run folder for each run into `target`, a new folder."""
    from dexter_tui.exchange.bundle_writer import write_folder
    from store.upkeep.transfer import Chosen

    chosen = Chosen(store, names)
    files: dict[str, bytes] = {}
    for run in chosen.runs.values():
        stamp = run.created_at.astimezone(UTC).strftime("%Y%m%d-%H%M%S")
        folder = f"{run.study.class_index}_{stamp}-{run.id}"
        files |= {f"{folder}/{name}": data for name, data in _files(store, run).items()}
    if not files:
        raise InputError("no run to export", remedy="name at least one run or study")
    return write_folder(files, target)


def _files(store: Store, run: Run) -> dict[str, bytes]:
    study = run.study
    index = study.class_index
    config = run.config
    multi = str(config.get("template")) != "single"
    reports = [r for r in store.reports(study.id) if r.author != "evidence"]
    captions = {row.sha256: row for row in study_records.captions(store, study.id)}
    scores = [s for s in study_records.scores(store, study.id) if s.kind in ("prompt", "caption")]
    args = {
        "class_to_activate": index,
        "classifier": _their_name(config),
        "seed": run.seed,
        "optim_steps": config.get("steps"),
        "diff_steps": config.get("diffusion_steps"),
        "lr": config.get("learning_rate"),
        "bs": config.get("batch"),
        "tau": config.get("temperature"),
        "n_soft_prompt": config.get("soft_tokens"),
        "mask_type": "multi_mask" if multi else "single_mask",
        "vlm_id": next((row.model for row in captions.values()), None),
        "llm_id": reports[0].author if reports else None,
        "score_images": scores[0].n if scores else run.score_n,  # a report scores all on as many
    }
    files: dict[str, bytes] = {}

    def text(name: str, lines: Sequence[str]) -> None:
        if lines:
            files[name] = "".join(f"{line}\n" for line in lines).encode()

    files["args.json"] = json.dumps({k: v for k, v in args.items() if v is not None}).encode()
    text("labels.txt", [" ".join(label.split()) for label in study.classifier.labels])
    hits = [step for step in store.steps(run.id) if step.predicted_class == index]
    text("pred_words.txt", [str(tuple(step.words)) for step in hits])
    prompts = []
    for step in hits:
        prompts.append(f"Step prompt:  {_their_prompt(step.words)}")
        targets = [word or "-" for word in step.pseudo_targets or step.words]
        prompts += [f"Target prompt: {_their_prompt(targets)}", _STARS]
    text(f"{index}_prompt.txt", prompts)
    frames = [frame for frame in store.frames(run.id, kind="frame") if frame.hit]
    names = {}
    for frame in frames:
        suffix = artifacts.SUFFIXES.get(store.artifact(frame.sha256).mime, ".png")
        names[f"{frame.seed:04d}{suffix}"] = frame.sha256
    for name, sha256 in names.items():
        files[f"frames/{name}"] = store.read_artifact(sha256)
    # An empty caption keeps the place of a picture without one: captions go by their order.
    texts = [
        "" if (row := captions.get(sha256)) is None else " ".join(row.text.split())
        for _, sha256 in sorted(names.items())
    ]
    text("caption.txt", [f"{one}\n{_RULE}" for one in texts] if any(texts) else [])
    if reports:
        files["report.txt"] = reports[0].markdown.encode()
    for name, kind, head in (
        ("as_dexter_prompts.txt", "prompt", "Best Activation Score Prompt"),
        ("as_captions.txt", "caption", "Best Activation Score Caption"),
    ):
        rows = [f"{' '.join(row.text.split())} - {row.value}" for row in scores if row.kind == kind]
        if not rows and kind == "prompt" and run.prompt and run.score_value is not None:
            rows = [f"{run.prompt} - {run.score_value}"]
        text(name, [f"{head}: {rows[0]}", *rows] if rows else [])
    return files


def _their_name(config: Mapping[str, Any]) -> str:
    """Return the name of a classifier in the reference, or its spec."""
    for name in _NAMES:
        settings = classifier_settings(name)
        if all(config.get(field) == value for field, value in settings.items()):
            return name
    return str(config.get("classifier"))


def _their_prompt(words: Sequence[str]) -> str:
    first, *rest = words or [MASK]
    return f" a picture of a {first}" + (f" with {' and '.join(rest)}" if rest else "") + "."
