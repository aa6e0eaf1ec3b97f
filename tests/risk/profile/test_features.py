"""Features of a payment against their definitions, row by row."""

import numpy as np
import pytest

from warmprompt.risk.profile.features import FEATURE_NAMES, Now, PaymentHistories, payment_features

DAY = 86_400
SATURDAY_NOON = 1_523_059_200 + 12 * 3600  # 2018-04-07


def one(now_s, amount, past, *, counterparty=1):
    size = max(1, len(past))
    filled = [*past] + [(0, 0.0, -1, None)] * (size - len(past))
    history = PaymentHistories(
        time_RK=np.array([[row[0] for row in filled]], dtype=np.int64),
        amount_RK=np.array([[row[1] for row in filled]]),
        counterparty_RK=np.array([[row[2] for row in filled]], dtype=np.int64),
        mask_RK=np.array([[index < len(past) for index in range(size)]]),
        known_RK=np.array([[row[3] is not None for row in filled]]),
        fraud_RK=np.array([[row[3] is True for row in filled]]),
    )
    now = Now(
        time_R=np.array([now_s]),
        amount_R=np.array([float(amount)]),
        counterparty_R=np.array([counterparty]),
        context_RC=np.array([[1.0, 2.0, 3.0, 0.1, 0.2, 0.3, 2.0, 1.5, 2.5, 2.8, 0.15, 0.25, 0.28]]),
    )
    return dict(zip(FEATURE_NAMES, payment_features(now, history)[0].tolist(), strict=True))


def test_handbook_windows_include_the_payment_itself():
    found = one(
        SATURDAY_NOON,
        30.0,
        [(SATURDAY_NOON - 20 * DAY, 60.0, 1, False), (SATURDAY_NOON - 3600, 90.0, 2, None)],
    )
    assert [found[f"own_count_{days}d"] for days in (1, 7, 30)] == [2, 2, 3]
    assert [found[f"own_mean_{days}d"] for days in (1, 7, 30)] == [60.0, 60.0, 60.0]
    assert (found["weekend"], found["night"], found["amount"]) == (1.0, 0.0, 30.0)
    assert found["counterparty_risk_30d"] == 0.3
    assert [found[f"counterparty_risk_{days}d"] for days in (3, 14, 21)] == [0.15, 0.25, 0.28]


@pytest.mark.parametrize(("hour", "night"), [(0, 1.0), (6, 1.0), (7, 0.0), (23, 0.0)])
def test_night_is_up_to_six(hour, night):
    assert one(1_522_627_200 + hour * 3600, 1.0, [])["night"] == night  # Monday 2018-04-02


def test_without_history_the_population_speaks():
    found = one(SATURDAY_NOON, 40.0, [])
    assert found["usual_log_amount"] == pytest.approx(3.7)
    assert found["above_usual"] == pytest.approx(np.log1p(40.0) - 3.7)
    assert (found["num_visible"], found["days_since_last"], found["hours_from_usual"]) == (0, 60, 6)


def test_labels_and_unusual_amounts_are_counted():
    past = [(SATURDAY_NOON - (20 - index) * DAY // 2, 10.0, index, index == 3 or None) for index in range(12)]
    past[-1] = (past[-1][0], 500.0, 1, None)
    found = one(SATURDAY_NOON, 40.0, past)
    assert (found["num_labelled"], found["num_frauds"], found["num_unusual_14d"]) == (1, 1, 1)
    assert found["counterparty_seen"] == 1.0
    assert found["counterparty_frauds"] == 0.0


def test_time_of_day_goes_round_midnight():
    midnight = 1_522_627_200
    found = one(midnight + 10 * DAY + 3600, 1.0, [(midnight + 23 * 3600, 1.0, 1, None)])
    assert found["hours_from_usual"] == pytest.approx(2.0)
