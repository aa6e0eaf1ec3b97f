"""The most popular items: for everybody, of late, or for people with the same attributes.

V is items, C attribute values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import numpy as np
from scipy.sparse import csr_matrix

from warmprompt.baselines.common import break_ties, check_positive, fitted, popularity_share
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.data.matrices import user_item_matrix
from warmprompt.errors import BadInputError
from warmprompt.types import Floats, Support

_MAX_VALUES = 50
_NUM_BINS = 5
_DAY_S = 86_400

Key = TypeVar("Key")

Value = tuple[str, str]
"""An attribute and one of its values, or the fifth that a number is in."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TopPop:
    """Every user gets the items with the most training events."""

    name: ClassVar[str] = "toppop"
    num_parameters: ClassVar[int] = 0

    share_V: Floats | None = None

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> TopPop:
        """Count events per item; `validation` and `seed` are not needed."""
        del validation, seed
        return replace(self, share_V=popularity_share(training))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the popularity share of every item, (B, V), the same for each user."""
        return np.tile(fitted(self.share_V, self.name), (len(supports), 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class TopPopRecent:
    """Every user gets the items with the most training events of late; all events break ties.

    Late is counted back from the newest training event, so this is for protocols that train on what came
    before a date and test after it. Without times it is `TopPop`.

    Args:
        days: How far back events count, > 0.
        first: Of each user only this many first events count; 0 counts all. What new users begin with differs
            from what people come to later.

    Raises:
        BadInputError: `days` is not positive, or `first` below 0 (from `fit`).
    """

    name: ClassVar[str] = "toppop-recent"
    num_parameters: ClassVar[int] = 0

    days: float = 30.0
    first: int = 0
    share_V: Floats | None = None

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> TopPopRecent:
        """Count events per item; `validation` and `seed` are not needed."""
        del validation, seed
        check_positive(days=self.days)
        if self.first < 0:
            raise BadInputError(field="first", value=self.first, remedy="Give 0 or more events.")
        events = training.interactions
        times_s, items = events.times_s, events.items
        if times_s is None or not len(items):
            return replace(self, share_V=popularity_share(training))
        late = times_s > times_s.max() - self.days * _DAY_S
        if self.first:
            late &= (
                np.arange(len(items)) - np.repeat(events.offsets[:-1], np.diff(events.offsets)) < self.first
            )
        counts_V = np.bincount(items[late], minlength=training.num_items)
        scores_V = break_ties(counts_V[None].astype(np.float32), popularity_share(training))[0]
        return replace(self, share_V=scores_V)

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the late events of every item, (B, V), the same for each user."""
        return np.tile(fitted(self.share_V, self.name), (len(supports), 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class TopPopDemographic:
    """Popularity among users with the same attribute values.

    The score is log p(item) + weight * sum over attributes of log p(item | value) / p(item), as in naive
    Bayes, with p(item | value) smoothed towards p(item). Attributes whose values all read as numbers
    ("24") are cut into fifths of the training users; other attributes with more than 50 values (postal
    codes) are left out. A user without known values gets plain popularity. With `joint`, the users who share
    every value (the real cells, of age and sex and occupation) are counted too, and that count is smoothed
    towards the naive Bayes estimate of the cell.

    Args:
        smoothing: Events of the overall distribution added to each value's counts, > 0.
        weight: Trust in the attributes, >= 0; below 1 allows for attributes that overlap.
        joint: Events of naive Bayes' distribution added to the counts of those who share every value, > 0;
            0 leaves them uncounted.

    Raises:
        BadInputError: `joint` is below 0 (from `fit`).
    """

    name: ClassVar[str] = "toppop-demographic"
    num_parameters: ClassVar[int] = 0

    smoothing: float = 3000.0
    weight: float = 1.0
    joint: float = 0.0
    cuts: Mapping[str, Floats] | None = None
    base_V: Floats | None = None
    lifts: Mapping[Value, Floats] | None = None
    shared: Mapping[frozenset[Value], Floats] | None = None

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> TopPopDemographic:
        """Count events per item and attribute value; `validation` and `seed` are not needed."""
        del validation, seed
        if self.joint < 0:
            raise BadInputError(field="joint", value=self.joint, remedy="Give 0 or more events.")
        # One event more per item, so that an item nobody knows has a finite logarithm.
        counts_V = popularity(training) + 1.0
        share_V = counts_V / counts_V.sum()
        seen = user_item_matrix(training)
        cuts: dict[str, Floats] = {}
        lifts: dict[Value, Floats] = {}
        of_user: list[set[Value]] = [set() for _ in range(training.num_users)]
        for column in training.users.columns:
            texts = [None if value is None else str(value) for value in training.users[column].to_list()]
            known = [text for text in texts if text is not None]
            if known and all(_is_number(text) for text in known):
                inner = np.linspace(0, 1, _NUM_BINS + 1)[1:-1]
                cuts[column] = np.quantile([float(text) for text in known], inner).astype(np.float32)
            elif len(set(known)) > _MAX_VALUES:
                continue
            cells = ["" if text is None else self._cell(cuts, column, text) for text in texts]
            for cell, users in _grouped(cells).items():
                if cell:
                    of_cell = np.asarray(seen[users].sum(axis=0)).ravel()
                    smoothed = (of_cell + self.smoothing * share_V) / (of_cell.sum() + self.smoothing)
                    lifts[column, cell] = np.log(smoothed / share_V).astype(np.float32)
                    for user in users:
                        of_user[user].add((column, cell))
        by_value = replace(self, cuts=cuts, base_V=np.log(share_V).astype(np.float32), lifts=lifts)
        return by_value._with_shared(seen, of_user) if self.joint else by_value  # noqa: SLF001 - of this class

    def _with_shared(self, seen: csr_matrix, of_user: Sequence[set[Value]]) -> TopPopDemographic:
        """Return the ranker with the log shares of items among those who have every value in common."""
        shared = {}
        for values, users in _grouped(map(frozenset, of_user)).items():
            by_value_V = np.exp(self._by_value(values).astype(np.float64))
            smoothed_V = np.asarray(seen[users].sum(axis=0)).ravel()
            smoothed_V = smoothed_V + self.joint * by_value_V / by_value_V.sum()
            shared[values] = np.log(smoothed_V / smoothed_V.sum()).astype(np.float32)
        return replace(self, shared=shared)

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the log score of every item given each user's attributes, (B, V)."""
        cuts, shared = self.cuts or {}, self.shared or {}
        found = []
        for support in supports:
            cells_of_user = {
                (column, self._cell(cuts, column, text)) for column, text in support.attributes.items()
            }
            values = frozenset(cells_of_user & set(self.lifts or {}))
            found.append(shared[values] if values in shared else self._by_value(values))
        return np.stack(found) if found else np.empty((0, len(fitted(self.base_V, self.name))), np.float32)

    def _by_value(self, values: Iterable[Value]) -> Floats:
        """Return the log score of every item by naive Bayes, (V,), of values that training users have."""
        scores_V = fitted(self.base_V, self.name).copy()
        for value in sorted(values):
            scores_V += np.float32(self.weight) * fitted(self.lifts, self.name)[value]
        return scores_V

    @staticmethod
    def _cell(cuts: Mapping[str, Floats], column: str, text: str) -> str:
        """Return the value's cell: itself, or its fifth; "" where a number was expected and is not there."""
        if column not in cuts:
            return text
        return str(np.searchsorted(cuts[column], float(text))) if _is_number(text) else ""


def _grouped(keys: Iterable[Key]) -> dict[Key, list[int]]:
    """Return the indices of each key."""
    found: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    return found


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
