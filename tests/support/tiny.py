"""Tiny models with random weights, real in all else: made once per test session, in seconds.

Each function gives a folder or file as a user would have it. They lie in a temporary folder
that all processes of the session share, and that goes when the first of them ends. Who asks for
what another made loads no torch for it.
"""

import functools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from store.locks import FileLock

_SHARED = "DEXTER_TINY_MODELS"
if _SHARED not in os.environ:
    _TEMPORARY = tempfile.TemporaryDirectory(prefix="tiny-models-")
    os.environ[_SHARED] = _TEMPORARY.name
_ROOT = Path(os.environ[_SHARED])


def _made_once(make: Callable[[], Path]) -> Callable[[], Path]:
    """Return what `make` gives, made by the first process that asks for it; the others wait."""

    @functools.cache
    @functools.wraps(make)
    def made() -> Path:
        known = _ROOT / f"{make.__name__}.made"
        with FileLock(_ROOT / f"{make.__name__}.lock", wait=True):
            if not known.exists():
                known.write_text(str(make()))
        return Path(known.read_text())

    return made


# One token each on both sides.
_WORDS = """
    a picture of with and the in on bird fish dog cat duck owl swan water sea lake forest desert
    mountain snow sun moon tree house boat red green blue old man woman
"""
WORDS = tuple(_WORDS.split())
# One token for the masked LM, several for the generator.
LONG_WORDS = ("seagull", "lighthouse", "waterfall")
# Known to the masked LM, but no words.
NOT_WORDS = ("##ing", "##s", "##fall", ".", ",", "!", "-", "7", "[unused0]", "æ")

LABELS = ("waterbird", "landbird", "other")
IMAGE_SIZE = 32  # of the classifiers, px; the generator's pictures have twice that


def _byte_symbols() -> list[str]:
    """CLIP's alphabet: one printable symbol for each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]


def _merge(parts: list[str], merges: list[tuple[str, str]]) -> list[str]:
    for pair in merges:
        at = 0
        while at < len(parts) - 1:
            if (parts[at], parts[at + 1]) == pair:
                parts[at : at + 2] = ["".join(pair)]
            at += 1
    return parts


def _write_clip_tokenizer(folder: Path) -> None:
    merges: list[tuple[str, str]] = []
    for word in WORDS:  # later merges cannot undo what an earlier word is merged to
        parts = _merge([*word[:-1], word[-1] + "</w>"], merges)
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
    symbols = _byte_symbols()
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols)]
    tokens += [left + right for left, right in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@_made_once
def generator_folder() -> Path:
    """A pipeline of Stable Diffusion 1.x architecture: 64 px, 77 tokens, PNDM scheduler."""
    import torch
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        _write_clip_tokenizer(_ROOT / "clip_tokenizer")
        tokenizer = CLIPTokenizer.from_pretrained(_ROOT / "clip_tokenizer")
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                projection_dim=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=77,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=8,
        )
        for name, parameter in unet.named_parameters():
            if "attn2.to_v" in name:
                parameter.data *= 20  # so that the words show in the picture
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
            sample_size=64,
        )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    folder = _ROOT / "generator"
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


@_made_once
def xl_generator_folder() -> Path:
    """A pipeline of Stable Diffusion XL architecture: two text encoders, a pooled vector, 64 px."""
    import torch
    from diffusers import DiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    single = DiffusionPipeline.from_pretrained(generator_folder(), safety_checker=None)
    second_tokenizer = type(single.tokenizer).from_pretrained(
        generator_folder() / "tokenizer", pad_token="!"
    )
    settings = {
        **single.text_encoder.config.to_dict(),
        "hidden_size": 48,
        "projection_dim": 24,
    }
    with torch.random.fork_rng():
        torch.manual_seed(5)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            cross_attention_dim=32 + 48,
            attention_head_dim=(2, 4),
            norm_num_groups=8,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
        )
        for name, parameter in unet.named_parameters():
            if "attn2.to_v" in name or "add_embedding" in name:
                parameter.data *= 20  # so that words and pooled vector show in the picture
        first = CLIPTextModel(single.text_encoder.config)
        second = CLIPTextModelWithProjection(CLIPTextConfig(**settings))
    folder = _ROOT / "xl_generator"
    StableDiffusionXLPipeline(
        vae=single.vae,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=single.tokenizer,
        tokenizer_2=second_tokenizer,
        unet=unet,
        scheduler=single.scheduler,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


@_made_once
def decoder_folder() -> Path:
    """An AutoencoderTiny for the latents of both generators."""
    import torch
    from diffusers import AutoencoderTiny

    with torch.random.fork_rng():
        torch.manual_seed(6)
        decoder = AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
            num_encoder_blocks=(1, 1, 1, 1), num_decoder_blocks=(1, 1, 1, 1),
        )  # fmt: skip
    folder = _ROOT / "decoder"
    decoder.save_pretrained(folder)
    return folder


@_made_once
def checked_generator_folder() -> Path:
    """`generator_folder` with a safety checker that finds fault with black pictures alone."""
    import shutil

    import torch
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    folder = _ROOT / "checked_generator"
    shutil.copytree(generator_folder(), folder)
    config = CLIPConfig(
        vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                       "num_attention_heads": 2, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(8)
        checker = StableDiffusionSafetyChecker(config).eval()
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    # The first unwanted concept is what a black picture looks like to it, but not a grey one,
    # which is what a black one becomes where its range is taken for [-1, 1] a second time.
    with torch.no_grad():
        looks = []
        for level in (0, 128):
            picture = torch.full((3, 64, 64), level, dtype=torch.uint8).numpy()
            inputs = processor(picture, return_tensors="pt", input_data_format="channels_first")
            looks.append(checker.visual_projection(checker.vision_model(**inputs)[1])[0])
        black, grey = (look / look.norm() for look in looks)
        checker.concept_embeds.fill_(0)
        checker.concept_embeds[0] = black
        checker.special_care_embeds.fill_(0)
        checker.special_care_embeds_weights.fill_(1)
        checker.concept_embeds_weights.fill_(1)
        checker.concept_embeds_weights[0] = (1 + float(black @ grey)) / 2
    checker.save_pretrained(folder / "safety_checker")
    processor.save_pretrained(folder / "feature_extractor")
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index["requires_safety_checker"] = True
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@_made_once
def lora_file() -> Path:
    """A LoRA for the attention of `generator_folder`'s UNet, large enough to be seen."""
    import torch
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet = UNet2DConditionModel.from_pretrained(generator_folder(), subfolder="unet")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
        for name, parameter in unet.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    folder = _ROOT / "lora"
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)
    return folder / "pytorch_lora_weights.safetensors"


@_made_once
def masked_lm_folder() -> Path:
    """A BertForMaskedLM whose vocabulary holds words, subwords, punctuation and a letter."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    folder = _ROOT / "masked_lm"
    folder.mkdir()
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = (*special, *NOT_WORDS, *WORDS, *LONG_WORDS)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizer.from_pretrained(folder, model_max_length=64).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = BertForMaskedLM(
            BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=64,
                max_position_embeddings=64,
            )
        )
    model.save_pretrained(folder)
    return folder


@_made_once
def classifier_folder() -> Path:
    """A Hugging Face ResNet for `IMAGE_SIZE` px and `LABELS`."""
    return _classifier("classifier", 3)


@_made_once
def other_classifier_folder() -> Path:
    """The same with other weights."""
    return _classifier("other-classifier", 7)


def _classifier(name: str, seed: int) -> Path:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    folder = _ROOT / name
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ResNetForImageClassification(
            ResNetConfig(
                embedding_size=8,
                hidden_sizes=[8, 16],
                depths=[1, 1],
                layer_type="basic",
                id2label=dict(enumerate(LABELS)),
                label2id={label: index for index, label in enumerate(LABELS)},
            )
        )
    model.save_pretrained(folder)
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


PYTHON_CLASSIFIER = """\
import torch
from torch import nn

def make():
    torch.manual_seed(4)
    body = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(body, nn.Linear(8, 3))
    model.labels, model.image_size = ["waterbird", "landbird", "other"], 32
    return model
"""


@_made_once
def _python_file() -> Path:
    file = _ROOT / "ten_lines.py"
    file.write_text(PYTHON_CLASSIFIER)
    return file


def python_classifier() -> str:
    """The spec, ``python:PATH.py:make``, of a classifier defined in ten lines of Python."""
    return f"python:{_python_file()}:make"


@_made_once
def image_text_folder() -> Path:
    """A CLIPModel for 32 px with its processor; it knows the generator's words."""
    import torch
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
        CLIPTokenizer,
    )

    generator_folder()  # writes the tokenizer
    tokenizer = CLIPTokenizer.from_pretrained(_ROOT / "clip_tokenizer")
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "projection_dim": 16,
    }
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = CLIPModel(
            CLIPConfig(
                text_config={
                    **sizes,
                    "vocab_size": len(tokenizer),
                    "max_position_embeddings": 77,
                    "bos_token_id": tokenizer.bos_token_id,
                    "eos_token_id": tokenizer.eos_token_id,
                    "pad_token_id": tokenizer.pad_token_id,
                },
                vision_config={**sizes, "image_size": IMAGE_SIZE, "patch_size": 8},
                projection_dim=16,
            )
        )
    folder = _ROOT / "image_text"
    model.save_pretrained(folder)
    images = CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    )
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


_CHAT = (
    "{% for message in messages %}"
    "{% if message['content'] is string %}{{ message['content'] }} "
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
)


def _word_tokenizer() -> Any:
    """A tokenizer of whole words, with a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<pad>", "<s>", "</s>", "<image>", *WORDS]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
        chat_template=_CHAT,
        model_max_length=2048,
    )


@_made_once
def captioner_folder() -> Path:
    """A Llava of image-text-to-text architecture: it says the generator's words at random."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = _word_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=8,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        pad_token_id=1,
        bos_token_id=2,
        eos_token_id=3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model = LlavaForConditionalGeneration(
            LlavaConfig(vision_config=vision, text_config=text, image_token_id=4)
        )
    folder = _ROOT / "captioner"
    model.save_pretrained(folder)
    images = CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    )
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT,
    ).save_pretrained(folder)
    return folder


@_made_once
def writer_folder() -> Path:
    """A causal language model that writes words at random."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _word_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=4096,
                pad_token_id=1,
                bos_token_id=2,
                eos_token_id=3,
            )
        )
    folder = _ROOT / "writer"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
