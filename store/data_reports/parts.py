"""The base and the kinds of values of what reports on pictures hold."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(max_length=1000)]
Unit = Annotated[float, Field(ge=0, le=1)]
Change = Annotated[float, Field(ge=-1, le=1)]
Fall = Annotated[float, Field(le=1)]
Count = Annotated[int, Field(ge=0, le=10**9)]


class Part(BaseModel):
    """A checked part of a result; fields of later versions are ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, frozen=True)
