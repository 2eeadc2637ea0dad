"""Pipelines beyond Stable Diffusion 1: two text encoders, a small decoder, a safety checker."""

import diffusers
import numpy as np
import pytest
import tiny
import torch

from dexter.classifiers import load_classifier
from dexter.errors import InputError
from dexter.generation.generator import load_generator, to_uint8
from dexter.generation.options import GeneratorOptions
from dexter.search.score import draw_frames

TEXTS = ["a picture of a bird", "a picture of a lighthouse with sea and snow"]


@pytest.fixture(scope="module")
def xl():
    return load_generator(
        str(tiny.xl_generator_folder()), GeneratorOptions(scheduler="LCM", diffusion_steps=2)
    )


def words(generator, texts):
    ids = [generator.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    lengths = torch.tensor([len(row) for row in ids])
    padded = torch.tensor([row + [0] * (int(lengths.max()) - len(row)) for row in ids])
    return generator.token_embedding(padded), lengths


class TestTwoTextEncoders:
    def test_draws_what_the_stock_pipeline_draws(self, xl):
        pipeline = diffusers.DiffusionPipeline.from_pretrained(tiny.xl_generator_folder())
        pipeline.scheduler = diffusers.LCMScheduler.from_config(pipeline.scheduler.config)
        pipeline.set_progress_bar_config(disable=True)
        theirs = pipeline(
            TEXTS,
            num_inference_steps=2,
            guidance_scale=1.0,
            generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
            output_type="pt",
        ).images
        ours = xl.sample(xl.encode_text(TEXTS), [3, 4])
        assert torch.allclose(ours, torch.as_tensor(theirs), atol=1e-4)

    def test_words_as_embeddings_equal_words_as_text(self, xl):
        assert torch.allclose(xl.encode(*words(xl, TEXTS)), xl.encode_text(TEXTS), atol=1e-5)

    def test_the_pooled_text_shows_and_passes_gradients(self, xl):
        embeddings, lengths = words(xl, TEXTS[:1])
        conditioning = xl.encode(embeddings.requires_grad_(), lengths)
        alone = conditioning.detach().clone()
        alone[:, -1] = xl.encode_text(["a cat"])[:, -1]
        with torch.no_grad():
            changed = xl.sample(alone, [3]) - xl.sample(conditioning, [3])
        assert changed.abs().max() > 1e-3
        conditioning[:, -1].sum().backward()
        assert (embeddings.grad.abs().amax((0, 1)) > 0).sum() >= 48  # of the second encoder

    def test_half_precision_decodes_in_full(self):
        generator = load_generator(
            str(tiny.xl_generator_folder()),
            GeneratorOptions(scheduler="LCM", diffusion_steps=1, dtype="float16"),
        )
        unet, vae = (next(network.parameters()) for network in generator.networks[:2])
        assert (unet.dtype, vae.dtype) == (torch.float16, torch.float32)
        assert generator.sample(generator.encode_text(["a cat"]), [0]).isfinite().all()


class TestSmallDecoder:
    @pytest.fixture(scope="class")
    def generator(self):
        return load_generator(
            str(tiny.generator_folder()),
            GeneratorOptions(
                scheduler="LCM", diffusion_steps=1, decoder=str(tiny.decoder_folder())
            ),
        )

    def test_is_used_where_wanted_and_nowhere_else(self, generator):
        latents = generator.denoise(generator.encode_text(["a cat"]), [0])
        small, own = generator.decode(latents, small_decoder=True), generator.decode(latents)
        assert small.shape == own.shape
        assert (small - own).abs().max() > 0.01
        tiny_decoder = diffusers.AutoencoderTiny.from_pretrained(tiny.decoder_folder())
        with torch.no_grad():
            expected = (tiny_decoder.decode(latents).sample / 2 + 0.5).clamp(0, 1)
        assert torch.allclose(small, expected, atol=1e-5)

    def test_passes_gradients(self, generator):
        embeddings, lengths = words(generator, TEXTS)
        conditioning = generator.encode(embeddings.requires_grad_(), lengths)
        generator.sample(conditioning, [0, 1], small_decoder=True).sum().backward()
        assert embeddings.grad.abs().max() > 0

    def test_of_another_kind_is_refused(self):
        with pytest.raises(InputError, match=r"decoder: cannot load"):
            load_generator(
                str(tiny.generator_folder()),
                GeneratorOptions(decoder=str(tiny.classifier_folder())),
            )


class TestSafetyChecker:
    """The tiny one flags black, but not grey: so a wrong range of values is noticed."""

    @pytest.fixture(scope="class")
    def generator(self):
        return load_generator(
            str(tiny.checked_generator_folder()),
            GeneratorOptions(scheduler="LCM", diffusion_steps=1, safety_checker=True),
        )

    def test_sees_pictures_as_they_are(self, generator):
        levels = np.array([0, 128, 255], dtype=np.uint8)
        images = np.broadcast_to(levels[:, None, None, None], (3, 64, 64, 3)).copy()
        assert generator.unsafe(images) == [True, False, False]
        assert (images == levels[:, None, None, None]).all()

    def test_flagged_pictures_are_not_frames(self, generator, monkeypatch):
        classifier = load_classifier(f"hf:{tiny.classifier_folder()}")
        drawn = list(draw_frames(generator, classifier, 0, "a cat", wanted=99, tries=3))
        assert len(drawn) == 3
        black = torch.zeros(1, 3, 64, 64)
        sample = generator.sample
        # Every second picture comes out black.
        monkeypatch.setattr(
            generator,
            "sample",
            lambda conditioning, seeds: torch.cat(
                [black if seed % 2 else sample(conditioning[:1], [seed]) for seed in seeds]
            ),
        )
        kept = list(draw_frames(generator, classifier, 0, "a cat", wanted=99, tries=4))
        assert [frame.seed % 2 for frame in kept] == [0, 0]

    def test_is_left_out_unless_wanted(self):
        generator = load_generator(
            str(tiny.checked_generator_folder()),
            GeneratorOptions(scheduler="LCM", diffusion_steps=1),
        )
        black = to_uint8(torch.zeros(1, 3, 64, 64))
        assert generator.unsafe(black) == [False]
