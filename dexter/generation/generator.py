"""Text conditioning to pictures: few-step latent diffusion, differentiable, weights frozen.

Supports any diffusers text-to-image pipeline with CLIP text encoders (Stable Diffusion 1.x, 2.x,
XL, turbo, latent consistency models). The sampling loop is written here over the public diffusers
API, because the stock pipeline neither passes gradients nor separates the noise of pictures.

**A picture is a function of (generator, prompt, seed)**, start noise and scheduler noise included,
at any batch size or position: each row draws from a CPU generator of its own, in float32.
"""

import copy
import difflib
import inspect
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from diffusers import AutoencoderTiny, DiffusionPipeline
from huggingface_hub import snapshot_download
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from dexter import model_folders
from dexter.config import Checkpointing, RunConfig
from dexter.device import torch_dtype
from dexter.errors import InputError
from dexter.generation.frozen import checkpointed, keep_less
from dexter.generation.options import GeneratorOptions
from dexter.generation.text_encoders import TextEncoders
from dexter.generator_presets import steps_of
from dexter.loading import LOADING_ERRORS, fetch, hash_files, one_line, quiet, read_json
from dexter.planning.preflight import CHECKER, DECODER_FILES, lora_file, single_file

# Tests hold that each separates the noise of rows. DPMSolverSDE cannot: it draws for the batch.
SCHEDULERS = {
    "LCM": "LCMScheduler",
    "TCD": "TCDScheduler",
    "DDIM": "DDIMScheduler",
    "DDPM": "DDPMScheduler",
    "PNDM": "PNDMScheduler",
    "Euler": "EulerDiscreteScheduler",
    "EulerAncestral": "EulerAncestralDiscreteScheduler",
    "Heun": "HeunDiscreteScheduler",
    "DPMSolverMultistep": "DPMSolverMultistepScheduler",
    "DPMSolverSinglestep": "DPMSolverSinglestepScheduler",
    "DEIS": "DEISMultistepScheduler",
    "UniPC": "UniPCMultistepScheduler",
    "KDPM2": "KDPM2DiscreteScheduler",
    "KDPM2Ancestral": "KDPM2AncestralDiscreteScheduler",
}

_TEXT_CACHE_SIZE = 256

# Weights. Below, calls cost more than arithmetic: keeping less makes the lab's step 5% slower.
_SMALL = 30_000_000

_NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")

# The errors of diffusers for folders and files that are incomplete, broken or of another kind.
_LOADING_ERRORS = (*LOADING_ERRORS, SafetensorError)


@dataclass(frozen=True)
class Noise:
    """The two random streams of a picture's noise (CPU), where it is not given by one seed."""

    start: torch.Generator
    """Draws the initial latents."""
    steps: torch.Generator
    """Draws the noise that the scheduler adds between the steps."""


class Generator:
    """A frozen text-to-image pipeline: tokens to conditioning, conditioning to pictures.

    Made by `load_generator`. Sizes below: B rows, L word tokens, D the text encoder's embedding
    dimension, T = ``max_length`` tokens, C the conditioning's channels, H = W = ``image_size``.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        spec: str,
        weight_files: Sequence[tuple[str, Path]],
        image_size: int,
        diffusion_steps: int,
        guidance: float,
        padding: str = "tokens",
        decoder: Any = None,
    ) -> None:
        self.spec = spec
        self.image_size = image_size
        self.diffusion_steps = diffusion_steps
        self.guidance = guidance
        self._texts = TextEncoders(pipeline, padding=padding)
        self.tokenizer = self._texts.tokenizer
        self.device: torch.device = pipeline.unet.device
        self.dtype: torch.dtype = pipeline.unet.dtype
        self.embedding_dim = self._texts.embedding_dim
        self.max_length = self._texts.max_length
        """Number of tokens of a conditioning, start and end tokens included."""
        self._unet = pipeline.unet
        self._vae = pipeline.vae
        self.networks: list[nn.Module] = [
            network for name in _NETWORKS if (network := getattr(pipeline, name, None))
        ]
        """UNet, autoencoder and text encoders, frozen."""
        self._small_decoder = decoder
        for network in filter(None, [*self.networks, decoder]):
            if sum(weight.numel() for weight in network.parameters()) > _SMALL:
                keep_less(network)
        self._safety_checker = getattr(pipeline, "safety_checker", None)
        self._feature_extractor = getattr(pipeline, "feature_extractor", None)
        self._latent_size: int = image_size // pipeline.vae_scale_factor
        # Diffusers' schedulers are stateful: this one is prepared and only ever copied.
        self._scheduler = pipeline.scheduler
        self._scheduler.set_timesteps(diffusion_steps)
        # Noise and latents stay in float32 between the steps, whatever the networks compute in.
        self._latent_dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        # Networks distilled with guidance take it as an input instead of a second branch.
        embedded = self._unet.config.time_cond_proj_dim
        self._guidance_embedding: Tensor | None = None
        if embedded is not None:
            scale = torch.tensor([guidance - 1.0])
            embedding = pipeline.get_guidance_scale_embedding(scale, embedding_dim=embedded)
            self._guidance_embedding = embedding.to(self.device, self.dtype)
        self._two_branches = guidance > 1 and embedded is None
        self._encoded: OrderedDict[str, Tensor] = OrderedDict()
        self._weight_files = weight_files

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 (hex) of the weight files, the LoRA's included; computed on first use."""
        return hash_files(self._weight_files)

    def token_embedding(self, ids: Tensor) -> Tensor:
        """Look up CLIP's token embeddings: ids (...) to (..., D), float32, no gradient."""
        return self._texts.token_embedding(ids).to(self._latent_dtype)

    def encode(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Encode token embeddings to conditioning (B, T, C), differentiable in ``embeddings``.

        ``embeddings`` (B, L, D) are rows of `token_embedding` or mixtures of them, *without*
        start, end and padding; ``lengths`` (B,) is the number of words among the L. The special
        tokens are added as the tokenizer does, before the text encoder runs, so that the result
        equals `encode_text` of the same words; with ``padding`` "repeat" the end token's state
        fills the rest instead.
        """
        length = int(lengths.max())
        if length > self.max_length - 2:
            raise InputError(
                f"the prompt has {length} tokens: must be at most {self.max_length - 2} for "
                f"generator {self.spec}",
                field="template",
                remedy="shorten it",
            )
        return self._texts.encode(embeddings, lengths)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode texts to conditioning (len(texts), T, C), no gradient; repeated texts once.

        Cuts a text longer than T tokens, as the stock pipeline does.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self._encoded]
        if missing:
            self._encoded.update(zip(missing, self._texts.encode_text(missing), strict=True))
        result = torch.stack([self._encoded[text] for text in texts])
        while len(self._encoded) > _TEXT_CACHE_SIZE:
            self._encoded.popitem(last=False)
        return result

    def sample(
        self,
        conditioning: Tensor,
        seeds: Sequence[int | Noise],
        *,
        backprop_steps: int | None = None,
        latent_gradient: bool = True,
        gradient_checkpointing: Checkpointing = "none",
        small_decoder: bool = False,
    ) -> Tensor:
        """Draw pictures (B, 3, H, W), float32 in [0, 1], for conditioning (B, T, C) and B seeds.

        Differentiable where ``conditioning`` requires grad; arguments as `denoise` and `decode`.
        """
        latents = self.denoise(
            conditioning,
            seeds,
            backprop_steps=backprop_steps,
            latent_gradient=latent_gradient,
            gradient_checkpointing=gradient_checkpointing,
        )
        return self.decode(
            latents, gradient_checkpointing=gradient_checkpointing, small_decoder=small_decoder
        )

    def denoise(
        self,
        conditioning: Tensor,
        seeds: Sequence[int | Noise],
        *,
        backprop_steps: int | None = None,
        latent_gradient: bool = True,
        gradient_checkpointing: Checkpointing = "none",
    ) -> Tensor:
        """Compute final latents (B, 4, h, w), float32, of conditioning (B, T, C) and B seeds.

        Differentiable where ``conditioning`` requires grad: through all diffusion steps, or
        the last ``backprop_steps`` (the earlier ones then run without autograd).
        Without ``latent_gradient`` the latents that the UNet reads are constants: the gradient
        flows only through the conditioning of each step and the scheduler's sum.
        ``gradient_checkpointing`` recomputes the UNet's blocks in the backward pass ("unet"), the
        decoder's too ("all"): less memory, 25% to 50% more time.
        """
        if len(seeds) != len(conditioning):
            raise ValueError(f"{len(conditioning)} prompts but {len(seeds)} seeds")
        if backprop_steps is not None and backprop_steps < 1:
            raise ValueError(f"backprop_steps is {backprop_steps}, but at least 1 is needed")
        scheduler = copy.deepcopy(self._scheduler)
        timesteps = scheduler.timesteps
        first_grad_step = 0 if backprop_steps is None else len(timesteps) - backprop_steps
        noise = [_noise(seed) for seed in seeds]
        own_noise = (
            {"generator": [row.steps for row in noise]}
            if "generator" in inspect.signature(scheduler.step).parameters
            else {}
        )
        shape = (1, self._unet.config.in_channels, self._latent_size, self._latent_size)
        start = torch.cat([torch.randn(shape, generator=row.start) for row in noise])
        latents = start.to(self.device, self._latent_dtype) * scheduler.init_noise_sigma
        conditioning = conditioning.to(self.device, self.dtype)
        differentiable = torch.is_grad_enabled() and conditioning.requires_grad
        if self._two_branches:
            unconditional = self._texts.unconditional().expand_as(conditioning)
            conditioning = torch.cat([unconditional, conditioning])
        with checkpointed(self._unet, differentiable and gradient_checkpointing != "none"):
            for index, t in enumerate(timesteps):
                with torch.set_grad_enabled(differentiable and index >= first_grad_step):
                    read = latents if latent_gradient else latents.detach()
                    prediction = self._predict(
                        scheduler.scale_model_input(read, t), t, conditioning
                    )
                    latents = scheduler.step(
                        prediction, t, latents, return_dict=False, **own_noise
                    )[0]
        final: Tensor = latents
        return final

    @torch.no_grad()
    def edit(
        self,
        picture: NDArray[np.uint8],
        texts: Sequence[str],
        seeds: Sequence[int],
        *,
        steps: int,
        start: int,
    ) -> NDArray[np.uint8]:
        """Redraw a picture (H, W, 3) with each text and seed, (B, H, W, 3).

        The picture's latents are noised to the diffusion step ``start`` of ``steps`` and denoised
        from there under the text (SDEdit, Meng et al. 2022): the earlier the step, the more is
        new.
        """
        scheduler = copy.deepcopy(self._scheduler)
        scheduler.set_timesteps(steps)
        order = getattr(scheduler, "order", 1)  # of solvers that list each step more than once
        timesteps = scheduler.timesteps[start * order :]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start * order)
        noise = [_noise(seed) for seed in seeds]
        own_noise = (
            {"generator": [row.steps for row in noise]}
            if "generator" in inspect.signature(scheduler.step).parameters
            else {}
        )
        clean = self.encode_pictures(picture[None])
        drawn = torch.cat([torch.randn(clean.shape, generator=row.start) for row in noise])
        drawn = drawn.to(self.device, self._latent_dtype)
        at = timesteps[:1].expand(len(seeds))
        latents = scheduler.add_noise(clean.expand_as(drawn), drawn, at)
        conditioning = self.encode_text(texts).to(self.device, self.dtype)
        if self._two_branches:
            unconditional = self._texts.unconditional().expand_as(conditioning)
            conditioning = torch.cat([unconditional, conditioning])
        for t in timesteps:
            prediction = self._predict(scheduler.scale_model_input(latents, t), t, conditioning)
            latents = scheduler.step(prediction, t, latents, return_dict=False, **own_noise)[0]
        return to_uint8(self.decode(latents))

    @torch.no_grad()
    def denoising_errors(
        self, latents: Tensor, text: str, times: Sequence[float], seeds: Sequence[int]
    ) -> Tensor:
        """Return how badly a text helps to restore noised latents (B, C, h, w), as (B, K, h, w).

        Each of K noises, a time in (0, 1) and a seed, is added to all latents alike. The error is
        the squared difference between the latents and those that the UNet predicts from the noised
        ones under the text, without guidance, averaged over the channels.
        """
        errors = []
        conditioning = self.encode_text([text]).to(self.device, self.dtype)
        conditioning = conditioning.expand(len(latents), *conditioning.shape[1:])
        clean = latents.to(self.device, self._latent_dtype)
        schedule = self._scheduler.alphas_cumprod
        for time, seed in zip(times, seeds, strict=True):
            at = round(time * (len(schedule) - 1))
            signal, spread = schedule[at].sqrt().item(), (1 - schedule[at]).sqrt().item()
            rng = torch.Generator().manual_seed(seed)
            noise = torch.randn(clean.shape[1:], generator=rng).to(clean)
            noised = signal * clean + spread * noise
            t = torch.tensor(at, device=self.device)
            predicted = self._read(noised, t, conditioning)
            match self._scheduler.config.prediction_type:
                case "epsilon":
                    restored = (noised - spread * predicted) / signal
                case "v_prediction":
                    restored = signal * noised - spread * predicted
                case _:
                    restored = predicted
            errors.append((restored - clean).square().mean(1))
        return torch.stack(errors, 1)

    @torch.no_grad()
    def encode_pictures(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Encode pictures (B, H, W, 3) to latents (B, C, h, w) without noise of the encoder's."""
        pixels = torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2)
        scaled = (pixels.to(self._latent_dtype) / 127.5 - 1).to(self.device, self._vae.dtype)
        encoded = self._vae.encode(scaled)
        own = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        latents: Tensor = own.to(self._latent_dtype) * self._vae.config.scaling_factor
        return latents

    def decode(
        self,
        latents: Tensor,
        *,
        gradient_checkpointing: Checkpointing = "none",
        small_decoder: bool = False,
    ) -> Tensor:
        """Decode latents (B, 4, h, w) to pictures (B, 3, H, W), float32 in [0, 1]; differentiable.

        ``small_decoder``: with the one that was loaded for the search, if any.
        """
        vae = self._vae
        if small_decoder and self._small_decoder is not None:
            vae = self._small_decoder
        scaled = (latents / vae.config.scaling_factor).to(vae.dtype)
        differentiable = torch.is_grad_enabled() and latents.requires_grad
        with checkpointed(vae, differentiable and gradient_checkpointing == "all"):
            decoded: Tensor = vae.decode(scaled, return_dict=False)[0]
        return (decoded.to(self._latent_dtype) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def unsafe(self, images: NDArray[np.uint8]) -> list[bool]:
        """Return for each picture (B, H, W, 3) whether the pipeline's safety checker flags it.

        It reads bytes, as in its training. All False where the pipeline has no checker.
        """
        if self._safety_checker is None or self._feature_extractor is None:
            return [False] * len(images)
        pictures = [Image.fromarray(image) for image in images]
        inputs = self._feature_extractor(pictures, return_tensors="pt").pixel_values
        _, found = self._safety_checker(
            # It blackens flagged pictures in place: in copies, which are dropped here.
            images=[image.copy() for image in images],
            clip_input=inputs.to(self._safety_checker.device, self._safety_checker.dtype),
        )
        return [bool(flag) for flag in found]

    def pictures(
        self, texts: str | Sequence[str], seeds: Sequence[int], batch: int
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield a picture (H, W, 3) per seed, without autograd, computed ``batch`` at a time.

        ``texts``: one for all seeds, or one per seed.
        """
        texts = [texts] * len(seeds) if isinstance(texts, str) else texts
        if len(texts) != len(seeds):
            raise ValueError(f"{len(texts)} texts but {len(seeds)} seeds")
        for at in range(0, len(seeds), batch):
            with torch.no_grad():
                conditioning = self.encode_text(texts[at : at + batch])
                yield from to_uint8(self.sample(conditioning, seeds[at : at + batch]))

    def _predict(self, latents: Tensor, t: Tensor, conditioning: Tensor) -> Tensor:
        """Return the UNet's prediction at time ``t``, guided (Ho & Salimans 2022, Eq. 6)."""
        if not self._two_branches:
            return self._read(latents, t, conditioning)
        prediction = self._read(torch.cat([latents, latents]), t, conditioning)
        unconditional, conditional = prediction.chunk(2)
        return unconditional + self.guidance * (conditional - unconditional)

    def _read(self, latents: Tensor, t: Tensor, conditioning: Tensor) -> Tensor:
        """Return the UNet's prediction at time ``t`` under a conditioning (B, T, C)."""
        embedding = self._guidance_embedding
        attended, pooled = self._texts.split(conditioning)
        added = None
        if pooled is not None:
            # Stable Diffusion XL reads size and crop: whole pictures of its own size.
            sizes = [self.image_size, self.image_size, 0, 0, self.image_size, self.image_size]
            times = torch.tensor([sizes], dtype=self.dtype, device=self.device)
            added = {"text_embeds": pooled, "time_ids": times.expand(len(pooled), -1)}
        prediction: Tensor = self._unet(
            latents.to(self.dtype),
            t,
            encoder_hidden_states=attended,
            added_cond_kwargs=added,
            timestep_cond=None if embedding is None else embedding.expand(len(latents), -1),
            return_dict=False,
        )[0].to(self._latent_dtype)
        return prediction


def _noise(seed: int | Noise) -> Noise:
    """Return a picture's noise; a seed gives one random stream for all of it."""
    if isinstance(seed, Noise):
        return seed
    rng = torch.Generator().manual_seed(seed)
    return Noise(rng, rng)


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Round pictures (B, 3, H, W) in [0, 1] to bytes (B, H, W, 3)."""
    pixels = (images.detach() * 255).round().to("cpu", torch.uint8)
    array: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    return array


def load_generator(
    spec: str,
    options: GeneratorOptions = GeneratorOptions(),  # noqa: B008
) -> Generator:
    """Load and freeze a text-to-image pipeline; raise InputError where that is not possible.

    ``spec``: "lab", a diffusers folder or a hub id.
    """
    precision, device = torch_dtype(options.dtype), options.device
    steps = steps_of(spec) if options.diffusion_steps is None else options.diffusion_steps
    if steps < 1:
        raise InputError(
            f"{steps} is out of range: must be at least 1", field="diffusion_steps", value=steps
        )
    folder = _find_pipeline(spec, options)
    weight_files = _weight_files(folder)
    with quiet():
        pipeline = _load_pipeline(spec, folder, options)
        networks = [network for name in _NETWORKS if (network := getattr(pipeline, name, None))]
        for network in networks:
            # In float32 until the LoRA is fused, so that fusing rounds nothing.
            network.requires_grad_(False).eval().to(torch.float32)
        if options.lora is not None:
            download = partial(snapshot_download, allow_patterns=["*.safetensors"])
            file = lora_file(fetch(options.lora, "lora", download))
            _fuse_lora(pipeline, file)
            weight_files.append(("lora", file))
        for network in networks:
            network.to(device, precision, memory_format=torch.channels_last)
        if precision == torch.float16 and hasattr(pipeline, "text_encoder_2"):
            pipeline.vae.to(torch.float32)  # whose activations exceed float16's range
        if getattr(pipeline, "safety_checker", None) is not None:
            pipeline.safety_checker.requires_grad_(False).eval().to(device)
        small = None if options.decoder is None else _load_decoder(options.decoder, pipeline)
        if small is not None:
            small.to(device, precision, memory_format=torch.channels_last)
    if options.compile:
        for network in (pipeline.unet, pipeline.vae.decoder, small and small.decoder):
            if network is not None:
                network.compile()
    pipeline.scheduler = _make_scheduler(pipeline.scheduler, options.scheduler)
    size = _image_size(pipeline, options.image_size)
    try:
        return Generator(
            pipeline,
            spec=spec,
            weight_files=weight_files,
            image_size=size,
            diffusion_steps=steps,
            guidance=options.guidance,
            padding=options.padding,
            decoder=small,
        )
    except ValueError as error:  # some schedulers limit the number of steps
        raise InputError(
            f"{steps} is refused by {type(pipeline.scheduler).__name__}: {one_line(error)}",
            field="diffusion_steps",
            value=steps,
        ) from error


def generator_of(config: RunConfig, device: str, *, root: Path | str | None = None) -> Generator:
    """Load the generator of ``config`` on a device ("cpu" or "cuda:N"); raise InputError."""
    return load_generator(
        config.generator, config.options(GeneratorOptions, device=device, root=root)
    )


def tokenizer_of(config: RunConfig) -> Any:
    """Load the tokenizer of the generator of ``config`` alone; raise InputError."""
    spec = config.generator
    folder = _find_pipeline(spec, config.options(GeneratorOptions))
    try:
        _, name = _index(spec, folder)["tokenizer"]
        reader = getattr(transformers, name)
        with quiet():
            return reader.from_pretrained(folder / "tokenizer", local_files_only=True)
    except _LOADING_ERRORS as error:
        raise _refusal(spec, f"cannot load {spec!r}: {one_line(error)}") from error


def _refusal(spec: str, problem: str, remedy: str | None = None) -> InputError:
    return InputError(problem, field="generator", value=spec, remedy=remedy)


def _find_pipeline(spec: str, options: GeneratorOptions) -> Path:
    """Return the folder of a pipeline; download a hub id that is not in the hub's cache."""
    if spec == "lab":
        return model_folders.find("lab", "generator", root=options.root)
    without = {} if options.safety_checker else {"safety_checker": None}
    folder = fetch(spec, "generator", partial(DiffusionPipeline.download, **without))
    if folder.is_file():
        raise single_file(folder)
    return folder


def _load_decoder(spec: str, pipeline: Any) -> Any:
    """Load a small decoder that reads the pipeline's latents."""
    folder = fetch(spec, "decoder", partial(snapshot_download, allow_patterns=[*DECODER_FILES]))
    try:
        small = AutoencoderTiny.from_pretrained(folder, local_files_only=True)
    except _LOADING_ERRORS as error:
        raise InputError(
            f"cannot load {spec!r}: {one_line(error)}", field="decoder", value=spec
        ) from error
    own, wanted = small.config.latent_channels, pipeline.vae.config.latent_channels
    if own != wanted:
        raise InputError(
            f"{spec!r} reads {own} channels, but the generator has {wanted}",
            field="decoder",
            value=spec,
        )
    return small.requires_grad_(False).eval()


def _load_pipeline(spec: str, folder: Path, options: GeneratorOptions) -> Any:
    """Load a pipeline from its folder; raise InputError for one of an unsupported kind."""
    usual = folder / "unet" / "diffusion_pytorch_model.safetensors"
    half = usual.with_suffix(".fp16.safetensors")  # some folders hold nothing else
    index = _index(spec, folder)
    without = {} if options.safety_checker else {name: None for name in CHECKER if name in index}
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            folder,
            variant="fp16" if half.exists() and not usual.exists() else None,
            local_files_only=True,
            **without,
        )
    except _LOADING_ERRORS as error:
        raise _refusal(spec, f"cannot load {spec!r}: {one_line(error)}") from error
    parts = pipeline.components
    encoders = [parts[name] for name in ("text_encoder", "text_encoder_2") if name in parts]
    if not {"unet", "vae", "text_encoder"} <= parts.keys() or "text_encoder_3" in parts:
        raise _refusal(
            spec,
            f"{spec!r} is a {type(pipeline).__name__}: must have a UNet and CLIP text encoders",
            "choose a Stable Diffusion 1.x, 2.x, XL or turbo pipeline",
        )
    for encoder in encoders:
        if not isinstance(encoder, (CLIPTextModel, CLIPTextModelWithProjection)):
            kind = type(encoder).__name__
            raise _refusal(spec, f"{spec!r} has a {kind} as text encoder, not a CLIPTextModel")
    if pipeline.unet.config.in_channels != pipeline.vae.config.latent_channels:
        raise _refusal(
            spec,
            f"{spec!r} needs more than noise and text (its UNet takes "
            f"{pipeline.unet.config.in_channels} channels)",
            "choose a text-to-image pipeline",
        )
    return pipeline


def _index(spec: str, folder: Path) -> dict[str, Any]:
    """Return a pipeline's index; raise InputError if it names code of other libraries."""
    try:
        index: dict[str, Any] = read_json(folder / "model_index.json")
        named = index["_class_name"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise _refusal(spec, f"cannot load {spec!r}: {one_line(error)}") from error
    # A component names a library, which diffusers imports, or a file of its own folder.
    libraries = [part[0] for part in index.values() if isinstance(part, list) and len(part) == 2]
    foreign = [
        name
        for name in libraries
        if isinstance(name, str)
        and name not in ("diffusers", "transformers")
        and not hasattr(diffusers.pipelines, name)
    ]
    if not isinstance(named, str) or foreign:
        raise _refusal(
            spec,
            f"{spec!r} brings code of its own, which is never run",
            "choose a pipeline of diffusers' own classes",
        )
    return index


def _weight_files(folder: Path) -> list[tuple[str, Path]]:
    """List the files of a pipeline's weights, each with the name of its network."""
    return [
        (name, file)
        for name in _NETWORKS
        for file in sorted((folder / name).glob("*.safetensors"))
        or sorted((folder / name).glob("*.bin"))
    ]


def _fuse_lora(pipeline: Any, file: Path) -> None:
    """Add a LoRA to the weights: faster than separate layers, with equal results."""
    try:
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
        if not pipeline.get_active_adapters():
            raise _lora_refusal(file, f"{str(file)!r} has no weights that fit this generator")
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    except InputError:
        raise
    except _LOADING_ERRORS as error:
        raise _lora_refusal(file, f"cannot use {str(file)!r}: {one_line(error)}") from error


def _lora_refusal(lora: str | Path, problem: str) -> InputError:
    return InputError(problem, field="lora", value=str(lora))


def _make_scheduler(own: Any, name: str | None) -> Any:
    """Build a scheduler by its name in `SCHEDULERS`, configured for the pipeline's noise."""
    if name is None:
        if type(own).__name__ not in SCHEDULERS.values():
            raise InputError(
                f"the generator's own, {type(own).__name__}, is not supported",
                field="scheduler",
                remedy=f"choose from {', '.join(SCHEDULERS)}",
            )
        return type(own).from_config(own.config)
    by_lower = {key.lower(): cls for key, cls in SCHEDULERS.items()}
    by_lower |= {cls.lower(): cls for cls in SCHEDULERS.values()}
    cls = by_lower.get(name.lower())
    if cls is None:
        near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
        meant = [key for key, value in SCHEDULERS.items() if near and value == by_lower[near[0]]]
        hint = f" (did you mean {meant[0]}?)" if meant else ""
        raise InputError(
            f"{name!r} is unknown{hint}",
            field="scheduler",
            value=name,
            remedy=f"choose from {', '.join(SCHEDULERS)}",
        )
    return getattr(diffusers, cls).from_config(own.config)


def _image_size(pipeline: Any, wanted: int | None) -> int:
    """Return the side of the pictures in px: as wanted, or of the UNet's training."""
    factor: int = pipeline.vae_scale_factor
    if wanted is None:
        trained = pipeline.unet.config.sample_size
        return factor * int(trained if isinstance(trained, int) else trained[0])
    if wanted < factor or wanted % factor:
        raise InputError(
            f"{wanted} px is out of range: must be a multiple of {factor}",
            field="image_size",
            value=wanted,
        )
    return wanted
