"""Labels that do not exclude each other, and one logit: in search, evidence and screening."""

import math
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from dexter.classifiers import ClassifierOptions, class_index, describe_classifier, load_classifier
from dexter.classifiers.reading import ClassifierOutput, bar_of
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.generation.pictures import Pictures
from dexter.reasoning.evidence import Witness
from dexter.screening.screen import member
from dexter.search.objective import Objective
from dexter.search.optimize import optimize
from dexter.search.prompt import load_masked_lm
from dexter.search.score import activation_score, draw_frames

LOGITS = torch.tensor([[4.0, 6.0, -6.0], [-1.0, 2.0, 0.5], [-3.0, -2.0, -1.0]])
EMPTY = torch.zeros(3, 0)


class TestAnswers:
    def test_a_label_is_judged_by_its_own_logit(self):
        output = ClassifierOutput(LOGITS, EMPTY, multi_label=True)
        assert torch.allclose(output.probability(0), LOGITS[:, 0].sigmoid())
        assert output.hits(0).tolist() == [True, False, False]
        assert output.hits(1).tolist() == [True, True, False]
        assert output.log_odds(0).tolist() == LOGITS[:, 0].tolist()
        # A miss shows the strongest other label.
        assert output.predicted(0).tolist() == [0, 1, 2]

    def test_a_class_is_judged_beside_the_others(self):
        output = ClassifierOutput(LOGITS, EMPTY)
        assert output.hits(0).tolist() == [False, False, False]
        p = output.probability(1)
        assert torch.allclose(output.log_odds(1), (p / (1 - p)).log(), atol=1e-4)
        assert torch.allclose(output.log_probability(1), p.log())

    def test_a_threshold_moves_the_decision_alone(self):
        strict = ClassifierOutput(LOGITS, EMPTY, multi_label=True, bar=bar_of(0.99))
        assert strict.hits(0).tolist() == [False, False, False]
        assert strict.probability(0).tolist() == LOGITS[:, 0].sigmoid().tolist()
        pair = torch.tensor([[0.0, 1.0], [0.0, 3.0]])
        assert ClassifierOutput(pair, EMPTY[:2], positive=1, bar=bar_of(0.9)).hits(1).tolist() == [
            False,
            True,
        ]


class TestObjective:
    @pytest.mark.parametrize("kind", ["log-odds", "cross-entropy", "bounded"])
    def test_the_loss_of_a_label_ignores_other_labels(self, kind):
        config = RunConfig.from_preset("quick", classifier="any", class_name="0", class_loss=kind)
        objective = Objective(config, None, 0)  # type: ignore[arg-type]  # it chooses no features
        one = ClassifierOutput(LOGITS, EMPTY, multi_label=True)
        other = ClassifierOutput(LOGITS + torch.tensor([0.0, 9.0, 9.0]), EMPTY, multi_label=True)
        loss = objective.losses(one)["class"]
        assert torch.equal(loss, objective.losses(other)["class"])
        p = math.exp(4) / (1 + math.exp(4))
        expected = {"log-odds": -4.0, "cross-entropy": -math.log(p), "bounded": 1 - p}[kind]
        assert float(loss[0]) == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def lab():
    return load_generator("lab")


@pytest.fixture(scope="module")
def people():
    return load_classifier("lab:people")


class TestLabelsOfTheLab:
    def test_are_loaded_without_a_progress_bar(self, capsys):
        load_classifier("lab:people")
        assert capsys.readouterr().err == ""

    def test_are_described_as_they_are_loaded(self, people):
        assert describe_classifier("lab:people") == people.describe()
        assert "14 classes" in people.recognised and "multi-label (sigmoid)" in people.recognised
        with pytest.raises(InputError, match="positive_class"):
            describe_classifier("lab:people", ClassifierOptions(positive_class="man"))

    @pytest.mark.parametrize("option", ["multi_label", "trust_pickle"])
    def test_take_no_text_for_a_yes_or_no(self, option):
        given: Any = {option: "no"}
        with pytest.raises(InputError, match=f"{option}: must be True or False, got 'no'"):
            ClassifierOptions(**given)

    @pytest.mark.parametrize(("label", "shown", "not_shown"), [
        ("blond", "a picture of a blond woman", "a picture of a black woman"),
        ("old", "a picture of a old woman", "a picture of a young woman"),
    ])  # fmt: skip
    def test_score_evidence_and_screening_see_a_label(self, people, lab, label, shown, not_shown):
        index = class_index(people.labels, label)
        high, low = (
            activation_score(lab, people, index, prompt, n=8, batch=8)
            for prompt in (shown, not_shown)
        )
        assert high.value >= low.value + 0.5
        witness = Witness(Pictures(lab, "key"), people, index)
        requests = [[(prompt, seed) for seed in range(6)] for prompt in (shown, not_shown)]
        both = [*requests[0], *requests[1]]
        witness.look(both)
        effect = witness.probabilities(requests[0]) - witness.probabilities(requests[1])
        assert effect.mean() > 0.25
        assert witness.hits(requests[0]).mean() > witness.hits(requests[1]).mean()
        screened = member("people", people, index)
        # In the same batch: in another, a picture's pixels may differ by one.
        ((chunk, images),) = Pictures(lab, "key").stream(both)
        log_odds = screened.classify(images)
        probabilities = witness.probabilities(chunk)
        assert np.allclose(1 / (1 + np.exp(-log_odds)), probabilities, atol=1e-5)

    def test_several_labels_hold_for_one_picture(self, people, lab):
        frames = list(
            draw_frames(lab, people, class_index(people.labels, "blond"),
                        "a picture of a blond woman", wanted=2, tries=4)
        )  # fmt: skip
        images = np.stack([frame.image for frame in frames])
        output = people(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
        both = output.hits(class_index(people.labels, "blond")) & output.hits(
            class_index(people.labels, "woman")
        )
        assert bool(both.any())


ONE_LOGIT = """
import torch
from torch import nn
class Blue(nn.Module):
    image_size = 32
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 1)
        self.head.weight.data = torch.tensor([[-9.0, -9.0, 18.0]])
        self.head.bias.data.zero_()
    def forward(self, x):
        return self.head(x.mean((2, 3)))
make = Blue
"""


@pytest.fixture
def blue(tmp_path):
    (tmp_path / "blue.py").write_text(ONE_LOGIT)
    return f"python:{tmp_path / 'blue.py'}:make"


class TestOneLogit:
    def test_stands_for_two_classes(self, blue):
        classifier = load_classifier(blue, ClassifierOptions(positive_class="blue"))
        assert classifier.labels == ["not blue", "blue"]
        assert "one logit (sigmoid) of 'blue'" in classifier.recognised
        pictures = torch.zeros(2, 3, 8, 8)
        pictures[0, 2] = 1
        pictures[1, 0] = 1
        output = classifier(pictures)
        assert torch.allclose(output.probability(1), torch.tensor([18.0, -9.0]).sigmoid())
        assert output.predicted(1).tolist() == [1, 0] == output.predicted(0).tolist()
        blue_weight, other_weight = classifier.class_weight(1), classifier.class_weight(0)
        assert blue_weight is not None and other_weight is not None
        assert torch.equal(blue_weight, -other_weight)

    def test_labels_in_either_order(self, blue, tmp_path):
        (tmp_path / "labels.txt").write_text("blue\nred\n")
        options = {"labels": tmp_path / "labels.txt"}
        classifier = load_classifier(blue, ClassifierOptions(**options, positive_class="Blue"))
        pictures = torch.zeros(1, 3, 8, 8)
        pictures[0, 2] = 1
        assert classifier.labels == ["blue", "red"]
        assert classifier(pictures).predicted(0).tolist() == [0]
        with pytest.raises(InputError, match="one logit for 'blue' and 'red'"):
            load_classifier(blue, ClassifierOptions(**options))

    def test_both_classes_go_through_a_search(self, blue):
        models: dict[str, Any] = {
            "generator": load_generator(
                str(tiny.generator_folder()),
                GeneratorOptions(scheduler="LCM", diffusion_steps=1, image_size=32),
            ),
            "masked_lm": load_masked_lm(str(tiny.masked_lm_folder())),
        }
        first = []
        for index in (0, 1):
            config = RunConfig.from_preset(
                "quick",
                classifier=blue,
                class_name=str(index),
                positive_class="blue",
                batch=4,
                steps=1,
                diffusion_steps=1,
            )
            options = config.options(ClassifierOptions, device="cpu")
            (step,) = optimize(config, classifier=load_classifier(blue, options), **models)
            first.append(step)
        # The first pictures are the same, and one class is what the other is not.
        assert first[0].target_probability + first[1].target_probability == pytest.approx(1)
        assert first[0].losses["class"] == pytest.approx(-first[1].losses["class"], abs=1e-4)
        assert first[0].hits + first[1].hits == 4
