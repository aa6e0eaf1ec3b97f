"""Where learning starts: what the prior says of texts, and where new items stand."""

import numpy as np
import torch
from sklearn.linear_model import Ridge
from tests.meta.worlds import ready_world

from warmprompt.data.dataset import keep_events
from warmprompt.meta.initial import ItemStart, initial_items, read_prior
from warmprompt.meta.model import catalogue_vectors, support_vectors


def test_the_prior_starts_at_the_ridge_regression_of_users_on_their_texts():
    world = ready_world(num_users=80, num_items=30)
    training = world.material.training
    texts_of_users = [
        (user, world.material.features[text])
        for user, texts in enumerate(world.material.texts.texts)
        for text in texts
    ]
    found = read_prior(world.params, world.material.data, training, texts_of_users)
    vectors = support_vectors(world.params, world.material.data).numpy()
    counts = np.bincount(training.interactions.items, minlength=training.num_items)
    mean = counts @ vectors / counts.sum()
    users = np.array(
        [
            (vectors[training.interactions.items[training.interactions.events_of(user)]] - mean).sum(0)
            * 1.6
            / (np.diff(training.interactions.offsets)[user] + 10.0)
            for user in range(training.num_users)
        ]
    )
    ridge = Ridge(alpha=3.0, fit_intercept=False)
    of_text = [user for user, _ in texts_of_users]
    # The texts of a user share one weight.
    weights = 1 / np.bincount(of_text)[of_text]
    ridge.fit(np.array([one.numpy() for _, one in texts_of_users]), users[of_text] - users.mean(0), weights)
    np.testing.assert_allclose(found["prior.start"].numpy(), users.mean(0), atol=1e-5)
    np.testing.assert_allclose(found["prior.text_head"].numpy(), ridge.coef_.T, atol=1e-4)


def test_a_new_item_stands_where_its_text_puts_it():
    # Two groups of items whose texts tell them apart: an unseen item of a group lies nearer to its own.
    world = ready_world(num_users=200, num_items=60)
    tastes = np.asarray(world.planted.item_tastes)
    text = np.eye(3, dtype=np.float32)[tastes]
    new = np.flatnonzero(tastes == 0)[0]
    training = keep_events(world.material.training, world.material.training.interactions.items != new)
    params, constants = initial_items(training, text, ItemStart(num_factors=8, regularization=5.0), seed=0)
    vectors = torch.nn.functional.normalize(catalogue_vectors(params, constants), dim=1)
    likeness = (vectors @ vectors[new]).numpy()
    own = (tastes == 0) & (np.arange(len(tastes)) != new)
    assert constants.warm_V[new] == 0
    assert likeness[own].mean() > likeness[tastes != 0].mean() + 0.3
