"""Whether users of whom nothing is known are better served by what is chosen most.

Popularity is what a learned start has to beat: without a clear gain on validation users they get it. E is
episodes, V items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset
from warmprompt.experts.most_popular import MostPopular
from warmprompt.experts.protocol import UserBatch
from warmprompt.scoring.ranking import CUT_OFF, ndcg_per_user, parts_of, ranks
from warmprompt.scoring.validation import draw_validation_episodes
from warmprompt.training.mixture_weights import is_clear
from warmprompt.types import Floats

WEIGHTS = (0.0, 0.3, 1.0, 3.0, 10.0, 1000.0)
"""With the last one the list is that of popularity."""
MAX_USERS = 2000


def weigh_most_popular(
    score: Callable[[UserBatch], Floats],
    expert: MostPopular,
    training: Dataset,
    validation: Dataset,
    *,
    seed: int,
) -> float:
    """Return the expert's weight.

    It is the largest of `WEIGHTS` unless another one gains more NDCG@10 on validation users than its standard
    error, and loses neither HR@10 nor the reciprocal rank of the first item found.

    Args:
        score: Scores users as the run does without the expert, (B, V).
        expert: From training users.
        training: Tells which items may be ranked.
        validation: Users of the episodes.
        seed: The run's seed.
    """
    drawn = draw_validation_episodes(training, validation, seed=seed, ks=(0,), max_users=MAX_USERS)
    if not drawn.supports:
        return WEIGHTS[-1]
    supports, queries = [replace(one, attributes={}) for one in drawn.supports[0]], drawn.queries[0]
    # Nothing is known of any of them, so all have the same scores.
    one = UserBatch(supports=supports[:1], vectors_BD=np.empty(0))  # type: ignore[arg-type]
    learned_1V, counted_1V = score(one), expert.score(one)

    def values(weight: float) -> NDArray[np.float64]:
        scores_1V = learned_1V + np.float32(weight) * counted_1V
        num_items, found = scores_1V.shape[1], []
        for part in parts_of(len(queries), num_items):
            scores_EV = np.broadcast_to(scores_1V, (len(queries[part]), num_items))
            found += ranks(scores_EV, queries[part], candidates=drawn.candidates_V)
        return _metrics(found)

    popular_3E = values(WEIGHTS[-1])
    best, best_gain = WEIGHTS[-1], 0.0
    for weight in WEIGHTS[:-1]:
        gains_3E = values(weight) - popular_3E
        ndcg, *others = gains_3E.mean(axis=1)
        if is_clear(gains_3E[0]) and min(others) >= 0 and ndcg > best_gain:
            best, best_gain = weight, ndcg
    return best


def _metrics(found: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return NDCG@10, HR@10 and reciprocal rank of each episode, (3, E)."""
    first_E = np.array([one.min() for one in found])
    return np.stack([ndcg_per_user(found), (first_E <= CUT_OFF).astype(np.float64), 1.0 / first_E])
