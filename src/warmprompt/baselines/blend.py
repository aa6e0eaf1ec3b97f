"""Blends: a weighted sum of other baselines' scores, the weights found on validation users.

B is users in a batch, V items, M members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from warmprompt.baselines.common import break_ties, fitted, popularity_share
from warmprompt.data.dataset import Dataset
from warmprompt.data.episodes import NUM_QUERY, Order
from warmprompt.errors import BadInputError
from warmprompt.rng import derive
from warmprompt.scoring.shortlist import make_shortlist
from warmprompt.scoring.validation import ANCHOR_KS, ValidationEpisodes, draw_validation_episodes
from warmprompt.types import Floats, Ranker, Support

_ROUNDING = 1e-5
_STEPS = (0.5, 0.2, 0.1)

Weights = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Blend:
    """Sum the members' scores, each brought to mean 0 and deviation 1 over a user's catalogue.

    The weights depend on how many events the user has: there is one set for each of K = 1, 3, 5, 10, 20,
    and a support takes the set whose K is nearest in ratio. Each set maximises NDCG@10 over validation
    users with that K: the best of the single members, of equal weights and of random draws from the
    simplex, then moved one weight at a time for as long as that helps. Only each member's 100 best
    items and the query are ranked during that search.

    Args:
        members: Functions that build the unfitted members, in the order of the weights.
        label: The row label in tables.
        num_draws: Random draws per K, at least 1.
        order: "time" finds the weights where the support is the first K events and the query the next ten,
            for K = 0, too.
        weights: Weights per K instead of a search, one per member, not all 0.

    Source: linear stacking; Breiman 1996, with a ranking objective.
    """

    members: tuple[Callable[[], Ranker], ...]
    label: str = "blend"
    num_draws: int = 60
    order: Order = "random"
    weights: Mapping[int, Weights] | None = None
    rankers: tuple[Ranker, ...] | None = None
    candidates_V: NDArray[np.bool_] | None = None
    share_V: Floats | None = None

    @property
    def name(self) -> str:
        """The row label in tables."""
        return self.label

    @property
    def num_parameters(self) -> int:
        """The members' parameters and the weights."""
        if self.rankers is None or self.weights is None:
            return 0
        return sum(ranker.num_parameters for ranker in self.rankers) + sum(map(len, self.weights.values()))

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> Blend:
        """Fit every member, then find the weights on the validation users.

        Raises:
            BadInputError: No members, no draws, or weights that do not fit the members.
        """
        self._check()
        rankers = tuple(build().fit(training, validation, seed=seed) for build in self.members)
        ks = ANCHOR_KS if self.order == "random" else (0, *ANCHOR_KS)
        episodes = draw_validation_episodes(
            training, validation, seed=seed, ks=ks, order=self.order, num_query=NUM_QUERY
        )
        equal = tuple([1.0 / len(rankers)] * len(rankers))
        weights = self.weights or {
            k: _search(rankers, episodes, k, num_draws=self.num_draws, rng=derive(seed, "blend", k))
            if k in episodes.supports
            else equal
            for k in ks
        }
        return replace(
            self,
            rankers=rankers,
            weights=weights,
            candidates_V=episodes.candidates_V,
            share_V=popularity_share(training),
        )

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the weighted sums, (B, V); without history, popularity."""
        rankers, share_V = fitted(self.rankers, self.name), fitted(self.share_V, self.name)
        weights, candidates_V = fitted(self.weights, self.name), fitted(self.candidates_V, self.name)
        lengths = [len(np.unique(support.items_K)) for support in supports]
        selected = [_weights_of(length, weights) for length in lengths]
        weights_BM = np.array([row or (0.0,) * len(rankers) for row in selected], dtype=np.float32)
        scores_BV = np.zeros((len(supports), len(share_V)), dtype=np.float32)
        for member, ranker in enumerate(rankers if supports else ()):
            if weights_BM[:, member].any():
                scores_BV += weights_BM[:, member, None] * standardised_scores(
                    ranker.score(supports), candidates_V
                )
        return break_ties(scores_BV, share_V)

    def _check(self) -> None:
        if not self.members:
            raise BadInputError(field="members", value=self.members, remedy="Give at least one.")
        if self.num_draws < 1:
            raise BadInputError(field="num_draws", value=self.num_draws, remedy="Give at least 1.")
        for k, row in (self.weights or {}).items():
            if len(row) != len(self.members) or not any(row) or k < 0:
                remedy = f"Give {len(self.members)} weights per K of 0 or more, not all 0."
                raise BadInputError(field=f"weights at K = {k}", value=row, remedy=remedy)
        if self.weights is not None and not any(self.weights):
            raise BadInputError(field="weights", value={}, remedy="Give weights for at least one K above 0.")


def standardised_scores(scores_BV: Floats, candidates_V: NDArray[np.bool_]) -> Floats:
    """Return the scores with mean 0 and deviation 1 over each user's candidates.

    A row that is constant but for rounding becomes 0: stretched to deviation 1 it would be noise.
    """
    inside = scores_BV[:, candidates_V]
    mean_B1 = inside.mean(axis=1, keepdims=True)
    deviation_B1 = inside.std(axis=1, keepdims=True)
    varies_B1 = deviation_B1 > _ROUNDING * np.abs(inside).max(axis=1, keepdims=True)
    scale_B1 = np.divide(1.0, deviation_B1, out=np.zeros_like(deviation_B1), where=varies_B1)
    standard_BV: Floats = ((scores_BV - mean_B1) * scale_B1).astype(np.float32)
    return standard_BV


def _weights_of(length: int, weights: Mapping[int, Weights]) -> Weights:
    """Return the weights of the K whose ratio to the length is nearest 1; the smaller one of two as near.

    Without history those of K = 0, or none.
    """
    if not length:
        return weights.get(0, ())
    return weights[min(sorted(k for k in weights if k), key=lambda k: abs(np.log(length / k)))]


def _search(
    rankers: Sequence[Ranker],
    episodes: ValidationEpisodes,
    k: int,
    *,
    num_draws: int,
    rng: np.random.Generator,
) -> Weights:
    supports, queries = episodes.supports[k], episodes.queries[k]
    every = [standardised_scores(ranker.score(supports), episodes.candidates_V) for ranker in rankers]
    short = make_shortlist(every, supports, queries, episodes.candidates_V)
    size = len(rankers)
    start = [*np.eye(size), np.full(size, 1.0 / size), *rng.dirichlet(np.ones(size), num_draws)]
    values = [float(short.ndcg(np.asarray(one)).mean()) for one in start]
    best = int(np.argmax(values))
    weights, value = np.asarray(start[best], dtype=np.float64), values[best]
    for step in _STEPS:
        improved = True
        while improved:
            improved = False
            for member in range(size):
                for moved in (weights[member] + step, max(0.0, weights[member] - step)):
                    tried = weights.copy()
                    tried[member] = moved
                    if tried.sum() > 0 and (found := float(short.ndcg(tried).mean())) > value + 1e-6:
                        weights, value, improved = tried, found, True
    return tuple(float(weight) for weight in weights / weights.sum())
