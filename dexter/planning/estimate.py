"""Time and memory of a run by formula, before anything is loaded; no torch.

Counts multiplications and the numbers that autograd keeps, block by block, from the models'
``config.json``. For Stable Diffusion 1.4 in float32 on a CPU, one picture per step, the peak is
within 10% of the measured one: 5,730 MiB at 128 px, 7,490 at 256, 6,250 there with the UNet's
activations recomputed and 6,170 with all, 9,750 at 512 with the UNet's. Times assume a typical
speed of the kind of device and are a guess within a factor of 2. Measurements of a similar run,
where there is one, should replace both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexter import model_folders
from dexter.config import Checkpointing, RunConfig
from dexter.errors import InputError
from dexter.planning.identity import cached_folder

BUDGET_BYTES = 12 * 10**9
"""Default memory of a run: a common graphics card."""

_OVERHEAD_BYTES = 1.2e9  # interpreter, libraries, workspaces
_KEPT_BY_ALLOCATOR = 1.25  # on a CPU, where nothing is recomputed: keep_freed_memory
# While a checkpointed block is recomputed, its gradients and workspaces are alive as well.
_RECOMPUTED = 1.7
_TRANSFORMERS = 1.5  # their recomputation takes half of a UNet's time
_CLASSIFIER_WEIGHTS = 26e6  # a ResNet-50; at 224 px it keeps 40 million numbers per picture
_CLASSIFIER_KEPT = 800  # numbers per pixel of a picture up to 224 px
_CLASSIFIER_MACS = 82e3  # multiplications per pixel, likewise

# Multiplications with addition per second, in practice rather than by data sheet.
_SPEED = {
    ("cpu", "float32"): 5e10,  # one thread
    ("cpu", "bfloat16"): 5e10,
    ("cpu", "float16"): 1e10,
    ("cuda", "float32"): 1e13,
    ("cuda", "bfloat16"): 4e13,
    ("cuda", "float16"): 4e13,
}

# Assumed for hub ids, whose config.json is not on this machine: Stable Diffusion 1.x, BERT-base.
_SD1_UNET = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "sample_size": 64,
}
_SD1_VAE = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}
_SD1_TEXT = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "intermediate_size": 3072,
    "vocab_size": 49408,
    "max_position_embeddings": 77,
}
_BERT = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "intermediate_size": 3072,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
}


@dataclass(frozen=True)
class Estimate:
    """The expected time and memory of a run, and the split of its pictures that they assume."""

    seconds_per_step: float
    total_seconds: float
    """Upper bound: all steps, score and frames."""
    peak_bytes: int
    """Of the device: weights, and the pictures computed at a time."""
    micro_batch: int
    """Pictures at a time with autograd."""
    picture_batch: int
    """Pictures at a time without."""
    gradient_checkpointing: Checkpointing
    seconds_per_picture: float = 0.0
    """Of the generator and the classifier, without autograd."""


@dataclass(frozen=True)
class _Block:
    """A part of a network, for one picture, that checkpointing recomputes as one piece."""

    weights: float
    macs: float
    """Multiplications with addition."""
    kept: float
    """Numbers that autograd keeps."""
    entry: float
    """Numbers at its input: all that is kept where the whole block is recomputed."""
    again: float
    """Numbers kept where only the transformers are recomputed (`frozen.checkpointed`)."""


def estimate(
    config: RunConfig,
    *,
    budget: int = BUDGET_BYTES,
    device: str | None = None,
    measured_peak: int | None = None,
    measured_seconds: float | None = None,
) -> Estimate:
    """Estimate a run of ``config``, split to fit into ``budget`` bytes where possible.

    ``device``: "cpu" or "cuda..." instead of the config's, where "auto" means CUDA if this
    machine has an NVIDIA driver. ``measured_peak`` (bytes) and ``measured_seconds`` (per step) of
    a similar run replace the formulas. Raises InputError for a folder without models.
    """
    networks = _networks(config)
    unet, rest = networks.unet, networks.rest
    width = 4 if config.dtype == "float32" else 2
    rows = 2 if config.guidance > 1 else 1
    calls = rows * config.diffusion_steps
    grad_calls = rows * min(config.backprop_steps or calls, config.diffusion_steps)

    weights = width * (_sum(unet, "weights") + _sum(rest, "weights"))
    fixed = weights + 4 * networks.masked_lm.weights + _OVERHEAD_BYTES
    # A block's input, output and 2 tensors between them are alive at a time, also without autograd.
    passing = 4 * max(block.entry for block in [*unet, *rest])
    unet_again = grad_calls * _sum(unet, "again") + passing
    largest = _RECOMPUTED * max(block.kept for block in unet)
    kept: dict[Checkpointing, float] = {
        "none": grad_calls * _sum(unet, "kept") + _sum(rest, "kept") + passing,
        # The decoder's are freed before the UNet's blocks are recomputed.
        "unet": unet_again + max(_sum(rest, "kept"), largest),
        "all": unet_again
        + _sum(rest, "entry")
        + max(largest, _RECOMPUTED * max(block.kept for block in rest)),
    }
    kind = _kind(device or config.device)
    if kind == "cpu":
        kept["none"] *= _KEPT_BY_ALLOCATOR

    room = budget - fixed
    checkpointing = config.gradient_checkpointing
    if checkpointing is None:
        fits = [level for level in kept if width * kept[level] <= room or not config.grad_prompts]
        checkpointing = fits[0] if fits else "all"
    row = width * kept[checkpointing]
    micro_batch = config.micro_batch or _between(1, room // row, config.batch)
    with_grad = min(micro_batch, config.grad_prompts) * row
    # Pictures without autograd get the memory that those with it need.
    picture_batch = config.micro_batch or _between(1, (with_grad or room) // (width * passing), 16)

    forward = calls * _sum(unet, "macs") + _sum(rest, "macs")
    # The same again: the weights are frozen, so that only inputs have gradients.
    backward = grad_calls * _sum(unet, "macs") * (1 if checkpointing == "none" else _TRANSFORMERS)
    backward += _sum(rest, "macs") * (2 if checkpointing == "all" else 1)
    speed = _SPEED[kind, config.dtype]
    seconds = (config.batch * forward + config.grad_prompts * backward) / speed
    seconds = seconds if measured_seconds is None else measured_seconds
    pictures = config.score_images + config.frame_tries
    return Estimate(
        seconds_per_step=seconds,
        seconds_per_picture=forward / speed,
        total_seconds=config.steps * seconds + pictures * forward / speed,
        peak_bytes=measured_peak or int(fixed + max(with_grad, picture_batch * width * passing)),
        micro_batch=micro_batch,
        picture_batch=picture_batch,
        gradient_checkpointing=checkpointing,
    )


@dataclass(frozen=True)
class _Networks:
    unet: list[_Block]
    """For one call of one picture."""
    rest: list[_Block]
    """Text encoder, decoder and classifier, which run once."""
    masked_lm: _Block


def _networks(config: RunConfig) -> _Networks:
    unet = {**_SD1_UNET, **_read(config.generator, "generator", "unet")}
    vae = {**_SD1_VAE, **_read(config.generator, "generator", "vae")}
    text = {**_SD1_TEXT, **_read(config.generator, "generator", "text_encoder")}
    second = _read(config.generator, "generator", "text_encoder_2", optional=True)
    masked_lm = {**_BERT, **_read(config.masked_lm, "masked_lm")}
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    trained = unet["sample_size"]
    side = trained if isinstance(trained, int) else trained[0]
    if config.image_size is not None:
        side = max(config.image_size // factor, 1)
    seen = min((side * factor) ** 2, 224**2)
    classifier = _Block(
        weights=_CLASSIFIER_WEIGHTS,
        macs=_CLASSIFIER_MACS * seen,
        kept=_CLASSIFIER_KEPT * seen,
        entry=3 * seen,
        again=_CLASSIFIER_KEPT * seen,
    )
    length = text["max_position_embeddings"]
    # Stable Diffusion XL has two.
    encoders = [text, {**_SD1_TEXT, **second}] if second else [text]
    return _Networks(
        _unet(unet, side, length),
        [*(_text_model(one, length) for one in encoders), *_decoder(vae, side), classifier],
        _text_model(masked_lm, length),
    )


def _unet(config: Mapping[str, Any], side: int, text_length: int) -> list[_Block]:
    """List the blocks of a UNet2DConditionModel, whose up path reads the down path's outputs."""
    channels = config["block_out_channels"]
    context = config["cross_attention_dim"]
    layers = config["layers_per_block"]
    # The number of consecutive transformers per level; Stable Diffusion XL has many.
    depths = config.get("transformer_layers_per_block", 1)
    depths = [depths] * len(channels) if isinstance(depths, int) else list(depths)
    attends = [
        depth * ("CrossAttn" in kind)
        for depth, kind in zip(depths, config["down_block_types"], strict=True)
    ]
    blocks = []
    skips = [channels[0]]
    width = channels[0]
    pixels = side**2
    for level, (out, attend) in enumerate(zip(channels, attends, strict=True)):
        last = level == len(channels) - 1
        parts = []
        for layer in range(layers):
            parts.append(_resnet(width if layer == 0 else out, out, pixels))
            parts += [_transformer(out, pixels, context, text_length)] * attend
            skips.append(out)
        blocks.append(_join(parts, width * pixels))
        width = out
        if not last:
            skips.append(out)
            pixels //= 4
    middle = [_resnet(width, width, pixels)] * 2
    inside = [_transformer(width, pixels, context, text_length)] * depths[-1]
    blocks.append(_join([*middle, *inside], width * pixels))
    for level, (out, attend) in enumerate(zip(channels[::-1], attends[::-1], strict=True)):
        parts, entry = [], width * pixels
        for _ in range(layers + 1):
            skip = skips.pop()
            entry += skip * pixels
            parts.append(_resnet(width + skip, out, pixels))
            parts += [_transformer(out, pixels, context, text_length)] * attend
            width = out
        blocks.append(_join(parts, entry))
        if level < len(channels) - 1:
            pixels *= 4
    return blocks


def _decoder(config: Mapping[str, Any], side: int) -> list[_Block]:
    """List the blocks of an AutoencoderKL's decoder, an approximation for other kinds."""
    channels = config["block_out_channels"][::-1]
    layers = config["layers_per_block"] + 1
    pixels = side**2
    width = channels[0]
    blocks = [_join([_resnet(width, width, pixels)] * 2, width * pixels)]
    for level, out in enumerate(channels):
        parts = [_resnet(width if layer == 0 else out, out, pixels) for layer in range(layers)]
        blocks.append(_join(parts, width * pixels))
        width = out
        if level < len(channels) - 1:
            pixels *= 4
    kept = 2 * width * pixels
    blocks.append(_Block(27 * width, 27 * width * pixels, kept, width * pixels, kept))
    return blocks


def _text_model(config: Mapping[str, Any], length: int) -> _Block:
    """Count a transformer over ``length`` tokens, with its token table."""
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    inside = layers * (4 * width**2 + 2 * width * config["intermediate_size"])
    kept = layers * length * (10 * width + 2 * config["intermediate_size"])
    table = config["vocab_size"] * width
    return _Block(table + inside, inside * length, kept, length * width, kept)


def _resnet(entering: int, out: int, pixels: int) -> _Block:
    """Count two 3x3 convolutions, each after a norm and an activation, and a shortcut."""
    weights = 9 * entering * out + 9 * out * out + entering * out
    kept = (entering + out) * pixels  # the inputs of its norms (dexter.generation.frozen)
    return _Block(weights, weights * pixels, kept, entering * pixels, kept)


def _transformer(width: int, pixels: int, context: int, text_length: int) -> _Block:
    """Count attention to the picture and to the text, and a gated layer 4 times as wide."""
    own = 20 * width**2
    text = 2 * width * context
    macs = own * pixels + text * text_length + 2 * width * pixels * (pixels + text_length)
    entry = width * pixels
    return _Block(own + text, macs, 23 * width * pixels, entry, again=entry)


def _join(parts: list[_Block], entry: float) -> _Block:
    sums = {field: _sum(parts, field) for field in ("weights", "macs", "kept", "again")}
    return _Block(**sums, entry=entry)


def _sum(blocks: list[_Block], field: str) -> float:
    return sum(float(getattr(block, field)) for block in blocks)


def _between(low: int, value: float, high: int) -> int:
    return max(low, min(int(value), high))


def _kind(device: str) -> str:
    if device == "auto":
        return "cuda" if Path("/proc/driver/nvidia/version").exists() else "cpu"
    return device.partition(":")[0]


def _read(spec: str, part: str, *folders: str, optional: bool = False) -> dict[str, Any]:
    """Read a model's config.json; return {} for a hub id that is not on this machine.

    ``optional``: return {} also where a folder lacks the file.
    """
    folder = model_folders.find("lab", part) if spec == "lab" else Path(spec).expanduser()
    if not folder.is_dir():
        cached = cached_folder(spec)
        if cached is None or not cached.joinpath(*folders, "config.json").exists():
            return {}
        folder = cached
    file = folder.joinpath(*folders, "config.json")
    if optional and not file.exists():
        return {}
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {file} ({type(error).__name__})",
            field=part,
            value=spec,
            remedy="pass a model's folder",
        ) from error
    return config
