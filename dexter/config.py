"""RunConfig: the settings of one run, validated, with presets.

A flat model: command-line flags, forms and the stored record are made from its fields. Each
description states what the field is, its unit, and where its value comes from; ranges and defaults
are added where it is shown. "paper" is arXiv 2510.14741, "reference code" its public code; the
values chosen here were measured on the embedded lab, by ``benchmarks``.

Each field has a group and marks, from which lists of fields are derived: see `fields_of`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from dexter.errors import InputError, refusal
from dexter.generator_presets import expand
from dexter.reference_options import translate

MASK = "[MASK]"
MAX_MASKS = 8
TEMPLATES = {
    "single": f"a picture of a {MASK}.",
    "multi": f"a picture of a {MASK} with {MASK} and {MASK} and {MASK} and {MASK} and {MASK}.",
}

Checkpointing = Literal["none", "unet", "all"]
"""The networks whose activations are recomputed in the backward pass."""
Direction = Literal["raise", "lower"]
"""The change of the class that a search looks for."""

_StandardError = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_LATER_FIELDS = ("direction", "input_size", "mean", "std", "multi_label", "positive_class",
                 "threshold", "search", "embeddings", "screening", "word_effects")  # fmt: skip
"""Fields that were added when studies had been recorded. The default means what it was before."""

Group = Literal[
    "run",
    "classifier",
    "class",
    "prompt",
    "masked LM",
    "sampling",
    "generator",
    "gradient",
    "objective",
    "loop",
    "results",
    "machine",
]
"""The groups of fields. A loader reads every field of its group: "classifier", "masked LM" or
"generator", and "machine"."""

_Options = TypeVar("_Options")


def _group(name: Group) -> Callable[..., Any]:
    """Return pydantic's `Field` for the fields of a group.

    It also takes marks, see `fields_of`, and ``unset``: what a value of None stands for.
    """

    def field(
        *,
        study: bool = True,
        model: bool = False,
        picture: bool = False,
        unset: str | None = None,
        **options: Any,
    ) -> Any:
        marks = {"study": study, "model": model, "picture": picture}
        return Field(json_schema_extra={"group": name, "unset": unset, **marks}, **options)

    return field


_run = _group("run")
_classifier = _group("classifier")
_class = _group("class")
_prompt = _group("prompt")
_masked_lm = _group("masked LM")
_sampling = _group("sampling")
_generator = _group("generator")
_gradient = _group("gradient")
_objective = _group("objective")
_loop = _group("loop")
_results = _group("results")
_machine = _group("machine")


class RunConfig(BaseModel):
    """A run: a classifier, a class, a seed, and the settings of the search.

    The defaults are the preset ``default``. ``RunConfig(...)`` raises pydantic's
    ValidationError; ``RunConfig.from_preset`` raises InputError for a user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: str = _run(
        study=False,
        default="default",
        description="preset to start from: quick, default, paper or reference",
    )
    seed: int = _run(
        study=False,
        default=0,
        ge=0,
        lt=1000,
        description="seed of the soft prompt, the sampled words and the noise of the search",
    )

    word_effects: dict[str, tuple[FiniteFloat, _StandardError]] | None = _run(
        default=None,
        description="effect of each word on the log-odds of the class, and its standard error; "
        "filled in from the screening",
    )

    classifier: str = _classifier(
        min_length=1,
        description="classifier to explain: a file, folder or hub id, or lab:NAME, "
        "hf:FOLDER_OR_ID, torchvision:NAME, timm:NAME, checkpoint:FILE, python:PATH.py:FACTORY, "
        "onnx:FILE or http://HOST/PATH",
    )
    class_name: str = _class(
        min_length=1,
        description="class to explain: a label of the classifier (in any case) or its index, "
        "from 0",
    )
    labels: str | None = _classifier(
        default=None,
        description="labels for a classifier that has none: a file with one label per line, or "
        "imagenet, waterbirds, celeba or fairface",
    )
    arch: str | None = _classifier(
        default=None,
        unset="the one that alone fits its weights",
        description="network of a checkpoint: a torchvision or timm model such as resnet50, or "
        "python:PATH.py:FACTORY",
    )
    input_size: int | None = _classifier(
        default=None,
        ge=8,
        le=4096,
        unset="the network's",
        description="side of the pictures that the network takes, in pixels",
    )
    normalization: Literal["imagenet", "half", "none"] | None = _classifier(
        default=None,
        unset="the network's, else ImageNet's",
        description="mean and deviation of the network's pictures (an ONNX file needs it): "
        "ImageNet's, 0.5 and 0.5, or none",
    )
    mean: tuple[float, ...] | None = _classifier(
        default=None,
        unset="see normalization",
        description="mean of the network's pictures, for values from 0 to 1: 1 or 3 numbers",
    )
    std: tuple[float, ...] | None = _classifier(
        default=None,
        unset="see normalization",
        description="deviation of the network's pictures, for values from 0 to 1: 1 or 3 numbers",
    )
    multi_label: bool | None = _classifier(
        default=None,
        unset="as the network's files state, else by its outputs",
        description="labels that do not exclude each other, a sigmoid each, in place of classes",
    )
    positive_class: str | None = _classifier(
        default=None,
        description="class that a high value stands for, of a network with one output",
    )
    threshold: float | None = _classifier(
        default=None,
        gt=0,
        lt=1,
        unset="0.5",
        description="probability from which a label, or the positive class, is the answer",
    )
    classifier_input: Literal["trained", "reference"] = _classifier(
        default="trained",
        description="scaling of pictures for the classifier: as in its training (smooth, centre "
        "crop), or without smoothing and crop (reference code)",
    )
    trust_pickle: bool = _classifier(
        study=False,
        default=False,
        description="load weights stored as a Python pickle, which can run any code; only for "
        "files that you trust",
    )

    template: str = _prompt(
        default="single",
        description="prompt template: 'single' (1 mask), 'multi' (6 masks, paper) or a text with "
        "1 to 8 [MASK]",
    )
    suffix: str = _prompt(
        default="",
        description="text appended to the prompt for the generator only, such as ', photo'",
    )
    search: Literal["words", "continuous"] = _prompt(
        default="words",
        description="what fills the masks: words, or continuous, embeddings that need not be words "
        "(DiffExplainer), a bound on what words can reach",
    )
    embeddings: Literal["input", "output"] = _prompt(
        default="input",
        description="what search continuous moves: the input of the text encoder at the masks, or "
        "all of its output",
    )
    words: tuple[str, ...] | None = _prompt(
        default=None,
        unset="see vocabulary",
        description="candidate words for the masks",
    )
    exclude_words: tuple[str, ...] = _prompt(
        default=(),
        description="words to keep out of the masks, singular and plural",
    )
    exclude_class_name: bool = _prompt(
        default=False,
        description="keep the words of the class name out of the masks, singular and plural",
    )
    vocabulary: Literal["shared", "masked-lm"] = _prompt(
        default="shared",
        description="candidates where no words are given: whole words that masked LM and "
        "generator share, or every token of the masked LM (reference code; a token unknown to the "
        "generator is a zero vector)",
    )
    masked_lm: str = _masked_lm(
        model=True,
        default="lab",
        min_length=1,
        description="masked language model: 'lab', or a Hugging Face folder or hub id "
        "(paper: bert-base-uncased)",
    )
    soft_tokens: int = _prompt(
        default=4,
        ge=1,
        le=64,
        description="vectors in the soft prompt (paper: 1; the lab's small masked LM needs 4, "
        "measured)",
    )
    masked_lm_input: Literal["once", "twice"] = _prompt(
        default="once",
        description="input of the masked LM: start token, soft prompt, template embedded once; or "
        "soft prompt first and the template embedded twice (reference code)",
    )

    temperature: float = _sampling(
        default=1.0,
        gt=0,
        le=100,
        description="temperature of the Gumbel-softmax relaxation at the first step (paper: 1)",
    )
    temperature_end: float = _sampling(
        default=1.0,
        gt=0,
        le=100,
        description="temperature at the last step; it changes by the same factor each step",
    )
    noise: Literal["fresh", "stream"] = _sampling(
        default="fresh",
        description="noise of the search: a seed of its own for each picture, or at each step the "
        "latents of seed 0 with scheduler noise from the run's random stream (reference code)",
    )
    batch: int = _sampling(
        default=8,
        ge=1,
        le=256,
        description="prompts sampled per step, one picture each (paper: 1)",
    )
    explore: float = _sampling(
        default=0.5,
        ge=0,
        le=0.9,
        description="share of prompts per step with words not sampled from the soft prompt: the "
        "least tried, and promising ones by Thompson sampling (paper: 0); with search continuous, "
        "share of the steps, the first ones, that try words so",
    )
    screening: str | None = _sampling(
        default=None,
        unset="none",
        description="screening of this classifier and class, by its id in the store, whose effects "
        "guide the words that explore tries",
    )

    generator: str = _generator(
        model=True,
        default="lab",
        min_length=1,
        description="text-to-image pipeline, to be named for any classifier except the lab's: "
        "'lab', a 64-pixel toy; sd14-lcm (paper), sd15-lcm, sd-turbo or "
        "sdxl-turbo with their settings; or a diffusers folder or hub id with CLIP text encoders",
    )
    lora: str | None = _generator(
        model=True,
        default=None,
        description="LoRA to fuse into the generator: a file, folder or hub id",
    )
    decoder: str | None = _generator(
        model=True,
        default=None,
        description="small decoder for pictures of the search (AutoencoderTiny, such as TAESD): a "
        "folder or hub id; score and frames use the generator's own",
    )
    safety_checker: bool = _generator(
        default=True,
        description="keep no picture that the generator's own safety checker flags",
    )
    scheduler: str | None = _generator(
        picture=True,
        default=None,
        unset="the generator's",
        description="diffusers scheduler, such as LCM or Euler",
    )
    diffusion_steps: int = _generator(
        picture=True,
        default=4,
        ge=1,
        le=1000,
        description="denoising steps per picture (paper: 4, with LCM)",
    )
    guidance: float = _generator(
        picture=True,
        default=1.0,
        ge=0,
        le=50,
        description="classifier-free guidance scale; no guidance at 1 or less (paper: 1)",
    )
    image_size: int | None = _generator(
        picture=True,
        default=None,
        ge=8,
        le=4096,
        unset="the generator's",
        description="side of the pictures, in pixels",
    )
    padding: Literal["tokens", "repeat"] = _generator(
        picture=True,
        default="tokens",
        description="padding of prompts in the search: the tokenizer's, or the end token's state "
        "repeated (reference code)",
    )

    straight_through: float = _gradient(
        default=0.2,
        ge=0,
        le=1000,
        description="weight of the straight-through Gumbel-softmax gradient (paper: 1)",
    )
    score_function: float = _gradient(
        default=1.0,
        ge=0,
        le=1000,
        description="weight of the score-function gradient, REINFORCE with a running baseline "
        "(paper: 0)",
    )
    n_grad: int | None = _gradient(
        default=None,
        ge=0,
        unset="an eighth of the batch, or all without a score function",
        description="prompts per step backpropagated for straight-through",
    )
    backprop_steps: int | None = _gradient(
        default=None,
        ge=1,
        unset="all, as the paper",
        description="last denoising steps to backpropagate through",
    )
    latent_gradient: bool = _gradient(
        default=True,
        description="backpropagate through the latents that the UNet reads, not only through its "
        "conditioning (reference code: no)",
    )
    gradient_checkpointing: Checkpointing | None = _gradient(
        study=False,
        default=None,
        unset="by the memory estimate",
        description="networks to recompute in the backward pass: less memory, 25% to 50% more time",
    )
    micro_batch: int | None = _gradient(
        study=False,
        default=None,
        ge=1,
        unset="by the memory estimate",
        description="pictures computed at a time",
    )

    direction: Direction = _objective(
        default="raise",
        description="raise: search words whose pictures the classifier assigns to the class; "
        "lower: words with which it loses the class, beside a subject of the class that the "
        "template names (single and multi: in place of the first mask)",
    )
    class_loss: Literal["log-odds", "cross-entropy", "bounded"] = _objective(
        default="log-odds",
        description="loss of the target class: -log(p / (1 - p)), which still separates pictures "
        "when p is near 1; -log p (paper); or 1 - p",
    )
    class_weight: float = _objective(
        default=1.0, ge=0, le=1000, description="weight of the class loss (paper: 1)"
    )
    feature_weight: float = _objective(
        default=1.0,
        ge=0,
        le=1000,
        description="weight of each feature loss, minus the mean activation of a penultimate unit "
        "(paper: 1)",
    )
    masked_lm_weight: float = _objective(
        default=0.5,
        ge=0,
        le=1000,
        description="weight of the masked-LM loss on the pseudo-targets (paper, Eq. 4: 1)",
    )
    masked_lm_loss: Literal["masks", "sentence"] = _objective(
        default="masks",
        description="masked-LM loss: sum over the masks that have a target (paper, Eq. 4), or "
        "mean over all tokens of the sentence (reference code)",
    )
    features: tuple[int, ...] | None = _objective(
        default=None,
        unset="the n_features with the largest weight to the class",
        description="penultimate units to raise",
    )
    n_features: int = _objective(
        default=0,
        ge=0,
        le=1000,
        description="number of units to raise, by their weight to the class (paper: 5 with 6 "
        "masks)",
    )
    pseudo_target: Literal["slot", "tuple", "reference", "none"] = _objective(
        default="tuple",
        description="target of the masked LM: the word with the best mean loss per slot (paper, "
        "Eq. 5), the tuple of words with the best shrunk running mean (measured), the reference "
        "code's rule, or none",
    )

    steps: int = _loop(
        default=150, ge=1, le=100_000, description="maximum number of steps (paper: 1000 to 5000)"
    )
    learning_rate: float = _loop(
        default=0.1, gt=0, le=10, description="AdamW's learning rate (paper: 0.1)"
    )
    adam_epsilon: float = _loop(
        default=1e-8, gt=0, le=1, description="AdamW's epsilon (reference code: 1e-4)"
    )
    weight_decay: float = _loop(
        default=0.0, ge=0, le=1, description="AdamW's weight decay (reference code: 0.01)"
    )
    stop: Literal["stable", "hits", "consecutive", "none"] = _loop(
        default="stable",
        description="end early when the best words are stable, after stop_hits pictures of the "
        "class (paper), after stop_hits steps in a row whose first picture is (reference code), or "
        "never",
    )
    stop_hits: int = _loop(
        default=50,
        ge=1,
        description="pictures classified as the target that end a run (paper: 50; reference "
        "code: 3 in a row)",
    )
    stable_steps: int = _loop(
        default=20,
        ge=1,
        description="steps without a change of the best words before a run ends as stable",
    )
    stable_entropy: float = _loop(
        default=0.5,
        ge=0,
        description="mean entropy of the slots, in nats, below which a run may end as stable",
    )

    frames: int = _results(
        default=50,
        ge=1,
        description="frames to collect: pictures of the final prompt classified as the target",
    )
    frame_tries: int = _results(
        default=200, ge=1, description="maximum number of pictures drawn for the frames"
    )
    score_images: int = _results(
        default=100,
        ge=1,
        description="fresh pictures drawn for the activation score (paper: 100)",
    )
    preview_every: int = _results(
        study=False,
        default=10,
        ge=1,
        description="steps between the pictures of the search that are kept",
    )

    device: str = _machine(
        study=False,
        default="auto",
        description="auto (the CUDA device with the most free memory, else the CPU), cpu, cuda or "
        "cuda:N",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = _machine(
        study=False,
        picture=True,
        default="float32",
        description="number format of generator and classifier; the soft prompt is always float32",
    )
    compile: bool = _machine(
        study=False,
        default=False,
        description="compile UNet and decoder (torch.compile): minutes at the start, faster steps "
        "of a large generator on a GPU",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_generator(cls, values: object) -> object:
        """Write out a generator's name, and translate the reference code's names of options.

        The stored record is then complete without them.
        """
        if not isinstance(values, dict):
            return values
        if "class_to_activate" in values:
            settings, _ = translate(values)
            fields = {name: settings[name] for name in settings if name in cls.model_fields}
            values = {**PRESETS["reference"], **fields}
        return expand(values)

    @field_validator("words", "exclude_words", "features", "mean", "std", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        """Accept "sea, lake" for ("sea", "lake"), as a command line or a form gives it."""
        if isinstance(value, str):
            return tuple(part for part in re.split(r"[,\s]+", value) if part)
        return value

    @field_validator("mean", "std")
    @classmethod
    def _check_channels(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and len(value) not in (1, 3):
            raise InputError(f"{len(value)} numbers: must be 1 or 3", value=value)
        return value if value is None or len(value) == 3 else value * 3

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _name_checkpointing(cls, value: object) -> object:
        """Accept true and false, which the records of early runs hold."""
        return {True: "all", False: "none"}[value] if isinstance(value, bool) else value

    @field_validator("template")
    @classmethod
    def _check_template(cls, value: str) -> str:
        text = TEMPLATES.get(value, value)
        masks = text.count(MASK)
        if not 1 <= masks <= MAX_MASKS:
            raise InputError(
                f"{value!r} has {masks} {MASK}",
                value=value,
                remedy=f"pass 'single', 'multi' or a text with 1 to {MAX_MASKS} {MASK}",
            )
        if re.search(r"[\w\]]\[MASK\]|\[MASK\]\w", text):
            raise InputError(
                f"{value!r} has a {MASK} that is not a separate word",
                value=value,
                remedy=f"put a space on both sides of each {MASK}",
            )
        return value

    @field_validator("suffix")
    @classmethod
    def _check_suffix(cls, value: str) -> str:
        if MASK in value:
            raise InputError(
                f"{value!r} has a {MASK}", value=value, remedy="put masks into the template"
            )
        return value

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            raise InputError(
                f"{value!r} is unknown", value=value, remedy="choose auto, cpu, cuda or cuda:N"
            )
        return value

    @field_validator("words")
    @classmethod
    def _check_words(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not value:
            raise InputError(
                "the list is empty", value=value, remedy="list at least 1 word, or omit it"
            )
        return value

    @model_validator(mode="after")
    def _check_together(self) -> RunConfig:
        """Refuse values that contradict each other."""
        _refuse_contradictions(self)
        return self

    @property
    def template_text(self) -> str:
        """The template written out, with its [MASK]s."""
        return TEMPLATES.get(self.template, self.template)

    @property
    def names_generator(self) -> bool:
        """True if the generator was given, not taken from the default."""
        return "generator" in self.model_fields_set

    def naming(self, subject: str) -> RunConfig:
        """Return the settings of a search that lowers the class, with a subject of the class in
        place of the first mask of a shipped template."""
        if self.direction == "raise" or self.template not in TEMPLATES:
            return self
        text = TEMPLATES[self.template].replace(MASK, subject, 1)
        if MASK not in text:
            text = text.replace(subject, f"{subject} with {MASK}")
        return self.model_copy(update={"template": text})

    @property
    def masks(self) -> int:
        """Number of words to find."""
        return self.template_text.count(MASK)

    @property
    def grad_prompts(self) -> int:
        """Number of prompts of a batch that are backpropagated through the generator.

        Without a score function the other prompts would be of little use. With one, an eighth
        carries straight-through's small share, at a third of the cost of all.
        """
        if self.search == "continuous":
            return self.batch
        if self.straight_through == 0:
            return 0
        if self.n_grad is not None:
            return self.n_grad
        count = self.batch if self.score_function == 0 else math.ceil(self.batch / 8)
        return min(count, self.batch - self.explored_prompts)

    @property
    def explored_prompts(self) -> int:
        """Number of prompts of a batch whose words are chosen by what words did so far."""
        return int(self.explore * self.batch)

    def by_scores(self) -> RunConfig:
        """Return the settings of a search that asks for no gradient, by the score function alone.

        For a classifier without gradients; the paper's settings have no score function. Raises
        InputError for a search for embeddings, which needs them.
        """
        if self.search == "continuous":
            raise InputError(
                f"continuous needs gradients, which {self.classifier} does not give",
                field="search",
                value=self.search,
                remedy="search words",
            )
        found = {"straight_through": 0.0, "score_function": self.score_function or 1.0}
        return self.model_copy(update={**found, "n_grad": None})

    @model_serializer(mode="wrap")
    def _keep_old_form(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out fields that earlier versions did not have, unless they are set: a stored study
        keeps its name and its hash."""
        values: dict[str, Any] = handler(self)
        for name in _LATER_FIELDS:
            if values.get(name, ...) == type(self).model_fields[name].default:
                del values[name]
        return values

    def study_settings(self) -> dict[str, Any]:
        """Return what defines a study, JSON-able: runs with equal settings differ by seed only."""
        return self.model_dump(mode="json", exclude=set(fields_of(study=False)))

    def options(self, kind: Callable[..., _Options], **others: object) -> _Options:
        """Return a loader's options: those named as a field take its value, the rest `others`.

        Args:
            kind: A dataclass, such as `dexter.classifiers.ClassifierOptions`.
            others: Options that are no fields, or replace one ("cuda:1" for ``device`` "auto").
        """
        names = {field.name for field in dataclasses.fields(cast(Any, kind))}
        own = {name: getattr(self, name) for name in names & RunConfig.model_fields.keys()}
        return kind(**(own | others))

    @classmethod
    def from_preset(cls, name: str = "default", **overrides: object) -> RunConfig:
        """Return the preset `name` with some fields replaced.

        Raises InputError for an unknown preset or field, a value out of range, or values that
        contradict each other.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise _unknown_preset(str(name)[:100])
        for field in overrides:
            if field not in cls.model_fields:
                near = difflib.get_close_matches(field, cls.model_fields, n=1)
                hint = f"did you mean {near[0]!r}?" if near else None
                raise InputError("unknown setting", field=field, remedy=hint)
        try:
            return cls.model_validate({**PRESETS[name], **overrides, "preset": name})
        except ValidationError as error:
            raise refusal(error) from None


def _marks(name: str) -> dict[str, Any]:
    return cast(dict[str, Any], RunConfig.model_fields[name].json_schema_extra)


@cache
def fields_of(*groups: Group, **marks: bool) -> tuple[str, ...]:
    """Return the names of RunConfig's fields in some groups (in all, by default), in order.

    Args:
        groups: See `Group`.
        marks: Only the fields with these marks. ``study``: part of what defines a study.
            ``model``: names a model, by folder or hub id. ``picture``: changes the picture that
            a generator with the same weights draws for a prompt and a seed.
    """
    return tuple(
        name
        for name in RunConfig.model_fields
        if not groups or group_of(name) in groups
        if all(_marks(name)[mark] == value for mark, value in marks.items())
    )


def group_of(field: str) -> Group:
    """Return the group of a field of RunConfig."""
    return cast(Group, _marks(field)["group"])


def _unknown_preset(name: str) -> InputError:
    return InputError(
        f"{name!r} is unknown",
        field="preset",
        value=name,
        remedy=f"choose from {', '.join(PRESETS)}",
    )


def _refuse_contradictions(config: RunConfig) -> None:
    """Raise InputError for the first contradiction between values, at the field to change."""
    c = config

    def refuse(field: str, problem: str, remedy: str | None = None) -> InputError:
        return InputError(problem, field=field, value=getattr(c, field), remedy=remedy)

    if c.preset not in PRESETS:
        raise _unknown_preset(c.preset)
    if c.normalization == "none" and (c.mean is not None or c.std is not None):
        raise refuse("normalization", "none excludes mean and std", "omit it, or mean and std")
    if c.straight_through == 0 and c.score_function == 0:
        raise refuse(
            "straight_through", "0 with score_function 0 leaves no gradient", "raise one of them"
        )
    if c.n_grad is not None and c.n_grad > c.batch:
        raise refuse("n_grad", f"{c.n_grad} is more than batch, {c.batch}")
    if c.n_grad is not None and c.n_grad > c.batch - c.explored_prompts:
        raise refuse(
            "n_grad",
            f"{c.n_grad}, but explore {c.explore:g} leaves only "
            f"{c.batch - c.explored_prompts} of {c.batch} prompts to backpropagate",
        )
    if c.n_grad is not None and (c.n_grad == 0) != (c.straight_through == 0):
        raise refuse(
            "n_grad",
            f"{c.n_grad} contradicts straight_through {c.straight_through:g}",
            "set both to 0 or neither",
        )
    if c.micro_batch is not None and c.micro_batch > c.batch:
        raise refuse("micro_batch", f"{c.micro_batch} is more than batch, {c.batch}")
    if c.backprop_steps is not None and c.backprop_steps > c.diffusion_steps:
        raise refuse(
            "backprop_steps",
            f"{c.backprop_steps} is more than diffusion_steps, {c.diffusion_steps}",
        )
    if c.features is not None and c.n_features not in (0, len(c.features)):
        raise refuse(
            "n_features", f"{c.n_features}, but features lists {len(c.features)}", "omit one"
        )
    has_features = bool(c.features) or c.n_features > 0
    if c.class_weight == 0 and (c.feature_weight == 0 or not has_features):
        raise refuse(
            "class_weight",
            "0 without a weighted feature leaves nothing to optimise",
            "raise it, or set n_features and feature_weight",
        )
    if c.pseudo_target == "none" and c.masked_lm_weight > 0:
        raise refuse(
            "pseudo_target",
            f"none leaves no target for masked_lm_weight {c.masked_lm_weight:g}",
            "set that to 0",
        )
    if c.masked_lm_loss == "sentence" and c.pseudo_target != "reference":
        raise refuse(
            "masked_lm_loss",
            "sentence needs a word in every mask from the first step, unlike pseudo_target "
            f"{c.pseudo_target}",
            "set pseudo_target to reference",
        )
    if c.vocabulary == "masked-lm" and (c.words or c.exclude_words or c.exclude_class_name):
        raise refuse(
            "vocabulary",
            "masked-lm takes every token",
            "omit words, exclude_words and exclude_class_name",
        )
    if c.screening is not None and c.explored_prompts == 0:
        raise refuse("explore", f"{c.explore:g} tries no words by the screening", "raise it")
    if c.screening is not None and c.class_loss != "log-odds":
        raise refuse(
            "class_loss",
            f"{c.class_loss} has another scale than the effects of a screening",
            "set it to log-odds",
        )
    if c.words is not None:
        both = {w.lower() for w in c.words} & {w.lower() for w in c.exclude_words}
        if both:
            raise refuse("exclude_words", f"{', '.join(sorted(both))} also in words")
    if c.frame_tries < c.frames:
        raise refuse("frame_tries", f"{c.frame_tries} is less than frames, {c.frames}")


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
    # More prompts per step and fewer steps: the fastest with the lab's generator.
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
