"""New items: text alone learns to rank, and whoever has events stays where they were."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from tests.meta.worlds import ready_world

from warmprompt.data.dataset import keep_events, take_users
from warmprompt.data.episodes import batch_supports
from warmprompt.meta.initial import ItemStart, initial_items, initial_prior
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.model import (
    NEW_LEVEL,
    NEW_MAP,
    NEW_POPULARITY,
    catalogue_vectors,
    make_catalogue,
    popularity_scores,
    score_catalogue,
)
from warmprompt.meta.new_items import draw_adapted_episodes, fit_new_items, with_other_texts
from warmprompt.meta.predict import adapt_linearly
from warmprompt.types import Support


@pytest.fixture(scope="module")
def case():
    """A world of three tastes that item texts tell, dimly; every fifth item is unseen in training."""
    world = ready_world(num_users=200, num_items=60)
    tastes = np.asarray(world.planted.item_tastes)
    rng = np.random.default_rng(0)
    text = np.eye(3, dtype=np.float32)[tastes] + 0.5 * rng.standard_normal((60, 3)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    whole = world.material.training
    training = keep_events(whole, whole.interactions.items % 5 != 0)
    params, constants = initial_items(training, text, ItemStart(num_factors=8, regularization=5.0), seed=0)
    params |= initial_prior(num_factors=8, num_text_features=2, num_steps=1, rate=1.0)
    episodes = draw_adapted_episodes(
        params,
        constants,
        training,
        features_T=torch.zeros(2),
        learner=LEARNERS["reptile"],
        seed=0,
        num_episodes=1200,
    )
    return whole, params, constants, episodes


def _loss(params, constants, episodes):
    """Return the mean negative log-likelihood of query items among those with events, by texts alone."""
    nobody = replace(constants, warm_V=torch.zeros_like(constants.warm_V))
    vectors_VD, popularity_V = catalogue_vectors(params, nobody), popularity_scores(params, nobody)
    scores = episodes.users_ND @ vectors_VD.T + popularity_V
    log_p = torch.log_softmax(scores.masked_fill(constants.warm_V == 0, -torch.inf), dim=1)
    return float(-log_p.gather(1, episodes.query.items_BK)[episodes.query.mask_BK].mean())


def _passes(case, count, **options):
    _, params, constants, episodes = case
    return next(islice(fit_new_items(params, constants, episodes, seed=0, **options), count, None))


def test_items_with_events_keep_vector_and_popularity_to_the_bit(case):
    _, params, constants, _ = case
    new = {**params, **_passes(case, 2)}
    warm = constants.warm_V > 0
    assert warm.sum() == 48
    for of in (catalogue_vectors, popularity_scores):
        before, after = of(params, constants), of(new, constants)
        assert torch.equal(before[warm], after[warm])
        assert not torch.equal(before[~warm], after[~warm])


def test_a_small_data_set_is_not_drawn_from_again_and_again(case):
    whole, params, constants, _ = case
    # Of 22 to 39 events half are to be found: there are supports of K = 0, 1, 3, 5 and 10, and none of 20.
    lengths = np.diff(whole.interactions.offsets)
    few = take_users(whole, np.flatnonzero((lengths >= 22) & (lengths < 40))[:10])
    episodes = draw_adapted_episodes(
        params,
        constants,
        few,
        features_T=torch.zeros(2),
        learner=LEARNERS["reptile"],
        seed=0,
        num_episodes=24_000,
    )
    assert few.num_users > 0
    assert len(episodes.users_ND) == 5 * 16 * few.num_users


def test_text_alone_explains_more_the_longer_it_learns(case):
    _, params, constants, episodes = case
    losses = [_loss({**params, **_passes(case, count)}, constants, episodes) for count in (0, 10, 40)]
    assert losses[2] < losses[1] < losses[0]


def test_unseen_items_rank_higher_for_those_who_went_on_to_choose_them(case):
    whole, params, constants, _ = case
    events = whole.interactions
    owners = np.repeat(np.arange(whole.num_users), np.diff(events.offsets))
    unseen = events.items % 5 == 0
    supports = [
        Support(
            user=str(user),
            items_K=events.items[(owners == user) & ~unseen],
            ratings_K=events.ratings[(owners == user) & ~unseen],
        )
        for user in range(whole.num_users)
    ]
    users = adapt_linearly(
        make_catalogue(params, constants),
        LEARNERS["reptile"],
        features_BT=torch.zeros(len(supports), 2),
        events=batch_supports(supports),
    )
    scores = score_catalogue(make_catalogue({**params, **_passes(case, 10)}, constants), users).numpy()[
        :, ::5
    ]
    chosen = np.zeros((whole.num_users, 60), dtype=bool)
    chosen[owners[unseen], events.items[unseen]] = True
    above = scores - scores.mean(1, keepdims=True)
    assert above[chosen[:, ::5]].mean() > above.std() / 5


def test_items_that_may_not_be_looked_at_change_nothing(case):
    _, params, constants, episodes = case
    known = torch.arange(60) % 3 != 1
    learned = torch.where(known[:, None], params["items.learned"], 7.0)
    other = {**params, "items.learned": learned}
    one = _passes(case, 2, known_V=known)
    again = next(islice(fit_new_items(other, constants, episodes, seed=0, known_V=known), 2, None))
    assert all(torch.equal(one[name], again[name]) for name in (NEW_MAP, NEW_POPULARITY, NEW_LEVEL))
    assert not torch.equal(one[NEW_MAP], _passes(case, 2)[NEW_MAP])


def test_the_same_model_over_other_features_keeps_items_with_events_and_asks_the_map_of_the_rest(case):
    _, params, constants, episodes = case
    other_text = torch.nn.functional.normalize(torch.randn(60, 5, generator=torch.Generator().manual_seed(1)))
    whole = {**params, **_passes(case, 1)}
    other, seen = with_other_texts(whole, constants, [other_text])
    warm = constants.warm_V > 0
    before, after = catalogue_vectors(whole, constants), catalogue_vectors(other, seen)
    torch.testing.assert_close(after[warm], before[warm])
    assert not after[~warm].any()
    placed = {**other, **next(fit_new_items(other, seen, episodes, seed=0))}
    assert placed[NEW_MAP].shape == (5, 8)
    assert catalogue_vectors(placed, seen)[~warm].any(1).all()
