"""User directions against planted users: slopes that differ by user, texts that see them through noise."""

import pytest
import torch

from warmprompt.meta.user_directions import fit_user_directions, posterior_step

SCALES = torch.tensor([9.0, 4.0, 1.0], dtype=torch.float64)
SHARED = torch.tensor([0.6, 0.0, 0.3], dtype=torch.float64)
NUM_USERS, NUM_TEXTS = 4000, 3


@pytest.fixture(scope="module")
def planted():
    """Return slopes of users, (U, 3), gradients of texts, (U, K, 3), and the planted axes."""
    generator = torch.Generator().manual_seed(0)
    axes, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    own = torch.randn(NUM_USERS, 1, 3, generator=generator, dtype=torch.float64) * (SHARED * SCALES).sqrt()
    noise = torch.randn(NUM_USERS, NUM_TEXTS, 3, generator=generator, dtype=torch.float64)
    texts = own + noise * ((1 - SHARED) * SCALES).sqrt()
    return (own[:, 0] + 1.0) @ axes, (texts + 1.0) @ axes, axes


def fitted(texts, num_directions=3):
    owner = torch.arange(NUM_USERS).repeat_interleave(NUM_TEXTS)
    return fit_user_directions(texts.flatten(0, 1), owner, num_directions=num_directions)


def test_axes_and_shares_of_planted_users_are_found(planted):
    _, texts, axes = planted
    found = fitted(texts)
    cosines = (found.directions_ZX @ axes.T).abs() / found.directions_ZX.norm(dim=1, keepdim=True)
    assert cosines.diagonal().min() > 0.99
    # 4000 users give a share to about 1 / sqrt(12000 pairs) = .01.
    assert found.shared_Z.tolist() == pytest.approx(SHARED.tolist(), abs=0.03)
    assert (found.directions_ZX.norm(dim=1) ** -2).tolist() == pytest.approx(SCALES.tolist(), rel=0.06)


def test_few_directions_are_those_of_most_variance(planted):
    found = fitted(planted[1], num_directions=1)
    assert found.directions_ZX.shape == (1, 3)
    assert found.directions_ZX.norm().item() ** -2 == pytest.approx(9.0, rel=0.06)


@pytest.mark.parametrize("num_texts", [1, 2, 3])
def test_the_step_is_the_best_linear_guess_of_the_slope(planted, num_texts):
    slopes, texts, _ = planted
    found = fitted(texts)
    means = texts[:, :num_texts].mean(1)
    step = posterior_step(found, means, num_texts, rate=1.0)
    # With curvature equal to the gradients' covariance C the step is -C^-1 times the posterior slope.
    covariance = torch.linalg.inv(found.directions_ZX.T @ found.directions_ZX)
    guessed = -step @ covariance
    centred = means - means.mean(0)
    weights = torch.linalg.lstsq(centred, slopes - slopes.mean(0)).solution
    best = (centred @ weights - (slopes - slopes.mean(0))).square().mean()
    ours = (guessed - (slopes - slopes.mean(0))).square().mean()
    assert ours.item() == pytest.approx(best.item(), rel=0.01)


def test_users_without_anything_in_common_stay(planted):
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(NUM_USERS, NUM_TEXTS, 3, generator=generator, dtype=torch.float64)
    found = fitted(noise)
    planted_step = posterior_step(fitted(planted[1]), planted[1].mean(1), NUM_TEXTS, rate=1.0).norm()
    assert posterior_step(found, noise.mean(1), NUM_TEXTS, rate=1.0).norm() < 0.1 * planted_step


def test_damping_adds_a_share_of_the_largest_variance(planted):
    found, means = fitted(planted[1]), planted[1].mean(1)[:5]
    plain, damped = (
        posterior_step(found, means, NUM_TEXTS, rate=1.0, damping=damping) for damping in (0.0, 0.5)
    )
    variances = 1 / found.directions_ZX.square().sum(1)
    axes = found.directions_ZX * variances.sqrt()[:, None]
    wanted = plain @ axes.T * variances / (variances + 0.5 * variances.max())
    torch.testing.assert_close(damped @ axes.T, wanted)
