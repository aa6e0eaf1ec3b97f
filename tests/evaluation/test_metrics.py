"""Metrics against written arithmetic and against two libraries."""

from __future__ import annotations

from math import inf, log2

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, Qrel, ScoredDoc, Success, nDCG

from warmprompt.evaluation.metrics import METRICS, hit_rate, reciprocal_rank, user_metrics
from warmprompt.scoring.ranking import ndcg_per_user, ranks


@pytest.mark.parametrize(
    ("found", "hit", "gain", "reciprocal"),
    [
        ([1], 1, 1, 1),
        ([10], 1, 1 / log2(11), 1 / 10),
        ([11], 0, 0, 1 / 11),
        ([2, 4], 1, (1 / log2(3) + 1 / log2(5)) / (1 / log2(2) + 1 / log2(3)), 1 / 2),
        # The second item is outside the catalogue: it adds nothing and still counts in the ideal.
        ([1, inf], 1, 1 / (1 + 1 / log2(3)), 1),
        ([inf, inf], 0, 0, 0),
    ],
)
def test_metrics_as_written_arithmetic(found, hit, gain, reciprocal):
    found = np.array(found, dtype=float)
    assert (hit_rate(found), ndcg_per_user([found])[0], reciprocal_rank(found)) == pytest.approx(
        (hit, gain, reciprocal)
    )


def test_the_ideal_stops_at_ten_items():
    assert ndcg_per_user([np.arange(1.0, 13.0)])[0] == pytest.approx(1.0)


def test_metrics_equal_ir_measures_on_random_rankings():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 80)).astype(np.float32)
    queries = [rng.permutation(80)[: rng.integers(1, 15)] for _ in range(40)]
    ours = user_metrics(ranks(scores, queries))
    qrels = [Qrel(str(user), str(item), 1) for user, query in enumerate(queries) for item in query]
    # ir_measures breaks ties its own way, so the scores are distinct here; it sorts as doubles.
    run = [ScoredDoc(str(u), str(v), float(scores[u, v])) for u in range(40) for v in range(80)]
    theirs = {
        (m.query_id, str(m.measure)): m.value
        for m in ir_measures.iter_calc([Success @ 10, nDCG @ 10, RR], qrels, run)
    }
    for user in range(40):
        expected = [theirs[str(user), name] for name in ("Success@10", "nDCG@10", "RR")]
        assert ours[user] == pytest.approx(expected, abs=1e-6)  # pytrec_eval returns float32 sums


def test_ties_put_query_items_last_in_a_list_that_ir_measures_reads():
    """With few score levels, ours are ir_measures' numbers of the worst list that exists."""
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, size=(60, 40)).astype(np.float32)
    queries = [rng.permutation(40)[: rng.integers(1, 15)] for _ in range(60)]
    ours = user_metrics(ranks(scores, queries))
    qrels = [Qrel(str(user), str(item), 1) for user, query in enumerate(queries) for item in query]
    run = []
    for user, query in enumerate(queries):
        worst = sorted(range(40), key=lambda item: (-scores[user, item], item in query))
        run += [ScoredDoc(str(user), str(item), float(-index)) for index, item in enumerate(worst)]
    theirs = {
        (m.query_id, str(m.measure)): m.value
        for m in ir_measures.iter_calc([Success @ 10, nDCG @ 10, RR], qrels, run)
    }
    expected = [[theirs[str(u), name] for name in ("Success@10", "nDCG@10", "RR")] for u in range(60)]
    assert ours == pytest.approx(np.array(expected), abs=1e-6)  # pytrec_eval returns float32 sums


def test_each_alone_averages_over_the_positives():
    rows = user_metrics([np.array([1.0, 20.0])], each_alone=True)
    assert dict(zip(METRICS, rows[0], strict=True)) == pytest.approx(
        {"HR@10": (1 + 0) / 2, "NDCG@10": (1 + 0) / 2, "MRR": (1 + 1 / 20) / 2}
    )
