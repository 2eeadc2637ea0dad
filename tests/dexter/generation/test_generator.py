"""The sampling loop agrees with the stock pipeline, and each picture keeps its own noise."""

import json
import logging
import shutil

import diffusers
import numpy as np
import pytest
import tiny
import torch

from dexter.errors import InputError
from dexter.generation.generator import SCHEDULERS, load_generator, to_uint8
from dexter.generation.options import GeneratorOptions

# Several schedulers hand torch tensors to numpy in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

TEXTS = ["a picture of a bird", "a picture of a lighthouse with sea and snow", "a cat"]


def load(**options):
    options = {"scheduler": "LCM", **options}
    return load_generator(
        str(options.pop("folder", tiny.generator_folder())), GeneratorOptions(**options)
    )


@pytest.fixture(scope="module")
def generator():
    return load()


def word_embeddings(generator, texts):
    """Token embeddings (B, L, D) without special tokens, padded with noise, and lengths."""
    ids = [generator.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    lengths = torch.tensor([len(row) for row in ids])
    embeddings = torch.randn(len(texts), int(lengths.max()), generator.embedding_dim)
    for row, tokens in enumerate(ids):
        embeddings[row, : len(tokens)] = generator.token_embedding(torch.tensor(tokens))
    return embeddings, lengths


def stock_pictures(seeds, texts, *, scheduler, steps=4, guidance=1.0, lora=None, folder=None):
    """Draw with diffusers' own pipeline, with a random generator for each row."""
    folder = folder or tiny.generator_folder()
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    if lora:
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        texts,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="pt",
    ).images
    return torch.as_tensor(images)


class TestEncode:
    def test_equals_the_encoding_of_the_same_words(self, generator):
        # Rows of different lengths, words of several tokens, nothing read from the padding.
        encoded = generator.encode(*word_embeddings(generator, TEXTS))
        assert torch.allclose(encoded, generator.encode_text(TEXTS), atol=1e-5)

    def test_a_prompt_may_fill_all_tokens_but_not_more(self, generator):
        room = generator.max_length - 2
        full = word_embeddings(generator, ["bird " * room])
        assert torch.allclose(
            generator.encode(*full), generator.encode_text(["bird " * room]), atol=1e-5
        )
        with pytest.raises(InputError, match=f"{room + 1} tokens"):
            generator.encode(*word_embeddings(generator, ["bird " * (room + 1)]))

    def test_pads_as_the_tokenizer_does(self, tmp_path):
        # Stable Diffusion 2 pads with "!" and not with the end token.
        folder = shutil.copytree(tiny.generator_folder(), tmp_path / "padded")
        file = folder / "tokenizer" / "tokenizer_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "pad_token": "!"}))
        padded = load(folder=folder)
        assert padded.tokenizer.pad_token_id != padded.tokenizer.eos_token_id
        encoded = padded.encode(*word_embeddings(padded, TEXTS))
        assert torch.allclose(encoded, padded.encode_text(TEXTS), atol=1e-5)

    def test_leaves_the_text_encoder_as_it_was(self, generator):
        before = generator.encode_text(["a dog"])
        generator.encode(*word_embeddings(generator, TEXTS))
        generator._encoded.clear()
        assert torch.equal(generator.encode_text(["a dog"]), before)

    def test_unchanging_text_is_encoded_once(self, generator):
        generator._encoded.clear()
        rows = []
        handle = generator.networks[2].register_forward_pre_hook(
            lambda _module, inputs: rows.append(len(inputs[0]))
        )
        first = generator.encode_text(["a dog", "a cat", "a dog"])
        again = generator.encode_text(["a cat", "a dog"])
        handle.remove()
        assert rows == [2]
        assert torch.equal(first[0], again[1])
        assert torch.equal(first[0], first[2])


class TestPicture:
    @pytest.mark.parametrize("scheduler", SCHEDULERS)
    def test_is_its_own_at_any_batch_size_and_position(self, scheduler):
        generator = load(scheduler=scheduler)
        conditioning = generator.encode_text([TEXTS[0], TEXTS[1], TEXTS[2], TEXTS[0]])
        together = generator.sample(conditioning, [7, 8, 9, 7])
        alone = generator.sample(conditioning[1:2], [8])
        moved = generator.sample(conditioning[[2, 1]], [9, 8])
        assert torch.allclose(together[1:2], alone, atol=1e-3)
        assert torch.allclose(together[[2, 1]], moved, atol=1e-3)
        assert torch.allclose(together[0], together[3], atol=1e-3)
        # The noise counts: another seed gives another picture, all else the same.
        other = generator.sample(conditioning[1:2], [10])
        assert (other - alone).abs().max() > 0.01

    @pytest.mark.parametrize("scheduler", ["LCM", "DDIM", "PNDM", "Euler", "EulerAncestral"])
    @pytest.mark.parametrize("guidance", [1.0, 3.0])
    def test_equals_the_stock_pipelines(self, scheduler, guidance):
        generator = load(scheduler=scheduler, guidance=guidance)
        ours = generator.sample(generator.encode_text(TEXTS), [1, 2, 3])
        stock = stock_pictures([1, 2, 3], TEXTS, scheduler=SCHEDULERS[scheduler], guidance=guidance)
        assert torch.allclose(ours, stock, atol=1e-4)

    def test_scheduler_noise_is_the_seeds_too(self):
        # LCM draws between its steps: fewer steps share the start noise, and differ after it.
        ours = load(diffusion_steps=2).sample(load().encode_text(TEXTS), [1, 2, 3])
        stock = stock_pictures([1, 2, 3], TEXTS, scheduler="LCMScheduler", steps=2)
        assert torch.allclose(ours, stock, atol=1e-4)

    def test_repeats_and_leaves_global_random_state_alone(self, generator):
        conditioning = generator.encode_text(TEXTS)
        state = torch.get_rng_state()
        first = generator.sample(conditioning, [1, 2, 3])
        again = generator.sample(conditioning, [1, 2, 3])
        assert torch.equal(first, again)
        assert torch.equal(state, torch.get_rng_state())

    def test_is_the_same_with_and_without_autograd(self, generator):
        conditioning = generator.encode_text(TEXTS)
        without = generator.sample(conditioning, [1, 2, 3])
        with_autograd = generator.sample(conditioning.clone().requires_grad_(), [1, 2, 3])
        assert with_autograd.requires_grad and not without.requires_grad
        assert torch.allclose(without, with_autograd, atol=1e-6)

    def test_shape_and_range(self, generator):
        images = generator.sample(generator.encode_text(TEXTS[:2]), [1, 2])
        assert images.shape == (2, 3, 64, 64) and images.dtype == torch.float32
        assert 0 <= images.min() < images.max() <= 1
        assert load(image_size=32).sample(generator.encode_text(TEXTS[:1]), [1]).shape == (
            1,
            3,
            32,
            32,
        )

    def test_of_a_network_that_takes_guidance_as_an_input(self, tmp_path):
        # Latent consistency models: guidance is distilled into the network, one branch is enough.
        folder = shutil.copytree(tiny.generator_folder(), tmp_path / "distilled")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = diffusers.UNet2DConditionModel.load_config(folder / "unet")
            unet = diffusers.UNet2DConditionModel.from_config(config, time_cond_proj_dim=8)
        unet.save_pretrained(folder / "unet")
        ours, stock = (
            [pictures(guidance) for guidance in (1.5, 8.0)]
            for pictures in (
                lambda guidance: load(folder=folder, guidance=guidance).sample(
                    load(folder=folder).encode_text(TEXTS), [1, 2, 3]
                ),
                lambda guidance: stock_pictures(
                    [1, 2, 3], TEXTS, scheduler="LCMScheduler", guidance=guidance, folder=folder
                ),
            )
        )
        assert torch.allclose(ours[0], stock[0], atol=1e-4)
        assert torch.allclose(ours[1], stock[1], atol=1e-4)
        assert not torch.allclose(ours[0], ours[1], atol=1e-4)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_in_half_precision_is_near_that_in_float32(self, generator, dtype):
        half = load(dtype=dtype)
        images = half.sample(half.encode_text(TEXTS), [1, 2, 3])
        precise = generator.sample(generator.encode_text(TEXTS), [1, 2, 3])
        assert images.dtype == torch.float32
        assert (images - precise).abs().mean() < 0.02

    def test_pictures_do_not_depend_on_the_batch(self, generator):
        texts, seeds = [TEXTS[i % 3] for i in range(5)], range(100, 105)
        by_two = np.stack(list(generator.pictures(texts, seeds, batch=2)))
        at_once = np.stack(list(generator.pictures(texts, seeds, batch=64)))
        assert by_two.shape == (5, 64, 64, 3) and by_two.dtype == np.uint8
        assert np.abs(by_two.astype(int) - at_once).max() <= 1
        assert len(list(generator.pictures("a cat", range(3), batch=2))) == 3

    def test_bytes_are_rounded(self):
        image = torch.tensor([0.0, 0.4999 / 255, 0.5001 / 255, 1.0]).reshape(1, 1, 2, 2)
        assert to_uint8(image.expand(1, 3, 2, 2))[0, :, :, 0].tolist() == [[0, 0], [1, 255]]


class TestCost:
    def count(self, generator, **options):
        """Rows of each UNet call and number of decodes in one differentiable sample of two."""
        rows, decodes = [], []
        handles = [
            generator._unet.register_forward_pre_hook(
                lambda _module, inputs: rows.append(len(inputs[0]))
            ),
            generator._vae.decoder.register_forward_pre_hook(
                lambda _module, inputs: decodes.append(len(inputs[0]))
            ),
        ]
        conditioning = generator.encode_text(TEXTS[:2]).clone().requires_grad_()
        generator.sample(conditioning, [1, 2], **options).sum().backward()
        for handle in handles:
            handle.remove()
        return rows, decodes

    def test_without_guidance_there_is_no_second_branch(self, generator):
        assert self.count(generator) == ([2, 2, 2, 2], [2])

    def test_with_guidance_there_is(self):
        assert self.count(load(guidance=2.0)) == ([4, 4, 4, 4], [2])

    def test_no_weight_gets_a_gradient(self, generator):
        self.count(generator)
        networks = generator.networks
        parameters = [parameter for network in networks for parameter in network.parameters()]
        assert not any(parameter.requires_grad for parameter in parameters)
        assert all(parameter.grad is None for parameter in parameters)


class TestBackward:
    def gradient(self, generator, **options):
        conditioning = generator.encode_text(TEXTS[:2]).clone().requires_grad_()
        images = generator.sample(conditioning, [1, 2], **options)
        images.square().sum().backward()
        return images.detach(), conditioning.grad

    @pytest.mark.long
    def test_compiled_networks_draw_the_same(self, generator, monkeypatch):
        # Traced, but not translated into C++, which takes minutes.
        compiled = []

        def trace(network):
            compiled.append(type(network).__name__)
            compile_module(network, backend="eager")

        compile_module = torch.nn.Module.compile
        monkeypatch.setattr(torch.nn.Module, "compile", trace)
        other = load(compile=True)
        assert compiled == ["UNet2DConditionModel", "Decoder"]
        images, gradient = self.gradient(generator)
        same, of_compiled = self.gradient(other)
        assert torch.allclose(images, same, atol=1e-5)
        assert torch.allclose(gradient, of_compiled, rtol=1e-3, atol=1e-5 * gradient.abs().max())

    @pytest.mark.parametrize("guidance", [1.0, 2.0])
    def test_checkpointing_changes_nothing_but_memory(self, guidance):
        generator = load(guidance=guidance)
        images, gradient = self.gradient(generator)
        same, checkpointed = self.gradient(generator, gradient_checkpointing="all")
        assert torch.equal(images, same)
        assert torch.allclose(gradient, checkpointed, rtol=1e-4, atol=1e-6 * gradient.abs().max())
        assert not generator._unet.is_gradient_checkpointing

    def test_the_last_steps_alone(self, generator):
        images, full = self.gradient(generator)
        same, all_steps = self.gradient(generator, backprop_steps=4)
        last_images, last = self.gradient(generator, backprop_steps=1)
        assert torch.equal(full, all_steps) and torch.equal(images, same)
        assert torch.allclose(images, last_images, atol=1e-6)
        assert last.abs().max() > 0
        assert not torch.allclose(full, last, rtol=0.05, atol=0.01 * full.abs().max())

    def test_earlier_steps_keep_nothing(self, generator):
        def kept_bytes(**options):
            kept = []

            def keep(tensor):
                kept.append(tensor.nbytes)
                return tensor

            conditioning = generator.encode_text(TEXTS[:2]).clone().requires_grad_()
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                generator.sample(conditioning, [1, 2], **options)
            return sum(kept)

        assert kept_bytes(backprop_steps=1) < 0.7 * kept_bytes()
        assert kept_bytes(gradient_checkpointing="all") < 0.7 * kept_bytes()

    def test_in_half_precision(self):
        _, gradient = self.gradient(load(dtype="bfloat16"))
        assert gradient.isfinite().all() and gradient.abs().max() > 0


class TestLoading:
    def test_a_lora_is_fused(self):
        file = tiny.lora_file()
        fused = load(lora=str(file))
        ours = fused.sample(fused.encode_text(TEXTS), [1, 2, 3])
        stock = stock_pictures([1, 2, 3], TEXTS, scheduler="LCMScheduler", lora=file)
        plain = stock_pictures([1, 2, 3], TEXTS, scheduler="LCMScheduler")
        assert torch.allclose(ours, stock, atol=1e-4)
        assert not torch.allclose(ours, plain, atol=0.01)
        assert not any("lora" in name for name, _ in fused._unet.named_modules())

    def test_a_lora_may_be_a_folder_under_any_file_name(self, tmp_path):
        shutil.copy(tiny.lora_file(), tmp_path / "style.safetensors")
        assert (
            load(lora=str(tmp_path)).weights_hash == load(lora=str(tiny.lora_file())).weights_hash
        )

    def test_a_folder_may_hold_the_fp16_variant_alone(self, tmp_path):
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            tiny.generator_folder(), safety_checker=None
        )
        pipeline.save_pretrained(tmp_path, variant="fp16")
        half, conditioning = load(folder=tmp_path), load().encode_text(TEXTS)
        assert torch.equal(
            half.sample(conditioning, [1, 2, 3]), load().sample(conditioning, [1, 2, 3])
        )

    def test_the_hash_depends_on_weights_and_not_on_their_precision(self, generator):
        assert load(dtype="bfloat16").weights_hash == generator.weights_hash
        assert load(lora=str(tiny.lora_file())).weights_hash != generator.weights_hash

    def test_schedulers_go_by_short_or_full_name(self):
        names = [
            type(load(scheduler=name)._scheduler).__name__ for name in ("ddim", "DDIMScheduler")
        ]
        assert names == ["DDIMScheduler", "DDIMScheduler"]
        assert type(load(scheduler=None)._scheduler).__name__ == "PNDMScheduler"

    def test_is_silent_and_leaves_logging_alone(self, tmp_path, capfd):
        # The lab's small autoencoder is not the class that diffusers expects; that is fine.
        folder = shutil.copytree(tiny.generator_folder(), tmp_path / "small")
        diffusers.AutoencoderTiny(
            encoder_block_out_channels=(16, 16),
            decoder_block_out_channels=(16, 16),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        ).save_pretrained(folder / "vae")
        index = json.loads((folder / "model_index.json").read_text())
        index["vae"] = ["diffusers", "AutoencoderTiny"]
        (folder / "model_index.json").write_text(json.dumps(index))
        logger = logging.getLogger("diffusers.pipelines.pipeline_utils")
        before = (logger.level, list(logger.filters))
        capfd.readouterr()
        load(folder=folder, lora=str(tiny.lora_file()), dtype="bfloat16")
        assert capfd.readouterr() == ("", "")
        assert diffusers.utils.logging.is_progress_bar_enabled()
        assert before == (logger.level, logger.filters)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"folder": "/no/such/folder"}, "/no/such/folder"),
            ({"folder": "not a hub id"}, "not a hub id"),
            ({"scheduler": "Eulr"}, "did you mean Euler?"),
            ({"scheduler": "DPMSolverSDE"}, "choose from LCM"),
            ({"diffusion_steps": 0}, "at least 1"),
            ({"diffusion_steps": 51}, "51 is refused by LCMScheduler"),  # LCM: 50 in its grid
            ({"image_size": 60}, "multiple of 8"),
            ({"image_size": 0}, "multiple of 8"),
            ({"dtype": "int8"}, "int8"),
            ({"lora": "/no/such/lora"}, "/no/such/lora"),
        ],
    )
    def test_of_bad_options_are_one_line(self, options, message):
        with pytest.raises(InputError) as refused:
            load(**options)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)
        [(name, value)] = options.items()
        assert refused.value.field == {"folder": "generator"}.get(name, name)
        assert refused.value.value == value

    def test_of_folders_that_are_no_such_pipeline(self, tmp_path):
        with pytest.raises(InputError, match="cannot load"):
            load(folder=tiny.masked_lm_folder())
        folder = shutil.copytree(tiny.generator_folder(), tmp_path / "broken")
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(InputError, match="cannot load"):
            load(folder=folder)

    def test_of_loras_that_do_not_fit(self, tmp_path):
        from safetensors.torch import save_file

        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="found: none"):
            load(lora=str(tmp_path / "empty"))
        (tmp_path / "lora.bin").write_bytes(b"")
        with pytest.raises(InputError, match=r"not a \.safetensors file"):
            load(lora=str(tmp_path / "lora.bin"))
        (tmp_path / "garbage.safetensors").write_bytes(b"garbage" * 9)
        with pytest.raises(InputError, match="cannot use"):
            load(lora=str(tmp_path / "garbage.safetensors"))
        name = "unet.mid_block.nothing.to_q.lora_{}.weight"
        weights = {name.format("A"): torch.zeros(2, 16), name.format("B"): torch.zeros(16, 2)}
        save_file(weights, tmp_path / "other.safetensors")
        with pytest.raises(InputError, match=r"other\.safetensors"):
            load(lora=str(tmp_path / "other.safetensors"))
        save_file({"head.weight": torch.zeros(2)}, tmp_path / "none.safetensors")
        with pytest.raises(InputError, match=r"none\.safetensors"):
            load(lora=str(tmp_path / "none.safetensors"))

    def test_of_calls_that_do_not_fit_together(self, generator):
        conditioning = generator.encode_text(TEXTS)
        with pytest.raises(ValueError, match="3 prompts but 2 seeds"):
            generator.sample(conditioning, [1, 2])
        with pytest.raises(ValueError, match="backprop_steps"):
            generator.sample(conditioning, [1, 2, 3], backprop_steps=0)


def test_an_edit_is_a_function_of_picture_text_and_seed(generator):
    [picture] = generator.pictures("a cat", [3], 1)
    texts = ["a bird with sea", "a bird with snow"]
    both = generator.edit(picture, texts, [1, 2], steps=8, start=4)
    assert both.shape == (2, *picture.shape) and both.dtype == np.uint8
    for row in range(2):
        alone = generator.edit(picture, texts[row : row + 1], [row + 1], steps=8, start=4)
        assert np.abs(alone[0].astype(int) - both[row]).max() <= 1  # rounding of a batch


@pytest.mark.parametrize("scheduler", ["DDIM", "Euler", "EulerAncestral", "Heun", "UniPC"])
def test_every_kind_of_scheduler_edits(generator, scheduler):
    [picture] = generator.pictures("a cat", [3], 1)
    own = load(scheduler=scheduler)
    drawn = own.edit(picture, ["a bird"] * 2, [1, 1], steps=8, start=5)
    assert np.array_equal(drawn[0], drawn[1])
