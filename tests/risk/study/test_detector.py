"""The sequential test against brute force, another library's likelihoods, and planted silences."""

import numpy as np
import pytest
from scipy.stats import nbinom, poisson

from warmprompt.errors import BadInputError
from warmprompt.risk.study.detector import (
    MAX_BETWEEN,
    TROUBLED_SHARE,
    crossing,
    first_alarms,
    first_silences,
    largest_ratios,
    log_ratio,
    longest_silences,
    make_stream,
    threshold_for,
)
from warmprompt.risk.study.rates import CERTAIN, Profiles
from warmprompt.risk.study.watch import alarm_at, observe, open_watch
from warmprompt.rng import derive


def drawn(seed, num_banks=6, num_days=2, num=60):
    rng = derive(seed, "stream")
    at = np.sort(rng.uniform(0, num_days, num))
    sender = rng.integers(num_banks, size=num)
    profiles = Profiles(shape_N=rng.uniform(0.5, 30, num_banks), days_N=rng.uniform(0.1, 3, num_banks))
    return make_stream(sender, at, num_banks=num_banks, end=float(num_days)), profiles


def brute_force(stream, profiles, bank, at):
    """W at one moment, straight from the definition: every start among the last payments."""
    own = [0.0, *stream.at_E[(stream.bank_E == bank)][1:]]
    past = [index for index in own if index <= at]
    largest = -np.inf
    for m in range(min(MAX_BETWEEN, len(past) - 1) + 1):
        start = past[len(past) - 1 - m]
        today = [index for index in own[1:] if np.floor(index) == np.floor(start) and index <= start]
        alpha = profiles.shape_N[bank] + len(today)
        beta = profiles.days_N[bank] + start - np.floor(start)
        largest = max(largest, float(log_ratio(alpha, beta, at - start, m)))
    return largest


@pytest.mark.parametrize("m", range(4))
@pytest.mark.parametrize(("alpha", "beta", "span"), [(3.0, 0.5, 0.2), (40.0, 1.0, 0.7), (0.7, 2.0, 1.5)])
def test_the_ratio_is_that_of_two_negative_binomials(alpha, beta, span, m):
    # m payments in `span` with a Gamma(alpha, beta) rate are negative binomial with p = beta / (beta + span).
    # The same span shrunk by the factor is trouble.
    troubled = nbinom.logpmf(m, alpha, beta / (beta + TROUBLED_SHARE * span))
    well = nbinom.logpmf(m, alpha, beta / (beta + span))
    assert log_ratio(alpha, beta, span, m) == pytest.approx(troubled - well, abs=1e-9)


def test_a_certain_rate_gives_the_poisson_ratio():
    rate, span, m = 50.0, 0.1, 2
    ratio = poisson.logpmf(m, TROUBLED_SHARE * rate * span) - poisson.logpmf(m, rate * span)
    assert log_ratio(CERTAIN, CERTAIN / rate, span, m) == pytest.approx(ratio, abs=1e-5)


@pytest.mark.parametrize("m", range(4))
def test_at_the_crossing_the_ratio_is_the_threshold(m):
    span = crossing(np.array([12.0]), np.array([0.4]), m, 6.0)
    assert log_ratio(12.0, 0.4, span, m) == pytest.approx(6.0, abs=1e-9)


def test_too_little_evidence_never_crosses():
    # With no payments and shape 1 the ratio stays below ln(1 / rho) = 1.609 however long the silence.
    assert log_ratio(1.0, 1.0, 1e12, 0) < -np.log(TROUBLED_SHARE)
    assert crossing(np.array([1.0]), np.array([1.0]), 0, 1.61) == np.inf
    assert np.isfinite(crossing(np.array([1.0]), np.array([1.0]), 0, 1.6))


@pytest.mark.parametrize("seed", range(4))
def test_alarms_and_largest_ratios_are_those_of_brute_force(seed):
    stream, profiles = drawn(seed)
    grid = np.linspace(0, stream.end, 1_001)
    # Just before a payment the ratio is at its highest; the grid alone would miss that.
    grid = np.sort(np.concatenate([grid, np.nextafter(stream.at_E[stream.at_E > 0], 0)]))
    alarms = first_alarms(stream, profiles, threshold=2.5, not_before=0.3)
    largest = largest_ratios(stream, profiles)
    for bank in range(stream.num_banks):
        ratios = np.array([brute_force(stream, profiles, bank, at) for at in grid])
        assert largest[bank] == pytest.approx(ratios.max(), abs=1e-6)
        reached = grid[(ratios >= 2.5) & (grid >= 0.3)]
        if len(reached):
            assert alarms[bank] == pytest.approx(reached[0], abs=1 / 500)
        else:
            assert np.isnan(alarms[bank])


@pytest.mark.parametrize("seed", range(4))
def test_one_payment_at_a_time_gives_the_same_alarms(seed):
    stream, profiles = drawn(seed)
    alarms = first_alarms(stream, profiles, threshold=2.5)
    for bank in range(stream.num_banks):
        watch = open_watch(float(profiles.shape_N[bank]), float(profiles.days_N[bank]))
        found = np.inf
        for at in [*stream.at_E[stream.bank_E == bank][1:].tolist(), stream.end]:
            found = min(found, due) if (due := alarm_at(watch, 2.5)) <= at else found
            watch = observe(watch, at) if at < stream.end else watch
        assert (np.isnan(alarms[bank]) and found == np.inf) or found == pytest.approx(alarms[bank], rel=1e-12)


def test_a_planted_silence_is_found_when_theory_says():
    # 100 payments a day, known for certain, then nothing after 0.5: W = 80 * silence (rho = 0.2).
    at = np.arange(1, 51) / 100
    stream = make_stream(np.zeros(50, dtype=np.int64), at, num_banks=1, end=1.0)
    profiles = Profiles(shape_N=np.array([CERTAIN]), days_N=np.array([CERTAIN / 100]))
    alarm = first_alarms(stream, profiles, threshold=8.0)[0]
    assert alarm == pytest.approx(0.5 + 8.0 / (100 * (1 - TROUBLED_SHARE)), rel=1e-4)


def test_silences_are_gaps():
    stream = make_stream(np.array([0, 0, 1]), np.array([1.0, 4.0, 9.0]), num_banks=2, end=10.0)
    assert longest_silences(stream).tolist() == [6.0, 9.0]
    found = first_silences(stream, np.array([3.0, 9.5]))
    assert found[0] == 4.0
    assert np.isnan(found[1])
    assert first_silences(stream, np.array([3.0, 1.0]), not_before=5.0).tolist() == [7.0, 5.0]


def test_the_threshold_lets_just_so_many_through():
    largest = derive(1, "largest").normal(size=1_000)
    threshold = threshold_for(largest, num_days=100, alarms_per_day=0.25)
    assert (largest >= threshold).sum() == 25
    with pytest.raises(BadInputError, match="Watch at least 1000 days"):
        threshold_for(largest, num_days=100, alarms_per_day=0.001)


def test_payments_out_of_order_are_refused():
    watch = observe(open_watch(1.0, 1.0), 0.4)
    with pytest.raises(BadInputError, match="order of time"):
        observe(watch, 0.3)
