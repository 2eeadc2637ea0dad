"""The training of the lab's generator and masked LM: one task for each stage.

    vae, text -> shapes -> generator      a latent diffusion model
    masked-lm                             the words' model
    eyes -> image-text, captioner         models that look at pictures

Sources: latent diffusion, Rombach et al. 2022; v-prediction, Salimans & Ho 2022. The loss weight
sigma^2 on v is ours: without it the subjects do not appear in so short a training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dexter import parallel
from dexter.device import mixed_precision
from dexter.lab import models, readers, world
from dexter.lab.scenes import Scene, caption, full_caption, is_usual, kind_of, render, sample_scene

WORK = Path("build/lab")
DROP_CAPTION = 0.10
MIX = {"birds": 0.22, "animals": 0.35, "objects": 0.29, "people": 0.14}
"""Share of each group of subjects. A word of each is met about as often, but for people, who come
in more kinds than words."""


def subject_weights(mix: Mapping[str, float] = MIX) -> dict[str, float]:
    """Return the weight of each subject by its group's share."""
    return {
        name: mix[group] / len(names)
        for group, names in world.SUBJECT_GROUPS.items()
        for name in names
    }


ITEM_COUNTS = (0.45, 0.35, 0.15, 0.05)


def training_scenes(
    rng: np.random.Generator,
    count: int,
    item_counts: Sequence[float] = ITEM_COUNTS,
    mix: Mapping[str, float] = MIX,
) -> list[Scene]:
    """Scenes with subjects by the mix, one in 25 without; item_counts: as in `sample_scene`."""
    weights = subject_weights(mix)
    nothing: dict[str, Any] = {"subject": None}
    return [
        sample_scene(
            rng,
            subjects=weights,
            item_counts=item_counts,
            **(nothing if rng.random() < 0.04 else {}),
        )
        for _ in range(count)
    ]


def pictures(scenes: list[Scene]) -> Tensor:
    """Scenes as float32 (B, 3, 64, 64) in [-1, 1]."""
    array = np.stack([render(scene) for scene in scenes])
    return (
        torch.from_numpy(array)
        .permute(0, 3, 1, 2)
        .float()
        .div_(127.5)
        .sub_(1)
        .contiguous(memory_format=torch.channels_last)
    )


# --- autoencoder ----------------------------------------------------------------------------------


def vae_task(samples: int) -> parallel.Task:
    def build() -> nn.Module:
        torch.manual_seed(0)
        module: nn.Module = models.vae().to(memory_format=torch.channels_last)
        return module

    def loss(module: Any, rng: np.random.Generator, batch: int) -> Tensor:
        coloured = [
            sample_scene(rng, subjects=world.COLOURABLE, item_counts=ITEM_COUNTS)
            for _ in range(batch // 4)
        ]
        scenes = [*coloured, *training_scenes(rng, batch - len(coloured))]
        truth = pictures(scenes)
        latents = module.encoder(truth)
        # Noise on the latents makes the decoder forgiving of a generator's small errors.
        decoded = module.decoder(latents + 0.08 * torch.randn_like(latents))
        error = (decoded - truth) * _weights(scenes, truth)
        mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        total: Tensor = (
            error.abs().mean()
            + 0.5 * error.square().mean()
            + 0.5 * _edge_loss(error)
            + _hue_loss(error)
            + 0.05 * (mean.square() + (std - 1).square()).mean()
        )
        return total

    return parallel.Task(
        "vae",
        build,
        loss,
        samples,
        batch=16,
        learning_rate=2e-3,
        decay=0.8,
        ema=0.995,
        warmup=1_000,
    )


ITEM_WEIGHT = 2.0
"""Extra weight of the pixels of things beside the subject, which are few."""


def _weights(scenes: list[Scene], truth: Tensor) -> Tensor:
    """Weights (B, 1, 64, 64) of a picture's pixels, 1 in the mean.

    Things beside the subject and saturated colours count for more: both are few of all pixels, and
    an error in them says something else.
    """
    bare = pictures([replace(scene, items=()) for scene in scenes])
    of_items = (truth != bare).any(1, keepdim=True).float()
    saturation = (truth.amax(1, keepdim=True) - truth.amin(1, keepdim=True)) / 2
    weights = 1 + ITEM_WEIGHT * of_items + saturation
    return weights / weights.mean()


def _edge_loss(error: Tensor) -> Tensor:
    """Mean difference between the errors of neighbouring pixels."""
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def _hue_loss(error: Tensor) -> Tensor:
    """Mean difference between the errors of neighbouring channels, over 4 x 4 px.

    Without it the latents have room for textures before they have any for the rarer colours:
    purple comes out blue and pink comes out grey.
    """
    return functional.avg_pool2d(error, 4).diff(dim=1).abs().mean()


# --- text encoder ---------------------------------------------------------------------------------


class Reader(nn.Module):
    """The text encoder, and a head that reads from each of its last tokens what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = models.clip_tokenizer()
        self.text = models.text_encoder(self.tokenizer)
        self.head = nn.Linear(models.HIDDEN, len(world.CONTENT_WORDS))

    def encode(self, captions: list[str]) -> Tensor:
        """Hidden states (B, MAX_TOKENS, HIDDEN)."""
        ids = self.tokenizer(
            captions,
            padding="max_length",
            truncation=True,
            max_length=models.MAX_TOKENS,
            return_tensors="pt",
        ).input_ids
        hidden: Tensor = self.text(ids).last_hidden_state
        return hidden


def text_task(samples: int) -> parallel.Task:
    """Learn to hold a caption's words in every token behind them.

    A text encoder that starts from nothing beside a UNet that starts from nothing learns slowly: a
    word is one of 24 tokens and hardly moves what the UNet sees, so nothing asks it to differ. With
    this the words stand apart before the UNet begins.
    """

    def build() -> nn.Module:
        torch.manual_seed(0)
        return Reader()

    def loss(module: Any, rng: np.random.Generator, batch: int) -> Tensor:
        captions = [
            caption(scene, rng) if rng.random() < 0.5 else _free_caption(rng)
            for scene in training_scenes(rng, batch)
        ]
        hidden = module.encode(captions)
        said = torch.tensor(
            [[float(w in words) for w in world.CONTENT_WORDS] for words in map(str.split, captions)]
        )
        # The last token, and the mean of all: the UNet pools the latter.
        logits = module.head(torch.stack([hidden[:, -1], hidden.mean(1)]))
        said = said.expand_as(logits)
        by_word = functional.binary_cross_entropy_with_logits(logits, said)
        total: Tensor = by_word * logits.shape[-1]
        return total

    return parallel.Task("text", build, loss, samples, batch=128, learning_rate=2e-3, decay=0.6)


def _reader() -> Reader:
    """As trained; untrained where shipped weights are trained further, which know their words."""
    reader = Reader()
    if (WORK / "text.pt").exists():
        state = torch.load(WORK / "text.pt", weights_only=True)
        parallel.from_vector(state["average"], reader.parameters())
    return reader


# --- latent diffusion -----------------------------------------------------------------------------


class Denoiser(nn.Module):
    """Text encoder and UNet, trained together."""

    def __init__(self) -> None:
        super().__init__()
        reader = Reader()
        self.text, self.tokenizer, self.encode = reader.text, reader.tokenizer, reader.encode
        self.unet = models.unet()
        # Plain matrix products: faster to train on a CPU than the fused attention, same weights.
        from diffusers.models.attention_processor import AttnProcessor

        self.unet.set_attn_processor(AttnProcessor())

    def velocity(self, noisy: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        return self.unet(noisy, steps, condition).sample  # type: ignore[no-any-return]


@cache
def _schedule() -> tuple[Tensor, Tensor]:
    """(signal, noise) amplitudes of the 1000 diffusion steps."""
    cumulative = models.scheduler().alphas_cumprod
    return cumulative.sqrt(), (1 - cumulative).sqrt()


@cache
def _frozen_vae() -> Any:
    module = models.vae().to(memory_format=torch.channels_last)
    state = torch.load(WORK / "vae.pt", weights_only=True)
    parallel.from_vector(state["average"], module.parameters())
    return module.eval().requires_grad_(False)


def _latents(scenes: list[Scene]) -> Tensor:
    with torch.no_grad(), mixed_precision():
        encoded: Tensor = _frozen_vae().encoder(pictures(scenes))
    return encoded.float()


SPREAD = 1
"""px by which a subject in the generator's pictures may lie off its usual spot. In scenes it is
more; but what moves more is blurred in the mean that the first step draws."""


@cache
def _seeds() -> list[int]:
    """Seeds of scenes with a large subject near its usual spot, and the first thing at the left."""
    return [seed for seed in range(30_000) if is_usual(seed, SPREAD)]


def drawn_scenes(
    rng: np.random.Generator,
    count: int,
    item_counts: Sequence[float],
    mix: Mapping[str, float] = MIX,
) -> list[Scene]:
    """Scenes as the generator is to draw them.

    Narrower than the scenes that classifiers learn from: things stand in an order of their own, so
    that it depends on the caption alone which of them is where.
    """
    scenes = []
    for scene in training_scenes(rng, count, item_counts, mix):
        # A third in the sky, or on the ground, would hide the first.
        both = (world.SKY_ITEMS, world.GROUND_ITEMS)
        kinds = [[item for item in kind if item in scene.items] for kind in both]
        items = tuple(item for found in kinds for item in found[:2])
        scenes.append(replace(scene, items=items, seed=int(rng.choice(_seeds()))))
    return scenes


FIRST_SHARE = 3 / 8
"""Of a batch: pictures at the first step of the sampler."""
LOOKS = 8
"""Pictures whose mean is the target of the first step."""


def _noise_levels(batch: int) -> tuple[Tensor, int]:
    """Steps (B,), and how many of them, in front, are the sampler's first.

    Half of the rest are its others, half lie anywhere between: other step counts work too.
    """
    first, *others = models.SAMPLER_STEPS
    count = round(FIRST_SHARE * batch)
    steps = torch.full((batch,), first)
    chosen = torch.multinomial(torch.ones(len(others)), batch - count, replacement=True)
    steps[count:] = torch.where(
        torch.rand(batch - count) < 0.5,
        torch.tensor(others)[chosen],
        torch.randint(150, 850, (batch - count,)),
    )
    return steps, count


@lru_cache(maxsize=60_000)
def _mean_latent(scene: Scene) -> Tensor:
    """Mean latents of several pictures of a scene, which differ in places and textures.

    At the first step the noisy picture says nothing, so the best answer is the mean of all pictures
    that the caption allows. A single picture is that mean and noise of twice its variance over
    subjects; with the mean as the target, the words' shapes are learned in a tenth of the samples.
    """
    rng = np.random.default_rng(0)
    looks = [replace(scene, seed=int(seed)) for seed in rng.choice(_seeds(), LOOKS)]
    return _latents(looks).mean(0)


def _mean_latents(scenes: list[Scene]) -> Tensor:
    return torch.stack([_mean_latent(replace(scene, seed=0)) for scene in scenes])


def shapes_task(samples: int) -> parallel.Task:
    """Text encoder and UNet learn what each word looks like: the sampler's first step alone.

    All captions say all that is there. A few ten thousand pictures of this teach more shapes than
    ten times as many with other steps, noisy captions and many things among them from the start.
    """

    def build() -> nn.Module:
        torch.manual_seed(0)
        module = Denoiser()
        module.text.load_state_dict(_reader().text.state_dict())
        return module

    def loss(module: Any, rng: np.random.Generator, batch: int) -> Tensor:
        scenes = drawn_scenes(rng, batch, (0.6, 0.3, 0.1))
        steps = torch.full((batch,), models.SAMPLER_STEPS[0])
        return denoising_loss(module, _mean_latents(scenes), steps, list(map(full_caption, scenes)))

    return parallel.Task("shapes", build, loss, samples, learning_rate=1e-3, decay=0.5)


def generator_task(samples: int) -> parallel.Task:
    """Train on all steps of the sampler, and captions as people write them, from the shapes on."""

    def build() -> nn.Module:
        torch.manual_seed(0)
        module = Denoiser()
        if (WORK / "shapes.pt").exists():
            state = torch.load(WORK / "shapes.pt", weights_only=True)
            parallel.from_vector(state["average"], module.parameters())
        return module

    def loss(module: Any, rng: np.random.Generator, batch: int) -> Tensor:
        noise = torch.randn(batch, models.LATENT_CHANNELS, models.LATENT_SIZE, models.LATENT_SIZE)
        chosen = round(CHOICE_SHARE * batch)
        scenes = drawn_scenes(rng, batch - chosen, (0.45, 0.3, 0.15, 0.07, 0.03))
        steps, first = _noise_levels(len(scenes))
        latents = torch.cat([_mean_latents(scenes[:first]), _latents(scenes[first:])])
        # At the first step those that leave a choice would ask for the mean again.
        captions = [
            (_closed_caption if i < first else caption)(scene, rng)
            if rng.random() < 0.5
            else full_caption(scene)
            for i, scene in enumerate(scenes)
        ]
        captions = ["" if rng.random() < DROP_CAPTION else text for text in captions]
        open_captions, begun, choices = zip(*(_choice(n, rng) for n in noise[:chosen]), strict=True)
        return denoising_loss(
            module,
            torch.cat([torch.stack(choices), latents]),
            torch.cat([_choosing_levels(chosen), steps]),
            [*open_captions, *captions],
            noise=noise,
            under_noise=torch.cat([torch.stack(begun), latents]),
        )

    return parallel.Task("generator", build, loss, samples, learning_rate=7e-4, decay=0.4)


def denoising_loss(
    module: Any,
    latents: Tensor,
    steps: Tensor,
    captions: list[str],
    noise: Tensor | None = None,
    under_noise: Tensor | None = None,
) -> Tensor:
    """Squared error of the velocity, weighted by the noise's variance; latents (B, C, H, W).

    under_noise: what the noise is added to, where that is not the latents that should come out.
    """
    signal, noise_level = (part[steps].view(-1, 1, 1, 1) for part in _schedule())
    noise = torch.randn_like(latents) if noise is None else noise
    noisy = signal * (latents if under_noise is None else under_noise) + noise_level * noise
    predicted = module.velocity(noisy, steps, module.encode(captions))
    velocity = (signal * noisy - latents) / noise_level
    error: Tensor = noise_level.square() * (predicted - velocity).square()
    return error.mean()


# Where a caption leaves a choice ("a bird"), the best answer of a first step is the mean of all
# that it may mean, and later steps would only sharpen that mixture. So the noise makes the choice,
# as it does in a sampler of many steps, and these pictures teach it: what is drawn is what the
# noise looks like already. So each spot of the noise says something about the same spot of the
# picture, which a convolution learns at once. Of choices made by one spot of the noise for the
# whole picture it had learned nothing after 20,000 samples.

CHOICE_SHARE = 5 / 8
"""Of a batch: captions that leave a choice."""
CHOICE_MIX = {"birds": 0.2, "animals": 0.2, "objects": 0.25, "people": 0.35}
"""Share of each group of subjects in them: people leave most open."""
CHOICE_PLACES = 0.1
"""Share of them that show a place alone, as "a picture of a land" asks for."""


def _choosing_levels(count: int) -> Tensor:
    """Noise levels (count,): most of them the sampler's first, where the choice begins."""
    first, *others = models.SAMPLER_STEPS
    later = torch.where(
        torch.rand(count) < 0.7,
        torch.tensor(others)[torch.multinomial(torch.tensor([1.0, 2, 1]), count, True)],
        torch.randint(200, 850, (count,)),
    )
    return torch.where(torch.rand(count) < 0.6, torch.tensor(first), later)


def _choice(noise: Tensor, rng: np.random.Generator) -> tuple[str, Tensor, Tensor]:
    """A caption that leaves a choice, what an earlier step may have made of it, and what to draw.

    The one is something between the mean of what the caption may mean and what this noise makes
    of it. noise and latents: (C, H, W).
    """
    text, meanings = "", set[Scene]()
    while len(meanings) < 2:
        [scene] = drawn_scenes(rng, 1, (0.8, 0.2), CHOICE_MIX)
        if rng.random() < CHOICE_PLACES:
            scene = replace(scene, subject=None, **_UNSAID)
        text = _open_caption(scene, rng)
        said = frozenset(text.split())
        meanings = {meaning(scene, said, torch.randn_like(noise)) for _ in range(MEANINGS)}
    chosen = _mean_latent(meaning(scene, said, noise))
    mean = torch.stack(list(map(_mean_latent, meanings))).mean(0)
    return text, torch.lerp(mean, chosen, float(rng.random())), chosen


def _open_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption that often says no attribute, and often the kind instead of what is shown."""
    if rng.random() < 0.5:
        scene = replace(scene, **_UNSAID)
    text = caption(scene, rng)
    shown = scene.subject or scene.background
    kind = kind_of(shown)
    if kind is None or rng.random() < 0.5:
        return text
    return " ".join(kind if word == shown else word for word in text.split())


_UNSAID: dict[str, Any] = dict.fromkeys(world.ABLE)


MEANINGS = 8
"""Scenes that stand for all that a caption may mean."""

Word = TypeVar("Word", str, str | None)


def meaning(scene: Scene, said: frozenset[str], noise: Tensor) -> Scene:
    """Return what a caption of this scene means where the noise decides all that it leaves unsaid.

    Place, subject and each attribute are decided by directions of their own, at right angles, so
    they are independent of each other, and every value of each is as likely as any other. said: the
    caption's words; noise: latents (C, H, W).
    """
    named = {field: getattr(scene, field) for field in world.ABLE if getattr(scene, field) in said}
    subjects = [
        subject
        for subject in _values(scene.subject, said)
        if all(subject in world.ABLE[field] for field in named)
    ] or [scene.subject if named else None]
    places = _values(scene.background, said) or world.BACKGROUNDS
    decided = [tuple(Scene(subject, "night") for subject in subjects)]
    subject = subjects[_preferred(noise, decided)]
    able = {field: of for field, of in world.ATTRIBUTES.items() if subject in world.ABLE[field]}
    usual: dict[str, Any] = {field: of[0] for field, of in able.items()}
    attributes: dict[str, Any] = {}
    for field, of in able.items():
        if field not in named:
            decided.append(tuple(Scene(subject, "night", **{**usual, field: v}) for v in of))
            attributes[field] = of[_preferred(noise, decided)]
    decided.append(tuple(Scene(None, place) for place in places))
    place = places[_preferred(noise, decided)]
    items = tuple(item for item in scene.items if item in said)
    return Scene(subject, place, items, **{**attributes, **named})


def _preferred(noise: Tensor, decided: Sequence[tuple[Scene, ...]]) -> int:
    """Return the index of the scene among the last of `decided` that this noise looks most like."""
    with torch.autocast("cpu", enabled=False):
        return int((_directions(tuple(decided)) @ noise.flatten()).argmax())


@lru_cache(maxsize=4_000)
def _directions(decided: tuple[tuple[Scene, ...], ...]) -> Tensor:
    """Directions (scenes of the last of `decided`, numbers) of their differences from their mean.

    They are at right angles to those of all others in `decided`, and turned away from each other
    until all pairs are at the same angle: of directions as they are, those that have others near
    them win too rarely.
    """
    *others, scenes = decided
    looks = torch.stack([_mean_latent(scene).flatten() for scene in scenes])
    looks = looks - looks.mean(0)
    for at in range(len(others)):
        taken = _directions(decided[: at + 1])
        if len(taken) > 1:
            basis = torch.linalg.svd(taken, full_matrices=False)[2][: len(taken) - 1]
            looks = looks - looks @ basis.T @ basis
    left, _, right = torch.linalg.svd(looks, full_matrices=False)
    rank = len(scenes) - 1  # the differences add up to nothing
    directions: Tensor = left[:, :rank] @ right[:rank]
    return directions


def _closed_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption that says all that there is but things beside the subject."""
    fields = ("subject", "background", *world.ABLE)
    needed = {getattr(scene, field) for field in fields} - {None}
    tries = (caption(scene, rng) for _ in range(4))
    return next((text for text in tries if needed <= set(text.split())), full_caption(scene))


def _values(value: Word, said: frozenset[str]) -> tuple[Word, ...]:
    """Return what the caption may mean by the word that stands for this subject or place; empty if
    it has none."""
    if value is None or value in said:
        return (value,)
    kinds = [of for kind, of in world.KINDS.items() if kind in said and value in of]
    return kinds[0] if kinds else ()


# --- masked language model ------------------------------------------------------------------------


def masked_lm_task(samples: int) -> parallel.Task:
    """BERT on captions behind their own keywords: `[CLS] k1 ... kn caption [SEP]`, n = 0-6.

    The keywords are never masked. This is what makes the model steerable: a soft prompt in their
    place can ask for any words in any slots. Trained on captions alone it ignores its context, and
    no prompt moves it.
    """

    def build() -> nn.Module:
        torch.manual_seed(0)
        module: nn.Module = models.masked_lm(models.bert_tokenizer())
        return module

    @cache
    def tokenizer() -> Any:
        return models.bert_tokenizer()

    def loss(module: Any, rng: np.random.Generator, batch: int) -> Tensor:
        tok = tokenizer()
        rows, labels = [], []
        for _ in range(batch):
            text = (
                caption(training_scenes(rng, 1)[0], rng)
                if rng.random() < 0.4
                else _free_caption(rng)
            )
            words = [*text.split(), "."]
            content = [i for i, word in enumerate(words) if word in world.CONTENT_WORDS]
            kept = [i for i in content if rng.random() < 0.9][:6] if rng.random() < 0.9 else []
            keywords = [words[i] for i in kept]
            if rng.random() < 0.2:
                rng.shuffle(keywords)
            share = rng.uniform(0.3, 1.0)
            hidden = {i for i in content if rng.random() < share}
            ids = tok.convert_tokens_to_ids(words)
            shown = [tok.mask_token_id if i in hidden else token for i, token in enumerate(ids)]
            prefix = [tok.cls_token_id, *tok.convert_tokens_to_ids(keywords)]
            rows.append([*prefix, *shown, tok.sep_token_id])
            labels.append(
                [-100] * len(prefix)
                + [t if i in hidden else -100 for i, t in enumerate(ids)]
                + [-100]
            )
        length = max(map(len, rows))
        ids_tensor = torch.tensor([row + [tok.pad_token_id] * (length - len(row)) for row in rows])
        label_tensor = torch.tensor([row + [-100] * (length - len(row)) for row in labels])
        mask = (ids_tensor != tok.pad_token_id).long()
        return module(input_ids=ids_tensor, attention_mask=mask, labels=label_tensor).loss  # type: ignore[no-any-return]

    return parallel.Task(
        "masked-lm", build, loss, samples, batch=96, learning_rate=2e-3, decay=0.5, ema=0.995
    )


def _free_caption(rng: np.random.Generator) -> str:
    """A caption of the usual form with any words in its one to eight slots."""
    words = [str(w) for w in rng.choice(world.CONTENT_WORDS, size=int(rng.integers(1, 9)))]
    return f"a picture of a {words[0]}" + (
        " with " + " and ".join(words[1:]) if len(words) > 1 else ""
    )


# --- models that look at pictures -----------------------------------------------------------------


def _seen(rng: np.random.Generator, batch: int) -> tuple[list[Scene], Tensor]:
    """Scenes, people most, and what a camera or a generator may make of them: (B, 3, 64, 64)
    in [-1, 1]."""
    counts = (0.25, 0.3, 0.25, 0.2)
    scenes = [sample_scene(rng, subjects=world.TAUGHT, item_counts=counts) for _ in range(batch)]
    pixels = pictures(scenes)
    if rng.random() < 0.2:
        with torch.no_grad():
            latents = _frozen_vae().encoder(pixels)
            noise = float(rng.uniform(0, 0.3)) * torch.randn_like(latents)
            pixels = _frozen_vae().decoder(latents + noise).float().clamp(-1, 1)
    return scenes, pixels


def eyes_task(samples: int) -> parallel.Task:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return readers.Eyes()

    def loss(module: Any, rng: np.random.Generator, batch: int) -> Tensor:
        scenes, pixels = _seen(rng, batch)
        return readers.eyes_loss(module, pixels, scenes)

    return parallel.Task("eyes", build, loss, samples, batch=64, decay=0.4)


def _trained_eyes() -> dict[str, Tensor]:
    """Weights of the vision tower; untrained where shipped readers, which have theirs, go on."""
    eyes = readers.Eyes()
    if (WORK / "eyes.pt").exists():
        state = torch.load(WORK / "eyes.pt", weights_only=True)
        parallel.from_vector(state["average"], eyes.parameters())
    weights: dict[str, Tensor] = eyes.vision.state_dict()
    return weights


def image_text_task(samples: int) -> parallel.Task:
    """Starts from eyes and from a text encoder that know the words."""

    def build() -> nn.Module:
        torch.manual_seed(0)
        module = readers.ImageText()
        module.clip.text_model.load_state_dict(_reader().text.state_dict())
        module.clip.vision_model.load_state_dict(_trained_eyes())
        return module

    def loss(module: Any, rng: np.random.Generator, batch: int) -> Tensor:
        scenes, pixels = _seen(rng, batch)
        return readers.image_text_loss(module, pixels, scenes, rng)

    return parallel.Task("image-text", build, loss, samples, batch=64, decay=0.5)


def captioner_task(samples: int) -> parallel.Task:
    """Starts from the same eyes."""

    def build() -> nn.Module:
        torch.manual_seed(0)
        module: Any = readers.captioner()
        module.model.vision_tower.load_state_dict(_trained_eyes())
        return module  # type: ignore[no-any-return]

    def loss(module: Any, rng: np.random.Generator, batch: int) -> Tensor:
        scenes, pixels = _seen(rng, batch)
        return readers.captioner_loss(module, pixels, scenes)

    return parallel.Task("captioner", build, loss, samples, decay=0.5)


TASKS = {
    "eyes": eyes_task,
    "image-text": image_text_task,
    "captioner": captioner_task,
    "vae": vae_task,
    "text": text_task,
    "masked-lm": masked_lm_task,
    "shapes": shapes_task,
    "generator": generator_task,
}
