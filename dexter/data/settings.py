"""The settings of reports on labelled pictures; flags of the command line are made from them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dexter.data.folder import LAB_SCENES
from dexter.errors import refusal


class DataSettings(BaseModel):
    """The settings of any report on labelled pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label_column: str | None = Field(
        default=None, description="the column of the labels in a CSV file"
    )
    image_text: str = Field(
        default="lab",
        min_length=1,
        description="image-text model that sees concepts: lab, a folder or a hub id of a CLIP",
    )
    searches: int = Field(
        default=0,
        ge=0,
        le=20,
        description="single-mask searches a class, each without the words before it; their words "
        "take the place of a screening's (paper: 4)",
    )
    size: int = Field(
        default=LAB_SCENES,
        ge=40,
        le=100_000,
        description="scenes of the lab's data: half for each of validation and test; with a "
        "planted bias, this number for each, and twice as many for train",
    )

    @classmethod
    def from_values(cls, values: dict[str, object]) -> Self:
        """Check the values of flags; raise InputError for one that is refused."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise refusal(error) from None


class SlicesSettings(DataSettings):
    """The settings of a search for slices."""

    split: str | None = Field(default=None, description="only this split of the data")
    group: str | None = Field(
        default=None, description="a column of true groups, which only judges the slices"
    )
    baselines: bool = Field(
        default=False,
        description="add the slices of a mixture over embeddings and errors (Domino), and of "
        "frequent words",
    )
    patterns: bool = Field(
        default=False,
        description="add the conjunctions of up to 3 attributes with most errors (sliceline)",
    )


class DebiasSettings(DataSettings):
    """The settings of a debiasing."""

    group: str | None = Field(
        default=None,
        description="a column of true groups: measures by them, and adds the bracket that fits "
        "them",
    )
    weights: Literal["last", "all"] = Field(
        default="last", description="fit the last layer again, or train all weights"
    )
    fit_split: str | None = Field(
        default=None,
        description="the split that is fitted",
        json_schema_extra={"unset": "validation, or train for all weights"},
    )
    choose_split: str = Field(
        default="validation", description="the split that chooses among the weights of a training"
    )
    test_split: str = Field(default="test", description="the split that is measured")
    seeds: int = Field(default=3, ge=1, le=20, description="fits of each method")
    steps: int = Field(
        default=600, ge=10, le=1_000_000, description="steps of a training of all weights"
    )
    batch: int = Field(default=32, ge=2, le=1024, description="pictures of a step")
    rate: float = Field(default=1e-3, gt=0, le=1, description="peak of the learning rate")
    select: Literal["pseudo-groups", "worst-class", "environments", "true-groups"] = Field(
        default="pseudo-groups",
        description="what chooses among the weights of a training: the worst accuracy of a "
        "pseudo-group, of a class, of an inferred environment of a class, or of a true group, "
        "which is marked in every table",
    )
