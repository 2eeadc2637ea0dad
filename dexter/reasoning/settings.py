"""Settings of a study's reasoning: who describes, who writes, what is tested, how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dexter.errors import refusal
from dexter.reasoning.chat import check_address

if TYPE_CHECKING:
    pass

LOOKS = (32, 64, 128)
"""Pairs after which a claim may be decided; see `dexter.stats`."""

Depth = Literal["full", "claims"]


class ReportSettings(BaseModel):
    """Everything that a report can be told; flags of the command line are made from it.

    A model is "lab", "none", a Hugging Face folder or id, or "openai:NAME" for the model NAME of
    the endpoint ``base_url``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    vlm: str = Field(
        default="auto",
        min_length=1,
        description="captioner: lab, none, a folder or hub id, or openai:NAME; auto: the lab's for "
        "the lab's generator, else none",
    )
    llm: str = Field(
        default="none",
        min_length=1,
        description="writer of the report: none (written from the evidence), a folder or hub id, "
        "or openai:NAME",
    )
    base_url: str | None = Field(
        default=None,
        description="address of an OpenAI-compatible endpoint; with it, --vlm and --llm name its "
        "models",
    )
    key_file: str | None = Field(
        default=None,
        description="file with the endpoint's key, readable by you alone; otherwise OPENAI_API_KEY",
    )
    timeout: float = Field(
        default=60.0, gt=0, le=3600, description="seconds to wait for an answer of the endpoint"
    )
    tries: int = Field(default=4, ge=1, le=20, description="tries for an answer of the endpoint")
    concurrency: int = Field(
        default=4, ge=1, le=64, description="questions to the endpoint at the same time"
    )
    image_text: str = Field(
        default="auto",
        min_length=1,
        description="image-text model (CLIP) that judges whether a concept was drawn: lab, none, a "
        "folder or hub id; auto: the lab's for the lab's generator, else "
        "openai/clip-vit-base-patch32",
    )
    captions: int = Field(
        default=48, ge=0, le=10_000, description="frames that hit the class to be captioned"
    )
    candidates: int = Field(default=12, ge=1, le=500, description="concepts to test")
    concepts: tuple[str, ...] = Field(
        default=(), description="concepts to test before those that words and captions propose"
    )
    core: tuple[str, ...] = Field(
        default=(), description="words that belong to the class: to depend on them is no bias"
    )
    min_effect: float = Field(
        default=0.10,
        gt=0,
        lt=1,
        description="change of the class's probability that counts as an effect",
    )
    placebos: int = Field(
        default=20, ge=1, le=200, description="placebo words an effect has to exceed"
    )
    score_images: int = Field(
        default=50, ge=1, le=10_000, description="pictures to score captions and prompts with"
    )
    score_captions: int = Field(
        default=4, ge=0, le=1000, description="distinct captions to score as prompts, at most"
    )
    attribution_seeds: int = Field(
        default=12, ge=2, le=10_000, description="pictures a word subset in the word attribution"
    )
    attribution_subsets: int = Field(
        default=16, ge=2, le=256, description="word subsets of the word attribution, at most"
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

    def for_generator(self, generator: str) -> Self:
        """The same with "auto" resolved for a study of this generator."""
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
    """What a comparison of classifiers can be told; of the rest it reads what evidence needs."""

    concepts: tuple[str, ...] = Field(
        default=(),
        description="concepts to test, in place of those that words and captions propose",
    )
    candidates: int = Field(
        default=6, ge=1, le=500, description="concepts that each study may propose"
    )
    pairs: int = Field(default=128, description="pairs of pictures a concept: 32, 64 or 128")

    @field_validator("pairs")
    @classmethod
    def _one_of_the_looks(cls, value: int) -> int:
        if value not in LOOKS:
            raise ValueError("choose 32, 64 or 128")
        return value


def remote_name(spec: str) -> str | None:
    """The model behind the endpoint that a spec names, None for a local one."""
    return spec.removeprefix("openai:") if spec.startswith("openai:") else None


FIELDS = ("concepts", "candidates", "pairs", "core", "min_effect", "placebos", "image_text")
