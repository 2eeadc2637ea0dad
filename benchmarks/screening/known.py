"""The gated fleet, whose effects are known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.bias import Unit
from benchmarks.screening.tasks import Task, finish
from benchmarks.screening.truth import measures, units_of
from dexter.lab import gated
from dexter.lab.fleet import TASKS
from dexter.screening.screen import Member, Result


def gated_fleet(tasks: Sequence[Task], pictures: int) -> dict[str, Any]:
    """Both halves of the gated fleet, on the pictures drawn for the trained one."""
    import torch

    every = gated.fleet()
    halves: dict[str, tuple[list[Unit], dict[str, Result], list[tuple[float, float]]]] = {
        "tuned": ([], {}, []),
        "unseen": ([], {}, []),
    }
    for task in tasks:
        gates = [gate for gate in every if gate.task == task.name]
        truth = gated.exact_effects(task.name, gates)
        screening = task.screening(pictures, task.state(pictures))
        requests = [cell.request for cell in screening.cells()]
        finish(screening, [])  # embeds what was not embedded in this process
        kept = task.answers.read(screening.detector_key, requests)
        features = torch.from_numpy(np.stack([kept[r] for r in requests]))
        members = []
        network = None
        for gate in gates:
            network = gated.Gated(gate, beside=network)
            with torch.inference_mode():
                logits = network.logits(features).double()
            one = Member(gate.name, gate.name, nobody)
            odds = (logits[:, 0] - logits[:, 1:].logsumexp(1)).float().numpy()[:, None]
            task.answers.keep(screening.key(one), requests, odds)
            members.append(one)
        # The budget is what was drawn: a screening that stopped early is not continued.
        screening = task.screening(len(requests), task.state(len(requests)))
        results = finish(screening, members)
        for gate in gates:
            half = "tuned" if every.index(gate) % 2 == 0 else "unseen"
            units, of_half, pairs = halves[half]
            result = results[gate.name]
            core = list(TASKS[task.name].core)
            units += units_of(gate.name, result, truth[gate.name], core)
            of_half[gate.name] = result
            for effect in result.effects:
                exact = truth[gate.name].get(effect.concept)
                drawn = effect.drawn is not None and effect.drawn.asked >= 0.9
                if exact is not None and abs(exact) > 0.02 and drawn and not effect.core:
                    pairs.append((exact, effect.effect))
        print(f"gated, {task.name}: {len(gates)} members", flush=True)
    found: dict[str, Any] = {"pictures": pictures}
    for half, (units, of_half, pairs) in halves.items():
        exact, estimated = np.array(pairs).T
        found[half] = {
            "members": len(of_half),
            **measures(units, of_half),
            "slope": float((exact @ estimated) / (exact @ exact)),
            "r": float(np.corrcoef(exact, estimated)[0, 1]),
            "pairs": len(pairs),
        }
    return found


def nobody(images: Any) -> Any:
    """Stand in for a classifier all of whose answers are kept."""
    raise AssertionError("every answer was kept")
