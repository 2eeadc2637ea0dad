"""RunConfig: all that one run can be told, validated, with presets.

A flat model: command-line flags, forms and the stored record are made from its fields. Each
description states what the field is, its unit and range, and where its value comes from.
"paper" is arXiv 2510.14741; "measured" is ``dexter.lab``'s benchmark on the embedded lab.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dexter.errors import InputError
from dexter.generator_presets import expand
from dexter.reference_options import translate

MASK = "[MASK]"
MAX_MASKS = 8
TEMPLATES = {
    "single": f"a picture of a {MASK}.",
    "multi": f"a picture of a {MASK} with {MASK} and {MASK} and {MASK} and {MASK} and {MASK}.",
}

Checkpointing = Literal["none", "unet", "all"]
"""Which networks' activations are computed again in the backward pass."""

# What a run is told about the machine, or about its own record: it does not define the study.
_NOT_STUDY = {
    "preset",
    "seed",
    "device",
    "dtype",
    "compile",
    "micro_batch",
    "gradient_checkpointing",
    "preview_every",
    "trust_pickle",
}


class RunConfig(BaseModel):
    """One run: a classifier, a class, a seed, and how the words are searched.

    The defaults are the preset ``default``. ``RunConfig(...)`` raises pydantic's
    ValidationError; ``RunConfig.from_preset`` raises InputError with one line for a user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: str = Field(
        default="default",
        description="name of the preset that the other values started from: "
        "quick, default, paper or reference",
    )

    # what
    classifier: str = Field(
        min_length=1,
        description="classifier to explain: lab:NAME, hf:FOLDER_OR_ID, torchvision:NAME, "
        "timm:NAME, checkpoint:FILE or python:PATH.py:FACTORY",
    )
    class_name: str = Field(
        min_length=1,
        description="class to explain: a label of the classifier (case does not matter) or its "
        "index, from 0",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=1000,
        description="seed of the run: soft prompt, sampled words and search noise; 0 to 999",
    )
    labels: str | None = Field(
        default=None,
        description="file with one label a line, for a classifier that carries none, or imagenet, "
        "waterbirds, celeba or fairface",
    )
    arch: str | None = Field(
        default=None,
        description="network of a checkpoint: a torchvision or timm model such as resnet50, or "
        "python:PATH.py:FACTORY",
    )
    normalization: Literal["imagenet", "half", "none"] | None = Field(
        default=None,
        description="mean and deviation of a checkpoint's pictures: ImageNet's, 0.5 and 0.5, or "
        "none; without it, the file's own, else ImageNet's",
    )
    trust_pickle: bool = Field(
        default=False,
        description="load weights stored as a Python pickle, which can run any code: only for "
        "files that you trust",
    )

    # prompt
    template: str = Field(
        default="single",
        description="'single' (one mask), 'multi' (six masks, as the paper) or a text with 1 to 8 "
        "[MASK]; words around them anchor the picture",
    )
    suffix: str = Field(
        default="",
        description="text put behind the prompt for the generator alone, such as ', photo'; "
        "the masked LM does not see it",
    )
    words: tuple[str, ...] | None = Field(
        default=None,
        description="candidate words for the masks; without it, every whole word that masked LM "
        "and generator share",
    )
    exclude_words: tuple[str, ...] = Field(
        default=(),
        description="words that the masks may not take, nor their singular or plural",
    )
    exclude_class_name: bool = Field(
        default=False,
        description="keep the words of the class name, singular and plural, out of the masks",
    )
    vocabulary: Literal["shared", "masked-lm"] = Field(
        default="shared",
        description="candidates without a list of words: whole words that masked LM and generator "
        "share, or every token of the masked LM, where those that the generator does not know "
        "are a zero vector to it (reference code)",
    )
    masked_lm: str = Field(
        default="lab",
        min_length=1,
        description="masked language model: 'lab', or a Hugging Face folder or id "
        "(paper: bert-base-uncased)",
    )
    soft_tokens: int = Field(
        default=4,
        ge=1,
        le=64,
        description="vectors in the soft prompt; 1 to 64 (paper: 1 with BERT-base; the lab's "
        "small masked LM needs 4, measured)",
    )
    masked_lm_input: Literal["once", "twice"] = Field(
        default="once",
        description="soft prompt behind the masked LM's start token and the template embedded "
        "once, or soft prompt in front and the template through the embedding block twice "
        "(reference code)",
    )

    # sampling
    temperature: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="temperature of the Gumbel-softmax relaxation at the first step (paper: 1)",
    )
    temperature_end: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="the same at the last step; in between it changes by an equal factor a step",
    )

    # generator
    generator: str = Field(
        default="lab",
        min_length=1,
        description="text-to-image pipeline: 'lab'; sd14-lcm (paper), sd15-lcm, sd-turbo or "
        "sdxl-turbo with their right settings; or a diffusers folder or hub id with CLIP text "
        "encoders",
    )
    lora: str | None = Field(
        default=None, description="LoRA file, folder or hub id to fuse into the generator"
    )
    decoder: str | None = Field(
        default=None,
        description="folder or hub id of a small decoder (AutoencoderTiny, as TAESD) for the "
        "pictures of the search; score and frames are drawn with the generator's own",
    )
    safety_checker: bool = Field(
        default=True,
        description="keep no picture that the generator's own safety checker flags, where it has "
        "one",
    )
    scheduler: str | None = Field(
        default=None,
        description="diffusers scheduler class such as LCMScheduler, instead of the generator's",
    )
    diffusion_steps: int = Field(
        default=4, ge=1, le=1000, description="denoising steps a picture (paper: 4, with LCM)"
    )
    guidance: float = Field(
        default=1.0,
        ge=0,
        le=50,
        description="classifier-free guidance scale; at 1 the unconditional half is left out "
        "(paper: 1)",
    )
    padding: Literal["tokens", "repeat"] = Field(
        default="tokens",
        description="what fills up a prompt in the search: the tokenizer's padding, as in every "
        "other picture, or the end token's state repeated (reference code)",
    )
    noise: Literal["fresh", "stream"] = Field(
        default="fresh",
        description="noise of the search: every picture its own seed, or every step the latents "
        "of seed 0 and scheduler noise from the run's random stream (reference code)",
    )
    image_size: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="side of the pictures in pixels; without it, the generator's own size",
    )
    backprop_steps: int | None = Field(
        default=None,
        ge=1,
        description="backpropagate through the last so many denoising steps; without it, all "
        "(paper: all)",
    )
    latent_gradient: bool = Field(
        default=True,
        description="backpropagate through the latents that the UNet reads; without it, only "
        "through what each step is conditioned on (reference code)",
    )
    gradient_checkpointing: Checkpointing | None = Field(
        default=None,
        description="compute activations again in the backward pass, of the UNet or of all: less "
        "memory, a quarter to a half more time; without it, chosen by the memory estimate",
    )

    # gradient
    straight_through: float = Field(
        default=0.2,
        ge=0,
        le=1000,
        description="weight of the straight-through Gumbel-softmax gradient (paper: 1)",
    )
    score_function: float = Field(
        default=1.0,
        ge=0,
        le=1000,
        description="weight of the score-function gradient, REINFORCE with a running baseline "
        "(paper: 0)",
    )
    batch: int = Field(
        default=8,
        ge=1,
        le=256,
        description="prompts sampled a step, each with its own picture (paper: 1)",
    )
    explore: float = Field(
        default=0.5,
        ge=0,
        le=0.9,
        description="share of a step's prompts whose words are not drawn from the soft prompt's "
        "distribution: words tried least, and words that may be best by Thompson sampling of what "
        "they did so far (paper: 0)",
    )
    n_grad: int | None = Field(
        default=None,
        ge=0,
        description="how many of the batch are backpropagated for straight-through; without it, "
        "an eighth, or all if there is no score function",
    )
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="pictures computed at a time; without it, chosen by the memory estimate",
    )

    # objective
    class_loss: Literal["log-odds", "cross-entropy", "bounded"] = Field(
        default="log-odds",
        description="log-odds (-log(p / (1 - p)), which tells pictures apart however sure the "
        "classifier is), cross-entropy (-log p, paper) or bounded (1 - p) of the target class",
    )
    class_weight: float = Field(
        default=1.0, ge=0, le=1000, description="weight of the class loss (paper: 1)"
    )
    feature_weight: float = Field(
        default=1.0,
        ge=0,
        le=1000,
        description="weight of each feature loss, minus the mean of one penultimate unit "
        "(paper: 1)",
    )
    masked_lm_weight: float = Field(
        default=0.5,
        ge=0,
        le=1000,
        description="weight of the masked-LM loss towards the pseudo-targets (paper, Eq. 4: 1)",
    )
    masked_lm_loss: Literal["masks", "sentence"] = Field(
        default="masks",
        description="masked-LM loss: summed over the masks that have a target (paper, Eq. 4), or "
        "the mean over all tokens of the sentence (reference code)",
    )
    features: tuple[int, ...] | None = Field(
        default=None,
        description="penultimate units to raise; without it, the n_features with the largest "
        "weight to the class",
    )
    n_features: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="how many units to raise, by their weight to the class (paper: 5 with six "
        "masks)",
    )
    pseudo_target: Literal["slot", "tuple", "reference", "none"] = Field(
        default="tuple",
        description="what the masked LM is taught: per slot the word with the best mean loss "
        "(paper, Eq. 5), the best tuple of words by its shrunk running mean (measured), the "
        "reference code's rule from words drawn at random, or nothing",
    )

    # loop
    steps: int = Field(
        default=150, ge=1, le=100_000, description="step limit (paper: 1000 to 5000)"
    )
    learning_rate: float = Field(
        default=0.1, gt=0, le=10, description="AdamW's learning rate (paper: 0.1)"
    )
    adam_epsilon: float = Field(
        default=1e-8, gt=0, le=1, description="AdamW's epsilon (reference code: 1e-4)"
    )
    weight_decay: float = Field(
        default=0.0, ge=0, le=1, description="AdamW's weight decay (reference code: 0.01)"
    )
    stop: Literal["stable", "hits", "consecutive", "none"] = Field(
        default="stable",
        description="end before the step limit when the best words are stable, or when enough "
        "pictures were classified as the target (paper), or enough first pictures of "
        "consecutive steps (reference code), or never",
    )
    stop_hits: int = Field(
        default=50,
        ge=1,
        description="pictures classified as the target that end a run (paper: 50; reference "
        "code: 3 in a row)",
    )
    stable_steps: int = Field(
        default=20,
        ge=1,
        description="steps for which the best words must stay the same before a run ends",
    )
    stable_entropy: float = Field(
        default=0.5,
        ge=0,
        description="entropy, nats, mean of the slots, under which a run may end as stable",
    )

    # results
    frames: int = Field(
        default=50,
        ge=1,
        description="pictures of the final prompt wanted that are classified as the target",
    )
    frame_tries: int = Field(
        default=200, ge=1, description="pictures drawn at most to find these frames"
    )
    score_images: int = Field(
        default=100, ge=1, description="fresh pictures of the activation score (paper: 100)"
    )
    preview_every: int = Field(
        default=10, ge=1, description="steps between the pictures that are kept of the search"
    )

    classifier_input: Literal["trained", "reference"] = Field(
        default="trained",
        description="pictures to the classifier as it was trained (smooth scaling, centre crop), "
        "or scaled without smoothing and not cropped (reference code)",
    )

    # machine
    device: str = Field(
        default="auto",
        description="auto (the freest CUDA device, else the CPU), cpu, cuda or cuda:N",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="number format of generator and classifier; the soft prompt is always float32",
    )
    compile: bool = Field(
        default=False,
        description="compile UNet and decoder (torch.compile): minutes at the start, for faster "
        "steps of a large generator on a GPU",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_generator(cls, values: object) -> object:
        """Write out what the name of a generator stands for, so that the record is complete;
        and the reference code's names of options, where those are used."""
        if not isinstance(values, dict):
            return values
        if "class_to_activate" in values:
            settings, _ = translate(values)
            fields = {name: settings[name] for name in settings if name in cls.model_fields}
            values = {**PRESETS["reference"], **fields}
        return expand(values)

    @field_validator("words", "exclude_words", "features", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        """Accept "sea, lake" for ("sea", "lake"), as a command line or a form gives it."""
        if isinstance(value, str):
            return tuple(part for part in re.split(r"[,\s]+", value) if part)
        return value

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _name_checkpointing(cls, value: object) -> object:
        """A run that was recorded when it was all or none says true or false."""
        return {True: "all", False: "none"}[value] if isinstance(value, bool) else value

    @field_validator("template")
    @classmethod
    def _check_template(cls, value: str) -> str:
        text = TEMPLATES.get(value, value)
        masks = text.count(MASK)
        if not 1 <= masks <= MAX_MASKS:
            raise ValueError(
                f"{value!r} has {masks} {MASK}; give 'single', 'multi' or a text with 1 to "
                f"{MAX_MASKS} {MASK}"
            )
        if re.search(r"[\w\]]\[MASK\]|\[MASK\]\w", text):
            raise ValueError(f"{value!r}: a {MASK} must be a word of its own; put spaces around it")
        return value

    @field_validator("suffix")
    @classmethod
    def _check_suffix(cls, value: str) -> str:
        if MASK in value:
            raise ValueError(f"{value!r} has a {MASK}; masks belong into the template")
        return value

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            raise ValueError(f"{value!r} is unknown; give auto, cpu, cuda or cuda:N")
        return value

    @field_validator("words")
    @classmethod
    def _check_words(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not value:
            raise ValueError("the list is empty; give at least one candidate word or leave it out")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> RunConfig:
        """Refuse values that contradict each other."""
        problem = _contradiction(self)
        if problem:
            raise ValueError(problem)
        return self

    @property
    def template_text(self) -> str:
        """The template written out, with its [MASK]s."""
        return TEMPLATES.get(self.template, self.template)

    @property
    def masks(self) -> int:
        """Number of words to find."""
        return self.template_text.count(MASK)

    @property
    def grad_prompts(self) -> int:
        """How many prompts of a batch are backpropagated through the generator.

        Without a score function those not backpropagated would be of little use. With one, an
        eighth carries straight-through's small share, at a third of the cost of all.
        """
        if self.straight_through == 0:
            return 0
        if self.n_grad is not None:
            return self.n_grad
        count = self.batch if self.score_function == 0 else math.ceil(self.batch / 8)
        return min(count, self.batch - self.explored_prompts)

    @property
    def explored_prompts(self) -> int:
        """How many prompts of a batch are chosen by what words did so far."""
        return int(self.explore * self.batch)

    def study_settings(self) -> dict[str, Any]:
        """All that defines a study, JSON-able: two runs with equal settings differ by seed only."""
        return self.model_dump(mode="json", exclude=_NOT_STUDY)

    @classmethod
    def from_preset(cls, name: str = "default", **overrides: object) -> RunConfig:
        """The preset ``name`` with some fields replaced.

        Raises InputError, one line that names the field, for an unknown preset or field, a value
        out of range, or values that contradict each other.
        """
        if name not in PRESETS:
            raise InputError(f"preset: {name!r} is unknown; choose from {', '.join(PRESETS)}")
        for field in overrides:
            if field not in cls.model_fields:
                near = difflib.get_close_matches(field, cls.model_fields, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise InputError(f"{field}: there is no such setting{hint}")
        try:
            return cls.model_validate({**PRESETS[name], **overrides, "preset": name})
        except ValidationError as error:
            raise InputError(_one_line(error)) from None


def _contradiction(config: RunConfig) -> str | None:
    """What is contradictory in ``config``, as a line that names the fields, or None."""
    c = config
    if c.preset not in PRESETS:
        return f"preset: {c.preset!r} is unknown; choose from {', '.join(PRESETS)}"
    if c.straight_through == 0 and c.score_function == 0:
        return "straight_through and score_function are both 0: no gradient; raise one of them"
    if c.n_grad is not None and c.n_grad > c.batch:
        return f"n_grad: {c.n_grad} is more than batch, {c.batch}"
    if c.n_grad is not None and c.n_grad > c.batch - c.explored_prompts:
        return (
            f"n_grad: {c.n_grad}, but explore {c.explore:g} leaves only "
            f"{c.batch - c.explored_prompts} of {c.batch} prompts to backpropagate"
        )
    if c.n_grad is not None and (c.n_grad == 0) != (c.straight_through == 0):
        return (
            f"n_grad: {c.n_grad} contradicts straight_through {c.straight_through:g}; "
            "both must be 0 or neither"
        )
    if c.micro_batch is not None and c.micro_batch > c.batch:
        return f"micro_batch: {c.micro_batch} is more than batch, {c.batch}"
    if c.backprop_steps is not None and c.backprop_steps > c.diffusion_steps:
        return (
            f"backprop_steps: {c.backprop_steps} is more than diffusion_steps, {c.diffusion_steps}"
        )
    if c.features is not None and c.n_features not in (0, len(c.features)):
        return f"n_features: {c.n_features}, but features names {len(c.features)}; leave one out"
    has_features = bool(c.features) or c.n_features > 0
    if c.class_weight == 0 and (c.feature_weight == 0 or not has_features):
        return "class_weight is 0 and no feature has a weight: nothing to optimise"
    if c.pseudo_target == "none" and c.masked_lm_weight > 0:
        return (
            f"pseudo_target: none leaves nothing for masked_lm_weight {c.masked_lm_weight:g}; "
            "set that to 0"
        )
    if c.masked_lm_loss == "sentence" and c.pseudo_target != "reference":
        return (
            f"masked_lm_loss: sentence needs a word in every mask from the first step, "
            f"which pseudo_target {c.pseudo_target} does not give; use reference"
        )
    if c.vocabulary == "masked-lm" and (c.words or c.exclude_words or c.exclude_class_name):
        return (
            "vocabulary: masked-lm takes every token; leave out words, exclude_words and "
            "exclude_class_name"
        )
    if c.words is not None:
        both = {w.lower() for w in c.words} & {w.lower() for w in c.exclude_words}
        if both:
            return f"exclude_words: {', '.join(sorted(both))} also in words"
    if c.frame_tries < c.frames:
        return f"frame_tries: {c.frame_tries} is less than frames, {c.frames}"
    return None


def _one_line(error: ValidationError) -> str:
    """The first fault of a validation error as "field: what is wrong"."""
    fault = error.errors()[0]
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    field = str(fault["loc"][0])
    if fault["type"] == "missing":
        return f"{field}: is missing; give one"
    if fault["type"] == "value_error":
        return f"{field}: {message}"
    return f"{field}: {fault['input']!r} refused; {message[0].lower()}{message[1:]}"


# The paper's hyper-parameters (section 3, appendices C to F) where it prints them, the public
# code's where it does not (AdamW's epsilon and weight decay).
_PAPER: dict[str, object] = {
    "template": "multi",
    "soft_tokens": 1,
    "straight_through": 1.0,
    "score_function": 0.0,
    "explore": 0.0,
    "batch": 1,
    "class_loss": "cross-entropy",
    "masked_lm_weight": 1.0,
    "n_features": 5,
    "pseudo_target": "slot",
    "steps": 5000,
    "adam_epsilon": 1e-4,
    "weight_decay": 0.01,
    "stop": "hits",
}

PRESETS: dict[str, dict[str, object]] = {
    # More prompts a step, for fewer steps: with the lab's fast generator that is soonest done.
    "quick": {
        "batch": 16,
        "steps": 24,
        "frames": 12,
        "frame_tries": 48,
        "score_images": 50,
        "preview_every": 5,
    },
    "default": {},
    "paper": _PAPER,
    # The public code's own arithmetic, step by step (docs/differences.md).
    "reference": {
        **_PAPER,
        "vocabulary": "masked-lm",
        "masked_lm_input": "twice",
        "padding": "repeat",
        "noise": "stream",
        "latent_gradient": False,
        "masked_lm_loss": "sentence",
        "pseudo_target": "reference",
        "classifier_input": "reference",
        "stop": "consecutive",
        "stop_hits": 3,
    },
}
