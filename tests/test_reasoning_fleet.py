"""The benchmark on the fleet: what it asks, and how it counts."""

from benchmarks.claims import Outcome, auroc, concepts_of, table
from dexter.reasoning.world import Family, World

WORLD = World(
    families={
        "water": Family(("sea", "lake"), "background"),
        "night": Family(("night",), "background"),
        "ball": Family(("ball",), "item"),
        "hat": Family(("hat",), "item"),
        "red": Family(("red",), "colour"),
        "blue": Family(("blue",), "colour"),
        "birds": Family(("bird",), "subject"),
    }
)


def outcome(truth: float, verdict: str, effect: float, reason: str | None = None) -> Outcome:
    return Outcome("member", "water", "background", truth, verdict, reason, effect)


def test_all_members_of_a_task_are_asked_the_same() -> None:
    task = [{"plant": "water", "core": ["red"]}, {"plant": "mark", "core": ["red"]}]
    words = concepts_of(task, WORLD)
    assert words["water"] == "sea"
    assert not {"red", "birds", "mark"} & set(words)
    assert set(words) == {"water", "night", "ball", "hat", "blue"}


def test_dependences_and_false_alarms_are_counted() -> None:
    outcomes = [
        outcome(0.5, "confirmed", 0.4),
        outcome(-0.3, "inconclusive", -0.2, "not_drawn"),
        outcome(0.01, "refuted", 0.02),
        outcome(0.05, "confirmed", 0.3),
        outcome(0.1, "confirmed", 0.3),  # neither
    ]
    assert [o.positive for o in outcomes] == [True, True, False, False, None]
    assert outcomes[1].score == 0
    assert auroc(outcomes) == 0.5  # of (0.4, 0) against (0.02, 0.3)
    assert auroc(outcomes[:1]) is None
    last = table(outcomes).splitlines()[-1]
    assert last == "| all | 1 of 2 (50%) | 1 of 2 (50%) | 0.50 | 1 of 5 |"
