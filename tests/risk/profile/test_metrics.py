"""Metrics and paired intervals against scikit-learn and arithmetic."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from warmprompt.risk.profile.calibration import Calibration
from warmprompt.risk.profile.metrics import (
    calibration_error,
    card_precision,
    coverage_interval,
    judge,
    paired_intervals,
    weighted_average_precision,
)

DAY = 86_400


def test_weighted_average_precision_is_scikit_learns():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 30, size=500).astype(float)
    fraud = rng.random(500) < 0.1
    entity = rng.integers(0, 40, size=500)
    value = weighted_average_precision(scores, fraud, entity)
    for _ in range(5):
        weights = rng.integers(0, 4, size=40).astype(float)
        expected = average_precision_score(fraud, scores, sample_weight=weights[entity])
        assert value(weights) == pytest.approx(expected, abs=1e-12)


def test_card_precision_by_hand():
    scores = np.array([3.0, 1.0, 2.0, 5.0, 4.0, 0.0])
    fraud = np.array([True, False, False, False, True, True])
    time = np.array([0, 0, 0, DAY, DAY, DAY])
    entity = np.array([1, 2, 3, 1, 2, 3])
    # Top 2 of day 0 are 1 (compromised) and 3; of day 1 they are 1 and 2 (compromised).
    assert card_precision(scores, fraud, time, entity, k=2) == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_coverage_by_hand():
    calibration = Calibration(
        edges=np.empty(0),
        low_L=np.array([0.4]),
        high_L=np.array([0.5]),
        fraud_from=1.0,
        genuine_to=2.0,
        level=0.9,
    )
    # Sets: genuine, genuine, both, fraud, fraud.
    scores, fraud = np.array([0.0, 0.5, 1.5, 3.0, 4.0]), np.array([False, True, False, True, False])
    found = judge(scores, fraud, np.zeros(5, dtype=np.int64), np.arange(5), calibration.verdicts(scores))
    assert (found["cover"], found["unsure"]) == (3 / 5, 1 / 5)
    assert (found["cover fraud"], found["cover genuine"]) == (1 / 2, 2 / 3)


def test_coverage_interval_keeps_an_entitys_payments_together():
    # Nine entities are covered on all of their payments and one on none: were payments drawn one by one, the
    # interval would be ten times narrower than sqrt(.9 * .1 / 10) * 1.96 says.
    inside = np.repeat(np.arange(10) > 0, 100)
    value, low, high = coverage_interval(
        [(inside, np.repeat(np.arange(10), 100))], 10, rng=np.random.default_rng(0)
    )
    assert value == pytest.approx(0.9)
    assert high - low == pytest.approx(2 * 1.96 * (0.9 * 0.1 / 10) ** 0.5, abs=0.1)


def test_calibration_error_by_hand():
    p = np.array([0.01, 0.02, 0.9, 0.95])
    fraud = np.array([False, True, True, True])
    # Bins of width 1/15: {.01, .02}, {.9}, {.95}.
    assert calibration_error(p, fraud) == pytest.approx((abs(1 - 0.03) + 0.1 + 0.05) / 4)


def test_intervals_find_a_better_model_and_no_difference_with_itself():
    rng = np.random.default_rng(1)
    entity = np.repeat(np.arange(100), 20)
    fraud = rng.random(2000) < 0.1
    good, bad = fraud + rng.normal(size=2000) * 0.5, fraud + rng.normal(size=2000) * 2
    run = {
        name: weighted_average_precision(scores, fraud, entity)
        for name, scores in (("good", good), ("bad", bad), ("same", good))
    }
    found = paired_intervals([run], 100, "good", rng=rng, num_resamples=200)
    assert found["bad"][1] > 0.1
    assert found["same"] == (0.0, 0.0, 0.0)
