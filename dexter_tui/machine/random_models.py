"""Models with random weights, in Stable Diffusion 1.4's shape or a small one, for measurements.

Arithmetic and memory cost the same as with trained weights, and nothing must be downloaded.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
)

from dexter.classifiers.base import Classifier, Preprocessing
from dexter.config import RunConfig
from dexter.device import torch_dtype
from dexter.generation.generator import Generator
from dexter.loading import quiet
from dexter.models import Models
from dexter.search.prompt import MaskedLM

CLASSES = 10


@dataclass(frozen=True)
class Shape:
    """The sizes of the networks.

    width, layers: of text encoder and masked LM. unet, decoder: channels by level. clip, bert:
    sizes of the vocabularies, which share 5 and ``words`` words.
    """

    width: int
    layers: int
    unet: tuple[int, ...]
    decoder: tuple[int, ...]
    clip: int
    bert: int
    words: int


SD14 = Shape(
    768, 12, (320, 640, 1280, 1280), (128, 256, 512, 512), 49_408, 30_522, 18_029
)  # fmt: skip
"""Stable Diffusion 1.4, whose UNet has 860 M weights, and BERT-base."""
SMALL = Shape(64, 1, (32, 64, 64, 64), (32, 32, 32, 32), 1000, 800, 200)


def random_models(
    config: RunConfig, shape: Shape = SD14, *, device: str = "cpu", drawn_on: str | None = None
) -> Models:
    """Make the models of a run on a device ("cpu" or "cuda:N"), with random weights.

    The weights depend on the device that they are drawn on, by default the same.

    Reads image_size (default: 512 px), diffusion_steps, guidance, padding and dtype of ``config``.
    The classifier has `CLASSES` classes and reads 256 px.
    """
    torch.manual_seed(0)
    with torch.device(drawn_on or device):
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=shape.clip,
                hidden_size=shape.width,
                intermediate_size=4 * shape.width,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.width // 64,
                projection_dim=shape.width,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=shape.unet,
            cross_attention_dim=shape.width,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=shape.decoder,
            layers_per_block=2,
            sample_size=512,
        )
        masked_lm = BertForMaskedLM(
            BertConfig(
                vocab_size=shape.bert,
                hidden_size=shape.width,
                intermediate_size=4 * shape.width,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.width // 64,
            )
        )
        network = nn.Sequential(
            *(nn.Conv2d(3, 32, 5, 2, 2), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES)),
        )
    bert_tokenizer, clip_tokenizer = _tokenizers(shape)
    pipeline = StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=clip_tokenizer,
        scheduler=LCMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.vae.encoder = pipeline.vae.quant_conv = None
    with quiet():
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            part.requires_grad_(False).eval()
            part.to(device, torch_dtype(config.dtype), memory_format=torch.channels_last)
    generator = Generator(
        pipeline,
        spec=config.generator,
        weight_files=[],
        image_size=config.image_size or 512,
        diffusion_steps=config.diffusion_steps,
        guidance=config.guidance,
        padding=config.padding,
    )
    classifier = Classifier(
        network,
        spec=config.classifier,
        labels=None,
        preprocessing=Preprocessing(256, 256),
        weights_hash="",
        device=device,
        dtype=torch_dtype(config.dtype),
    )
    frozen = masked_lm.requires_grad_(False).eval().to(device)
    return Models(classifier, generator, MaskedLM(config.masked_lm, frozen, bert_tokenizer), device)


def _tokenizers(shape: Shape) -> tuple[Any, Any]:
    """Make tokenizers of made-up words for the masked LM and the text encoder."""
    shared = ["a", "picture", "of", "with", "and", *(f"word{n}" for n in range(shape.words))]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."]
    bert = [*special, *shared]
    bert += [f"bert{n}" for n in range(shape.bert - len(bert))]
    clip = [*shared, *(f"clip{n}" for n in range(shape.clip - 2 - len(shared))), "<start>", "<end>"]
    tokens = Tokenizer(WordLevel({word: n for n, word in enumerate(clip)}, unk_token="<end>"))
    tokens.pre_tokenizer = Whitespace()
    with tempfile.TemporaryDirectory(prefix="random-models-") as folder:
        Path(folder, "vocab.txt").write_text("\n".join(bert) + "\n", encoding="utf-8")
        bert_tokenizer = BertTokenizer.from_pretrained(folder)
    return bert_tokenizer, PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        bos_token="<start>",
        eos_token="<end>",
        pad_token="<end>",
        unk_token="<end>",
        model_max_length=77,
    )
