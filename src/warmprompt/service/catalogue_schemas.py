"""Ids, filters and items in requests and answers."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from warmprompt.data.attributes import Filter

MAX_ITEMS_AT_ONCE = 100
MAX_FILTERS = 20
MAX_ID_LETTERS = 128


def _checked_id(given: object) -> object:
    """Refuse an invalid id before text and number are tried in turn, so that there is one error message."""
    if isinstance(given, bool) or not isinstance(given, str | int):
        kind = {bool: "true or false", float: "a number with a point", type(None): "null"}.get(type(given))
        raise PydanticCustomError(
            "item_id",
            'Give a whole number such as 5, or a text such as "5"; this is {kind}',
            {"kind": kind or "a list or an object"},
        )
    if not 0 < len(given if isinstance(given, str) else f"{given:x}") <= MAX_ID_LETTERS:
        raise PydanticCustomError("item_id", f"Give an id of 1 to {MAX_ID_LETTERS} letters or digits")
    return given


def _seconds(given: object) -> object:
    """Turn an ISO 8601 text into seconds; whole seconds, as the log has them."""
    if not isinstance(given, str):
        return given
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise PydanticCustomError(
            "time", "Give seconds since 1970, or ISO 8601 with an offset such as 2026-05-04T12:00:00Z"
        )
    return math.floor(moment.timestamp())


TimeS = Annotated[
    int,
    BeforeValidator(_seconds),
    Field(ge=0, lt=2**40),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**40},
                {"type": "string", "format": "date-time"},
            ]
        }
    ),
]
"""Seconds since 1970, or ISO 8601 with an offset, of which fractions of a second are cut off."""
ItemIdText = Annotated[str, Field(min_length=1, max_length=MAX_ID_LETTERS)]
AnyItemId = Annotated[ItemIdText | int, BeforeValidator(_checked_id)]
"""A whole number of any size or a text; "5" means 5 if no text id is spelled so, and 5 means "5"."""
Number = Annotated[float, Field(allow_inf_nan=False)]


class Strict(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class RangeIn(Strict):
    """Numbers from `min` to `max`, both included; one of them may be left out."""

    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.min is None and self.max is None:
            raise PydanticCustomError("range", "Give min, max or both")
        return self


FilterValue = Annotated[str, Field(max_length=200)] | Number
FilterIn = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=64)],
        FilterValue | Annotated[list[FilterValue], Field(min_length=1, max_length=100)] | RangeIn,
    ],
    Field(
        max_length=MAX_FILTERS,
        description="Rank only items with these attributes: a value, any of several, or a range of numbers.",
    ),
]


def filter_in(given: FilterIn | None) -> Filter | None:
    """Return a filter in the model's form."""
    if given is None:
        return None
    return {
        name: value.model_dump(exclude_none=True) if isinstance(value, RangeIn) else value
        for name, value in given.items()
    }


class NewItemIn(Strict):
    """An item known by its text alone."""

    id: AnyItemId
    title: Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]
    text: Annotated[str, Field(max_length=4000)] = Field(
        default="", description='More words about it, such as "Animation, Comedy".'
    )
    attributes: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=64)],
            Annotated[str, Field(max_length=1000)]
            | Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=100)],
        ],
        Field(max_length=64),
    ] = Field(default={}, description="What filters go by; attributes of the run's items.")


class ItemsIn(Strict):
    """Items to add."""

    items: Annotated[list[NewItemIn], Field(min_length=1, max_length=MAX_ITEMS_AT_ONCE)]


class ItemOut(BaseModel):
    """An item of the catalogue."""

    item: str | int
    title: str
    popularity: float = Field(description="The part of its score that is the same for everybody.")
    added: bool = Field(description="It came after training, by its text alone.")
    hidden: bool = Field(description="It is in no ranking until it is shown again.")


class ItemsOut(BaseModel):
    """Items found, best match first, or the most popular ones."""

    items: list[ItemOut]
    total: int = Field(description="Items in the catalogue.")
    rating_scale: tuple[float, float] | None = Field(
        description="Lowest and highest rating, or null without."
    )
    attributes: list[str] = Field(description="By which rankings can be filtered.")


class SimilarItemOut(BaseModel):
    """One of the similar items."""

    rank: int
    item: str | int
    title: str
    score: float = Field(description="Cosine of the two items' vectors, 1 at most.")


class SimilarOut(BaseModel):
    """The items most like an item, the nearest first."""

    item: str | int
    title: str
    items: list[SimilarItemOut]
    model: str = Field(description="Version of the model.")


class QuestionOut(BaseModel):
    """An item to ask a user about."""

    item: str | int
    title: str


class QuestionsOut(BaseModel):
    """Items to ask a user about, the most telling first."""

    items: list[QuestionOut]
    seq: int = Field(description="Entries of the user's log that the choice rests on.")
    model: str = Field(description="Version of the model.")


class HiddenOut(BaseModel):
    """Whether an item is hidden now."""

    item: str | int
    hidden: bool
    num_hidden: int = Field(description="Hidden items of the catalogue.")


class AddedOut(BaseModel):
    """What the catalogue holds now."""

    total: int
    added: int = Field(description="Items that came after training.")
    room: int = Field(description="Items that may still come.")
