"""Debiasing by a screening's own words, against true groups, on planted data sets of the lab.

    python -m benchmarks.data.debias [birds-small | faces-old-men] [--seeds 3]

Birds of 0.3 to 0.6 of their size in odd colours, 95% of them at home; or people, old or young, of
whom 97.5% of the old are men and of the young women; in training and validation. The test pictures
are even. Nothing of a true group is in the words (a screening of the ERM
classifier finds them), in the groups (the image-text model assigns them), or in the choice of
weights (worst pseudo-group of the validation pictures); rows that use true groups are marked. Every
method trains the same network from the same start, with the same steps and settings.

Each part is kept below build/, so that a benchmark that was stopped continues. One thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dexter.classifiers import Classifier, load_classifier
from dexter.data import environments, last_layer, training
from dexter.data.concepts import concepts_of, hardest_first
from dexter.data.folder import read_data
from dexter.data.pictures import batches
from dexter.data.slices import scores_of
from dexter.data.training import Labelled, Method, Settings, Trainer
from dexter.lab.scenes import PLANTED
from dexter.stats import wilson_interval

RESULTS = Path("benchmarks/results")
WORK = Path("build")


class Task(NamedTuple):
    """A data set of the lab with a planted bias; column, second: the true group of 1."""

    result: str
    labels: tuple[str, str]
    column: str
    second: str


TASKS = {
    "birds-small": Task("debias.json", ("waterbird", "landbird"), "place", "land"),
    "faces-old-men": Task("debias_people.json", ("old", "young"), "gender", "female"),
}
WIDTHS = (16, 32, 48, 64)
SETTINGS = Settings(steps=600, batch=32, rate=2e-3, checks=3)
ACCURACIES = (0.8, 0.6, 0.9, 0.7)
SCREENED, AGAIN = 400, 1600
"""Pictures of the screening that finds concepts, and of the one before and after."""
WORST = 0.75
"""The bias is planted if the worst group of ERM is no better."""
BY_PSEUDO, BY_CLASS, BY_TRUE = "pseudo-groups", "worst class", "true groups"
BY_INFERRED = "inferred environments"
EVEN = "ERM on even pictures"
"""Shows what the bank says of a classifier without the bias."""
SPLITS = ("train", "validation", "test")

Ints = NDArray[np.int64]


class Kept:
    """Results by name, written after each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what was kept, or make it; seconds are CPU time."""
        if name not in self._found:
            begun = time.process_time()
            value = make()
            seconds = time.process_time() - begun
            self._found[name] = {"value": value, "cpu_seconds": round(seconds, 1)}
            self._path.write_text(json.dumps(self._found))
            print(f"{name}: {seconds:.0f} CPU s", flush=True)
        return self._found[name]["value"]

    @property
    def seconds(self) -> float:
        """Return the CPU seconds of all parts."""
        return float(sum(one["cpu_seconds"] for one in self._found.values()))


class Bench:
    """The data, and what is computed from it once."""

    def __init__(self, work: Path, name: str, size: int, settings: Settings) -> None:
        from dexter.reasoning.detection import load_detector
        from dexter.screening.screen import MemoryAnswers

        self.work, self.settings, self.name, self.task = work, settings, name, TASKS[name]
        work.mkdir(parents=True, exist_ok=True)
        self.kept = Kept(work / "parts.json")
        self.detector = load_detector("lab")
        self.answers = MemoryAnswers()
        data = read_data(f"lab:{name}", size=size)
        self.digest = data.digest()
        self.pixels: dict[str, NDArray[np.uint8]] = {}
        self.classes: dict[str, Ints] = {}
        self.places: dict[str, Ints] = {}
        self.embeddings: dict[str, NDArray[np.float32]] = {}
        for split in SPLITS:
            part = data.of_split(split)
            _, labels, column, second = self.task
            self.classes[split] = np.array([labels.index(one.label) for one in part.items])
            self.places[split] = np.array([one.groups[column] == second for one in part.items]) * 1
            file = work / f"{split}.npz"
            if not file.exists():
                drawn = [p for _, p in batches(part.items, 64, part.skipped)]
                # Test pictures are only measured: nothing looks at what they show.
                looked_at = [] if split == "test" else drawn
                embedded = [self.detector.embed(one) for one in looked_at]
                np.savez(
                    file,
                    pixels=np.concatenate(drawn),
                    embeddings=np.concatenate(embedded or [np.empty((0, 1), np.float32)]),
                )
            kept = np.load(file)
            self.pixels[split], self.embeddings[split] = kept["pixels"], kept["embeddings"]

    def true(self, split: str) -> Ints:
        """Return the true group of each picture."""
        return 2 * self.classes[split] + self.places[split]

    def flipped(self, split: str, accuracy: float, seed: int) -> Ints:
        """Return true groups whose place is right for a share of the pictures, at random."""
        rng = np.random.default_rng((seed, SPLITS.index(split), round(100 * accuracy)))
        wrong = rng.random(len(self.places[split])) >= accuracy
        return 2 * self.classes[split] + np.where(wrong, 1 - self.places[split], self.places[split])

    def start(self, seed: int) -> Classifier:
        """Return the network of a seed before any training."""
        import torch

        from dexter.lab import models

        folder = self.work / f"start-{seed}"
        if not folder.exists():
            torch.manual_seed(seed)
            save(folder, models.classifier(self.task.labels, WIDTHS))
        return load_classifier(f"hf:{folder}")

    def trained(self, name: str, seed: int, method: Method, groups: Mapping[str, Ints]) -> Any:
        """Train by groups of both splits; return the accuracy by group for each choice.

        ``groups``: of the splits. The weights of each choice are kept as a folder.
        """

        def make() -> Any:
            classes = self.classes["validation"]
            if name == Method.ERM.value:  # there are no pseudo-groups before it was screened
                choices = {BY_CLASS: classes, BY_TRUE: self.true("validation")}
            elif name.endswith(BY_TRUE):
                choices = {BY_TRUE: self.true("validation")}
            else:
                choices = {BY_PSEUDO: groups["validation"], BY_CLASS: classes,
                           BY_INFERRED: 2 * classes + self.environments(seed)}  # fmt: skip
            parts = {
                split: Labelled(self.pixels[split], self.classes[split], groups[split])
                for split in ("train", "validation")
            }
            trainer = Trainer(
                self.start(seed), [0, 1], parts["train"], parts["validation"], method,
                self.settings, seed=seed, choices=choices,
            )  # fmt: skip
            while not trainer.finished:
                trainer.step()
            found = {}
            for choice in choices:
                classifier = trainer.chosen(choice)
                save(self.folder(name, seed, choice), classifier.network)
                found[choice] = self.accuracy(
                    training.predicted(classifier, [0, 1], self.pixels["test"])
                )
            return found

        return self.kept.get(f"{name}, seed {seed}", make)

    def unbiased(self, seed: int) -> Path:
        """Train by ERM on as many even pictures; return the folder of the network."""
        folder = self.folder(EVEN, seed, BY_CLASS)

        def make() -> None:
            _, draw = PLANTED[self.name]
            parts = {}
            for split in ("train", "validation"):
                drawn = list(draw(split, len(self.classes[split]), correlation=0.5))
                classes = np.array([one.label for one in drawn])
                pictures = np.stack([one.picture for one in drawn])
                parts[split] = Labelled(pictures, classes, classes)
            trainer = Trainer(
                self.start(seed), [0, 1], parts["train"], parts["validation"], Method.ERM,
                self.settings, seed=seed, choices={BY_CLASS: parts["validation"].classes},
            )  # fmt: skip
            while not trainer.finished:
                trainer.step()
            save(folder, trainer.chosen(BY_CLASS).network)

        self.kept.get(f"{EVEN}, seed {seed}", make)
        return folder

    def environments(self, seed: int) -> NDArray[np.bool_]:
        """Return the environments of the validation pictures by the answers of ERM."""
        erm = load_classifier(f"hf:{self.folder('ERM', seed, BY_CLASS)}")
        logits = training.logits(erm, [0, 1], self.pixels["validation"])
        return environments.infer(logits, self.classes["validation"])

    def folder(self, name: str, seed: int, choice: str) -> Path:
        """Return the folder of a trained network."""
        return self.work / "networks" / f"{name}-{seed}-{choice}".replace(" ", "_")

    def accuracy(self, predicted: Ints) -> dict[str, Any]:
        """Return the accuracy by true group of the test pictures, weighted by training groups."""
        right = predicted == self.classes["test"]
        of_test = self.true("test")
        by_group = [float(right[of_test == group].mean()) for group in range(4)]
        shares = np.bincount(self.true("train"), minlength=4) / len(self.true("train"))
        classes = [float(right[self.classes["test"] == one].mean()) for one in (0, 1)]
        return {
            "by_group": by_group,
            "worst": min(by_group),
            "average": float(shares @ by_group),
            "worst_class": min(classes),
        }

    # The product's own findings

    def findings(self, seed: int) -> dict[str, Any]:
        """Screen an ERM network on the bank, which is drawn once."""

        def make() -> Any:
            erm = self.folder("ERM", seed, BY_CLASS)
            return self._screened({"ERM": erm}, SCREENED, SCREENED // 2)["results"]["ERM"]

        return dict(self.kept.get(f"screening of ERM, seed {seed}", make))

    def screened_again(self, seed: int, folders: Mapping[str, Path]) -> dict[str, Any]:
        """Screen networks by name, ERM first, on a larger bank."""
        key = f"screening of {' and '.join(folders)}, seed {seed}"
        return dict(self.kept.get(key, lambda: self._screened(folders, AGAIN, AGAIN)))

    def _screened(self, folders: Mapping[str, Path], budget: int, first: int) -> Any:
        """Return the effects of each network, and by how much they fell from the first to each."""
        from dexter.generation.generator import load_generator
        from dexter.generation.pictures import Pictures
        from dexter.reasoning.topic import load_world, make_topic
        from dexter.screening import screen
        from dexter.screening.concepts import lab_pool
        from dexter_tui.analysis.store_bank import StoreBank
        from store import Store

        world = load_world()
        generator = load_generator("lab")
        home = self.work / "home"
        home.mkdir(exist_ok=True)
        pictures = Pictures(
            generator, generator.weights_hash, StoreBank(Store.open(home.resolve()))
        )
        state = self.work / f"rounds-{budget}.json"
        before = json.loads(state.read_text()) if state.exists() else None
        screening = screen.Screening(
            lab_pool(world), make_topic(self.task.labels, 0, world=world), pictures, self.detector,
            screen.Settings(pictures=budget, first=first), self.answers, before,
        )  # fmt: skip
        members = [
            screen.member(name, load_classifier(f"hf:{folder}"), 0)
            for name, folder in folders.items()
        ]
        for _ in screening.run(members):
            pass
        if before is None:
            state.write_text(json.dumps(screening.state()))
        names = ("slot", "concept", "verdict", "effect", "low", "high", "core", "direct")
        results = {}
        for name, result in screening.results.items():
            ordered = [*result.findings, *(e for e in result.effects if e not in result.findings)]
            results[name] = {
                "pictures": result.pictures,
                "mean": result.mean,
                "effects": [{name: getattr(e, name) for name in names} for e in ordered],
            }
        falls = {
            one.name: {
                concept: asdict(fall)
                for (_, concept), fall in screening.falls(members[0], one).items()
            }
            for one in members[1:]
        }
        return {"results": results, "falls": falls}

    def pseudo_groups(
        self, seed: int
    ) -> tuple[str, dict[str, Ints], dict[str, NDArray[np.bool_]]] | None:
        """Return the concept to balance by, of those that the screening of an ERM network found.

        None if it finds none that divides the classes.
        """
        from dexter.reasoning.topic import load_world
        from dexter.screening.concepts import lab_pool

        folder, judged_on = self.folder("ERM", seed, BY_CLASS), "validation"
        found = self.findings(seed)
        concepts = concepts_of(found["effects"], lab_pool(load_world()))
        predicted = self.kept.get(
            f"answers of ERM, seed {seed}",
            lambda: training.predicted(
                load_classifier(f"hf:{folder}"), [0, 1], self.pixels[judged_on]
            ).tolist(),
        )
        classes = self.classes[judged_on]
        of_each = [
            scores_of(one, self.embeddings[judged_on], self.detector) > 0 for one in concepts
        ]
        considered = hardest_first(concepts, of_each, classes, np.array(predicted) == classes)
        if not considered:
            return None
        for one in considered:
            print(f"  {one.concept.name}: worst {one.accuracy:.3f} of {one.pictures} pictures")
        concept = considered[0].concept
        fitted = SPLITS[:2]
        seen = {
            split: scores_of(concept, self.embeddings[split], self.detector) > 0 for split in fitted
        }
        groups = {
            split: last_layer.pseudo_groups(self.classes[split], seen[split]) for split in fitted
        }
        return concept.name, groups, seen

    def layers(self, seed: int, groups: Ints, seen: NDArray[np.bool_]) -> dict[str, Any]:
        """Fit last layers of an ERM network to the validation pictures, which are biased."""

        def make() -> dict[str, Any]:
            network = load_classifier(f"hf:{self.folder('ERM', seed, BY_CLASS)}")
            weight, bias = network.last_layer() or (None, None)
            assert weight is not None and bias is not None
            original = last_layer.Layer(weight.double().numpy(), bias.double().numpy())
            parts = {}
            for split, own in (("validation", groups), ("test", self.true("test"))):
                features = training.features(network, self.pixels[split])
                parts[split] = last_layer.Part(features, self.classes[split], own)
            fit, test = parts["validation"], parts["test"]
            direction = last_layer.direction_of(fit, seen)
            true = replace(fit, groups=self.true("validation"))
            fitted = {
                "concept removed": last_layer.suppressed(original, fit, direction),
                "concept removed, refitted": last_layer.removed(fit, direction, seed),
                "refitted, no groups (control)": last_layer.refit(fit, seed),
                "DFR, pseudo-groups": last_layer.reweighted(fit, seed),
                f"DFR, {BY_TRUE}": last_layer.reweighted(true, seed),
            }
            return {
                name: self.accuracy(one.predicted(test.features)) for name, one in fitted.items()
            }

        return dict(self.kept.get(f"last layers, seed {seed}", make))


def save(folder: Path, network: Any) -> None:
    """Write a network of the lab as a Hugging Face folder, float32."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "ConvNextImageProcessor",
                "do_normalize": True,
                "do_rescale": True,
                "do_resize": True,
                "crop_pct": 1.0,
                "size": {"shortest_edge": 64},
                "image_mean": [0.5] * 3,
                "image_std": [0.5] * 3,
            }
        )
    )


def summary(runs: Sequence[Mapping[str, Any]], size: int) -> dict[str, Any]:
    """Return means over seeds; Wilson's 95% interval of the worst group, for its pictures."""
    worst = [one["worst"] for one in runs]
    mean = float(np.mean(worst))
    low, high = wilson_interval(round(mean * size), size)
    return {
        "worst": mean,
        "worst_low": low,
        "worst_high": high,
        "seeds": worst,
        "average": float(np.mean([one["average"] for one in runs])),
        "worst_class": float(np.mean([one["worst_class"] for one in runs])),
        "by_group": np.mean([one["by_group"] for one in runs], axis=0).tolist(),
    }


def parts_of(concept: str) -> list[str]:
    """Return the names of a concept's parts; none if it was not found."""
    return concept.split(", ") if concept else []


def fallen(seed: int, names: Sequence[str], again: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the effects of these concepts on ERM, and on the others with their falls."""
    first, *others = again["results"]
    effects = {
        method: {one["concept"]: one for one in again["results"][method]["effects"]}
        for method in again["results"]
    }
    return [
        {
            "seed": seed,
            "method": method,
            "before": effects[first][name],
            "after": effects[method][name],
            "falls": again["falls"][method].get(name),
        }
        for name in names
        for method in others
    ]


def measure(
    bench: Bench, seeds: int, accuracies: Sequence[float], curve_seeds: int
) -> dict[str, Any]:
    """Run all methods; return the table, the curve (of fewer seeds) and the screenings."""
    runs: dict[str, dict[str, list[Any]]] = {}
    concepts, agreement, before_after = [], [], []

    def add(name: str, found: Mapping[str, Any]) -> None:
        for choice, one in found.items():
            runs.setdefault(name, {}).setdefault(choice, []).append(one)

    true = {split: bench.true(split) for split in SPLITS}
    for seed in range(seeds):
        erm = bench.trained("ERM", seed, Method.ERM, true)
        add("ERM", erm)
        key = f"{Method.GROUP_DRO.value}, {BY_TRUE}"
        add(key, bench.trained(key, seed, Method.GROUP_DRO, true))
        proposed = bench.pseudo_groups(seed)
        if proposed is None:  # then nothing is done
            concepts.append("")
            for method in (Method.GROUP_DRO, Method.BALANCED):
                kept = dict.fromkeys((BY_PSEUDO, BY_CLASS, BY_INFERRED), erm[BY_CLASS])
                add(f"{method.value}, {BY_PSEUDO}", kept)
            continue
        name, groups, seen = proposed
        concepts.append(name)
        first = bench.places["train"] == 0
        share = float((seen["train"] == first).mean())
        agreement.append(max(share, 1 - share))
        for method in (Method.GROUP_DRO, Method.BALANCED):
            key = f"{method.value}, {BY_PSEUDO}"
            add(key, bench.trained(key, seed, method, groups))
        for name_of, one in bench.layers(seed, groups["validation"], seen["validation"]).items():
            add(name_of, {BY_TRUE if name_of.endswith(BY_TRUE) else BY_PSEUDO: one})
        folders = {"ERM": bench.folder("ERM", seed, BY_CLASS)}
        for method, by in (
            (Method.GROUP_DRO, BY_PSEUDO), (Method.GROUP_DRO, BY_TRUE), (Method.BALANCED, BY_PSEUDO)
        ):  # fmt: skip
            trained = f"{method.value}, {by}"
            folders[trained] = bench.folder(trained, seed, by)
        before_after += fallen(seed, parts_of(name), bench.screened_again(seed, folders))
    curve = []
    for accuracy in accuracies:
        for seed in range(curve_seeds):
            flipped = {split: bench.flipped(split, accuracy, seed) for split in SPLITS}
            key = f"GroupDRO, groups {accuracy:.0%} right"
            add(key, bench.trained(key, seed, Method.GROUP_DRO, flipped))
    for seed, name in enumerate(concepts):
        folders = {"ERM": bench.folder("ERM", seed, BY_CLASS), EVEN: bench.unbiased(seed)}
        before_after += fallen(seed, parts_of(name), bench.screened_again(seed, folders))
    size = int(np.bincount(bench.true("test")).min())
    table = {
        name: {choice: summary(of_choice, size) for choice, of_choice in own.items()}
        for name, own in runs.items()
    }
    base = table["ERM"][BY_CLASS]
    top = table[f"GroupDRO, {BY_TRUE}"][BY_TRUE]

    def recovered(one: Mapping[str, Any]) -> float:
        return float((one["worst"] - base["worst"]) / (top["worst"] - base["worst"]))

    for accuracy in accuracies:
        one = table[f"GroupDRO, groups {accuracy:.0%} right"][BY_PSEUDO]
        curve.append({"accuracy": accuracy, "worst": one["worst"], "seeds": one["seeds"],
                      "recovered": recovered(one)})  # fmt: skip
    curve.append({"accuracy": 1.0, "worst": top["worst"], "seeds": top["seeds"], "recovered": 1.0})
    for own in table.values():
        for one in own.values():
            one["recovered"] = recovered(one)
    return {
        "planted": base["worst"] <= WORST,
        "concepts": concepts,
        "pseudo_groups_right": agreement,
        "table": table,
        "curve": curve,
        "screened": before_after,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Return the tables of the documents."""
    lines = [
        "| method | weights chosen by | worst group | seeds | average | worst class | recovered |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, own in found["table"].items():
        if "right" in name:
            continue
        for choice, one in own.items():
            shown = f"{choice}, **true groups used**" if choice == BY_TRUE else choice
            marked = f"{name}" + (" (**bracket**)" if BY_TRUE in name else "")
            lines.append(
                f"| {marked} | {shown} | {one['worst']:.2f} [{one['worst_low']:.2f}, "
                f"{one['worst_high']:.2f}] | {min(one['seeds']):.2f} to {max(one['seeds']):.2f} | "
                f"{one['average']:.2f} | {one['worst_class']:.2f} | {one['recovered']:.0%} |"
            )
    lines += ["", "| groups right | worst group | seeds | recovered |", "|---|---|---|---|"]
    for one in sorted(found["curve"], key=lambda one: -one["accuracy"]):
        lines.append(
            f"| {one['accuracy']:.0%} | {one['worst']:.2f} | {min(one['seeds']):.2f} to "
            f"{max(one['seeds']):.2f} | {one['recovered']:.0%} |"
        )
    lines += [
        "",
        "| seed | concept | effect on ERM | method | effect after | falls by |",
        "|---|---|---|---|---|---|",
    ]
    for one in sorted(found["screened"], key=lambda one: one["seed"]):
        before, after = (
            f"{e['effect']:+.2f} [{e['low']:+.2f}, {e['high']:+.2f}], {e['verdict']}"
            for e in (one["before"], one["after"])
        )
        marked = one["method"] + (" (**bracket**)" if BY_TRUE in one["method"] else "")
        fall = one["falls"]
        shown = f"{fall['by']:.0%} [{fall['low']:.0%}, {fall['high']:.0%}]" if fall else ""
        lines.append(
            f"| {one['seed']} | {one['before']['concept']} | {before} | {marked} | {after} | "
            f"{shown} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", nargs="?", choices=TASKS, default="birds-small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=SETTINGS.steps)
    parser.add_argument("--curve-seeds", type=int)
    parser.add_argument("--accuracies", type=float, nargs="*", default=list(ACCURACIES))
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--target", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings = replace(SETTINGS, steps=asked.steps)
    work = asked.work / f"bench-debias-{asked.task}-{asked.size}-{asked.steps}"
    bench = Bench(work, asked.task, asked.size, settings)
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "data": {"name": asked.task, "size": asked.size, "hash": bench.digest},
        "settings": vars(settings),
        "network": {"widths": WIDTHS},
        **measure(bench, asked.seeds, asked.accuracies, asked.curve_seeds or asked.seeds),
    }
    found["cpu_seconds"] = bench.kept.seconds
    target = asked.target or RESULTS / bench.task.result
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found))


if __name__ == "__main__":
    main()
