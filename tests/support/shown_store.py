"""A small store with something for every screen, the same each time: ids, times, pictures."""

import atexit
import functools
import io
import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from dexter.config import RunConfig
from store import Store, comparison_records, screening_records
from store.artifacts import digest
from store.data_reports import records as data_records
from store.tables import to_json

DONE, LIVE, FAILED, QUEUED = "rdone0001", "rlive0001", "rfail0001", "rwait0001"
STUDY, OTHER = "sbias0001", "sbal00001"
TIME = "2026-03-01T12:00:00.000000Z"
WORDS = ["tree", "frog", "lake", "sea", "water"]
TEMPLATE = "a picture of a bird with [MASK] and [MASK]"


def fill(home: Path) -> Path:
    """Make the store; its home."""
    with Store.open(home) as store:
        pictures = [store.put_artifact(_picture(k), "image/png") for k in range(6)]
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        _studies(connection)
        _run(connection, DONE, STUDY, 0, "succeeded", steps=40, words=["water", "sea"])
        _run(connection, FAILED, STUDY, 1, "failed", steps=12, error="out of memory: try less")
        _run(connection, LIVE, OTHER, 0, "running", steps=25)
        _run(connection, QUEUED, OTHER, 1, "queued", steps=0)
        for run_id, last in ((DONE, 40), (LIVE, 25)):
            for step in range(5, last + 1, 5):
                _frame(connection, run_id, "preview", step, pictures[step // 5 % 6])
        for seed in range(8):
            _frame(connection, DONE, "frame", 0, pictures[seed % 6], seed=seed)
        connection.executemany(
            "INSERT INTO prompt (run_id, rank, words, text, mean_loss, pictures) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [
                (DONE, rank, json.dumps([word, "sea"]), f"a picture of a bird with {word} and sea",
                 0.1 * rank, 16)
                for rank, word in enumerate(reversed(WORDS), 1)
            ],
        )  # fmt: skip
        gains = [("water", 2.4, 1.9), ("sea", 1.1, 0.3), ("frog", 0.2, -0.4), ("tree", -0.3, -0.9)]
        connection.execute(
            "UPDATE run SET word_gains = ? WHERE id = ?",
            (
                json.dumps(
                    [
                        {
                            "word": word,
                            "gain": gain,
                            "low": low,
                            "high": 2 * gain - low,
                            "pictures": 40,
                        }
                        for word, gain, low in gains
                    ]
                ),
                DONE,
            ),
        )
        _findings(connection, pictures)
    folder = home / "runs" / DONE
    folder.mkdir()
    (folder / "log").write_text(
        "2026-03-01 11:59:59Z [warning] the checkpoint belongs to other settings: not used\n"
        + "".join(
            f"2026-03-01 12:00:{k:02}Z  step {k}: loss {5 / (k + 1):.4f}\n" for k in range(40)
        )
    )
    return home


@functools.cache
def _filled_once() -> Path:
    folder = tempfile.mkdtemp(prefix="shown-store-")
    atexit.register(shutil.rmtree, folder)
    return fill(Path(folder, "home"))


def copy(home: Path) -> Path:
    """Copy a store that was made once, which takes a moment where making it takes many."""
    return shutil.copytree(_filled_once(), home)


COMPARISON = "ccomp0001"
BASE = "a picture of a duck"


def compare(home: Path) -> str:
    """Add a comparison of the two classifiers, as it might have come out; its id."""
    names = ["lab:birds-biased", "lab:birds-balanced"]
    with Store.open(home) as store:
        made = comparison_records.add_comparison(
            store,
            {"pairs": 128},
            [
                {
                    "class_name": "waterbird", "position": at, "name": name, "class_index": 0,
                    "classifier_id": at + 1, "study_id": study,
                    "config": _config(0, name, "waterbird").model_dump(mode="json"),
                }
                for at, (name, study) in enumerate(zip(names, (STUDY, OTHER), strict=True))
            ],
        )  # fmt: skip
        biased, balanced = (member.id for member in comparison_records.members(store, made))
        comparison_records.record_findings(
            store,
            made,
            members={key: {"pictures": 896, "report": None} for key in (biased, balanced)},
            claims={
                biased: [claim("water", 0.42, "confirmed", pairs=2),
                         claim("duck", 0.31, "confirmed"), claim("tree", -0.03, "refuted"),
                         claim("sand", 0.09, "inconclusive")],
                balanced: [claim("water", 0.02, "refuted"), claim("duck", 0.35, "confirmed"),
                           claim("tree", 0.01, "refuted"), claim("sand", 0.04, "refuted")],
            },
            differences=[
                {"a_id": biased, "b_id": balanced, "concept": concept, "effect": effect,
                 "low": effect - 0.08, "high": effect + 0.08, "p": p, "p_corrected": p,
                 "pairs": 128, "verdict": verdict}
                for concept, effect, p, verdict in (
                    ("water", 0.4, 0.0002, "differ"), ("duck", -0.04, 0.6, "alike"),
                    ("tree", -0.04, 0.5, "alike"), ("sand", 0.05, 0.3, "open"))
            ],
            activations=[
                {"member_id": member, "source_id": source, "value": value, "low": value - 0.1,
                 "prompt": "a picture of a bird with water and sea", "high": value + 0.1, "n": 50,
                 "hits": round(50 * value), "mean": value}
                for member, source, value in (
                    (biased, biased, 0.84), (biased, balanced, 0.6), (balanced, biased, 0.3),
                    (balanced, balanced, 0.7))
            ],
            disagreements=[],
            pictures=896, cross_pictures=200, drawn=1024, generator="g", detector="lab",
        )  # fmt: skip
        sheet = store.put_artifact(_sheet(), "image/png")
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute(
            "UPDATE comparison SET id = ?, created_at = ?, ended_at = ?", (COMPARISON, TIME, TIME)
        )
        connection.execute("UPDATE member SET comparison_id = ?", (COMPARISON,))
        connection.executemany(
            "INSERT INTO picture (generator, prompt, seed, sha256, place, side) "
            "VALUES ('g', ?, ?, ?, ?, 64)",
            [
                (prompt, seed, sheet, 2 * side + seed)
                for side, prompt in enumerate((BASE, f"{BASE} with water"))
                for seed in range(2)
            ],
        )
    return COMPARISON


SCREENING, WATCHED = "xscreen01", "xwatch001"


def screen(home: Path) -> None:
    """Add a screening of the two classifiers, and one of a training's checkpoints."""
    names = ["lab:birds-biased", "lab:birds-balanced"]
    files = ["step-200.safetensors", "step-400.safetensors", "step-600.safetensors"]
    with Store.open(home) as store:
        screening_records.ensure_bank(
            store, "bank", pool="lab", pool_text=None, pool_hash="h", seed=0,
            topic={"class_name": "waterbird", "subjects": ["duck", "swan"], "rivals": ["owl"],
                   "core": ["duck"]},
        )  # fmt: skip
        for own, watch in ((names, None), (files, {"folder": "/training"})):
            made = screening_records.add_screening(
                store, "bank", "waterbird", {"pictures": 800, "min_effect": 0.1, "confirm": True},
                [{"name": name, "classifier_id": at % 2 + 1, "class_index": 0, "config": {},
                  "file_hash": name if watch else None} for at, name in enumerate(own)],
                watch=watch,
            )  # fmt: skip
            results = {}
            for at, member in enumerate(screening_records.screened(store, made)):
                scale = (0.1, 0.5, 1.0)[at] if watch else 1.0 - at
                rows = [
                    _effect("water", 0.46 * scale, "background", beside="goose"),
                    _effect("snow", -0.21 * scale, "background"),
                    _effect("old", 0.14 * scale, "age", explained_by=["gray"]),
                    _effect("rainbow", 0.0, "item", drawn=0.1),
                    _effect("tree", 0.02, "item"),
                    _effect("duck", 0.3, "subject", core=True),
                ]
                fields = {"pictures": 800, "level": 0.9985, "mean": 0.41, "pace": 0.001}
                results[member.id] = fields, rows
            screening_records.record_findings(
                store, made, results, state="done", detector="lab", drawn=800
            )
            if watch is None:
                first = min(results)
                order = {"hits": 38, "n": 40, "low": 0.835, "high": 0.986}
                claims = [
                    {**claim("water", 0.42, "confirmed"), "predictiveness": order},
                    claim("snow", -0.2, "inconclusive"),
                ]
                screening_records.record_claims(store, made, {first: claims})
            name = WATCHED if watch else SCREENING
            with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
                connection.execute("PRAGMA foreign_keys=OFF")
                connection.execute(
                    "UPDATE screening SET id = ?, created_at = ? WHERE id = ?", (name, TIME, made)
                )
                connection.execute(
                    "UPDATE screened SET screening_id = ? WHERE screening_id = ?", (name, made)
                )


def _effect(
    concept: str,
    effect: float,
    slot: str,
    *,
    drawn: float = 0.96,
    explained_by: list[str] | None = None,
    core: bool = False,
    beside: str | None = None,
) -> dict[str, Any]:
    verdict = "none" if abs(effect) < 0.1 else "raises" if effect > 0 else "lowers"
    if explained_by and verdict != "none":
        verdict = "explained"
    if drawn < 0.3:
        verdict = "not_drawn"
    return {
        "concept": concept, "slot": slot, "verdict": verdict, "effect": effect,
        "low": effect - 0.06, "high": effect + 0.06, "log_odds": 4 * effect,
        "log_odds_low": 4 * effect - 0.3, "log_odds_high": 4 * effect + 0.3,
        "contexts": {
            name: {"effect": effect, "low": effect - 0.1, "high": effect + 0.1}
            for name in ("class", "rivals")
        },
        "pictures": 120, "core": core, "asked": drawn, "otherwise": 0.04,
        "per_drawn": None if drawn < 0.3 else effect / drawn, "direct": effect,
        "companions": [
            {"concept": one, "slot": "hair", "shift": 0.7, "through": 0.1}
            for one in explained_by or ()
        ],
        "explained_by": (explained_by or []) if verdict == "explained" else [],
        "interactions": [
            {"concept": beside, "slot": "subject", "effect": 0.31, "low": 0.2, "high": 0.42,
             "log_odds": [1.2, 0.8, 1.6], "pictures": 14}
        ] if beside and verdict == "raises" else None,
    }  # fmt: skip


def claim(concept: str, effect: float, verdict: str, *, pairs: int = 0) -> dict[str, Any]:
    contexts = [
        {
            "context": "class", "saturated": False, "control_mean": 0.4, "pairs": pairs,
            "effect": effect, "low": effect - 0.06, "high": effect + 0.06,
            "control_prompts": [BASE] * pairs, "treated_prompts": [f"{BASE} with water"] * pairs,
            "control_seeds": list(range(pairs)), "seeds": list(range(pairs)),
            "control": [0.4] * pairs, "treated": [0.9 - 0.1 * k for k in range(pairs)],
        }
    ] if pairs else []  # fmt: skip
    return {
        "concept": concept, "slot": "background", "direction": 1 if effect > 0 else -1,
        "sources": {}, "effect": effect, "low": effect - 0.06, "high": effect + 0.06, "p": 0.001,
        "p_corrected": 0.01, "pairs": 128, "flips": 30, "flip_low": 0.1, "flip_high": 0.4,
        "placebo_threshold": 0.08, "over_represented": False, "core": concept == "duck",
        "min_effect": 0.1, "verdict": verdict,
        "reason": "too_few_pairs" if verdict == "inconclusive" else None,
        "generator": "g", "contexts": contexts,
    }  # fmt: skip


def _picture(number: int) -> bytes:
    picture = Image.new("RGB", (64, 64), (60, 120, 200 - 20 * number))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 40, 64, 64), fill=(40, 90 + 20 * number, 60))
    draw.ellipse((16 + 2 * number, 16, 44, 44), fill=(230, 200, 90))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _enlarged(data: bytes) -> bytes:
    """The picture as the bank keeps it, with 256 pixels a side."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((256, 256)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _sheet() -> bytes:
    """The first four pictures as tiles of a sheet."""
    sheet = Image.new("RGB", (128, 128))
    for k in range(4):
        sheet.paste(Image.open(io.BytesIO(_picture(k))), (k % 2 * 64, k // 2 * 64))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _config(seed: int, spec: str, class_name: str) -> RunConfig:
    return RunConfig.from_preset(
        "quick", classifier=spec, class_name=class_name, template=TEMPLATE, seed=seed, steps=60
    )


def _studies(connection: sqlite3.Connection) -> None:
    for number, (name, spec) in enumerate(
        ((STUDY, "lab:birds-biased"), (OTHER, "lab:birds-balanced")), 1
    ):
        connection.execute(
            "INSERT INTO classifier (id, spec, labels, image_size, key, created_at) "
            "VALUES (?, ?, ?, 64, ?, ?)",
            (number, spec, '["waterbird", "landbird", "other"]', spec, TIME),
        )
        settings = _config(0, spec, "waterbird").study_settings()
        connection.execute(
            "INSERT INTO study VALUES (?, ?, 'waterbird', 0, ?, ?, ?)",
            (name, number, json.dumps(settings), digest(to_json(settings).encode()), TIME),
        )


def _run(
    connection: sqlite3.Connection,
    run_id: str,
    study: str,
    seed: int,
    state: str,
    *,
    steps: int,
    words: list[str] | None = None,
    error: str | None = None,
) -> None:
    spec = "lab:birds-biased" if study == STUDY else "lab:birds-balanced"
    config = _config(seed, spec, "waterbird").model_dump(mode="json")
    connection.execute(
        "INSERT INTO run (id, study_id, seed, state, config, config_hash, created_at, started_at, "
        "ended_at, device, attempt, steps_total, steps_done, words, prompt, score_value, "
        "score_low, score_high, score_n, score_hits, frames_wanted, frames_hit, frames_tried, "
        "stop_reason, error, seconds) "
        "VALUES (?,?,?,?,?,?,?,?,?,'cpu',1,60,?,?,?,?,?,?,?,?,12,?,?,?,?,?)",
        (
            run_id, study, seed, state, json.dumps(config), digest(to_json(config).encode()), TIME,
            TIME if steps else None,
            TIME if state in ("succeeded", "failed") else None, steps,
            json.dumps(words) if words else None,
            "a picture of a bird with water and sea" if words else None,
            *((0.84, 0.71, 0.92, 50, 42) if words else (None,) * 5),
            8 if words else None, 9 if words else None, "stable" if words else None, error,
            93.0 if words else None,
        ),
    )  # fmt: skip
    connection.executemany(
        "INSERT INTO step (run_id, step, losses, target_probability, predicted_class, hits, words, "
        "pseudo_targets, best_words, best_loss, entropy, temperature, seconds, word_probabilities) "
        "VALUES (?, ?, ?, ?, 0, 1, ?, ?, ?, ?, ?, 1.0, 2.0, ?)",
        [
            (
                run_id, k,
                json.dumps({"class": 4 / k, "masked_lm": 1 / k + k % 3, "total": 5 / k + k % 3}),
                min(0.1 + k / 50, 0.95),
                json.dumps([WORDS[k % 5], WORDS[k * 2 % 5]]),
                json.dumps([WORDS[k // 10 % 5], None]),
                json.dumps([WORDS[min(k // 9, 4)], WORDS[min(k // 13, 4)]]),
                4 / k, 3.2 - k / 20,
                json.dumps([{"water": k / 40, "tree": 1 - k / 40}, {"sea": 0.9}])
                if run_id == DONE else None,
            )
            for k in range(1, steps + 1)
        ],
    )  # fmt: skip


def _frame(
    connection: sqlite3.Connection, run_id: str, kind: str, step: int, sha256: str, seed: int = 7
) -> None:
    connection.execute(
        "INSERT INTO frame (run_id, kind, step, seed, prompt, predicted_class, "
        "target_probability, hit, sha256, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (run_id, kind, step, seed, "a picture of a bird with water and sea", step % 2,
         0.5 + step / 100, step % 2 == 0, sha256, TIME),
    )  # fmt: skip


def _findings(connection: sqlite3.Connection, pictures: list[str]) -> None:
    claims = [
        (1, "water", 1, 0.41, 0.28, 0.53, 0.0003, 64, 22, "confirmed", None, 0),
        (2, "feather", 1, 0.31, 0.18, 0.44, 0.004, 64, 12, "confirmed", None, 1),
        (3, "tree", -1, -0.02, -0.07, 0.04, 0.8, 128, 3, "refuted", None, 0),
        (4, "sand", 1, 0.09, -0.05, 0.22, 0.3, 128, 9, "inconclusive", "not_drawn", 0),
    ]
    for (
        number,
        concept,
        direction,
        effect,
        low,
        high,
        p,
        pairs,
        flips,
        verdict,
        why,
        core,
    ) in claims:
        connection.execute(
            "INSERT INTO claim (id, study_id, number, concept, slot, direction, sources, effect, "
            "low, high, p, p_corrected, pairs, flips, flip_low, flip_high, placebo_threshold, "
            "detected, detected_control, detected_treated, prior, over_represented, core, "
            "min_effect, verdict, reason, generator, created_at) VALUES "
            "(?, ?, ?, ?, 'background', ?, ?, ?, ?, ?, ?, ?, ?, ?, 0.1, 0.4, 0.08, 0.6, 0.1, 0.7, "
            "0.22, 0, ?, 0.1, ?, ?, 'g', ?)",
            (number, STUDY, number, concept, direction, json.dumps({"words": [DONE]}), effect,
             low, high, p, p, pairs, flips, core, verdict, why, TIME),
        )  # fmt: skip
    connection.execute(
        "INSERT INTO evidence (claim_id, context, saturated, control_mean, pairs, effect, low, "
        "high, control_prompts, treated_prompts, control_seeds, seeds, control, treated) VALUES "
        "(1, 'class', 0, 0.45, 32, 0.38, 0.2, 0.55, :without, :with, '[1]', '[1]', '[0]', '[1]'), "
        "(1, 'rivals', 1, 0.97, 32, NULL, NULL, NULL, '[]', '[]', '[]', '[]', '[]', '[]')",
        {"without": '["a duck"]', "with": '["a duck with water"]'},
    )
    for sha256, text in zip(
        pictures, ["a duck on water", "a duck on water", "a bird"], strict=False
    ):
        connection.execute(
            "INSERT INTO caption (sha256, model, prompt_hash, text, created_at) "
            "VALUES (?, 'lab', 'h', ?, ?)",
            (sha256, text, TIME),
        )
    connection.execute(
        "INSERT INTO attribution VALUES (?, 0, 'water', 'p', 0.32, 0.21, 0.43, 0.3, 0.2, 0.4, "
        "0.9, 0.8, 0.95, 16, 12)",
        (DONE,),
    )
    connection.execute(
        "INSERT INTO score VALUES (?, 'prompt', 'a picture of a bird with water and sea', "
        "0.84, 0.71, 0.92, 50, 42)",
        (STUDY,),
    )
    connection.execute(
        "INSERT INTO report (study_id, author, markdown, created_at) VALUES (?, 'a person', ?, ?)",
        (STUDY, "## What it looks for\n\nIt takes **water** for a waterbird (claim 1).\n", TIME),
    )


SLICES, DEBIASED, WHATIF, BIAS = "dslices01", "ddebias01", "dwhatif01", "dbias0001"
REPORTS = (SLICES, DEBIASED, WHATIF, BIAS)


def report_on_pictures(home: Path) -> None:
    """Add slices of a classifier, a debiasing, a what-if of a user's picture, and a bias
    explanation."""
    row = {
        "name": "landbird with sea", "label": "landbird", "concept": "sea", "shows": True,
        "size": 50, "accuracy": 0.2, "accuracy_low": 0.11, "accuracy_high": 0.33, "rest": 60,
        "rest_accuracy": 0.95, "gap": -0.75, "gap_low": -0.9, "gap_high": -0.5,
        "examples": ["0.png", "1.png"],
        "judged": {"group": "place = water", "precision": 1.0, "recall": 0.9, "f1": 0.95,
                   "auroc": 0.99, "precision_at": 1.0},
    }  # fmt: skip
    slices = {
        "recognised": "a lab network", "labels": {"landbird": "landbird"}, "concepts": "words",
        "image_text": "lab", "pixels": "f" * 64, "pictures": 110, "skipped": {"missing": 1},
        "skipped_first": [["gone.png", "missing"]], "accuracy": 0.6, "true_groups": "place",
        "slices": [row], "baselines": {"mixture": [row]},
        "patterns": [{"attributes": ["landbird", "with sea"], "pictures": 50, "support": 0.45,
                      "errors": 0.8, "left_out": None, "reweighted": 0.9}],
    }  # fmt: skip
    outcome = {"worst": 0.2, "low": 0.1, "high": 0.3, "least": 0.2, "most": 0.2, "average": 0.8,
               "worst_class": 0.7, "by_group": [0.2, 0.9], "seeds": 3}  # fmt: skip
    effect = {"concept": "water", "slot": "background", "before": 0.5, "before_low": 0.4,
              "before_high": 0.6, "after": 0.02, "after_low": -0.05, "after_high": 0.1,
              "falls": 0.96, "falls_low": 0.84, "falls_high": 1.0}  # fmt: skip
    debiased = {
        "labels": ["waterbird", "landbird"], "groups": ["with sea", "without sea"],
        "measured_by": "pseudo-groups", "concept": "sea", "concepts": "words", "image_text": "lab",
        "considered": [{"concept": "sea", "worst": 0.2, "pictures": 50},
                       {"concept": "umbrella", "worst": 0.9, "pictures": 20}],
        "weights": "all", "fitted": 500, "tested": 500,
        "outcomes": [{"method": "original", **outcome},
                     {"method": "GroupDRO", **outcome, "worst": 0.8, "chosen_by": "pseudo-groups"}],
        "main": "GroupDRO", "screened": "GroupDRO", "effects": [effect],
        "course": [{"method": "GroupDRO", "seed": 0, "step": 200 * at, "worst": 0.2 * at}
                   for at in range(1, 4)],
    }  # fmt: skip
    on_data = {"data": "lab:birds", "mapping": {}, "screening": None,
               "origin": "words of the command", "concepts": [{"name": "sea"}],
               "settings": {"group": "place"}}  # fmt: skip
    about = {"class_name": "waterbird", "class_index": 0, "screening": None, "member": None,
             "pool": "lab", "pool_text": None, "pool_hash": "h", "models": {"device": "cpu"},
             "settings": {"image_text": "auto"}}  # fmt: skip
    of_picture = about | {"data": "duck.png", "image": "/home/user/duck.png"}
    of_people = about | {"data": "lab:people", "sts": "auto"}
    own, bank = "b" * 64, "edits of it"
    reports = (
        ("slices", SLICES, "lab:birds", "a" * 64, on_data, slices),
        ("debias", DEBIASED, "lab:birds", "a" * 64, on_data, debiased),
        ("whatif", WHATIF, "class waterbird, duck.png", own, of_picture, _whatif(own, bank)),
        ("explain-bias", BIAS, "class waterbird, lab:people", "c" * 64, of_people, _bias()),
    )
    with Store.open(home) as store:
        sheet = store.put_artifact(_sheet(), "image/png")
        large = store.put_artifact(_enlarged(_picture(0)), "image/png")
        with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
            connection.executemany(
                "INSERT INTO picture (generator, prompt, seed, sha256, place, side) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [(own, "your picture", 0, large, 0, 256), (bank, BASE, 7, sheet, 1, 64),
                 (bank, f"{BASE} with room", 7, sheet, 2, 64)],
            )  # fmt: skip
        for kind, name, data, data_hash, asked, result in reports:
            made = data_records.add(
                store, kind, classifier_id=1, data=data, data_hash=data_hash, request=asked
            )
            data_records.finish(store, made, result)
            with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
                connection.execute(
                    "UPDATE data_report SET id = ?, created_at = ? WHERE id = ?", (name, TIME, made)
                )


def _whatif(own: str, bank: str) -> dict[str, Any]:
    share = {"hits": 9, "n": 10, "low": 0.6, "high": 0.98, "value": 0.9}
    change = {"concept": "room", "slot": "background", "word": "room"}
    start = {"prompt": BASE, "change": None, "p": 0.9, "hit": True, "decision": "waterbird",
             "flips": {**share, "hits": 0, "value": 0.0}, "mean": 0.8, "seen": None}  # fmt: skip
    end = {"prompt": f"{BASE} with room", "change": change, "p": 0.1, "hit": False,
           "decision": "landbird", "flips": share, "mean": 0.2, "seen": share}  # fmt: skip
    measured = {"p": 0.7, "decision": "waterbird", "described": BASE,
                "strengths": [{"strength": 0.5, "kept": False, "held": 3, "noises": 12},
                              {"strength": 0.75, "kept": True, "flipped": True,
                               "drawn": True}]}  # fmt: skip
    return {
        "class_name": "waterbird", "generator": "lab", "image": "duck.png", "measured": measured,
        "concepts": "screening xshown001", "flipped": True, "changes": [change],
        "steps": [start, end], "seed": 7, "noises": 32, "kept": 10, "bank": bank, "own": own,
    }  # fmt: skip


def _bias() -> dict[str, Any]:
    fact = {"attribute": "gender", "concept": "male", "verdict": "raises", "effect": 0.4,
            "low": 0.3, "high": 0.5, "core": False, "explained_by": [],
            "confirmation": "confirmed"}  # fmt: skip
    skin = {**fact, "attribute": "skin", "concept": "dark", "verdict": "explained",
            "explained_by": ["male"], "confirmation": None}  # fmt: skip
    side = {"source": "800 pictures by lab", "biased": True, "score": 0.4,
            "attributes": {"gender": "depends", "skin": "explained"}, "facts": [fact, skin],
            "text": "It depends on gender. Skin tone does not.",
            "sentences": ["It depends on gender.", "Skin tone does not."]}  # fmt: skip
    return {
        "class_name": "waterbird", "generator": "lab", "screening": "xshown001",
        "data_free": side, "data_driven": side | {"source": "2,000 scenes"},
        "skipped": {"missing": 1}, "planted": {"male": 0.41},
        "claims": {"both": 1, "claims": 1, "reference": 1, "precision": 1.0, "recall": 1.0},
        "sts": {"model": "MiniLM", "similarity": 0.96, "floor": 0.86},
        "judge": {"model": "judge", "consistency": 4.5, "ratings": 20, "error": None},
    }  # fmt: skip
