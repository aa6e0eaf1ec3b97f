"""Encoding: ranks by counting, known labels by a loop over rows."""

import numpy as np
import polars as pl
import pytest

from warmprompt.risk.entities import UNLABELLED, learn_schema, make_table
from warmprompt.risk.entities.encoding import MAX_KNOWN, fit_encoding, known_labels, label_features


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(3)
    kept = np.flatnonzero(rng.random(400 * 6) < 0.8)
    frame = pl.DataFrame(
        {
            "id": [f"e{one // 6}" for one in kept],
            "t": [str(one % 6) for one in kept],
            "x": rng.integers(0, 40, len(kept)).astype(float),
            "word": rng.choice(["red", "blue"], len(kept)),
            "y": [str(one) if one else None for one in rng.integers(0, 4, len(kept))],
        }
    ).with_columns(pl.when(pl.col("x") == 7).then(None).otherwise(pl.col("x")).alias("x"))
    return make_table(frame, learn_schema(frame, entity="id", time="t", label="y"))


def test_ranks_count_who_is_below_and_above(table):
    ranks = fit_encoding(table).ranks(table)[:, 0]
    x = table.numbers_NJ[:, 0]
    for row in range(0, len(table), 37):
        peers = x[(table.period_N == table.period_N[row]) & ~np.isnan(x)]
        expected = (
            np.nan if np.isnan(x[row]) else ((peers < x[row]).sum() - (peers > x[row]).sum()) / len(peers)
        )
        np.testing.assert_allclose(ranks[row], expected, atol=1e-12)


def test_a_single_row_is_ranked_among_the_last_period(table):
    encoding = fit_encoding(table)
    last = np.flatnonzero(table.period_N == 5)
    value = table.numbers_NJ[last, 0]
    (row,) = last[np.flatnonzero(~np.isnan(value))[:1]]
    frame = pl.DataFrame({"id": ["new"], "t": ["6"], "x": [table.numbers_NJ[row, 0]], "word": ["red"]})
    schema = learn_schema(
        pl.DataFrame(
            {"id": ["a", "b"], "t": ["0", "0"], "x": [1.0, 2.0], "word": ["a", "b"], "y": ["1", "2"]}
        ),
        entity="id",
        time="t",
        label="y",
    )
    alone = encoding.ranks(make_table(frame, schema))[0, 0]
    # 129 quantiles: a rank is known to 2 / 129 and what one tie is worth.
    assert alone == pytest.approx(encoding.ranks(table)[row, 0], abs=0.05)


def test_features_are_ranks_gaps_and_categories(table):
    encoding = fit_encoding(table)
    ranks = encoding.ranks(table)
    encoded = encoding.encode(table, ranks)
    assert encoded.shape == (len(table), 4)
    np.testing.assert_array_equal(encoded[:, 0], np.nan_to_num(ranks[:, 0]))
    np.testing.assert_array_equal(encoded[:, 1], np.isnan(table.numbers_NJ[:, 0]))
    for position, (_, word) in enumerate(encoding.categories):
        np.testing.assert_array_equal(encoded[:, 2 + position], table.words_NW[:, 0] == word)


@pytest.mark.parametrize("delay", [1, 2, 9])
@pytest.mark.parametrize("most", [0, 1, 3, MAX_KNOWN])
def test_known_labels_match_a_loop(table, delay, most):
    known = known_labels(table, delay=delay, most=most)
    for row in range(0, len(table), 11):
        same = np.flatnonzero((table.entity_N == table.entity_N[row]) & (table.label_N != UNLABELLED))
        due = same[table.period_N[same] <= table.period_N[row] - delay]
        expected = due[max(0, len(due) - most) :] if most else due[:0]
        assert known.row_NK[row][known.mask_NK[row]].tolist() == expected.tolist()


def test_label_features_are_last_shares_and_number(table):
    known = known_labels(table, delay=1)
    row = int(np.flatnonzero(known.mask_NK.sum(axis=1) == 4)[0])
    labels = table.label_N[known.row_NK[row][known.mask_NK[row]]]
    expected = (
        [float(labels[-1] == c) for c in range(3)] + [float(np.mean(labels == c)) for c in range(3)] + [0.2]
    )
    found = label_features(table, known, num_classes=3)
    np.testing.assert_allclose(found[row], expected)
    assert not found[~known.mask_NK[:, -1]].any()
