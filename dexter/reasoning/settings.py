"""The settings of a study's reasoning: its models, the tested concepts and the numbers."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dexter.errors import InputError, refusal
from dexter.reasoning.chat import check_address

LOOKS = (32, 64, 128)
"""Numbers of pairs after which a claim can be decided; see `dexter.stats`."""


class ReportSettings(BaseModel):
    """The settings of a report; the flags of the command line are made from these fields.

    A model is "lab", "none", a Hugging Face folder or id, or "openai:NAME" for the model NAME of
    the endpoint ``base_url``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    vlm: str = Field(
        default="auto",
        min_length=1,
        description="captioner: lab, none, a folder, a hub id, openai:NAME, or auto (the lab's for "
        "the lab's generator, else none)",
    )
    llm: str = Field(
        default="none",
        min_length=1,
        description="writer of the report: none (from the evidence alone), a folder, a hub id or "
        "openai:NAME",
    )
    base_url: str | None = Field(
        default=None,
        description="URL of an OpenAI-compatible endpoint; --vlm and --llm then name its models",
    )
    key_file: str | None = Field(
        default=None,
        description="file with the endpoint's key, readable only by you (else OPENAI_API_KEY)",
    )
    timeout: float = Field(
        default=60.0, gt=0, le=3600, description="seconds to wait for an answer from the endpoint"
    )
    tries: int = Field(default=4, ge=1, le=20, description="attempts per request to the endpoint")
    concurrency: int = Field(
        default=4, ge=1, le=64, description="number of parallel requests to the endpoint"
    )
    image_text: str = Field(
        default="auto",
        min_length=1,
        description="image-text model (CLIP) that checks whether concepts were drawn: lab, none, a "
        "folder, a hub id, generator (the generator's own denoising error, slow), or auto (the "
        "lab's for the lab's generator, else openai/clip-vit-base-patch32)",
    )
    captions: int = Field(
        default=48, ge=0, le=10_000, description="number of frames of the class to caption"
    )
    candidates: int = Field(default=12, ge=1, le=500, description="number of concepts to test")
    concepts: tuple[str, ...] = Field(
        default=(), description="concepts to test before those from words and captions"
    )
    core: tuple[str, ...] = Field(
        default=(), description="words that belong to the class: depending on them is not a bias"
    )
    min_effect: float = Field(
        default=0.10,
        gt=0,
        lt=1,
        description="smallest change of p(class) that counts as an effect",
    )
    placebos: int = Field(
        default=20, ge=1, le=200, description="number of placebo words that an effect must exceed"
    )
    score_images: int = Field(
        default=50, ge=1, le=10_000, description="number of pictures per scored caption or prompt"
    )
    score_captions: int = Field(
        default=4, ge=0, le=1000, description="maximum number of captions to score as prompts"
    )
    attribution_seeds: int = Field(
        default=12,
        ge=2,
        le=10_000,
        description="number of pictures per word subset in the attribution",
    )
    attribution_subsets: int = Field(
        default=16, ge=2, le=256, description="maximum number of word subsets in the attribution"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")

    @field_validator("base_url")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is not None:
            check_address(value)
        return value

    @field_validator("concepts", "core", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Build settings; raise InputError for a refused value."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise refusal(error) from None

    @property
    def own_models(self) -> dict[str, str]:
        """The folders and hub ids that these settings name, by field."""
        of_endpoint = self.base_url is not None  # which knows the other names
        names = ("image_text",) if of_endpoint else ("vlm", "llm", "image_text")
        return {
            name: spec
            for name in names
            if (spec := getattr(self, name)) not in ("auto", "none", "lab", "generator")
            and not remote_name(spec)
        }

    def for_generator(self, generator: str) -> Self:
        """Return these settings with "auto" resolved for a study of this generator."""
        lab = generator == "lab"
        changes: dict[str, str] = {}
        if self.vlm == "auto":
            changes["vlm"] = "lab" if lab else "none"
        if self.image_text == "auto":
            changes["image_text"] = "lab" if lab else "openai/clip-vit-base-patch32"
        for name in ("vlm", "llm"):
            value = changes.get(name, getattr(self, name))
            given = name not in changes and value != "none" and not value.startswith("openai:")
            if self.base_url and given:
                changes[name] = f"openai:{value}"
        return self.model_copy(update=changes)


class CompareSettings(ReportSettings):
    """The settings of a comparison of classifiers; it reads only those that evidence needs."""

    concepts: tuple[str, ...] = Field(
        default=(),
        description="concepts to test instead of those from words and captions",
    )
    candidates: int = Field(
        default=6, ge=1, le=500, description="maximum number of concepts that each study proposes"
    )
    pairs: int = Field(default=128, description="pairs of pictures per concept: 32, 64 or 128")

    @field_validator("pairs")
    @classmethod
    def _one_of_the_looks(cls, value: int) -> int:
        if value not in LOOKS:
            raise InputError(f"must be 32, 64 or 128, got {value}", field="pairs", value=value)
        return value


class ScreenSettings(ReportSettings):
    """The settings of a screening; it reads only those of its own and those that evidence needs."""

    pictures: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="maximum number of pictures",
        json_schema_extra={"unset": "800, or 4 for each wording and subject if that is more"},
    )
    design_seed: int = Field(
        default=0, ge=0, le=63, description="seed of the prompts: another one gives another bank"
    )
    confirm: bool = Field(
        default=True,
        description="test the strongest findings on pairs of pictures with fresh noise",
    )
    candidates: int = Field(
        default=6, ge=1, le=500, description="findings of each classifier to test on pairs"
    )


def remote_name(spec: str) -> str | None:
    """Return the endpoint's model that a spec names; None for a local model."""
    return spec.removeprefix("openai:") if spec.startswith("openai:") else None


FIELDS = ("concepts", "candidates", "pairs", "core", "min_effect", "placebos", "image_text")
"""The fields of CompareSettings that a comparison reads."""

SCREEN_FIELDS = (
    "pictures",
    "min_effect",
    "core",
    "image_text",
    "design_seed",
    "confirm",
    "candidates",
    "placebos",
)
"""The fields of ScreenSettings that a screening reads."""

JUDGE_FIELDS = ("llm", "base_url", "key_file", "timeout", "tries")
"""The fields of ReportSettings that say which language model rates reports."""
