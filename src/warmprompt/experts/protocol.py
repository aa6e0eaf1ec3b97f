"""What an expert is, what it is fitted on, and the users that it scores.

B is users, V items, U training users, D factors, X width of item text vectors, N new items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from warmprompt.data.dataset import Dataset
from warmprompt.types import Floats, Ints, Support, short_repr

Array = NDArray[Any]

Encode = Callable[[Sequence[str]], Floats]
"""Returns the text vectors of some texts, a row of unit length each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UserBatch:
    """Users to be scored.

    Attributes:
        supports: Their events.
        vectors_BD: Their adapted user vectors.
        least_rating: Events rated below it are dislikes, which say nothing of similar users or items.
        encode: Reads what users wrote; None leaves it unread.
    """

    supports: Sequence[Support]
    vectors_BD: Tensor
    least_rating: float | None = None
    encode: Encode | None = None

    __repr__ = short_repr

    def __len__(self) -> int:
        """B."""
        return len(self.supports)

    @cached_property
    def liked(self) -> tuple[Ints, ...]:
        """Each user's items without dislikes, distinct and in index order."""
        return tuple(self._liked(support) for support in self.supports)

    @cached_property
    def written(self) -> tuple[tuple[str, ...], ...]:
        """What each user wrote with liked events, in index order of the items; the last text of each item."""
        return tuple(self._written(support) for support in self.supports)

    def _liked(self, support: Support) -> Ints:
        items_K = np.asarray(support.items_K)
        if self.least_rating is not None:
            items_K = items_K[~(support.ratings_K < self.least_rating)]
        return np.array(sorted(set(items_K.tolist())), dtype=np.int32)

    def _written(self, support: Support) -> tuple[str, ...]:
        if support.texts_K is None:
            return ()
        least = -np.inf if self.least_rating is None else self.least_rating
        events = zip(support.items_K.tolist(), support.ratings_K.tolist(), support.texts_K, strict=True)
        text_of = {item: text for item, rating, text in events if text and not rating < least}
        return tuple(text_of[item] for item in sorted(text_of))


@dataclass(frozen=True, kw_only=True, eq=False)
class FitContext:
    """What an expert may use in addition to the training events.

    Attributes:
        texts: A line of text per item, or None where the run reads no item texts.
        text_VX: Item text vectors of unit length; zeros without texts.
        catalogue_VD: Item vectors of the trained model.
        popularity_V: Its popularity scores.
        user_vectors: Adapts the model to the whole history of each user of a data set, (U, D).
        encode: Reads what users wrote; None where the run has no sentence encoder.
        num_neighbours: Nearest training users that count.
        similar_item_weight: What an item with similar words counts, of one that both users have.
        half_life_s: Age, before the newest training event, at which an event counts half for experts of
            order; None counts all alike.
        horizon: How many next events experts of order are meant for.
        seed: The run's seed.
        progress: Receives a line where an expert has something to report.
    """

    texts: Sequence[str] | None
    text_VX: Floats
    catalogue_VD: Floats
    popularity_V: Floats
    user_vectors: Callable[[Dataset], Floats]
    encode: Encode | None = None
    num_neighbours: int = 50
    similar_item_weight: float = 0.0
    half_life_s: float | None = None
    horizon: int = 10
    seed: int = 0
    progress: Callable[[str], object] = lambda _line: None


class Expert(Protocol):
    """Anything that can score the catalogue for a user.

    A row of scores depends on its own user alone.

    Attributes:
        name: As settings, lists and files call it.
        from_events: Whether it scores by the user's liked events: then users without any score 0, and the
            mixture damps it where events are few.
    """

    name: ClassVar[str]
    from_events: ClassVar[bool]

    @classmethod
    def fit(cls, training: Dataset, context: FitContext) -> Self | None:
        """Return the expert for the events of training users, None where it has nothing to score with."""

    @property
    def num_items(self) -> int:
        """V, items added later included where the expert knows them."""

    def score(self, users: UserBatch) -> Floats:
        """Return the scores of all items, (B, V)."""

    def arrays(self) -> dict[str, Array]:
        """Return all that `from_arrays` needs, by name; numbers are arrays without dimensions."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """Return the expert that `arrays` described."""

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the expert with N items more, known by their texts; experts of events stay as they are."""
