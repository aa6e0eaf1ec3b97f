"""The learned target: it begins as a gradient step, sees sets, knows no user without events, and trains."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from warmprompt.data.episodes import EventBatch
from warmprompt.errors import BadInputError
from warmprompt.meta.inner import adapt
from warmprompt.meta.learned_target import learned_target
from warmprompt.meta.learners import LEARNERS, UNADAPTED
from warmprompt.meta.model import Events, make_catalogue
from warmprompt.meta.objectives import LearnedTarget
from warmprompt.meta.predict import adapt_linearly
from warmprompt.meta.target import initial_target, target_displacement
from warmprompt.risk.profile.tasks import risk_learner

KAPPA = 4.0


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _params(worlds, *, branches=0.0, max_support=3):
    params = worlds.random_params(0)
    target = initial_target(3, max_support=max_support, kappa=KAPPA, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name in ("target.value", "target.outer"):
        target[name] = branches * torch.randn(target[name].shape, generator=generator)
    # Equal weights for all ratings, and none that pushes, so that the loss below is the plain softmax.
    return {
        **params,
        **{name: value.double() for name, value in target.items()},
        "support.log_kappa": torch.tensor(math.log(KAPPA)),
        "prior.text_head": torch.zeros_like(params["prior.text_head"]),
    }


def test_before_training_it_is_one_gradient_step_on_the_support_loss(worlds):
    params = _params(worlds)
    task = worlds.tangent_task(0)
    # The hand-written loss divides by (n + kappa), pushes by another formula: pulls alone are compared.
    pulls_only = Events(
        items_BK=task.objective.support.items_BK,
        ratings_BK=torch.full_like(task.objective.support.ratings_BK, math.nan),
        mask_BK=task.objective.support.mask_BK,
    )
    free = replace(task, objective=replace(task.objective, support=pulls_only)).at(params)
    stepped = adapt(free.start, free.inner_loss(), rates=torch.tensor([[1.6]]))
    found = target_displacement(free.model, pulls_only)
    torch.testing.assert_close(found, stepped - free.start, rtol=1e-6, atol=1e-9)


def test_the_order_of_events_padding_and_company_change_nothing(worlds):
    params = _params(worlds, branches=0.5)
    catalogue = make_catalogue(params, worlds.random_data(0))
    rows = [[(0, 1.0), (1, 0.25), (2, 0.6)], [(3, 0.5)]]
    together = target_displacement(catalogue, worlds.events_of(rows))
    alone = target_displacement(catalogue, worlds.events_of([rows[0][::-1]], width=6))
    torch.testing.assert_close(alone[0], together[0])
    assert not torch.allclose(together[0], together[1])


def test_users_without_events_do_not_move(worlds):
    catalogue = make_catalogue(_params(worlds, branches=0.5), worlds.random_data(0))
    moved = target_displacement(catalogue, worlds.events_of([[], [(0, 1.0)]]))
    assert moved[0].abs().max() == 0
    assert moved[1].abs().max() > 0


def test_a_low_rating_pushes_where_a_high_one_pulls(worlds):
    catalogue = make_catalogue(_params(worlds), worlds.random_data(0))
    low, high = target_displacement(catalogue, worlds.events_of([[(0, 0.0)], [(0, 1.0)]]))
    assert torch.dot(low, high) < 0


def test_beyond_the_events_of_training_the_way_grows_on_as_n_over_n_plus_kappa(worlds):
    catalogue = make_catalogue(_params(worlds, max_support=2), worlds.random_data(0))
    # The same event over and over: the mean pull stays, so the way itself is compared.
    four, two = target_displacement(catalogue, worlds.events_of([[(0, 1.0)] * 4, [(0, 1.0)] * 2])).norm(dim=1)
    assert (four / two).item() == pytest.approx((4 / (4 + KAPPA)) / (2 / (2 + KAPPA)), rel=1e-6)


def test_steps_of_rate_one_land_on_the_target_where_the_response_is_linear(worlds):
    free = worlds.tangent_task(0, objective=LearnedTarget).at(_params(worlds, branches=0.5))
    loss = free.inner_loss()
    landed = adapt(free.start, loss, rates=torch.ones(1, 1))
    expected = free.start + target_displacement(free.model, free.objective.support)
    torch.testing.assert_close(landed, expected)
    assert loss(landed).abs().max() < 1e-12


def test_the_meta_gradient_is_the_slope_of_the_query_loss_at_rate_one(worlds):
    params, task = _params(worlds, branches=0.5), worlds.tangent_task(0, objective=LearnedTarget)
    params["inner.log_rates"] = torch.zeros(1)
    params = {name: value.requires_grad_() for name, value in params.items()}
    found = learned_target.gradient(params, task).gradients

    def objective(changed):
        free = task.at(changed)
        moved = free.start + target_displacement(free.model, task.objective.support)
        return free.query_loss(moved).mean().item()

    generator = torch.Generator().manual_seed(2)
    plain = {name: value.detach() for name, value in params.items()}
    for name in ("target.fold", "target.value", "target.outer", "target.log_gain", "items.learned"):
        direction = torch.randn(plain[name].shape, generator=generator)
        ahead, behind = (
            objective({**plain, name: plain[name] + sign * 1e-6 * direction}) for sign in (1, -1)
        )
        slope = (found[name] * direction).sum().item()
        assert slope == pytest.approx((ahead - behind) / 2e-6, rel=1e-5, abs=1e-9), name
    assert found["prior.start"].shape == plain["prior.start"].shape


def test_linear_adaptation_is_the_tangent_task(worlds):
    params, task = _params(worlds, branches=0.5), worlds.tangent_task(0)
    support, catalogue = task.objective.support, make_catalogue(params, task.data)
    events = EventBatch(
        items_BK=support.items_BK.numpy(),
        ratings_BK=(1 + 4 * support.ratings_BK).numpy(),
        mask_BK=support.mask_BK.numpy(),
    )
    for learner in (LEARNERS["reptile"], learned_target, UNADAPTED, LEARNERS["closed-form"]):
        found = adapt_linearly(catalogue, learner, features_BT=task.adapter.features_BT, events=events)
        assert np.isfinite(found.detach().numpy()).all()
        moved = (found - task.at(params).start).abs().sum(1) > 1e-12
        assert moved.tolist() == ([False] * 3 if learner is UNADAPTED else [True, True, False])


@pytest.mark.parametrize("num_steps", [1, 3])
def test_numpy_lands_where_gradient_steps_do(worlds, num_steps):
    params = _params(worlds, branches=0.5) | {"inner.log_rates": torch.full((num_steps,), -0.3)}
    catalogue = make_catalogue(params, worlds.random_data(0))
    nan = math.nan
    events = EventBatch(
        items_BK=np.array([[0, 1, 2, 3, 6], [4, 0, 0, 0, 0], [0, 0, 0, 0, 0]]),
        ratings_BK=np.array([[1.0, 2.6, 5.0, nan, 4.0], [1.5, *[nan] * 4], [nan] * 5], dtype=np.float32),
        mask_BK=np.array([[True] * 5, [True, *[False] * 4], [False] * 5]),
        strengths_BK=np.array([[1.0, 0.5, 2.0, 1.0, 1.0], [1.0] * 5, [1.0] * 5], dtype=np.float32),
    )
    features_BT = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    found = adapt_linearly(catalogue, learned_target, features_BT=features_BT, events=events)
    # A catalogue that carries gradients goes step by step in PyTorch.
    free = make_catalogue({name: value.requires_grad_() for name, value in params.items()}, catalogue.data)
    assert free.mean_D.requires_grad
    expected = adapt_linearly(free, learned_target, features_BT=features_BT, events=events)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-6, atol=1e-6)


def test_nobodys_events_leave_everybody_at_the_prior(worlds):
    catalogue = make_catalogue(_params(worlds, branches=0.5), worlds.random_data(0))
    nothing = EventBatch(
        items_BK=np.zeros((2, 0), np.int64), ratings_BK=np.zeros((2, 0)), mask_BK=np.zeros((2, 0), np.bool_)
    )
    features_BT = torch.randn(2, 2, generator=torch.Generator().manual_seed(0))
    found = adapt_linearly(catalogue, learned_target, features_BT=features_BT, events=nothing)
    params = catalogue.params
    torch.testing.assert_close(found, params["prior.start"] + features_BT @ params["prior.text_head"])


@pytest.mark.parametrize("name", ["learned-target", "closed-form"])
def test_payments_have_neither_targets_nor_a_closed_form(name):
    with pytest.raises(BadInputError, match=r"learner\.name"):
        risk_learner(name)
