"""A ranking's scores: the weighted sum of named experts.

    score = sum over experts of weight * score of the expert * (K / (K + kappa) where it comes from events)

Experts of order have a weight per K and score only users whose events have an order. So a score falls apart
by name, for explanations, ablations and the list that `describe` prints. B is users, V items, N new items.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from warmprompt.errors import UnknownNameError
from warmprompt.experts.protocol import Array, Expert, UserBatch
from warmprompt.experts.registry import EXPERTS
from warmprompt.types import Floats, fields_only, short_repr

ANCHORS = (0, 1, 3, 5, 10, 20)
"""Numbers of events at which weights of experts of order are found."""
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class ExpertRow:
    """One line of `Mixture.describe`.

    Attributes:
        name: Of the expert.
        weight: What its score is multiplied by; of experts of order, for users of ten events.
        num_parameters: Numbers it holds.
        num_bytes: Their size.
        microseconds: Processor time to score one user.
        weights_by_events: Of experts of order: number of events to weight.
    """

    name: str
    weight: float
    num_parameters: int
    num_bytes: int
    microseconds: float
    weights_by_events: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """Named experts and their weights.

    Attributes:
        experts: By name, in the order in which they are added.
        weights: One per expert.
        kappa: Number of liked events at which experts of events weigh half of what they weigh after many.
        ordered: Of experts of order, which have no other weight: their weights at K of `ANCHORS`. Between two
            of them the weight is linear in log(1 + K).
    """

    experts: Mapping[str, Expert]
    weights: Mapping[str, float] = field(default_factory=dict)
    kappa: float = 0.0
    ordered: Mapping[str, Sequence[float]] = field(default_factory=dict)

    __repr__ = short_repr
    __getstate__ = fields_only

    @cached_property
    def num_items(self) -> int:
        """V, items added later included."""
        return max((expert.num_items for expert in self.experts.values()), default=0)

    def score(self, users: UserBatch, *, drop: Collection[str] = ()) -> Floats:
        """Return the weighted sum, (B, V).

        Args:
            users: To be scored.
            drop: Experts to leave out.

        Raises:
            UnknownNameError: An expert that the mixture does not have.
        """
        self._check(drop)
        scores_BV = np.zeros((len(users), self.num_items), dtype=np.float32)
        for _, rows_BV in self._parts(users, drop):
            scores_BV[:, : rows_BV.shape[1]] += rows_BV
        return scores_BV

    def contributions(self, users: UserBatch) -> dict[str, Floats]:
        """Return each expert's part of the score, (B, V), by name; the parts sum to `score`."""
        width = self.num_items
        return {
            name: np.pad(rows_BV, ((0, 0), (0, width - rows_BV.shape[1])))
            for name, rows_BV in self._parts(users, ())
        }

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Mixture:
        """Return the mixture with N items more, known by their texts."""
        return replace(
            self, experts={name: one.with_items(texts, text_NX) for name, one in self.experts.items()}
        )

    def with_experts(self, *experts: Expert) -> Mixture:
        """Return the mixture with experts replaced, or added in front with weight 1."""
        own = {one.name: one for one in experts}
        order = dict.fromkeys([*(name for name in own if name not in self.experts), *self.experts])
        merged = {name: own.get(name) or self.experts[name] for name in order}
        return replace(self, experts=merged, weights={**dict.fromkeys(own, 1.0), **self.weights})

    def with_weight(self, expert: Expert, weight: float) -> Mixture:
        """Return the mixture with one expert more, in front; itself where the weight is 0."""
        if not weight:
            return self
        return replace(
            self,
            experts={expert.name: expert, **self.experts},
            weights={expert.name: weight, **self.weights},
        )

    def without(self, *names: str) -> Mixture:
        """Return the mixture less some experts, which it may not have."""
        return replace(
            self,
            experts={name: one for name, one in self.experts.items() if name not in names},
            weights={name: weight for name, weight in self.weights.items() if name not in names},
            ordered={name: weights for name, weights in self.ordered.items() if name not in names},
        )

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of all experts, each under the expert's name and a dot."""
        return {
            f"{expert}.{name}": value
            for expert, one in self.experts.items()
            for name, value in one.arrays().items()
        }

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, Array],
        *,
        weights: Mapping[str, float],
        kappa: float,
        ordered: Mapping[str, Sequence[float]],
    ) -> Mixture:
        """Return the mixture that `arrays` and its weights describe."""
        own: dict[str, dict[str, Array]] = {}
        for path, value in arrays.items():
            expert, _, name = path.partition(".")
            own.setdefault(expert, {})[name] = value
        experts = {name: EXPERTS[name].from_arrays(own[name]) for name in (*weights, *ordered)}
        return cls(experts=experts, weights=dict(weights), kappa=kappa, ordered=dict(ordered))

    def warm_up(self, users: UserBatch) -> None:
        """Score once, so that tables which experts derive on first use are there before the first request."""
        self.score(users)

    def describe(self, users: UserBatch) -> tuple[ExpertRow, ...]:
        """Return a row per expert; the time is the mean over some users, scored one batch after another."""
        return tuple(self._row(name, expert, users) for name, expert in self.experts.items())

    def _row(self, name: str, expert: Expert, users: UserBatch) -> ExpertRow:
        arrays = expert.arrays().values()
        by_events = dict(zip(ANCHORS, self.ordered.get(name, ()), strict=False))
        begun_s, rounds = time.process_time(), 20
        for _ in range(rounds):
            expert.score(users)
        spent_s = time.process_time() - begun_s
        return ExpertRow(
            name=name,
            weight=self.weights[name] if name in self.weights else by_events[_SHOWN],
            num_parameters=sum(array.size for array in arrays),
            num_bytes=sum(array.nbytes for array in arrays),
            microseconds=1e6 * spent_s / rounds / max(1, len(users)),
            weights_by_events=by_events,
        )

    def _parts(self, users: UserBatch, drop: Collection[str]) -> Iterator[tuple[str, Floats]]:
        """Yield each expert's weighted scores, (B, V) or narrower."""
        for name, expert in self.experts.items():
            if name in drop:
                continue
            if name in self.ordered:
                weights_B1 = weights_at(self.ordered[name], users)
                if weights_B1.any():
                    yield name, weights_B1 * expert.score(users)
            elif weight := self.weights[name]:
                scores_BV = damped(expert, users, self.kappa)
                # Times 1 changes no bit, and a copy costs as much as the sum where items are many.
                yield name, scores_BV if weight == 1 else np.float32(weight) * scores_BV

    def _check(self, names: Collection[str]) -> None:
        for name in names:
            if name not in self.experts:
                listed = ", ".join(self.experts)
                raise UnknownNameError(field="drop", value=name, remedy=f"The experts are {listed}.")


def weights_at(weights: Sequence[float], users: UserBatch) -> Floats:
    """Return the weight of an expert of order for each user, (B, 1); 0 where events have no order."""
    known = np.log1p([len(support.items_K) if support.ordered else -0.5 for support in users.supports])
    weights_B = np.interp(known, np.log1p(ANCHORS), weights) * (known >= 0)
    return weights_B.astype(np.float32)[:, None]


def damped(expert: Expert, users: UserBatch, kappa: float) -> Floats:
    """Return an expert's scores, (B, V), times K / (K + kappa) where they come from K liked events."""
    scores_BV = expert.score(users)
    if not kappa or not expert.from_events:
        return scores_BV
    counts_B1 = np.array([[len(items_K)] for items_K in users.liked])
    damped_BV: Floats = scores_BV * (counts_B1 / (counts_B1 + kappa)).astype(np.float32)
    return damped_BV
