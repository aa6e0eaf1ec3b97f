"""Ids, events and the `Ranker` protocol that everything evaluated fulfils.

B is users in a batch, K support events, V items of the data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, is_dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from warmprompt.data.dataset import Dataset

UserId = str | int
ItemId = str | int

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

MAX_TEXT = 5000
"""Longest text of an event, in characters. As JSON it fits the store's entries, whatever the characters."""

_PLAIN = frozenset({str, int, float, NoneType})
_MAX_REPR = 400
_MAX_TEXT = 60
_MAX_ENTRIES = 4


def short_repr(record: Any) -> str:
    """Return one line about a dataclass, for its `__repr__`: sizes and names, and no arrays.

    Args:
        record: A dataclass instance; its fields are named in order, and cut to 400 characters in all.
    """
    parts = [f"{one.name}={_brief(getattr(record, one.name))}" for one in fields(record) if one.repr]
    inside = ", ".join(parts)
    inside = inside if len(inside) <= _MAX_REPR else f"{inside[: _MAX_REPR - 3]}..."
    return f"{type(record).__name__}({inside})"


def fields_only(record: Any) -> dict[str, Any]:
    """Return a dataclass's fields by name, for `__getstate__`: what was derived and cached is left out."""
    return {one.name: getattr(record, one.name) for one in fields(record)}


def _brief(value: Any) -> str:
    """Return a value in a few words: arrays by type and shape, long collections by their number."""
    if is_dataclass(value):
        return type(value).__name__
    if isinstance(value, str | bytes) and len(value) > _MAX_TEXT:
        return f"{value[: _MAX_TEXT - 3]!r}..."
    shape = getattr(value, "shape", None)
    if shape is not None and not isinstance(value, np.generic):
        return f"{type(value).__name__}{list(shape)}"
    if isinstance(value, Mapping | Set | list | tuple) and len(value) > _MAX_ENTRIES:
        return f"<{len(value):,} entries>"
    whole = repr(value)
    return whole if len(whole) <= _MAX_TEXT + 2 else f"<{type(value).__name__}>"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing a user did with one item; NumPy scalars become plain numbers and text.

    Attributes:
        item: The item's id as the data set spells it.
        rating: How much it was liked on the data set's own scale, or None where nothing was said.
        time_s: Seconds since 1970-01-01 UTC, or None.
        weight: A count or an amount, above 0, in the data set's own unit; None counts as an ordinary event.
        text: What the user wrote about it, such as a review, a note or a query: at most `MAX_TEXT` (5,000)
            characters. Blank or None where nothing was written.
    """

    item: ItemId
    rating: float | None = None
    time_s: int | None = None
    weight: float | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        """Replace NumPy scalars by what they hold, so that they are compared, kept and sent like others."""
        fields_now = vars(self)
        if _PLAIN.issuperset(map(type, fields_now.values())):
            return
        for name, value in fields_now.items():
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())


@dataclass(frozen=True, kw_only=True, eq=False)
class Support:
    """All that may be known of an unseen user when a ranking is made.

    Attributes:
        user: The user's id; only for messages and seeds, never a feature.
        items_K: Indexes of the items of the user's events, (K,), oldest first where time is known.
        ratings_K: Their ratings, (K,); NaN where the event carries none.
        times_K: Seconds since 1970, (K,), or None.
        strengths_K: How much each event counts, (K,), 1 the ordinary one; None where all count the same.
        texts_K: What the user wrote with each event, (K,), None where nothing; None where no event has any.
        attributes: The user's attributes as text ("age": "24"); empty when withheld.
        about: A sentence about the user, or None.
        ordered: Whether these are all of the user's events so far, in their order; models of sets ignore it.
    """

    user: UserId
    items_K: Ints
    ratings_K: Floats
    times_K: NDArray[np.int64] | None = None
    strengths_K: Floats | None = None
    texts_K: tuple[str | None, ...] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    about: str | None = None
    ordered: bool = False

    __repr__ = short_repr


@runtime_checkable
class Ranker(Protocol):
    """A model that ranks the whole catalogue for users it has never seen."""

    @property
    def name(self) -> str:
        """The row label in tables."""

    @property
    def num_parameters(self) -> int:
        """Trainable numbers the fitted model holds (0 for counting models)."""

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> Ranker:
        """Learn from training users and return the fitted model.

        Args:
            training: Events of the meta-training users; its item index is the full data set's.
            validation: Events of the validation users, for early stopping only.
            seed: Derives every random choice.
        """

    def score(self, supports: Sequence[Support]) -> Floats:
        """Score every item of the data set for each user, (B, V), finite; higher ranks first.

        Support items are scored like any other: whoever ranks leaves them out.
        """
