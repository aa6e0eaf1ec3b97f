"""Scores and losses against loops written out, and what a rating does to an item and its neighbours."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.meta.inner import adapt
from warmprompt.meta.model import (
    CatalogueData,
    evidence_weights,
    level_weights,
    make_catalogue,
    query_loss,
    ridge_users,
    score_catalogue,
    support_loss,
)

NAN = float("nan")
COLD = 5
ROWS = [[(0, 1.0), (1, 0.25), (2, 0.6), (COLD, 0.0)], [(3, NAN), (3, 1.0)], []]


@pytest.fixture(autouse=True)
def _float64():
    """Let the whole path, also the matrices made on the way, run in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=[0, 1, 2])
def case(request, worlds):
    seed = request.param
    users_BD = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))
    return worlds.random_params(seed), worlds.random_data(seed, cold=(COLD,)), users_BD


def _numpy(tensors):
    return {name: value.numpy() for name, value in tensors.items()}


def _vectors(params, constants, *, support):
    """Return item vectors item by item: learned parts only where warm."""
    p, text = _numpy(params), constants.item_text_VX.numpy()
    rows = []
    for item, warm in enumerate(constants.warm_V.numpy()):
        row = text[item] @ p["items.text_map"]
        if warm:
            row = row + p["items.learned"][item] + (p["items.support_offset"][item] if support else 0)
        rows.append(row)
    return np.array(rows)


def _popularity(params, constants):
    p = _numpy(params)
    return (
        p["popularity.weight"] * constants.log_popularity_V.numpy()
        + p["items.bias"] * constants.warm_V.numpy()
    )


def test_scores_are_dot_products_plus_popularity(case):
    params, constants, users_BD = case
    catalogue = make_catalogue(params, constants)
    vectors, popular = _vectors(params, constants, support=False), _popularity(params, constants)
    expected = [[z @ v + b for v, b in zip(vectors, popular, strict=True)] for z in users_BD.numpy()]
    np.testing.assert_allclose(score_catalogue(catalogue, users_BD), expected, rtol=1e-12)
    np.testing.assert_allclose(catalogue.support_VD, _vectors(params, constants, support=True), rtol=1e-12)


def _weight(params, constants, rating):
    """Return the weight of a rating from 0 to 1: linear between the levels' weights."""
    if math.isnan(rating):
        return 1.0
    return float(np.interp(rating, constants.rating_levels_R, level_weights(params, constants).numpy()))


def test_support_loss_is_the_sum_over_events_written_out(case, worlds):
    params, constants, users_BD = case
    catalogue = make_catalogue(params, constants)
    vectors, popular = _vectors(params, constants, support=True), _popularity(params, constants)
    warm = constants.warm_V.numpy() == 1
    kappa = math.exp(params["support.log_kappa"])
    expected = []
    for z, row in zip(users_BD.numpy(), ROWS, strict=True):
        scores = vectors @ z + popular
        total = 0.0
        for item, rating in row:
            weight = _weight(params, constants, rating)
            if weight > 0:
                total -= weight * (scores[item] - math.log(np.exp(scores[warm]).sum()))
            else:
                odds = scores[item] - math.log(np.exp(scores[warm]).mean())
                total -= -weight * math.log(1 - 1 / (1 + math.exp(-odds)))
        expected.append(total / (len(row) + kappa))
    found = support_loss(catalogue, worlds.events_of(ROWS), users_BD)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert found[2] == 0


def test_support_loss_has_the_gradient_that_differences_show(case, worlds):
    params, constants, users_BD = case
    catalogue = make_catalogue(params, constants)
    events = worlds.events_of(ROWS)
    assert torch.autograd.gradcheck(
        lambda z: support_loss(catalogue, events, z), users_BD.clone().requires_grad_()
    )


def test_query_loss_is_the_softmax_over_what_is_ranked_written_out(case, worlds):
    params, constants, users_BD = case
    catalogue = make_catalogue(params, constants)
    # Item 1 of user 0 is in the support already, the cold item cannot be ranked; user 2 has only that.
    query = [[(4, 1.0), (1, NAN), (COLD, 0.5), (6, 0.0)], [(0, NAN)], [(COLD, 1.0)]]
    support = [[(item, rating) for item, rating in row if item != COLD] for row in ROWS]
    vectors, popular = _vectors(params, constants, support=False), _popularity(params, constants)
    expected = []
    for z, known, asked in zip(users_BD.numpy(), support, query, strict=True):
        hidden = {item for item, _ in known} | {COLD}
        ranked = [item for item in range(len(vectors)) if item not in hidden]
        scores = vectors @ z + popular
        level = math.log(sum(math.exp(scores[item]) for item in ranked))
        losses = [level - scores[item] for item, _ in asked if item in ranked]
        expected.append(sum(losses) / len(losses) if losses else 0.0)
    found = query_loss(catalogue, worlds.events_of(support), worlds.events_of(query), users_BD)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert found[2] == 0


def test_padding_changes_nothing(case, worlds):
    params, constants, users_BD = case
    catalogue = make_catalogue(params, constants)
    narrow, wide = worlds.events_of(ROWS), worlds.events_of(ROWS, width=9)
    for one, other in (
        (support_loss(catalogue, narrow, users_BD), support_loss(catalogue, wide, users_BD)),
        (ridge_users(catalogue, narrow, users_BD), ridge_users(catalogue, wide, users_BD)),
        (
            query_loss(catalogue, narrow, narrow, users_BD),
            query_loss(catalogue, wide, wide, users_BD),
        ),
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def _ridge_rows(params, constants, row, prior):
    """Return the regression's rows, targets and weights: events, catalogue, prior."""
    vectors = _vectors(params, constants, support=True)
    warm = vectors[constants.warm_V.numpy() == 1]
    p = {name: math.exp(params[f"ridge.{name}"]) for name in ("log_spread", "log_prior", "log_target")}
    weights = [_weight(params, constants, rating) for _, rating in row]
    inputs = [vectors[item] for item, _ in row] + list(warm) + list(np.eye(3))
    targets = [math.copysign(p["log_target"], weight) for weight in weights] + [0.0] * len(warm) + list(prior)
    sizes = (
        [abs(weight) for weight in weights] + [p["log_spread"] / len(warm)] * len(warm) + [p["log_prior"]] * 3
    )
    return np.array(inputs), np.array(targets), np.array(sizes)


def test_ridge_is_the_weighted_least_squares_solution_of_numpy(case, worlds):
    params, constants, prior_BD = case
    catalogue = make_catalogue(params, constants)
    found = ridge_users(catalogue, worlds.events_of(ROWS), prior_BD)
    for z, row, prior in zip(found.numpy(), ROWS, prior_BD.numpy(), strict=True):
        inputs, targets, sizes = _ridge_rows(params, constants, row, prior)
        root = np.sqrt(sizes)
        expected = np.linalg.lstsq(inputs * root[:, None], targets * root, rcond=None)[0]
        np.testing.assert_allclose(z, expected, rtol=1e-9)


def test_ridge_is_scikit_learns(case, worlds):
    linear = pytest.importorskip("sklearn.linear_model", reason="the cross-check needs scikit-learn")
    params, constants, prior_BD = case
    catalogue = make_catalogue(params, constants)
    found = ridge_users(catalogue, worlds.events_of(ROWS), prior_BD)
    strength = math.exp(params["ridge.log_prior"])
    for z, row, prior in zip(found.numpy(), ROWS, prior_BD.numpy(), strict=True):
        inputs, targets, sizes = (part[:-3] for part in _ridge_rows(params, constants, row, prior))
        # Around the prior: the regression of what the prior leaves over, pulled to zero.
        model = linear.Ridge(alpha=strength, fit_intercept=False, solver="cholesky")
        model.fit(inputs, targets - inputs @ prior, sample_weight=sizes)
        np.testing.assert_allclose(z, prior + model.coef_, rtol=1e-8)


@given(sizes=st.lists(st.floats(-6, 6), min_size=5, max_size=5))
def test_the_lowest_quarter_of_ratings_pushes_and_the_rest_pulls_whatever_is_learned(worlds, sizes):
    constants = worlds.random_data(0)
    params = {"ratings.size": torch.tensor(sizes)}
    weights = level_weights(params, constants).tolist()
    assert [weight < 0 for weight in weights] == [True, False, False, False, False]
    assert weights[0] <= -0.3  # a full dislike never vanishes, whatever the training events say


def test_equal_sizes_make_weights_rise_with_the_rating(worlds):
    constants = worlds.random_data(0)
    weights = level_weights({"ratings.size": torch.full((5,), -2.0)}, constants)
    assert (weights.diff() >= 0).all()


@given(ratings=st.lists(st.floats(0, 1) | st.just(NAN), min_size=1, max_size=8))
def test_weights_between_levels_are_linear(worlds, ratings):
    constants, params = worlds.random_data(0), worlds.random_params(0)
    catalogue = make_catalogue(params, constants)
    events = worlds.events_of([[(0, rating) for rating in ratings]])
    found = evidence_weights(catalogue, events)[0].tolist()
    assert found == pytest.approx([_weight(params, constants, rating) for rating in ratings], abs=1e-9)


def test_the_strength_of_an_event_multiplies_its_weight(worlds):
    constants, params = worlds.random_data(0), worlds.random_params(0)
    catalogue = make_catalogue(params, constants)
    events = worlds.events_of([[(0, 0.0), (1, 0.7), (2, NAN)], [(3, 1.0)]])
    plain_BK = evidence_weights(catalogue, events)
    ones_BK = torch.ones_like(events.ratings_BK)
    assert torch.equal(evidence_weights(catalogue, replace(events, strengths_BK=ones_BK)), plain_BK)
    strengths_BK = torch.tensor([[3.0, 0.5, 2.0], [4.0, 1.0, 1.0]], dtype=plain_BK.dtype)
    found_BK = evidence_weights(catalogue, replace(events, strengths_BK=strengths_BK))
    assert torch.equal(found_BK, plain_BK * strengths_BK)
    assert torch.equal(found_BK.sign(), plain_BK.sign())  # a strength never turns a pull into a push


@pytest.fixture
def three_groups():
    """Three groups of four items along orthogonal directions, all equally popular."""
    noise = 0.1 * torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    params = {
        "items.learned": torch.eye(3).repeat_interleave(4, dim=0) @ torch.eye(3, 6) + noise,
        "items.support_offset": torch.zeros(12, 6),
        "items.text_map": torch.zeros(1, 6),
        "items.bias": torch.zeros(12),
        "popularity.weight": torch.tensor(1.0),
        "ratings.size": torch.tensor([-3.0, 0.0, 0.5, 0.5, 0.5]),
        "support.log_kappa": torch.tensor(0.0),
        "ridge.log_spread": torch.tensor(0.0),
        "ridge.log_prior": torch.tensor(0.0),
        "ridge.log_target": torch.tensor(0.0),
        "prior.start": torch.zeros(6),
    }
    constants = CatalogueData(
        item_text_VX=torch.zeros(12, 1),
        log_popularity_V=torch.zeros(12),
        warm_V=torch.ones(12),
        rating_levels_R=torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]),
        rating_range=torch.tensor([1.0, 5.0]),
    )
    return params, constants


def _moved_scores(params, constants, events, *, by):
    """Return the change of all scores relative to their mean, (V,)."""
    start, catalogue = torch.zeros(1, 6), make_catalogue(params, constants)
    if by == "ridge":
        users = ridge_users(catalogue, events, start)
    else:
        rates = torch.full((2, 1), 0.8)
        users = adapt(start, lambda z: support_loss(catalogue, events, z), rates=rates)
    scores = score_catalogue(catalogue, users)[0]
    return scores - scores.mean()


@pytest.mark.parametrize("by", ["gradient", "ridge"])
@pytest.mark.parametrize(("rating", "sign"), [(0.0, -1), (0.25, 1), (0.75, 1), (1.0, 1), (NAN, 1)])
def test_one_rating_moves_the_item_and_its_neighbours(three_groups, worlds, by, rating, sign):
    changes = sign * _moved_scores(*three_groups, worlds.events_of([[(1, rating)]]), by=by)
    assert (changes[:4] > 0).all()  # the item itself (1) and the rest of its group
    assert changes[:4].mean() > changes[4:].max()


@pytest.mark.parametrize("by", ["gradient", "ridge"])
def test_a_support_with_likes_and_dislikes_orders_the_groups(three_groups, worlds, by):
    events = worlds.events_of([[(0, 1.0), (2, 0.75), (8, 0.0), (9, 0.0), (10, 0.05)]])
    liked, unknown, disliked = _moved_scores(*three_groups, events, by=by).reshape(3, 4)
    assert liked.min() > unknown.max()
    assert unknown.min() > disliked.max()
