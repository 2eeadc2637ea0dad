"""Soft prompt to words to embeddings, and the gradients back, on tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.search.prompt import MaskedLM, PromptModel, load_masked_lm

TEMPLATE = "a picture of a bird with [MASK] and [MASK]."


@pytest.fixture(scope="module")
def generator():
    return load_generator(str(tiny.generator_folder()), GeneratorOptions(scheduler="LCM"))


@pytest.fixture(scope="module")
def masked_lm():
    return load_masked_lm(str(tiny.masked_lm_folder()))


def make(masked_lm, generator, **overrides: object) -> PromptModel:
    overrides = {"template": TEMPLATE, **overrides}
    config = RunConfig.from_preset("default", classifier="lab:birds", class_name="0", **overrides)
    return PromptModel.from_config(
        config,
        masked_lm,
        generator,
        class_label="Snow owl, Strix",
        rng=torch.Generator().manual_seed(0),
    )


def draw(prompt: PromptModel, count: int, temperature: float = 1.0, seed: int = 0):
    return prompt.sample(count, temperature, torch.Generator().manual_seed(seed))


def test_only_the_soft_prompt_is_learned(masked_lm, generator):
    prompt = make(masked_lm, generator, soft_tokens=3)
    assert prompt.soft_prompt.shape == (3, 32)
    assert prompt.soft_prompt.dtype == torch.float32
    prompt.logits()[0, 0].backward()
    assert prompt.soft_prompt.grad is not None
    assert prompt.soft_prompt.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in masked_lm.model.parameters())


def test_logits_are_those_of_the_masked_lm_reading_words_behind_its_start(masked_lm, generator):
    """With the embeddings of real words as soft prompt, the model must read those words."""
    prompt = make(masked_lm, generator, soft_tokens=2)
    tokenizer, model = masked_lm.tokenizer, masked_lm.model
    with torch.no_grad():
        leading = torch.tensor(tokenizer("snow sea", add_special_tokens=False).input_ids)
        prompt.soft_prompt.copy_(model.get_input_embeddings()(leading))
        read = tokenizer("snow sea " + TEMPLATE, return_tensors="pt")
        expected = model(**read).logits[read.input_ids == tokenizer.mask_token_id]
        logits = prompt.logits()
    assert torch.allclose(logits, expected[:, prompt.vocabulary.masked_lm_ids], atol=1e-6)


def test_what_is_no_candidate_is_never_sampled(masked_lm, generator):
    prompt = make(masked_lm, generator, words="sea,woman", exclude_words="women")
    assert {prompt.words(row) for row in draw(prompt, 20).indices} == {("sea", "sea")}


def test_class_name_can_be_excluded(masked_lm, generator):
    assert {"snow", "owl"} <= set(make(masked_lm, generator).vocabulary.words)
    without = make(masked_lm, generator, exclude_class_name=True).vocabulary.words
    assert not {"snow", "owl"} & set(without)


def test_sampling_follows_the_distribution_whatever_the_temperature(masked_lm, generator):
    prompt = make(masked_lm, generator, words="sea,lake,forest")
    expected = prompt.logits().softmax(-1)
    for temperature in (0.1, 5.0):
        sample = draw(prompt, 20_000, temperature)
        for mask in range(2):
            share = torch.bincount(sample.indices[:, mask], minlength=3) / 20_000
            assert torch.allclose(share, expected[mask], atol=0.02)
        assert torch.equal(sample.relaxed.argmax(-1), sample.indices)


def test_low_temperature_makes_the_relaxation_hard(masked_lm, generator):
    prompt = make(masked_lm, generator)
    assert draw(prompt, 50, 100.0).relaxed.max() < 0.1
    assert draw(prompt, 50, 0.01).relaxed.amax(-1).median() > 0.99


@pytest.mark.parametrize(
    "template", ["single", "multi", TEMPLATE, "[MASK] bird, on [MASK]", "a [MASK] [MASK] bird"]
)
@pytest.mark.parametrize("suffix", ["", " in snow", ", red"])
def test_embeddings_give_the_conditioning_of_the_text(masked_lm, generator, template, suffix):
    """Also for words of several tokens, in prompts of different lengths."""
    prompt = make(masked_lm, generator, template=template, suffix=suffix)
    words = prompt.vocabulary.words
    rows = [[words.index("seagull"), words.index("sea")] * 3, [words.index("lighthouse")] * 6]
    rows += [[words.index("snow")] * 6]
    indices = torch.tensor(rows)[:, : prompt.masks]
    embeddings, lengths = prompt.embeddings(indices)
    assert len(set(lengths.tolist())) > 1
    expected = generator.encode_text([prompt.text(row) for row in indices])
    assert torch.allclose(generator.encode(embeddings, lengths), expected, atol=1e-5)


def test_the_generators_text_has_no_final_period(masked_lm, generator):
    prompt = make(masked_lm, generator, template="a picture of a [MASK].", suffix="in snow")
    sea = prompt.vocabulary.words.index("sea")
    assert prompt.text([sea]) == "a picture of a sea in snow"


def test_straight_through_keeps_the_values_of_the_words(masked_lm, generator):
    prompt = make(masked_lm, generator)
    sample = draw(prompt, 8)
    hard, _ = prompt.embeddings(sample.indices)
    through, _ = prompt.embeddings(sample.indices, sample.relaxed)
    assert torch.equal(hard, through)
    assert through.requires_grad and not hard.requires_grad


class TestGradientsInFloat64:
    """With the Gumbel noise held, by the soft prompt."""

    @pytest.fixture(scope="class")
    def prompt(self):
        masked_lm = load_masked_lm(str(tiny.masked_lm_folder()))
        masked_lm = MaskedLM("double", masked_lm.model.double(), masked_lm.tokenizer)
        generator = load_generator(
            str(tiny.generator_folder()), GeneratorOptions(scheduler="LCM", dtype="float64")
        )
        return make(masked_lm, generator)

    @pytest.fixture(scope="class")
    def indices(self, prompt):
        """Words of one and of several tokens."""
        words = prompt.vocabulary.words
        return torch.tensor(
            [[words.index("sea"), words.index("seagull")], [words.index("lighthouse"), 0]]
        )

    def soft(self, prompt, indices):
        relaxed = draw(prompt, 2, temperature=0.7).relaxed
        return prompt.embeddings(indices, relaxed, hard=False)[0]

    def test_relaxation_agrees_with_central_differences(self, prompt, indices):
        weights = torch.randn(
            self.soft(prompt, indices).shape,
            generator=torch.Generator().manual_seed(1),
            dtype=torch.float64,
        )
        (gradient,) = torch.autograd.grad(
            (self.soft(prompt, indices) * weights).sum(), prompt.soft_prompt
        )
        peak = gradient.abs().max()
        assert peak > 0
        step = 1e-5
        with torch.no_grad():
            for at in range(0, gradient.numel(), 7):
                values = []
                for sign in (1, -1):
                    prompt.soft_prompt.view(-1)[at] += sign * step
                    values.append((self.soft(prompt, indices) * weights).sum())
                    prompt.soft_prompt.view(-1)[at] -= sign * step
                difference = (values[0] - values[1]) / (2 * step)
                assert abs(difference - gradient.view(-1)[at]) < 1e-4 * peak

    def test_straight_through_is_the_soft_jacobian_at_the_hard_value(self, prompt, indices):
        """d loss(hard)/d soft prompt = loss'(hard) times the Jacobian of the relaxation."""

        def loss(embeddings):
            return (embeddings**3).sum()  # its derivative depends on where it is taken

        relaxed = draw(prompt, 2, temperature=0.7).relaxed
        through, _ = prompt.embeddings(indices, relaxed)
        (gradient,) = torch.autograd.grad(loss(through), prompt.soft_prompt)

        hard = prompt.embeddings(indices)[0].requires_grad_()
        (at_hard,) = torch.autograd.grad(loss(hard), hard)
        (expected,) = torch.autograd.grad(
            self.soft(prompt, indices), prompt.soft_prompt, grad_outputs=at_hard
        )
        assert torch.allclose(gradient, expected, rtol=1e-9, atol=1e-15)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"template": "a drawing of a [MASK] zebra"}, "'drawing', 'zebra'"),
        ({"template": "a bird " * 40 + "[MASK]"}, "template"),
        ({"soft_tokens": 60}, "soft_tokens: 60"),
        ({"words": "sea,brook"}, "'brook'"),
    ],
)
def test_what_the_models_cannot_read_is_refused(masked_lm, generator, overrides, named):
    with pytest.raises(InputError, match=named) as refusal:
        make(masked_lm, generator, **overrides)
    assert "\n" not in str(refusal.value)


def test_masked_lms_that_cannot_be_loaded_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=f"masked_lm: '{tmp_path}' cannot be loaded"):
        load_masked_lm(str(tmp_path))


def test_a_model_without_masked_lm_head_is_refused(tmp_path: Path, masked_lm):
    masked_lm.model.bert.save_pretrained(tmp_path)
    masked_lm.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="not a masked language model"):
        load_masked_lm(str(tmp_path))


def test_damaged_weights_are_refused(tmp_path: Path, masked_lm):
    masked_lm.model.save_pretrained(tmp_path)
    masked_lm.tokenizer.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_masked_lm(str(tmp_path))
