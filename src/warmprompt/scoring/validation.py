"""Episodes of validation users: what every search and every early stopping looks at.

They are drawn by `data.episodes` and are the same for every model of one seed. B is users, V items, Q query
items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset, popularity
from warmprompt.data.episodes import Order, draw_episode
from warmprompt.scoring.ranking import ndcg_per_user, ranks
from warmprompt.types import Floats, Ints, Support

ANCHOR_KS = (1, 3, 5, 10, 20)
_ROUND = -2
_BATCH = 256

Score = Callable[[Sequence[Support]], Floats]


@dataclass(frozen=True, kw_only=True, eq=False)
class ValidationEpisodes:
    """Fixed episodes of validation users.

    Attributes:
        supports: Per K, what is known of each user.
        queries: Per K, the items to be found by each user, distinct.
        candidates_V: Items with a training event.
    """

    supports: Mapping[int, tuple[Support, ...]]
    queries: Mapping[int, tuple[Ints, ...]]
    candidates_V: NDArray[np.bool_]


def draw_validation_episodes(  # noqa: PLR0913 - what makes episodes, by keyword
    training: Dataset,
    validation: Dataset,
    *,
    seed: int,
    ks: Sequence[int] = ANCHOR_KS,
    order: Order = "random",
    max_users: int = 1000,
    num_query: int | None = None,
) -> ValidationEpisodes:
    """Return episodes of the validation users for every K that leaves a query of at least one event.

    Args:
        training: Tells which items may be ranked.
        validation: The users; the first `max_users` with two events or more are drawn.
        seed: The run's seed.
        ks: Support sizes.
        order: "time" gives the first K events in their order and asks for what comes right after them,
            "random" draws both.
        max_users: Bounds the cost of a look at the episodes.
        num_query: Largest query; None asks for one event in time, for ten drawn ones.
    """
    lengths = np.diff(validation.interactions.offsets)
    users = np.flatnonzero(lengths >= 2)[:max_users]
    supports: dict[int, tuple[Support, ...]] = {}
    queries: dict[int, tuple[Ints, ...]] = {}
    for k in ks:
        drawn = [
            _draw(validation, int(user), seed=seed, k=k, order=order, num_query=num_query)
            for user in users
            if lengths[user] > k
        ]
        kept = [(support, query) for support, query in drawn if len(support.items_K) == k and len(query)]
        if kept:
            supports[k] = tuple(support for support, _ in kept)
            queries[k] = tuple(query for _, query in kept)
    return ValidationEpisodes(supports=supports, queries=queries, candidates_V=popularity(training) > 0)


def mean_ndcg(score: Score, episodes: ValidationEpisodes) -> float:
    """Return NDCG@10 averaged over users and then over the K of the episodes; 0 where it holds no episode."""
    values = []
    for k, supports in episodes.supports.items():
        gains: list[NDArray[np.float64]] = []
        for start in range(0, len(supports), _BATCH):
            part = supports[start : start + _BATCH]
            queries = episodes.queries[k][start : start + _BATCH]
            found = ranks(
                score(part), queries, excluded=[s.items_K for s in part], candidates=episodes.candidates_V
            )
            gains.append(ndcg_per_user(found))
        values.append(float(np.concatenate(gains).mean()))
    return float(np.mean(values)) if values else 0.0


def _draw(
    dataset: Dataset, user: int, *, seed: int, k: int, order: Order, num_query: int | None
) -> tuple[Support, Ints]:
    episode = draw_episode(
        dataset,
        user,
        seed=seed,
        round_index=_ROUND,
        max_support=k,
        order=order,
        num_query=num_query or (1 if order == "time" else 10),
        num_support=k,
    )
    events = dataset.interactions
    start = int(events.offsets[user])
    rows = start + np.sort(episode.support)
    nothing = np.full(len(rows), np.nan, dtype=np.float32)
    row = dataset.users.row(user, named=True) if dataset.users.width else {}
    support = Support(
        user=dataset.user_ids[user],
        items_K=events.items[rows],
        ratings_K=nothing if events.ratings is None else events.ratings[rows],
        texts_K=dataset.texts_at(rows),
        attributes={name: str(value) for name, value in row.items() if value is not None},
        ordered=order == "time",
    )
    # An item met again in the query cannot be found: the support is not ranked.
    query = np.setdiff1d(events.items[start + episode.query], support.items_K).astype(np.int32)
    return support, query
