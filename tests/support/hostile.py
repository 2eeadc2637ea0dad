"""A comparison in which every text is hostile: terminal codes, markup, HTML."""

from pathlib import Path

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
