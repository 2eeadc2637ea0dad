"""The screening of a classifier before and after debiasing, on the pictures of one bank."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dexter.config import RunConfig
from dexter.data.last_layer import Layer
from dexter.generation.bank import Images
from dexter.reasoning.settings import ScreenSettings
from dexter_tui.analysis import screening_request
from dexter_tui.analysis.data.sources import Sources
from dexter_tui.analysis.screening_job import LazyGenerator
from dexter_tui.jobs import trust
from store import StoreError, screening_records

if TYPE_CHECKING:
    from torch import Tensor

    from dexter.classifiers import Classifier
    from dexter.screening.regression import Fall
    from dexter.screening.screen import Effect

Logits = Callable[[Images], "Tensor"]
"""Pictures (B, H, W, 3) to logits (B, K) of the classes of the data."""
_BATCH = 32


def limited(network: "Classifier", used: Sequence[int]) -> tuple[str, Logits]:
    """Return a classifier whose answers are limited to the classes of the data, with its key."""

    def classify(images: Images) -> "Tensor":
        from dexter.data.training import as_tensor

        return network(as_tensor(images)).logits[:, list(used)]

    return f"{network.answers_key}/{list(used)}", classify


def with_weights(
    network: "Classifier", used: Sequence[int], weights: Mapping[str, "Tensor"]
) -> tuple[str, Logits]:
    """Return the same with all weights replaced."""
    changed = copy.deepcopy(network)
    changed.network.load_state_dict(dict(weights))
    hashed = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        hashed.update(name.encode() + tensor.contiguous().numpy().tobytes())
    _, classify = limited(changed, used)
    return f"{hashed.hexdigest()}/{list(used)}", classify


def with_layer(network: "Classifier", layer: Layer) -> tuple[str, Logits]:
    """Return the same with the last layer replaced by one over the classes of the data."""

    def classify(images: Images) -> "Tensor":
        import torch

        from dexter.data.training import as_tensor

        features = network(as_tensor(images)).features.cpu().double()
        weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
        return features @ weight.T + bias

    digest = hashlib.sha256(layer.weight.tobytes() + layer.bias.tobytes()).hexdigest()
    return f"{network.answers_key}/{digest}", classify


def effects(
    sources: Sources,
    screening_id: str,
    used: Sequence[int],
    before: tuple[str, Logits],
    after: tuple[str, Logits],
) -> list[dict[str, Any]]:
    """Return the effect of each concept that could be balanced, before and after, and its fall.

    Both look at the pictures that the screening drew, with answers limited to the classes of the
    data. Empty where the screening is gone, or of a class that the data lacks.
    """
    from dexter.generation.pictures import Pictures
    from dexter.screening.screen import Judged, Screening
    from dexter_tui.analysis.store_bank import StoreAnswers, StoreBank

    store = sources.desk.store
    try:
        row = screening_records.screening(store, screening_id)
    except StoreError:
        return []
    bank = screening_records.bank(store, row.bank_key)
    own = [
        one
        for one in screening_records.screened(store, row.id)
        if one.classifier.weights_hash == sources.classifier.weights_hash
    ]
    if bank is None or bank.generator is None or not own or own[0].class_index not in used:
        return []
    member = own[0]
    config = RunConfig.model_validate(member.config).model_copy(
        update={"device": sources.config.device}
    )
    trust.require([config])
    asked = ScreenSettings.from_values(row.settings)
    settings = asked.for_generator(config.generator)
    concepts = screening_request.stored_concepts(bank)
    topic = screening_request.topic_of(
        [(member.classifier.labels, member.class_index, config)], settings
    )
    engine = screening_request.engine_settings(settings)
    rounds = screening_request.within(bank.rounds, engine.pictures)
    count = sum(part.count for part in rounds)
    pictures = Pictures(
        LazyGenerator(config, sources.device, sources.desk.loading),  # type: ignore[arg-type]
        bank.generator,
        StoreBank(store, sources.desk.job.id),
        batch=_BATCH,
    )
    progress = sources.desk.begin("screening again")
    progress.plan(2 * count)
    target = list(used).index(member.class_index)
    members = [
        _member(name, key, classify, target, progress.add)
        for name, (key, classify) in (("before", before), ("after", after))
    ]
    screening = Screening(
        concepts.pool, topic, pictures, sources.detector,
        replace(engine, pictures=count), StoreAnswers(store),
    )  # fmt: skip
    screening.rounds = rounds
    results: Mapping[str, Any] = {}
    for event in screening.run(members):
        if isinstance(event, Judged) and event.finished:
            results = event.results
    after_by_place = {(one.slot, one.concept): one for one in results["after"].effects}
    falls = screening.falls(*members)
    explained = [one for one in results["before"].effects if one.verdict == "explained"]
    found = [*results["before"].findings, *(one for one in explained if not one.core)]
    places = [(one.slot, one.concept) for one in found]
    return [
        _changed(one, after_by_place[place], falls.get(place))
        for one, place in zip(found, places, strict=True)
    ]


def _changed(before: "Effect", after: "Effect", fall: "Fall | None") -> dict[str, Any]:
    found: dict[str, Any] = {"concept": before.concept, "slot": before.slot}
    for name, effect in (("before", before), ("after", after)):
        found[name] = _clipped(effect.effect)
        found[f"{name}_low"], found[f"{name}_high"] = _clipped(effect.low), _clipped(effect.high)
    if fall is not None:
        found |= {"falls": fall.by, "falls_low": fall.low, "falls_high": fall.high}
    return found


def _clipped(value: float) -> float:
    return float(np.clip(value, -1, 1))


def _member(
    name: str, key: str, classify: Logits, target: int, on_pictures: Callable[[int], None]
) -> Any:
    from dexter.screening.screen import Member

    def odds(images: Images) -> Any:
        import torch

        rows = []
        with torch.inference_mode():
            for at in range(0, len(images), _BATCH):
                logits = classify(images[at : at + _BATCH]).cpu().double()
                others = torch.cat([logits[:, :target], logits[:, target + 1 :]], 1)
                rows.append((logits[:, target] - others.logsumexp(1)).numpy())
        on_pictures(len(images))
        return np.concatenate(rows)

    return Member(name, f"{key}/{target}", odds)
