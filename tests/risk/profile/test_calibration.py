"""Probabilities and sets against known ones, and scikit-learn's isotonic regression."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from warmprompt.errors import BadInputError
from warmprompt.risk.profile import DriftWatch, Payment, calibrated_anew, fit_calibration, make_profiler

DAY = 86_400


def draw(rng, size):
    """Scores whose probability of fraud is known: sigmoid(2 score - 4)."""
    scores = rng.normal(size=size)
    p = 1 / (1 + np.exp(4 - 2 * scores))
    return scores, rng.random(size) < p, p


def test_sets_cover_nine_of_ten_within_each_class():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(30):
        scores, fraud, _ = draw(rng, 3000)
        calibration = fit_calibration(scores, fraud)
        later, truth, _ = draw(rng, 3000)
        says_fraud, says_genuine = calibration.sets(later)
        covered.append((says_fraud[truth].mean(), says_genuine[~truth].mean()))
    # About 250 frauds on either side: the mean of 30 runs has a standard error of .005.
    assert np.allclose(np.mean(covered, axis=0), 0.9, atol=0.015)


def test_probabilities_are_near_the_true_ones():
    rng = np.random.default_rng(1)
    scores, fraud, _ = draw(rng, 20_000)
    later, _, p = draw(rng, 5000)
    calibration = fit_calibration(scores, fraud)
    found, low, high = calibration.probabilities(later)
    assert np.abs(found - p).mean() < 0.015
    assert (low <= found).all()
    assert (found <= high).all()


def test_pair_is_isotonic_regression_with_the_payment_added():
    rng = np.random.default_rng(2)
    scores, fraud, _ = draw(rng, 300)
    calibration = fit_calibration(scores, fraud)
    levels = np.searchsorted(calibration.edges, scores, side="right")
    for score in (-1.0, 0.5, 1.5, 2.5):
        level = np.searchsorted(calibration.edges, score, side="right")
        _, low, high = calibration.probabilities(np.array([score]))
        for label, value in ((0, low[0]), (1, high[0])):
            fitted = IsotonicRegression().fit(np.append(levels, level), np.append(fraud, label))
            assert value == pytest.approx(fitted.predict([level])[0], abs=1e-9)


def shifting(rng, size, *, days):
    """Payments whose frauds score higher day by day."""
    time = np.sort(rng.integers(0, days * DAY, size=size))
    fraud = rng.random(size) < 0.2
    return rng.normal(size=size) + fraud * (2 + 0.03 * time / DAY), fraud, time


def test_calibrating_anew_follows_a_shift():
    rng = np.random.default_rng(4)
    later = shifting(rng, 40_000, days=160)
    past = shifting(rng, 40_000, days=160)
    rows = later[2] >= 100 * DAY
    scores, fraud, time = (column[rows] for column in later)
    old = past[2] < 93 * DAY
    fixed = fit_calibration(past[0][old], past[1][old]).verdicts(scores)
    anew = calibrated_anew(scores, time, past, label_delay_s=7 * DAY)
    # Frauds of the fixed window score too low for those to come; a window of 35 days that ends 7 to 14 days
    # before lags behind by 28 days on average, 0.84 deviations instead of 2.5.
    assert fixed.says_fraud_R[fraud].mean() > 0.985
    assert 0.9 < anew.says_fraud_R[fraud].mean() < fixed.says_fraud_R[fraud].mean() - 0.01


def test_calibrating_anew_reads_no_label_before_it_is_due():
    rng = np.random.default_rng(5)
    scores, fraud, time = shifting(rng, 20_000, days=80)
    judged = time >= 50 * DAY
    found = calibrated_anew(scores[judged], time[judged], (scores, fraud, time), label_delay_s=7 * DAY)
    # Labels from day 50 on are turned round: the verdicts of the first week may not change, later ones must.
    turned = np.where(time >= 50 * DAY, ~fraud, fraud)
    other = calibrated_anew(scores[judged], time[judged], (scores, turned, time), label_delay_s=7 * DAY)
    same = found.p_R == other.p_R
    assert same[time[judged] < 57 * DAY].all()
    assert not same[time[judged] >= 64 * DAY].all()


def test_a_new_calibration_leaves_states_valid(profiler, model, episodes_of, entities):
    anew = make_profiler(model, {0: episodes_of(entities[100:150], per_entity=2, ks=(0,))})
    payment = Payment(id=1, time_s=1_530_000_000, amount_minor=4_200, counterparty=3)
    state = profiler.observe(profiler.start("a"), payment)
    later = Payment(id=2, time_s=1_530_100_000, amount_minor=9_900, counterparty=3)
    assert anew.score(state, later).score == profiler.score(state, later).score


@pytest.mark.parametrize(
    ("scores", "fraud", "level", "what"),
    [
        (np.zeros(100), np.zeros(100, dtype=bool), 0.9, "at least 9"),
        (np.full(100, np.nan), np.arange(100) % 2 == 0, 0.9, "not finite"),
        (np.zeros(100), np.arange(100) % 2 == 0, 1.0, "between 0 and 1"),
    ],
)
def test_calibration_refuses(scores, fraud, level, what):
    with pytest.raises(BadInputError, match=what):
        fit_calibration(scores, fraud, level=level)


def test_drift_alarm_comes_after_a_change_and_not_before():
    rng = np.random.default_rng(3)
    watch = DriftWatch()
    quiet = [watch.update(value).alarm for value in (rng.random(1000) < 0.05) * 1.0]
    assert not any(quiet)
    loud = [watch.update(value) for value in (rng.random(500) < 0.4) * 1.0]
    assert any(report.alarm for report in loud)
    assert next(index for index, report in enumerate(loud) if report.alarm) < 200
    assert loud[-1].num_seen == 1500
    assert loud[-1].mean == pytest.approx(0.4, abs=0.1)
    for wrong in (float("nan"), -0.1, 1.1):
        with pytest.raises(BadInputError, match="drift value"):
            watch.update(wrong)


def test_a_genuine_payment_that_stands_for_many_counts_as_many():
    # Of 6,000 genuine payments every sixth is given: the same share of fraud, the same set for frauds.
    rng = np.random.default_rng(5)
    fraud = np.concatenate([np.ones(200, dtype=bool), np.zeros(6_000, dtype=bool)])
    scores = rng.normal(size=len(fraud)) + 2 * fraud
    some = np.concatenate([np.arange(200), np.arange(200, 6_200, 6)])
    whole = fit_calibration(scores, fraud)
    drawn = fit_calibration(scores[some], fraud[some], per_genuine=6)
    naive = fit_calibration(scores[some], fraud[some])
    mean = {
        name: one.probabilities(scores)[0].mean()
        for name, one in {"whole": whole, "drawn": drawn, "naive": naive}.items()
    }
    assert mean["whole"] == pytest.approx(200 / 6_200, abs=0.002)
    assert mean["drawn"] == pytest.approx(200 / 6_200, abs=0.004)
    assert mean["naive"] > 3 * mean["drawn"]
    assert drawn.fraud_from == whole.fraud_from
    # Nine in ten of 1,000 genuine ones instead of 6,000: 90 % give or take 1 %.
    assert (scores[~fraud] <= drawn.genuine_to).mean() == pytest.approx(0.9, abs=0.03)
    with pytest.raises(BadInputError, match="per_genuine"):
        fit_calibration(scores, fraud, per_genuine=0)
