"""The learned start and what a bank's own days change, against planted rates and closed forms."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement import payments_table
from warmprompt.risk.study.rates import (
    Clock,
    RatePrior,
    daily_counts,
    learn_prior,
    plain_means,
    profile_banks,
)
from warmprompt.rng import derive


def world_of(counts_KN, group_N):
    """A world of which only the numbers of payments matter; all are spread evenly over a day of 88 s."""
    num_banks = counts_KN.shape[1]
    days = []
    for counts in counts_KN:
        sender = np.repeat(np.arange(num_banks), counts)
        days.append(
            payments_table(
                time_s=np.linspace(0, 88, len(sender)),
                sender=sender,
                receiver=(sender + 1) % num_banks,
                amount_minor=np.ones(len(sender), dtype=np.int64),
                num_banks=num_banks,
            )
        )
    return SimpleNamespace(
        history=tuple(days), group_N=group_N, num_banks=num_banks, settings=SimpleNamespace(day_s=88.0)
    )


def planted(seed, *, noise, num_banks=4_000, num_days=4):
    rng = derive(seed, "planted")
    rate_N = rng.gamma(3.0, 1 / 0.2, num_banks)
    factor = np.exp(rng.normal(-(noise**2) / 2, noise, (num_days, num_banks)))
    return rate_N, world_of(rng.poisson(rate_N * factor), np.zeros(num_banks, dtype=np.int64))


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_planted_start_is_found(noise):
    # 4,000 banks: the mean of 15 is known to 1 %, its variance of 75 and e^(noise^2) - 1 to some per cent.
    _, world = planted(1, noise=noise)
    prior = learn_prior([world])
    assert prior.shape_G[0] / prior.days_G[0] == pytest.approx(15.0, rel=0.03)
    assert prior.shape_G[0] == pytest.approx(3.0, rel=0.1)
    assert prior.day_variance == pytest.approx(np.exp(noise**2) - 1, abs=0.012)


def test_shrinking_is_closer_to_the_truth_than_either_alone():
    rate_N, world = planted(2, noise=0.3)
    prior = learn_prior([planted(3, noise=0.3)[1]])
    error = {}
    for name, profiles in {
        "both": profile_banks(prior, world, num_days=1),
        "start": profile_banks(prior, world, num_days=0),
        "own": plain_means(world, num_days=1),
    }.items():
        error[name] = float(((profiles.shape_N / profiles.days_N - rate_N) ** 2).mean())
    assert error["both"] < 0.97 * error["own"]
    assert error["both"] < 0.6 * error["start"]


def test_without_noise_of_days_the_posterior_is_conjugate():
    clock = Clock(day_s=88.0, share_by_B=np.array([0.0, 1.0]))
    prior = RatePrior(shape_G=np.array([3.0]), days_G=np.array([0.2]), day_variance=0.0, clock=clock)
    world = world_of(np.array([[4, 0], [7, 1]]), np.zeros(2, dtype=np.int64))
    profiles = profile_banks(prior, world, num_days=2)
    assert profiles.shape_N == pytest.approx([3 + 11, 3 + 1])
    assert profiles.days_N == pytest.approx([2.2, 2.2])
    last = profile_banks(prior, world, num_days=1)
    assert last.shape_N == pytest.approx([3 + 7, 3 + 1])
    assert profile_banks(prior, world, num_days=0).days_N == pytest.approx([0.2, 0.2])


def test_noise_of_days_keeps_the_mean_and_adds_its_variance():
    clock = Clock(day_s=88.0, share_by_B=np.array([0.0, 1.0]))
    prior = RatePrior(shape_G=np.array([3.0]), days_G=np.array([0.2]), day_variance=0.1, clock=clock)
    world = world_of(np.array([[4, 0], [7, 1]]), np.zeros(2, dtype=np.int64))
    noisy = profile_banks(prior, world, num_days=2)
    sharp = profile_banks(replace(prior, day_variance=0.0), world, num_days=2)
    mean = sharp.shape_N / sharp.days_N
    assert noisy.shape_N / noisy.days_N == pytest.approx(mean)
    assert noisy.shape_N / noisy.days_N**2 == pytest.approx(mean**2 * (1 / sharp.shape_N + 0.1 * 1.5))


def test_the_clock_and_its_inverse():
    clock = Clock(day_s=100.0, share_by_B=np.array([0.0, 0.2, 1.0]))
    opened = np.array([0.0, 25.0, 50.0, 75.0, 100.0, 150.0])
    assert clock.exposure(opened) == pytest.approx([0, 0.1, 0.2, 0.6, 1.0, 1.2])
    assert clock.opened_s(clock.exposure(opened)) == pytest.approx(opened)


def test_counts_are_per_bank_and_day():
    world = world_of(np.array([[4, 0], [7, 1]]), np.zeros(2, dtype=np.int64))
    assert daily_counts(world.history).tolist() == [[4, 0], [7, 1]]


def test_what_cannot_be_learned_is_refused():
    world = world_of(np.array([[4, 1]]), np.zeros(2, dtype=np.int64))
    with pytest.raises(BadInputError, match="at least two days"):
        learn_prior([world])
    with pytest.raises(BadInputError, match="Give at least 1"):
        plain_means(world, num_days=0)
    with pytest.raises(BadInputError, match="Give 0 to 1"):
        plain_means(world, num_days=2)
