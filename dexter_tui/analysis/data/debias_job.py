"""The debiasing of a classifier on labelled pictures, and the same screening of what came out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dexter.classifiers.reading import bar_of
from dexter.data import environments, last_layer, training
from dexter.data.concepts import Considered, hardest_first
from dexter.data.last_layer import Layer, Part
from dexter.data.settings import DebiasSettings
from dexter.data.slices import Concept, Looked, scores
from dexter.data.training import Labelled, Method, Trainer
from dexter.errors import InputError
from dexter_tui.analysis.data import screened_again
from dexter_tui.analysis.data.request import fit_split
from dexter_tui.analysis.data.sources import SAVE_STEPS, Sources
from dexter_tui.analysis.desk import Desk
from dexter_tui.formatting import size
from dexter_tui.jobs.recorder import log
from store.data_reports import records

if TYPE_CHECKING:
    from torch import Tensor

_PSEUDO, _CLASS, _TRUE = "pseudo-groups", "worst class", "true groups"
_INFERRED = "inferred environments"
_CHOICES = {
    "pseudo-groups": _PSEUDO,
    "worst-class": _CLASS,
    "environments": _INFERRED,
    "true-groups": _TRUE,
}
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def work(desk: Desk) -> None:
    """Fit or train what an attempt before has not, and write what was found."""
    job = DebiasJob(Sources(desk))
    found = job.all_weights() if job.settings.weights == "all" else job.last_layers()
    result = job.facts() | found | job.screen()
    records.finish(desk.store, job.sources.row.id, result)
    job.sources.files.clear(but=records.WEIGHTS)


class Split(NamedTuple):
    """A split: how it is seen, its classes from 0, pseudo-groups and true groups if known."""

    name: str
    looked: Looked
    classes: Ints
    seen: NDArray[np.bool_]
    groups: Ints
    true: Ints | None


class DebiasJob:
    """A debiasing at work."""

    def __init__(self, sources: Sources) -> None:
        assert isinstance(sources.settings, DebiasSettings)
        self.sources, self.settings = sources, sources.settings
        self.network = sources.classifier
        if self.network.answers.multi_label:
            raise _refusal(self.network.spec, "answers labels one by one")
        if self.settings.weights == "all":
            training.require_trainable(self.network)
        elif self.network.last_layer() is None:
            raise _refusal(self.network.spec, "has no linear layer at its end")
        self.used = sorted(set(sources.classes.values()))
        self.labels = [self.network.labels[at] for at in self.used]
        fit, test = sources.data.halves(fit_split(self.settings), self.settings.test_split)
        parts = {"fitted": fit, "measured": test}
        if self.settings.weights == "all":
            if any(item.split for item in sources.data.items):
                parts["chosen on"] = sources.data.of_split(self.settings.choose_split)
            else:
                parts["fitted"], parts["chosen on"] = fit.halves("", "")
        looked = {name: sources.looked(part, name) for name, part in parts.items()}
        self.considered = self._considered(looked)
        self.concept = self.considered[0].concept if self.considered else sources.concepts[0]
        self.splits = {name: self._split(name, own) for name, own in looked.items()}
        sides = ("without", "with")
        pseudo = [f"{label} {side} {self.concept.name}" for label in self.labels for side in sides]
        for name, split in self.splits.items():
            if name != "measured" or self._by_pseudo:
                own = _part(split, split.groups)
                last_layer.check_groups(own, pseudo, f"the part that is {name}")
        self.groups = pseudo
        if self.settings.group is not None:
            values = self._values()
            self.groups = [
                f"{label}, {self.settings.group} = {value}"
                for label in self.labels
                for value in values
            ]
            for name, split in self.splits.items():
                assert split.true is not None
                own = _part(split, split.true)
                last_layer.check_groups(own, self.groups, f"the part that is {name}")
        self.candidates: dict[str, Any] = {}

    def _considered(self, looked: Mapping[str, Looked]) -> list[Considered]:
        """Return the concepts that the pictures can be balanced by, the best reason first."""
        judged_on = looked.get("chosen on", looked["fitted"])
        needed = [own for name, own in looked.items() if name != "measured" or self._by_pseudo]
        concepts = [one for one in self.sources.concepts if all(map(self._divides(one), needed))]
        seen = [self._seen(one, judged_on) for one in concepts]
        return hardest_first(concepts, seen, self._classes(judged_on), judged_on.right)

    def _divides(self, concept: Concept) -> Callable[[Looked], bool]:
        """Return whether a concept divides each class of a split into parts of enough pictures."""

        def divides(looked: Looked) -> bool:
            groups = last_layer.pseudo_groups(self._classes(looked), self._seen(concept, looked))
            sizes = np.bincount(groups, minlength=2 * len(self.used))
            return int(sizes.min()) >= last_layer.LEAST

        return divides

    @property
    def _by_pseudo(self) -> bool:
        return self.settings.group is None

    def _seen(self, concept: Concept, looked: Looked) -> NDArray[np.bool_]:
        seen: NDArray[np.bool_] = scores(concept, looked, self.sources.detector) > 0
        return seen

    def _classes(self, looked: Looked) -> Ints:
        return np.array([self.used.index(target) for target in looked.targets])

    def _values(self) -> list[str]:
        group = self.settings.group or ""
        return sorted({item.groups.get(group, "") for item in self.sources.data.items})

    def _split(self, name: str, looked: Looked) -> Split:
        seen, classes = self._seen(self.concept, looked), self._classes(looked)
        true = None
        if self.settings.group is not None:
            values = self._values()
            of = [values.index(one.groups.get(self.settings.group, "")) for one in looked.items]
            true = classes * len(values) + np.array(of)
        return Split(name, looked, classes, seen, last_layer.pseudo_groups(classes, seen), true)

    @property
    def measured(self) -> Ints:
        """Return the groups of the measured pictures."""
        test = self.splits["measured"]
        return test.groups if test.true is None else test.true

    @property
    def shares(self) -> Floats:
        """Return the share of each group among the fitted pictures, which averages are weighted by
        (izmailovpavel/spurious_feature_learning#2)."""
        fit = self.splits["fitted"]
        counts = np.bincount(fit.groups if fit.true is None else fit.true,
                             minlength=len(self.groups))  # fmt: skip
        return np.asarray(counts / counts.sum(), np.float64)

    def facts(self) -> dict[str, Any]:
        """Return what the outcomes are about."""
        group = self.settings.group
        return {
            "labels": self.labels,
            "groups": self.groups,
            "measured_by": f"true groups: {group}" if group else "pseudo-groups",
            "concept": self.concept.name,
            "concepts": self.sources.origin,
            "considered": [
                {"concept": one.concept.name, "worst": one.accuracy, "pictures": one.pictures}
                for one in self.considered
            ],
            "image_text": self.sources.detector.name,
            "weights": self.settings.weights,
            "fitted": len(self.splits["fitted"].classes),
            "tested": len(self.splits["measured"].classes),
            "skipped": self.sources.skipped(),
        }

    @property
    def _bars(self) -> Floats:
        """Return by how much the logit of each label must be larger to be the original's answer."""
        found = np.zeros(len(self.network.labels))
        if self.network.answers.positive is not None:
            found[self.network.answers.positive] = bar_of(self.network.answers.threshold)
        return found

    # The last layer alone

    def last_layers(self) -> dict[str, Any]:
        """Fit the last layer again by all methods."""
        layer = self.network.last_layer()
        assert layer is not None
        weight, bias = layer
        whole = Layer(weight.double().numpy(), bias.double().numpy())
        # Of one logit, the layer gives its value and minus that: twice the difference.
        whole = Layer(whole.weight, whole.bias - 2 * self._bars)
        original = Layer(whole.weight[self.used], whole.bias[self.used])
        fit, test = self.splits["fitted"], self.splits["measured"]
        own = fit.looked
        features = own.features.astype(np.float64)
        last_layer.check_layer(whole, features, own.predicted, self.network.spec)
        progress = self.sources.desk.begin("last layers")
        progress.plan(len(last_layer.FITS) + 2)
        found = last_layer.compare(
            original,
            _part(fit, fit.groups),
            _part(test, self.measured),
            fit.seen,
            seeds=self.settings.seeds,
            true_fit=fit.true,
            shares=self.shares,
            report=lambda method: progress.add(1),
        )
        layers = {name: one for name, (_, one) in found.items()}
        self._keep_weights(_tensors(layers))
        self.candidates = {"DFR": layers["DFR"]}
        outcomes = [
            asdict(one) | {"true_groups": name.endswith(_TRUE)} for name, (one, _) in found.items()
        ]
        return {"outcomes": outcomes, "main": "DFR"}

    # All weights

    def all_weights(self) -> dict[str, Any]:
        """Train all weights by all methods, one training after another."""
        methods: list[tuple[str, Method, bool]] = [
            (Method.ERM.value, Method.ERM, False),
            (Method.BALANCED.value, Method.BALANCED, False),
            (Method.GROUP_DRO.value, Method.GROUP_DRO, False),
        ]
        if self.settings.group is not None:
            methods.append((f"{Method.GROUP_DRO.value} with {_TRUE}", Method.GROUP_DRO, True))
        needed = training.memory(self.network, self._training_settings, choices=4)
        log(f"a training needs about {size(needed)} of memory beside what is loaded")
        answers = training.logits(self.network, self.used, self._pixels("measured"))
        before = (answers - self._bars[self.used]).argmax(1)
        outcomes = [self._outcome("original", "", [before], true_groups=False)]
        course: list[dict[str, Any]] = []
        kept: dict[str, Any] = {}
        for name, method, true in methods:
            runs = [self._training(name, method, seed, true=true)
                    for seed in range(self.settings.seeds)]  # fmt: skip
            for run in runs:
                course += run["course"]
            for choice in runs[0]["predicted"]:
                predicted = [np.array(run["predicted"][choice]) for run in runs]
                own = self._outcome(name, choice, predicted, true_groups=true or choice == _TRUE)
                outcomes.append(own)
            if method is Method.GROUP_DRO and not true:
                kept = self._weights_of(name)
        self._keep_weights(kept)
        self.candidates = {Method.GROUP_DRO.value: kept}
        return {"outcomes": outcomes, "course": course, "main": Method.GROUP_DRO.value}

    @property
    def _training_settings(self) -> training.Settings:
        asked = self.settings
        return training.Settings(steps=asked.steps, batch=asked.batch, rate=asked.rate)

    def _choices(self, *, true: bool) -> dict[str, Ints]:
        split = self.splits["chosen on"]
        if true and split.true is not None:
            return {_TRUE: split.true}
        found = {
            _PSEUDO: split.groups,
            _CLASS: split.classes,
            _INFERRED: 2 * split.classes + self._environments,
        }
        if split.true is not None:
            found[_TRUE] = split.true
        # First the one whose weights are kept, which the report stands for.
        main = _CHOICES[self.settings.select]
        others = {name: own for name, own in found.items() if name not in (main, _TRUE)}
        return {main: found[main], **others}

    @cached_property
    def _environments(self) -> NDArray[np.bool_]:
        """Return the environments of the pictures that weights are chosen on, by the original."""
        answers = training.logits(self.network, self.used, self._pixels("chosen on"))
        return environments.infer(answers, self.splits["chosen on"].classes)

    def _pixels(self, name: str) -> NDArray[np.uint8]:
        return self.sources.pixels(self.splits[name].looked, name)

    def _training(self, name: str, method: Method, seed: int, *, true: bool) -> dict[str, Any]:
        """Train once, from where an attempt before was stopped."""
        files, key = self.sources.files, self._key(name, seed)
        done = files.value(key)
        if done is not None:
            return dict(done)
        labelled = {}
        for part in ("fitted", "chosen on"):
            split = self.splits[part]
            groups = split.true if true and split.true is not None else split.groups
            labelled[part] = Labelled(self._pixels(part), split.classes, groups)
        choices = self._choices(true=true)
        settings = self._training_settings
        trainer = Trainer(
            self.network, self.used, labelled["fitted"], labelled["chosen on"], method, settings,
            seed=seed, choices=choices,
        )  # fmt: skip
        files.restore("training.pt", key, trainer.restore)
        progress = self.sources.desk.begin(f"{name}, seed {seed}")
        progress.plan(settings.steps)
        progress.add(trainer.done)
        while not trainer.finished:
            trainer.step()
            if trainer.done % SAVE_STEPS == 0 or trainer.done in trainer.looks:
                files.keep_state("training.pt", key, trainer.state())
            progress.add(1)
        test = self._pixels("measured")
        predicted = {
            choice: training.predicted(trainer.chosen(choice), self.used, test).tolist()
            for choice in choices
        }
        course = [
            {"method": name, "seed": seed, "step": step, "worst": worst}
            for step, worst in trainer.course[next(iter(choices))]
        ]
        main = _CHOICES[self.settings.select]
        if seed == 0 and main in choices:
            self._write_tensors(f"{key}-weights", trainer.weights(main))
        found = {"predicted": predicted, "course": course}
        files.keep_value(key, found)
        return found

    def _key(self, name: str, seed: int) -> str:
        return f"{name.replace(' ', '-')}-{seed}-{self.sources.reading}"

    def _weights_of(self, name: str) -> dict[str, "Tensor"]:
        from safetensors.torch import load

        data = self.sources.files.read(f"{self._key(name, 0)}-weights")
        return {} if data is None else load(data)

    def _write_tensors(self, name: str, tensors: Mapping[str, "Tensor"]) -> None:
        from safetensors.torch import save

        whole = {key: tensor.contiguous() for key, tensor in tensors.items()}
        self.sources.files.write(name, save(whole))

    def _keep_weights(self, tensors: Mapping[str, "Tensor"]) -> None:
        self._write_tensors(records.WEIGHTS, tensors)

    def _outcome(
        self, name: str, choice: str, predicted: Sequence[Ints], *, true_groups: bool
    ) -> dict[str, Any]:
        test = self.splits["measured"]
        right = np.array([one == test.classes for one in predicted])
        accuracy = last_layer.accuracy_of(
            name, right, test.classes, self.measured, shares=self.shares
        )
        return asdict(accuracy) | {"chosen_by": choice, "true_groups": true_groups}

    # Again

    def screen(self) -> dict[str, Any]:
        """Screen the original and what came out on the bank of the screening, if there was one."""
        if self.sources.screening is None:
            return {}
        [(name, weights)] = self.candidates.items()
        after = (
            screened_again.with_layer(self.network, weights)
            if isinstance(weights, Layer)
            else screened_again.with_weights(self.network, self.used, weights)
        )
        before = screened_again.limited(self.network, self.used)
        effects = screened_again.effects(
            self.sources, self.sources.screening, self.used, before, after
        )
        return {"screened": name, "effects": effects} if effects else {}


def _part(split: Split, groups: Ints) -> Part:
    return Part(split.looked.features.astype(np.float64), split.classes, groups)


def _tensors(layers: Mapping[str, Layer]) -> dict[str, "Tensor"]:
    import torch

    return {
        f"{name}.{part}": torch.from_numpy(np.ascontiguousarray(getattr(one, part), np.float32))
        for name, one in layers.items()
        for part in ("weight", "bias")
    }


def _refusal(spec: str, what: str) -> InputError:
    return InputError(
        f"{spec} {what}, so it cannot be fitted again",
        field="classifier",
        value=spec,
        remedy="pass a network that ends in a linear layer over classes",
    )
