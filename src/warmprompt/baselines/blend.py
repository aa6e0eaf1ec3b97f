"""Blends: a weighted sum of other baselines' scores, the weights found on validation users.

B is users in a batch, V items, M members, C shortlisted items, Q query items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from warmprompt.baselines.common import break_ties, fitted, popularity_share
from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError
from warmprompt.rng import derive
from warmprompt.scoring.ranking import MISS, ndcg_per_user, ranks, top_n
from warmprompt.scoring.validation import ANCHOR_KS, ValidationEpisodes, draw_validation_episodes
from warmprompt.types import Floats, Ints, Ranker, Support

_ROUNDING = 1e-5
_SHORTLIST = 100
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
        weights: Weights per K instead of a search, one per member, not all 0.

    Source: linear stacking; Breiman 1996, with a ranking objective.
    """

    members: tuple[Callable[[], Ranker], ...]
    label: str = "blend"
    num_draws: int = 60
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
        episodes = draw_validation_episodes(training, validation, seed=seed)
        equal = tuple([1.0 / len(rankers)] * len(rankers))
        weights = self.weights or {
            k: _search(rankers, episodes, k, num_draws=self.num_draws, rng=derive(seed, "blend", k))
            if k in episodes.supports
            else equal
            for k in ANCHOR_KS
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
        selected = [weights[_nearest(length, weights)] if length else () for length in lengths]
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
            if len(row) != len(self.members) or not any(row) or k < 1:
                remedy = f"Give {len(self.members)} weights per K of 1 or more, not all 0."
                raise BadInputError(field=f"weights at K = {k}", value=row, remedy=remedy)
        if self.weights is not None and not self.weights:
            raise BadInputError(field="weights", value={}, remedy="Give weights for at least one K.")


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


def _nearest(length: int, weights: Mapping[int, Weights]) -> int:
    """Return the K whose ratio to the length is nearest 1; the smaller one of two as near."""
    return min(sorted(weights), key=lambda k: abs(np.log(length / k)))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shortlist:
    """Standardised scores of a few items of each user, (B, M, C); columns past a user's own hold -inf."""

    scores_BMC: Floats
    real_BC: NDArray[np.bool_]
    query_positions: list[Ints]
    query_sizes: list[int]


def _search(
    rankers: Sequence[Ranker],
    episodes: ValidationEpisodes,
    k: int,
    *,
    num_draws: int,
    rng: np.random.Generator,
) -> Weights:
    short = _shortlist(rankers, episodes, k)
    size = len(rankers)
    start = [*np.eye(size), np.full(size, 1.0 / size), *rng.dirichlet(np.ones(size), num_draws)]
    values = [_value(short, one) for one in start]
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
                    if tried.sum() > 0 and (found := _value(short, tried)) > value + 1e-6:
                        weights, value, improved = tried, found, True
    return tuple(float(weight) for weight in weights / weights.sum())


def _shortlist(rankers: Sequence[Ranker], episodes: ValidationEpisodes, k: int) -> _Shortlist:
    supports, queries = episodes.supports[k], episodes.queries[k]
    excluded = [support.items_K for support in supports]
    every = [standardised_scores(ranker.score(supports), episodes.candidates_V) for ranker in rankers]
    best = [top_n(one, _SHORTLIST, excluded=excluded, candidates=episodes.candidates_V) for one in every]
    known = [query[episodes.candidates_V[query]] for query in queries]
    lists = [
        np.unique(np.concatenate([*(one[row][one[row] >= 0] for one in best), known[row]]))
        for row in range(len(supports))
    ]
    width = max(map(len, lists))
    scores_BMC = np.zeros((len(supports), len(rankers), width), dtype=np.float32)
    real_BC = np.zeros((len(supports), width), dtype=np.bool_)
    for row, items in enumerate(lists):
        real_BC[row, : len(items)] = True
        for member, one in enumerate(every):
            scores_BMC[row, member, : len(items)] = one[row, items]
    return _Shortlist(
        scores_BMC=scores_BMC,
        real_BC=real_BC,
        query_positions=[
            np.searchsorted(items, query).astype(np.int32) for items, query in zip(lists, known, strict=True)
        ],
        query_sizes=[len(query) for query in queries],
    )


def _value(short: _Shortlist, weights_M: NDArray[np.float64]) -> float:
    """Return the mean NDCG@10 of a set of weights."""
    blended_BC = np.einsum("bmc,m->bc", short.scores_BMC, weights_M.astype(np.float32), optimize=True)
    found = ranks(blended_BC, short.query_positions, candidates=short.real_BC)
    missed = [
        size - len(indices) for size, indices in zip(short.query_sizes, short.query_positions, strict=True)
    ]
    return float(
        ndcg_per_user([np.append(one, np.full(n, MISS)) for one, n in zip(found, missed, strict=True)]).mean()
    )
