"""The generator as a detector, on a tiny generator of random weights."""

import diffusers
import numpy as np
import pytest
import tiny
import torch

from dexter.errors import InputError
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.reasoning.denoising import NOISES, SHARE, Denoising, detector_of
from dexter.reasoning.detection import load_detector


@pytest.fixture(scope="module")
def generator():
    return load_generator(str(tiny.generator_folder()), GeneratorOptions(guidance=3.0))


@pytest.fixture
def pictures(generator):
    rng = np.random.default_rng(0)
    side = generator.image_size
    return rng.integers(0, 256, (5, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_errors_are_those_of_the_scheduler_s_own_restoration(generator, pictures, kind):
    settings = dict(generator._scheduler.config) | {"prediction_type": kind}
    scheduler = diffusers.DDIMScheduler.from_config(settings)
    scheduler.set_timesteps(1000)
    generator._scheduler.register_to_config(prediction_type=kind)
    latents = generator.encode_pictures(pictures)
    found = generator.denoising_errors(latents, "a cat", [0.25, 0.8], [1, 2])
    conditioning = generator.encode_text(["a cat"]).expand(5, -1, -1)
    for column, (time, seed) in enumerate(((0.25, 1), (0.8, 2))):
        t = torch.tensor(round(time * 999))
        noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed))
        noised = scheduler.add_noise(latents, noise.expand_as(latents), t)
        with torch.no_grad():
            output = generator._unet(noised, t, encoder_hidden_states=conditioning).sample
        restored = scheduler.step(output, int(t), noised).pred_original_sample
        if not scheduler.config.clip_sample:
            errors = (restored - latents).square().mean(1)
            torch.testing.assert_close(found[:, column], errors, rtol=1e-3, atol=1e-5)


def test_a_concept_is_seen_where_its_text_restores_a_place_better(generator, pictures):
    detector = detector_of("generator", lambda: generator, device="cpu")
    assert isinstance(detector, Denoising)
    embeddings = detector.embed(pictures)
    latents = generator.encode_pictures(pictures)
    assert embeddings.shape == (5, latents[0].numel())
    errors = [
        generator.denoising_errors(latents, text, detector._times, detector._seeds).numpy()
        for text in ("a picture", "a picture of a cat")
    ]
    side = errors[0].shape[-1] // 8  # of a cell
    shares = []
    for before, after in zip(*errors, strict=True):
        each = before.mean((1, 2), keepdims=True)
        before, gain = (before / each).mean(0), ((before - after) / each).mean(0)
        places = [
            (slice(y * side, (y + 2) * side), slice(x * side, (x + 2) * side))
            for y in range(7)
            for x in range(7)
        ]
        floor = 0.2 * np.mean([before[place].mean() for place in places])
        shares.append(max(gain[place].mean() / (before[place].mean() + floor) for place in places))
    np.testing.assert_allclose(detector._shares("cat", embeddings), shares, rtol=1e-4, atol=1e-7)
    presence = detector.presence("cat", embeddings)
    np.testing.assert_allclose(presence, 1 / (1 + np.exp((SHARE - np.array(shares)) / 0.04)), 1e-4)
    np.testing.assert_array_equal(detector.sees("cat", embeddings), presence > 0.5)
    # Alone and in another process a picture has the same answer.
    again = Denoising(generator).presence("cat", embeddings[3:4])
    np.testing.assert_allclose(again, presence[3:4], rtol=1e-4)
    assert errors[0].shape[:2] == (5, NOISES)


def test_pictures_of_another_size_are_scaled_and_the_name_alone_is_refused(generator, pictures):
    detector = Denoising(generator)
    large = pictures.repeat(2, 1).repeat(2, 2)
    assert detector.embed(large).shape == detector.embed(pictures).shape
    with pytest.raises(InputError, match="only in its own pictures"):
        load_detector("generator")
