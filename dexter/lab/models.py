"""The lab's models before training: tokenizers made from the world's words, and empty networks.

All of them are standard architectures of transformers and diffusers, small. Saved, each is an
ordinary folder that `from_pretrained` opens: the product has no second code path for the lab.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from dexter.lab import world
from dexter.lab.scenes import SIZE

MAX_TOKENS = 24
"""Tokens of a prompt, start and end included: eight words joined by "and" fit."""

LATENT_CHANNELS = 8
LATENT_SIZE = SIZE // 4
HIDDEN = 128
SAMPLER_STEPS = (999, 749, 499, 249)
"""Noise levels (of 1000) at which the shipped sampler calls the UNet, and which it is trained on
most."""


def _byte_symbols() -> list[str]:
    """CLIP's alphabet: one printable symbol for each byte (as in GPT-2's byte-level BPE)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    symbols = [chr(byte) for byte in printable]
    return symbols + [chr(256 + n) for n in range(256 - len(printable))]


def _apply(merges: list[tuple[str, str]], parts: list[str]) -> list[str]:
    for left, right in merges:
        i = 0
        while i < len(parts) - 1:
            if parts[i] == left and parts[i + 1] == right:
                parts[i : i + 2] = [left + right]
            else:
                i += 1
    return parts


def clip_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer in which every word of the world is one token.

    The merges of a word come after those of all earlier words, so they cannot break them.
    """
    merges: list[tuple[str, str]] = []
    for word in world.WORDS:
        parts = _apply(merges, [*word[:-1], word[-1] + "</w>"])
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[0:2] = [parts[0] + parts[1]]
    symbols = _byte_symbols()
    tokens = [*symbols, *(s + "</w>" for s in symbols), *(a + b for a, b in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    with TemporaryDirectory() as folder:
        Path(folder, "vocab.json").write_text(json.dumps(vocabulary))
        lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges), ""]
        Path(folder, "merges.txt").write_text("\n".join(lines))
        return CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_TOKENS)


def bert_tokenizer() -> BertTokenizerFast:
    """A BERT tokenizer whose vocabulary is the world's words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ","]
    with TemporaryDirectory() as folder:
        Path(folder, "vocab.txt").write_text("\n".join([*special, *world.WORDS, ""]))
        return BertTokenizerFast.from_pretrained(folder, model_max_length=64)


def vae() -> AutoencoderTiny:
    """Pictures (B, 3, 64, 64) in [-1, 1] to latents (B, LATENT_CHANNELS, 16, 16) and back.

    No block works on whole pictures: there it would cost as much as all others together.
    """
    return AutoencoderTiny(
        encoder_block_out_channels=(48, 48, 48),
        decoder_block_out_channels=(48, 48, 48),
        num_encoder_blocks=(0, 1, 2),
        num_decoder_blocks=(2, 2, 0),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=1.0,
        force_upcast=False,
    )


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN,
            intermediate_size=2 * HIDDEN,
            projection_dim=HIDDEN,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def unet() -> UNet2DConditionModel:
    """Reads the text twice: by cross-attention, and pooled as scale and shift of every layer.

    The second way is what makes it learn in hours: by cross-attention alone, words that name a
    whole picture (its background, its subject) need several times the samples to have any effect.
    """
    return UNet2DConditionModel(
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 160),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=HIDDEN,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def scheduler() -> DDIMScheduler:
    """Four steps of it are at 999, 749, 499 and 249 (`SAMPLER_STEPS`)."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def masked_lm(tokenizer: BertTokenizerFast) -> BertForMaskedLM:
    return BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=2 * HIDDEN,
            max_position_embeddings=64,
        )
    )


def classifier(
    labels: tuple[str, ...], widths: tuple[int, ...] = (32, 64, 96, 128)
) -> ResNetForImageClassification:
    """A small ResNet without the stem's pooling, for 64 px pictures."""
    config = ResNetConfig(
        embedding_size=widths[0],
        hidden_sizes=list(widths),
        depths=[1] * len(widths),
        layer_type="basic",
        downsample_in_first_stage=False,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        num_labels=len(labels),
    )
    return ResNetForImageClassification(config)


def small_vit(labels: tuple[str, ...]) -> ViTForImageClassification:
    """A vision transformer of 90,000 parameters for 64 px pictures."""
    config = ViTConfig(
        hidden_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=96,
        image_size=SIZE,
        patch_size=8,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        num_labels=len(labels),
    )
    return ViTForImageClassification(config)
