"""The search for embeddings in place of words."""

from __future__ import annotations

import pytest
import tiny
import torch

from dexter.classifiers import load_classifier
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.search.continuous import NEAR, Continuous
from dexter.search.prompt import load_masked_lm
from dexter.search.score import activation_score


@pytest.mark.parametrize("embeddings", ["input", "output"])
def test_vectors_at_words_draw_what_their_text_draws(embeddings):
    config = RunConfig.from_preset(
        "quick",
        classifier="hf:tiny",
        class_name="waterbird",
        template="a picture of a bird with [MASK] and [MASK]",
        search="continuous",
        embeddings=embeddings,
        steps=2,
        batch=2,
    )
    generator = load_generator(
        str(tiny.generator_folder()), GeneratorOptions(scheduler="LCM", diffusion_steps=2)
    )
    search = Continuous(
        config,
        load_classifier(f"hf:{tiny.classifier_folder()}"),
        generator,
        load_masked_lm(str(tiny.masked_lm_folder())),
    )
    words = [search._words.index(search._prompt.vocabulary.words.index(w)) for w in ("sea", "boat")]
    search._tried.update(tuple(words), 0.0)
    search._start()
    found = search._conditioning(search._vectors)
    expected = generator.encode_text(["a picture of a bird with sea and boat"])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_embeddings_reach_more_than_the_words_that_they_start_from():
    config = RunConfig.from_preset(
        "quick",
        classifier="lab:fleet/old-male-100",
        class_name="old",
        template="a picture of a [MASK] person with [MASK] and [MASK]",
        exclude_words="old, young",
        search="continuous",
        steps=22,
        explore=0.25,
        batch=8,
        seed=2,
    )
    generator, classifier = load_generator("lab"), load_classifier(config.classifier)
    search = Continuous(config, classifier, generator, load_masked_lm("lab"))
    steps = list(search)
    tried, descended = steps[:6], steps[6:]
    assert not any(NEAR in word for step in tried for word in step.words)
    assert all(word.startswith(NEAR) for step in descended for word in step.best_words)
    first, second = search.result.prompts[:2]
    assert first.words == search.result.words and first.words[0].startswith(NEAR)
    assert first.mean_loss < second.mean_loss
    assert search.result.conditioning is not None
    reached = activation_score(generator, classifier, 0, search.result.conditioning, n=16)
    by_words = activation_score(generator, classifier, 0, second.text, n=16)
    assert reached.hits >= by_words.hits


def test_a_classifier_without_gradients_is_refused():
    config = RunConfig(classifier="onnx:net.onnx", class_name="0", search="continuous")
    with pytest.raises(InputError, match="gradients") as caught:
        config.by_scores()
    assert caught.value.field == "search"
