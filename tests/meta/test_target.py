"""The learned target: it begins as a gradient step, sees sets, knows no user without events, and trains."""

import math

import numpy as np
import pytest
import torch

from warmprompt.errors import BadInputError
from warmprompt.meta.inner import adapt
from warmprompt.meta.learned_target import learned_target
from warmprompt.meta.model import Events
from warmprompt.meta.predict import adapt_linearly
from warmprompt.meta.target import initial_target, target_displacement
from warmprompt.meta.task import inner_loss, start_of

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
    start = start_of(task, params)
    # The hand-written loss divides by (n + kappa), pushes by another formula: pulls alone are compared.
    pulls_only = Events(
        items_BK=task.support.items_BK,
        ratings_BK=torch.full_like(task.support.ratings_BK, math.nan),
        mask_BK=task.support.mask_BK,
    )
    task = type(task)(
        constants=task.constants, support=pulls_only, query=task.query, features_BT=task.features_BT
    )
    stepped = adapt(start, lambda users: task.support_loss(params, users), rates=torch.tensor([[1.6]]))
    found = target_displacement(params, task.constants, task.support)
    torch.testing.assert_close(found, stepped - start, rtol=1e-6, atol=1e-9)


def test_the_order_of_events_padding_and_company_change_nothing(worlds):
    params = _params(worlds, branches=0.5)
    constants = worlds.random_constants(0)
    rows = [[(0, 1.0), (1, 0.25), (2, 0.6)], [(3, 0.5)]]
    together = target_displacement(params, constants, worlds.events_of(rows))
    alone = target_displacement(params, constants, worlds.events_of([rows[0][::-1]], width=6))
    torch.testing.assert_close(alone[0], together[0])
    assert not torch.allclose(together[0], together[1])


def test_users_without_events_do_not_move(worlds):
    moved = target_displacement(
        _params(worlds, branches=0.5), worlds.random_constants(0), worlds.events_of([[], [(0, 1.0)]])
    )
    assert moved[0].abs().max() == 0
    assert moved[1].abs().max() > 0


def test_a_low_rating_pushes_where_a_high_one_pulls(worlds):
    params, constants = _params(worlds), worlds.random_constants(0)
    low, high = target_displacement(params, constants, worlds.events_of([[(0, 0.0)], [(0, 1.0)]]))
    assert torch.dot(low, high) < 0


def test_beyond_the_events_of_training_the_way_grows_on_as_n_over_n_plus_kappa(worlds):
    params, constants = _params(worlds, max_support=2), worlds.random_constants(0)
    # The same event over and over: the mean pull stays, so the way itself is compared.
    four, two = target_displacement(
        params, constants, worlds.events_of([[(0, 1.0)] * 4, [(0, 1.0)] * 2])
    ).norm(dim=1)
    assert (four / two).item() == pytest.approx((4 / (4 + KAPPA)) / (2 / (2 + KAPPA)), rel=1e-6)


def test_steps_of_rate_one_land_on_the_target_where_the_response_is_linear(worlds):
    params, task = _params(worlds, branches=0.5), worlds.tangent_task(0)
    start = start_of(task, params)
    loss = inner_loss(task, params, adapts_by="target")
    landed = adapt(start, loss, rates=torch.ones(1, 1))
    expected = start + target_displacement(params, task.constants, task.support)
    torch.testing.assert_close(landed, expected)
    assert loss(landed).abs().max() < 1e-12


def test_the_meta_gradient_is_the_slope_of_the_query_loss_at_rate_one(worlds):
    params, task = _params(worlds, branches=0.5), worlds.tangent_task(0)
    params["inner.log_rates"] = torch.zeros(1)
    params = {name: value.requires_grad_() for name, value in params.items()}
    found = learned_target.gradient(params, task).gradients

    def objective(changed):
        moved = start_of(task, changed) + target_displacement(changed, task.constants, task.support)
        return task.query_loss(changed, moved).mean().item()

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
    from warmprompt.data.episodes import EventBatch

    scale = 1 + 4 * task.support.ratings_BK
    events = EventBatch(
        items_BK=task.support.items_BK.numpy(),
        ratings_BK=scale.numpy(),
        mask_BK=task.support.mask_BK.numpy(),
    )
    for by in ("gradient", "target", "nothing", "ridge"):
        found = adapt_linearly(
            params, task.constants, features_BT=task.features_BT, events=events, adapts_by=by
        )
        assert np.isfinite(found.detach().numpy()).all()
        moved = (found - start_of(task, params)).abs().sum(1) > 1e-12
        assert moved.tolist() == ([False] * 3 if by == "nothing" else [True, True, False])


def test_a_task_without_targets_is_refused():
    with pytest.raises(BadInputError, match=r"learner\.name"):
        inner_loss(object(), {}, adapts_by="target")
