"""NDCG of many weighted sums on kept items, against ranks of the sums."""

from __future__ import annotations

import numpy as np

from warmprompt.scoring.ranking import ndcg_per_user, ranks
from warmprompt.scoring.shortlist import make_shortlist
from warmprompt.types import Support


def _support(items: list[int]) -> Support:
    return Support(
        user="", items_K=np.array(items, np.int32), ratings_K=np.full(len(items), np.nan, np.float32)
    )


def test_shortlist_ndcg_equals_ranks_of_all_items() -> None:
    rng = np.random.default_rng(3)
    num_users, num_items = 40, 90
    # Whole numbers, so that many scores tie.
    members = [rng.integers(0, 6, (num_users, num_items)).astype(np.float32) for _ in range(3)]
    candidates_V = rng.random(num_items) < 0.8
    supports, queries = [], []
    for user in range(num_users):
        drawn = rng.permutation(num_items)
        supports.append(_support(drawn[:5].tolist()))
        queries.append(drawn[5 : 6 + user % 14].astype(np.int32))
    short = make_shortlist(members, supports, queries, candidates_V)
    for weights in (np.eye(3)[0], np.array([1.0, 2.0, 0.5]), np.zeros(3)):
        summed = sum(np.float32(weight) * one for weight, one in zip(weights, members, strict=True))
        found = ranks(
            np.asarray(summed, np.float32),
            queries,
            excluded=[support.items_K for support in supports],
            candidates=candidates_V,
        )
        np.testing.assert_allclose(short.ndcg(weights), ndcg_per_user(found), rtol=1e-12)


def test_shortlist_of_nobody_is_empty() -> None:
    short = make_shortlist([np.zeros((0, 4), np.float32)], [], [], np.ones(4, np.bool_))
    assert short.ndcg(np.ones(1)).shape == (0,)
