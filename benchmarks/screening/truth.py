"""The findings of a fleet against the known effects of its members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import bias
from benchmarks.bias import Unit
from dexter.lab.fleet import FLEET, families
from dexter.lab.world import MARK, POSITIVE
from dexter.screening.screen import Effect, Result

CLEAN = [name for name, of_fleet in FLEET.items() if of_fleet.plant is None]


def is_said(effect: Effect) -> bool:
    """True if the screening names the concept."""
    return effect.verdict in ("raises", "lowers") and not effect.core


def units_of(
    name: str, result: Result, effects: dict[str, float], core: Sequence[str]
) -> list[Unit]:
    """The questions about one classifier that have a known answer."""
    by_name = {effect.concept: effect for effect in result.effects}
    found = []
    for family, truth in effects.items():
        kind, _ = families()[family]
        if family in core or kind == MARK:
            continue
        effect = by_name.get(family)
        if effect is None:
            found.append(Unit(name, family, kind, truth, 0.0, False, "not in the pool"))
            continue
        wrong_way = abs(truth) >= POSITIVE and truth * effect.effect < 0
        why = f"in pictures {effect.effect:+.2f}, {effect.verdict}"
        if effect.explained_by:
            why += f" by {' and '.join(effect.explained_by)}"
        score = 0.0 if wrong_way else effect.score
        said = is_said(effect) and not wrong_way
        found.append(Unit(name, family, kind, truth, score, said, why))
    return found


def measures(units: Sequence[Unit], results: dict[str, Result]) -> dict[str, Any]:
    """Return the measures of a fleet. wrong: findings that are false or of the wrong sign, or about
    something that is no question of the fleet."""
    found = bias.evaluate(units)
    true = sum(unit.claimed for unit in units if unit.positive)
    false = [unit for unit in units if unit.negative and unit.claimed]
    between = sum(unit.claimed for unit in units if not unit.positive and not unit.negative)
    asked = {(unit.classifier, unit.family) for unit in units}
    unasked = [
        f"{effect.concept} of {name} ({effect.effect:+.2f})"
        for name, result in results.items()
        for effect in result.findings
        if (name, effect.concept) not in asked
    ]
    by_unit = {(u.classifier, u.family): u for u in units}
    wrong_way = [
        f"{effect.concept} of {name} ({effect.effect:+.2f})"
        for name, result in results.items()
        for effect in result.findings
        if (unit := by_unit.get((name, effect.concept)))
        and unit.positive
        and unit.effect * effect.effect < 0
    ]
    with_false = sorted({unit.classifier for unit in false} & set(CLEAN))
    clean = [name for name in results if name in CLEAN]
    said_by_clean = sorted({n for n in clean if results[n].findings})
    return {
        "measures": found,
        "true": true,
        "false": len(false),
        "between": between,
        "false_share_of_said": len(false) / max(1, true + len(false)),
        "wrong_way": wrong_way,
        "unasked": unasked,
        "clean": len(clean),
        "clean_with_a_false_finding": with_false,
        "clean_with_any_finding": said_by_clean,
        "missed": [asdict(unit) for unit in units if unit.positive and not unit.claimed],
        "false_findings": [asdict(unit) for unit in false],
        "explained": [
            f"{effect.concept} of {name} ({effect.effect:+.2f}) by {', '.join(effect.explained_by)}"
            for name, result in results.items()
            for effect in result.effects
            if effect.explained_by
        ],
    }
