"""The inner loop: where gradient steps land, whose they are, and what a later derivative sees."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.errors import NotFiniteError
from warmprompt.meta.inner import adapt

NUMBERS = st.floats(-3, 3)


def _quadratic(centre_B1):
    return lambda prompts: ((prompts - centre_B1) ** 2 / 2).sum(1)


@given(start=NUMBERS, centre=NUMBERS, rates=st.lists(st.floats(0.01, 1.5), max_size=4))
def test_steps_on_a_quadratic_land_where_the_closed_form_says(start, centre, rates):
    # L(p) = (p - c)^2 / 2: each step keeps the share 1 - rate of the distance to c.
    rates_S1 = torch.tensor(rates, dtype=torch.float64).reshape(-1, 1)
    prompts = torch.full((1, 1), start, dtype=torch.float64)
    landed = adapt(prompts, _quadratic(torch.full((1, 1), centre, dtype=torch.float64)), rates=rates_S1)
    left = math.prod(1 - rate for rate in rates)
    assert landed.item() == pytest.approx(centre + (start - centre) * left, abs=1e-12)


@pytest.mark.parametrize(("through", "slope"), [("everything", 0.7 * 0.4), ("rates", 1.0)])
def test_the_slope_of_the_end_in_the_start(through, slope):
    # Exactly it is the product of 1 - rate; with gradients taken as constants it is one.
    start = torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)
    rates_S1 = torch.tensor([[0.3], [0.6]], dtype=torch.float64)
    landed = adapt(start, _quadratic(torch.tensor([[0.5]])), rates=rates_S1, through=through)
    landed.backward()
    assert start.grad.item() == pytest.approx(slope, abs=1e-12)


@pytest.mark.parametrize("through", ["everything", "rates"])
def test_the_slope_of_the_end_in_the_last_rate_is_minus_the_gradient_there(through):
    start, centre, first = 2.0, 0.5, 0.3
    rates_S1 = torch.tensor([[first], [0.6]], dtype=torch.float64, requires_grad=True)
    prompts = torch.tensor([[start]], dtype=torch.float64)
    adapt(prompts, _quadratic(torch.tensor([[centre]])), rates=rates_S1, through=through).backward()
    assert rates_S1.grad[1].item() == pytest.approx(-(start - centre) * (1 - first), abs=1e-12)


def test_the_end_is_a_constant_unless_asked_otherwise(worlds):
    task, params = worlds.tangent_task(0), worlds.random_params(0)
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    landed = task.at(leaves).adapted()
    assert not landed.requires_grad


@pytest.mark.parametrize("through", ["nothing", "rates", "everything"])
def test_where_prompts_land_does_not_depend_on_what_is_differentiated(worlds, through):
    task, params = worlds.tangent_task(1), worlds.random_params(1)
    free = task.at(params)
    ends = [
        adapt(free.start, free.inner_loss(), rates=free.rates, through=which)
        for which in ("nothing", through)
    ]
    assert torch.equal(ends[0], ends[1].detach())


@pytest.mark.parametrize("through", ["nothing", "rates", "everything"])
def test_the_start_is_never_written(worlds, through):
    task, params = worlds.tangent_task(2), worlds.random_params(2)
    free = task.at(params)
    start = free.start.clone()
    before = start.clone()
    adapt(start, free.inner_loss(), rates=free.rates, through=through)
    assert torch.equal(start, before)
    assert not start.requires_grad


def test_no_steps_return_the_start():
    start = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    landed = adapt(start, _quadratic(torch.zeros(2, 1)), rates=torch.zeros(0, 1))
    assert torch.equal(landed, start)


def _rows(events, row):
    return replace(
        events,
        items_BK=events.items_BK[row : row + 1],
        ratings_BK=events.ratings_BK[row : row + 1],
        mask_BK=events.mask_BK[row : row + 1],
    )


def test_a_batch_of_users_lands_where_each_user_alone_does(worlds):
    task, params = worlds.tangent_task(3), worlds.random_params(3)

    def landed(one):
        return one.at(params).adapted()

    together = landed(task)
    features_BT, losses = task.adapter.features_BT, task.objective
    for row in range(len(features_BT)):
        alone = replace(
            task,
            adapter=replace(task.adapter, features_BT=features_BT[row : row + 1]),
            objective=replace(losses, support=_rows(losses.support, row), query=_rows(losses.query, row)),
        )
        # Equal up to the order of sums within one matrix product.
        torch.testing.assert_close(together[row : row + 1], landed(alone), rtol=1e-12, atol=1e-12)


def test_a_user_without_events_stays_at_the_start(worlds):
    task, params = worlds.tangent_task(4), worlds.random_params(4)
    start, landed = task.at(params).start, task.at(params).adapted()
    assert torch.equal(landed[2], start[2])
    assert not torch.equal(landed[0], start[0])


def test_a_loss_that_is_no_number_names_its_rows_and_its_step():
    # The second step starts beyond 5 in rows 1 and 3 alone, where the loss is undefined.
    centre_B1 = torch.tensor([[0.0], [9.0], [1.0], [9.0]])

    def loss(prompts):
        return ((prompts - centre_B1) ** 2 / 2 + 0 * torch.sqrt(5 - prompts)).sum(1)

    with pytest.raises(NotFiniteError) as caught:
        adapt(torch.zeros(4, 1), loss, rates=torch.ones(3, 1))
    assert "inner step 1" in caught.value.field
    assert "rows [1, 3]" in caught.value.value
