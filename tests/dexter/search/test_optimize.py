"""The loop on tiny models: what a step says, when it ends, and that it can be resumed."""

from __future__ import annotations

import io
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from dexter.classifiers import ClassifierOptions, load_classifier
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.generation.generator import load_generator, to_uint8
from dexter.generation.options import GeneratorOptions
from dexter.search.loop import Search
from dexter.search.optimize import MOST_PROBABLE, optimize
from dexter.search.prompt import load_masked_lm
from dexter.seeds import picture_seeds

TEMPLATE = "a picture of a bird with [MASK] and [MASK]"


@pytest.fixture(scope="module")
def models():
    return {
        "generator": load_generator(
            str(tiny.generator_folder()),
            GeneratorOptions(scheduler="LCM", diffusion_steps=2, image_size=32),
        ),
        "classifier": load_classifier(f"hf:{tiny.classifier_folder()}"),
        "masked_lm": load_masked_lm(str(tiny.masked_lm_folder())),
    }


def make_config(preset: str = "default", **overrides: object) -> RunConfig:
    tiny_run = {
        "classifier": "hf:tiny",
        "class_name": "waterbird",
        "template": TEMPLATE,
        "batch": 3,
        "steps": 4,
        "diffusion_steps": 2,
    }
    return RunConfig.from_preset(preset, **{**tiny_run, **overrides})


def start(models, state=None, **overrides: Any) -> Search:
    return optimize(make_config(**overrides), **models, state=state)


def comparable(step):
    """A step without what may differ between two equal runs, or cannot be compared by ==."""
    return asdict(replace(step, seconds=0.0, image=step.image.tobytes()))


def python_classifier(tmp_path, body: str):
    file = tmp_path / "classifier.py"
    file.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    labels, image_size, seen = ['waterbird', 'other'], 32, []\n"
        "    def forward(self, x):\n"
        f"        {body}\n"
        "        return torch.stack([score, -score], 1)\n"
        "def make():\n"
        "    return Net()\n"
    )
    return load_classifier(f"python:{file}:make")


def test_a_step_names_every_term(models):
    step = next(start(models, features=(2, 5), feature_weight=0.1, masked_lm_weight=0.5))
    assert list(step.losses) == ["class", "feature 2", "feature 5", "masked_lm", "total"]
    parts = step.losses
    expected = parts["class"] + 0.1 * (parts["feature 2"] + parts["feature 5"])
    assert parts["total"] == pytest.approx(expected + 0.5 * parts["masked_lm"], rel=1e-5)
    assert step.step == 1
    assert 0 < step.target_probability < 1
    assert 0 <= step.hits <= 3
    assert step.entropy is not None and 0 < step.entropy <= math.log(40)
    assert len(step.words) == len(step.best_words) == len(step.pseudo_targets) == 2
    assert step.word_probabilities is not None and len(step.word_probabilities) == 2
    for probabilities in step.word_probabilities:
        shown = list(probabilities.values())
        assert len(shown) == MOST_PROBABLE and shown == sorted(shown, reverse=True)
        assert 0 < sum(shown) <= 1.001
    assert step.seconds > 0


def test_a_steps_image_can_be_made_again_from_its_words_and_the_search_noise(models):
    search = start(models, seed=7)
    generator = models["generator"]
    for number, step in enumerate(search):
        text = "a picture of a bird with {} and {}".format(*step.words)
        seed = picture_seeds("search", 3 * number, 1, run_seed=7)
        with torch.no_grad():
            image = to_uint8(generator.sample(generator.encode_text([text]), seed))[0]
        assert np.abs(image.astype(int) - step.image).max() <= 1


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"straight_through": 0, "word_effects": {"sea": (2.0, 0.2), "tree": (-1.0, 0.3)}},
        {"score_function": 0, "n_grad": 1},
        {"preset": "paper", "n_features": 3},
        {"class_loss": "bounded", "temperature": 2.0, "temperature_end": 0.5},
        {"search": "continuous"},
        {"search": "continuous", "embeddings": "output", "explore": 0.25},
    ],
)
def test_a_resumed_run_repeats_the_rest_bit_for_bit(models, overrides):
    overrides = {"steps": 7, **overrides}
    whole = start(models, **overrides)
    steps = [comparable(step) for step in whole]
    first = start(models, **overrides)
    head = [comparable(next(first)) for _ in range(3)]
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = start(models, state=state, **overrides)
    tail = [comparable(step) for step in second]
    assert head + tail == steps
    assert replace(second.result, peak_memory_bytes=0) == replace(whole.result, peak_memory_bytes=0)


def test_a_finished_run_can_be_restored_for_its_result(models):
    first = start(models)
    list(first)
    second = start(models, state=first.state_dict())
    assert list(second) == []
    assert second.result.prompts == first.result.prompts


def test_a_state_of_other_settings_is_refused_by_name(models):
    search = start(models)
    with pytest.raises(InputError, match=r"learning_rate: .* 0\.1, this run 0\.2"):
        start(models, state=search.state_dict(), learning_rate=0.2)
    with pytest.raises(InputError, match="seed"):
        start(models, state=search.state_dict(), seed=1)


def test_micro_batches_and_checkpointing_change_nothing_but_rounding(models):
    together = [step.losses["total"] for step in start(models, n_grad=2)]
    for overrides in ({"micro_batch": 1}, {"gradient_checkpointing": "all"}):
        apart = [step.losses["total"] for step in start(models, n_grad=2, **overrides)]
        assert apart == pytest.approx(together, rel=1e-3)


@pytest.mark.parametrize(("saved", "level"), [(True, "all"), (False, "none")])
def test_a_state_saved_when_checkpointing_was_all_or_none(models, saved, level):
    state = start(models).state_dict()
    state["plan"]["gradient_checkpointing"] = saved
    assert start(models, state=state).state_dict()["plan"]["gradient_checkpointing"] == level


def test_seeds_start_differently(models):
    assert next(start(models, seed=1)).words != next(start(models, seed=2)).words


def test_only_n_grad_pictures_are_made_with_autograd(models, tmp_path):
    body = "score = x.mean((1, 2, 3)); self.seen.append((len(x), x.requires_grad))"
    classifier = python_classifier(tmp_path, body)
    search = optimize(
        make_config(batch=5, n_grad=2, micro_batch=2),
        **{**models, "classifier": classifier},
    )
    seen = classifier._module.seen
    seen.clear()
    next(search)
    assert seen == [(2, True), (2, False), (1, False)]


@pytest.mark.parametrize(
    "estimator", [{"score_function": 0}, {"straight_through": 0}], ids=lambda e: next(iter(e))
)
def test_each_estimator_alone_moves_the_soft_prompt(models, estimator):
    """Without pseudo-targets: the gradient of the image loss alone is not zero."""
    search = start(models, **estimator, pseudo_target="none", masked_lm_weight=0)
    before = search.state_dict()["soft_prompt"]
    next(search)
    assert (search.state_dict()["soft_prompt"] - before).abs().max() > 1e-3


def test_a_run_ends_at_its_step_limit(models):
    search = start(models, stop="none")
    assert [step.step for step in search] == [1, 2, 3, 4]
    assert search.result.stop_reason == "steps"
    assert search.result.steps == 4


def test_a_run_ends_after_enough_hits(models, tmp_path):
    classifier = python_classifier(tmp_path, "score = x.mean((1, 2, 3)) + 5")
    search = optimize(
        make_config(stop="hits", stop_hits=8, steps=50), **{**models, "classifier": classifier}
    )
    steps = list(search)
    assert [step.hits for step in steps] == [3, 3, 3]
    assert search.result.stop_reason == "hits"


def test_a_run_ends_when_its_words_are_stable(models):
    settled = {"words": "sea", "stop": "stable", "stable_steps": 3, "steps": 50}
    search = start(models, **settled)
    assert len(list(search)) == 4  # three steps after the first, with one word left to choose
    assert search.result.stop_reason == "stable"


def test_stable_words_do_not_end_a_run_while_others_are_likely(models):
    search = start(models, words="sea,lake", stable_steps=1, stable_entropy=0.0, steps=6)
    assert len(list(search)) == 6


def test_a_result_has_to_be_waited_for(models):
    search = start(models)
    with pytest.raises(RuntimeError, match="not ended"):
        _ = search.result


def test_the_answer_is_the_best_tuple_on_fresh_pictures(models):
    search = start(models, steps=6)
    list(search)
    result = search.result
    losses = [prompt.mean_loss for prompt in result.prompts]
    assert losses == sorted(losses)
    assert 2 <= len(result.prompts) <= 6
    assert (result.words, result.prompt, result.mean_loss) == (
        result.prompts[0].words,
        result.prompts[0].text,
        losses[0],
    )
    assert result.prompt == "a picture of a bird with {} and {}".format(*result.words)
    assert result.peak_memory_bytes > 0
    assert {prompt.n for prompt in result.prompts} == {16}
    assert {gain.word for gain in result.gains} == {w for p in result.prompts for w in p.words}
    assert search.result is result


def test_the_search_finds_the_planted_place():
    """On the embedded lab, whose biased classifier takes any bird on water for a waterbird."""
    words = ("sea", "forest", "city", "desert", "field", "snow", "mountain", "room")
    config = RunConfig.from_preset(
        "quick",
        classifier="lab:birds-biased",
        class_name="waterbird",
        template=TEMPLATE,
        words=words,
        steps=15,
    )
    search = optimize(
        config,
        classifier=load_classifier(config.classifier),
        generator=load_generator("lab"),
        masked_lm=load_masked_lm("lab"),
    )
    steps = list(search)
    assert "sea" in search.result.words
    assert next(gain.word for gain in search.result.gains if gain.is_driver) == "sea"
    entropies = [step.entropy or 0 for step in steps]
    assert entropies[-1] < entropies[0]
    likelier = [sum(step.target_probability for step in part) for part in (steps[:3], steps[-3:])]
    assert likelier[1] > likelier[0]


@pytest.mark.long
def test_the_search_finds_the_planted_place_that_lowers_the_class():
    config = RunConfig.from_preset(
        "quick",
        classifier="lab:birds-biased",
        class_name="waterbird",
        direction="lower",
        template="a picture of a duck with [MASK] and [MASK]",
        words=("sea", "lake", "water", "forest", "ball", "gift"),
        steps=8,
    )
    search = optimize(
        config,
        classifier=load_classifier(config.classifier),
        generator=load_generator("lab"),
        masked_lm=load_masked_lm("lab"),
    )
    steps = list(search)
    assert "forest" in search.result.words
    assert search.result.gains[0].word == "forest" and search.result.gains[0].is_driver
    assert steps[-1].hits > 8  # of 16 pictures that are taken for another class


def test_a_template_that_does_not_name_the_class_cannot_lower_it(models):
    with pytest.raises(InputError, match="does not name the class"):
        start(models, direction="lower", template="single")


def test_a_loss_that_is_not_a_number_ends_the_run(models, tmp_path):
    classifier = python_classifier(tmp_path, "score = x.mean((1, 2, 3)) * float('nan')")
    search = optimize(make_config(), **{**models, "classifier": classifier})
    with pytest.raises(ArithmeticError, match=r"step 1: .* not finite"):
        next(search)


def test_an_unknown_class_is_refused(models):
    with pytest.raises(InputError, match="waterbird"):
        start(models, class_name="waterbrid")


def test_bfloat16_searches_as_float32_does():
    """On a CPU: half the memory, losses near, the soft prompt in float32."""
    steps = {}
    for dtype in ("float32", "bfloat16"):
        config = make_config(dtype=dtype, steps=3, n_grad=3, explore=0)
        search = optimize(
            config,
            generator=load_generator(
                str(tiny.generator_folder()),
                GeneratorOptions(scheduler="LCM", diffusion_steps=2, image_size=32, dtype=dtype),
            ),
            classifier=load_classifier(
                f"hf:{tiny.classifier_folder()}", ClassifierOptions(dtype=dtype)
            ),
            masked_lm=load_masked_lm(str(tiny.masked_lm_folder())),
        )
        steps[dtype] = [next(search) for _ in range(3)]
        assert search.state_dict()["soft_prompt"].dtype == torch.float32
    for full, half in zip(steps["float32"], steps["bfloat16"], strict=True):
        assert half.losses["total"] == pytest.approx(full.losses["total"], rel=0.05)
    assert steps["float32"][0].words == steps["bfloat16"][0].words


def test_the_reference_ends_after_hits_in_a_row(models, tmp_path):
    classifier = python_classifier(tmp_path, "score = x.mean((1, 2, 3)) + 5")
    search = optimize(
        make_config(stop="consecutive", stop_hits=3, steps=50, batch=1),
        **{**models, "classifier": classifier},
    )
    assert len(list(search)) == 3
    assert search.result.stop_reason == "consecutive"
