"""The plots of studies and comparisons as PNG: losses, activation scores, claims.

Only drawing a plot loads matplotlib.
"""

import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from dexter.stats import LEVEL
from store import Store, study_records
from store.reading import comparisons
from store.reading.browse import Browse
from store.tables import Run
from store.upkeep.transfer import Chosen

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#999999", "#000000")
_BY_VERDICT = {"confirmed": "#d55e00", "refuted": "#009e73"}
_OPEN = "#999999"


def draw(store: Store, chosen: Chosen) -> dict[str, bytes]:
    """Return the plots by file name; the same rows give the same bytes."""
    found: dict[str, bytes] = {}
    for study_id in sorted(chosen.studies):
        runs = chosen.runs_of(study_id)
        losses = [(run.seed, _totals(store, run)) for run in runs]
        if any(totals for _, totals in losses):
            found[f"losses-{study_id}.png"] = _losses(losses)
        scored = [run for run in runs if run.score_value is not None]
        if scored:
            found[f"activation-{study_id}.png"] = _activation(scored)
        claims = study_records.claims(store, study_id) if study_id in chosen.whole else []
        if claims:
            rows = [claim.model_dump() for claim in claims]
            found[f"claims-{study_id}.png"] = _claims({"": rows})
    for comparison_id in sorted(chosen.comparisons):
        page = comparisons.page(Browse(store.home), comparison_id)
        for number, class_name in enumerate(page["classes"], 1):
            by_name: dict[str, list[Mapping[str, Any]]] = {}
            for claim in page["claims"]:
                if claim["class_name"] == class_name:
                    by_name.setdefault(claim["classifier"], []).append(claim)
            if by_name:
                found[f"claims-{comparison_id}-{number}.png"] = _claims(by_name)
    return found


def _totals(store: Store, run: Run) -> list[tuple[int, float]]:
    totals = [(step.step, step.losses.get("total")) for step in store.steps(run.id)]
    return [(number, value) for number, value in totals if value is not None]


def _figure(height: float) -> tuple[Any, Any]:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _text(value: object) -> str:
    """Return untrusted text without formulas and control characters, cut to 60 characters."""
    shown = "".join(c if c.isprintable() else "?" for c in str(value))
    return shown.replace("$", r"\$")[:60]


def _losses(losses: Sequence[tuple[int, Sequence[tuple[int, float]]]]) -> bytes:
    figure, axes = _figure(3.2)
    for number, (seed, values) in enumerate(losses):
        if values:
            steps, totals = zip(*values, strict=True)
            colour = _COLOURS[number % len(_COLOURS)]
            axes.plot(steps, totals, color=colour, linewidth=1, label=f"seed {seed}")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    if len(losses) <= 12:
        axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def _activation(runs: Sequence[Run]) -> bytes:
    figure, axes = _figure(0.8 + 0.3 * len(runs))
    for row, run in enumerate(runs):
        value = run.score_value or 0.0
        low = value if run.score_low is None else run.score_low
        high = value if run.score_high is None else run.score_high
        axes.plot([low, high], [row, row], color=_COLOURS[0], linewidth=2)
        axes.plot([value], [row], "o", color=_COLOURS[0])
    names = [_text(f"{run.seed}: {', '.join(run.words or [])}") for run in runs]
    axes.set_yticks(range(len(runs)), names)
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("activation score, 95% interval")
    return _png(figure)


def _claims(by_name: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Draw the effects with their intervals, grouped by concept."""
    concepts = list(dict.fromkeys(c["concept"] for own in by_name.values() for c in own))
    height = 0.9 + 0.22 * len(concepts) * (len(by_name) + (len(by_name) > 1))
    figure, axes = _figure(min(height, 60))
    axes.axvline(0, color="#bbbbbb", linewidth=1)
    for number, (name, claims) in enumerate(by_name.items()):
        shift = (number + 0.5) / len(by_name) - 0.5 if len(by_name) > 1 else 0.0
        own = {claim["concept"]: claim for claim in claims}
        shown = False
        for row, concept in enumerate(concepts):
            claim = own.get(concept)
            if claim is None or not claim["pairs"]:
                continue
            at = row + 0.8 * shift
            colour = _COLOURS[number % len(_COLOURS)]
            if len(by_name) == 1:
                colour = _BY_VERDICT.get(claim["verdict"], _OPEN)
            filled = colour if claim["verdict"] == "confirmed" else "white"
            axes.plot([claim["low"], claim["high"]], [at, at], color=colour, linewidth=1.5)
            axes.plot([claim["effect"]], [at], "o", color=colour, markerfacecolor=filled,
                      markersize=5, label=None if shown or not name else _text(name))  # fmt: skip
            shown = True
    axes.set_yticks(range(len(concepts)), [_text(concept) for concept in concepts])
    axes.set_ylim(len(concepts) - 0.5, -0.5)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel(f"effect on p(class), {LEVEL:.0%} interval (filled: confirmed)")
    if len(by_name) > 1:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)
