"""NDCG of many weighted sums on kept items, against ranks of the sums."""

from __future__ import annotations

import numpy as np
import pytest

from warmprompt.scoring import ranking
from warmprompt.scoring.ranking import ndcg_per_user, ranks
from warmprompt.scoring.shortlist import make_shortlist, shortlist_of
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


@pytest.mark.parametrize("cells", [1, 90, 400, 10**6])
def test_users_scored_in_parts_are_judged_as_all_at_once(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    num_users, num_items = 9, 90
    scores_BV = rng.random((num_users, num_items)).astype(np.float32)
    supports = [_support([user]) for user in range(num_users)]
    queries = [rng.permutation(np.arange(20, 90))[: 1 + user].astype(np.int32) for user in range(num_users)]
    candidates_V = np.ones(num_items, np.bool_)
    asked: list[int] = []

    def score(part: list[Support]) -> list[np.ndarray]:
        asked.append(len(part))
        rows = [support.items_K[0] for support in part]
        return [scores_BV[rows], -scores_BV[rows]]

    monkeypatch.setattr(ranking, "MAX_CELLS", cells)
    short = shortlist_of(score, supports, queries, candidates_V)
    whole = make_shortlist([scores_BV, -scores_BV], supports, queries, candidates_V)
    assert sum(asked) == num_users
    assert max(asked) <= max(1, cells // num_items)
    for weights in (np.array([1.0, 0.5]), np.array([1.0, 3.0])):
        np.testing.assert_array_equal(short.ndcg(weights), whole.ndcg(weights))
    assert len(shortlist_of(lambda _: [scores_BV[:0]], [], [], candidates_V).ndcg(np.ones(1))) == 0
