"""Stores in which every text is hostile: terminal codes, markup, HTML, formulas, shell."""

import json
import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any

import shown_store

from store import Store, comparison_records

HOSTILE = "\x1b[31m[bold]<script>x</script>|`\u202e"


def hostile_comparison(home: Path) -> str:
    """A stored comparison in which every text is hostile."""
    with Store.open(home) as store:
        key = store.ensure_classifier(f"python:{HOSTILE}", None, [HOSTILE, "b"], 64)
        members = [
            {"class_name": HOSTILE, "position": at, "name": f"{HOSTILE}{at}", "classifier_id": key,
             "class_index": 0, "config": {}}
            for at in range(3)
        ]  # fmt: skip
        found = comparison_records.add_comparison(store, {}, members)
        ids = [member.id for member in comparison_records.members(store, found)]
        claim = {
            "concept": HOSTILE, "slot": "item", "direction": 1, "sources": {}, "effect": 0.3,
            "low": 0.2, "high": 0.4, "p": 0.001, "p_corrected": 0.01, "pairs": 32, "flips": 3,
            "flip_low": 0.0, "flip_high": 0.2, "over_represented": False, "core": False,
            "min_effect": 0.1, "verdict": "confirmed", "reason": None, "generator": "g",
            "contexts": [],
        }  # fmt: skip
        report = {"title": HOSTILE, "method": [], "sections": [
            {"title": HOSTILE, "sentences": [{"text": HOSTILE, "mark": "stated"}]}]}  # fmt: skip
        comparison_records.record_findings(
            store,
            found,
            members={i: {"pictures": 9, "report": report} for i in ids},
            claims={ids[0]: [claim], ids[1]: [{**claim, "verdict": "refuted"}], ids[2]: [claim]},
            differences=[
                {"a_id": ids[0], "b_id": ids[1], "concept": HOSTILE, "effect": 0.3, "low": 0.1,
                 "high": 0.5, "p": 0.001, "p_corrected": 0.01, "pairs": 32, "verdict": "differ"}
            ],
            activations=[
                {"member_id": i, "source_id": ids[0], "prompt": HOSTILE, "value": 0.5, "low": 0.4,
                 "high": 0.6, "n": 50, "hits": 25, "mean": 0.5}
                for i in ids
            ],
            disagreements=[
                {"a_id": ids[0], "b_id": ids[1], "rank": 1, "prompt": HOSTILE, "seed": 3, "a": 0.1,
                 "b": 0.9}
            ],
            pictures=9, cross_pictures=3, drawn=12, generator="g", detector=HOSTILE,
        )  # fmt: skip
    return found


# Commands of a shell and a formula, a line break, and controls: ESC, C1, bidi, line separator.
EVIL = (
    "=cmd|'/c calc'!A0`touch pwned`$(touch pwned)';touch pwned;\"\n"
    "\x1b]0;x\x07\x9b31m\u202e\u2028[b]"
)
# All free text of the store; states, ids, hashes and times stay.
_TEXT = {
    "classifier": ("spec",), "study": ("class_name",), "report": ("author", "markdown"),
    "run": ("prompt", "stop_reason", "error", "device"), "frame": ("prompt",),
    "prompt": ("text",), "caption": ("model", "text"), "claim": ("concept",),
    "attribution": ("word", "prompt"), "score": ("text",), "difference": ("concept",),
    "member": ("class_name", "name"), "activation": ("prompt",),
    "comparison": ("generator", "detector"),
}  # fmt: skip
_JSON = {
    "classifier": ("labels",), "study": ("settings",), "run": ("config", "words", "word_gains"),
    "prompt": ("words",), "step": ("words", "pseudo_targets", "best_words"),
    "evidence": ("control_prompts", "treated_prompts"), "member": ("config",),
    "comparison": ("settings",),
}  # fmt: skip


def hostile_store(home: Path) -> str:
    """Make a copy of the shown store with hostile texts everywhere; return its comparison."""
    shown_store.copy(home)
    found = shown_store.compare(home)
    with Store.open(home) as store:
        from store.upkeep import retention

        retention.set_note(store, shown_store.DONE, f"- {EVIL}")
    with closing(sqlite3.connect(home / "store.sqlite")) as connection, connection:
        for table, columns in _TEXT.items():
            for column in columns:
                connection.execute(f"UPDATE {table} SET {column} = ? || {column}", (EVIL,))
        connection.create_function("hostile", 1, _hostile_json)
        for table, columns in _JSON.items():
            for column in columns:
                connection.execute(f"UPDATE {table} SET {column} = hostile({column})")
    return found


def _hostile_json(text: str | None) -> str | None:
    return None if text is None else json.dumps(_hostile(json.loads(text)))


def _hostile(value: Any) -> Any:
    if isinstance(value, str):
        return EVIL + value
    if isinstance(value, list):
        return list(map(_hostile, value))
    if isinstance(value, dict):
        names = {name: _hostile(one) if name != "preset" else one for name, one in value.items()}
        return {**names, EVIL: EVIL} if "gain" not in names else names
    return value


def obeyed(text: str) -> set[str]:
    """Return the characters of a text that a terminal or a reader's eye would obey."""
    return {
        c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }
