"""The trained baselines against planted worlds, and the parts they share against direct computation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from warmprompt.baselines import baseline
from warmprompt.baselines.neural import Epochs, adamw, padded, seeded, train_net
from warmprompt.data.dataset import take_users
from warmprompt.errors import BadInputError, NotFiniteError
from warmprompt.scoring.validation import draw_validation_episodes, mean_ndcg
from warmprompt.types import Support

LEARNERS = {
    "set-encoder": {"num_factors": 16, "regularization": 3, "alpha": 5, "num_epochs": 20},
    "multvae": {"num_hidden": 32, "num_latent": 16, "dropout": 0.5, "rate": 1e-2, "num_epochs": 30},
    "lightfm": {"width": 16, "own_l2": 3.0, "num_epochs": 20},
    "melu": {"width": 16, "layer_width": 16, "rate": 3e-2, "num_epochs": 6},
}


@pytest.fixture(scope="module")
def views(world):
    """Return training, validation and unseen users."""
    return tuple(take_users(world.dataset, np.arange(*ends)) for ends in ((0, 200), (200, 240), (240, 300)))


def _support(items, attributes=None):
    ratings = np.full(len(items), np.nan, dtype=np.float32)
    items = np.array(items, dtype=np.int32)
    return Support(user="new", items_K=items, ratings_K=ratings, attributes=attributes or {})


@pytest.mark.parametrize("name", LEARNERS)
def test_planted_tastes_of_unseen_users_are_found(share_inside, views, name):
    training, validation, _ = views
    ranker = baseline(name, **LEARNERS[name])().fit(training, validation, seed=0)
    assert share_inside(ranker) > 0.8


@pytest.mark.parametrize("name", ["lightfm", "melu"])
def test_attributes_alone_tell_the_planted_taste(world, views, name):
    training, validation, _ = views
    ranker = baseline(name, **LEARNERS[name])().fit(training, validation, seed=0)
    found = []
    for taste in range(4):
        user = next(user for user in range(200) if world.user_tastes[user][0] == taste)
        occupations = [
            world.dataset.users["occupation"][other]
            for other in range(200)
            if world.user_tastes[other] == world.user_tastes[user]
        ]
        usual = max(set(occupations), key=occupations.count)
        scores = ranker.score([_support([], {"occupation": usual})])[0]
        found.append(world.loved(user)[np.argsort(-scores)[:8]].mean())
    assert np.mean(found) > 0.7


def test_sasrec_names_the_next_item_of_a_planted_cycle(worlds):
    cycle = [[(start + step) % 20 for step in range(12)] for start in range(20)] * 8
    data = worlds.make_dataset(cycle)
    settings = {"width": 32, "num_blocks": 1, "num_negatives": 20, "dropout": 0.0, "rate": 1e-2}
    ranker = baseline("sasrec", num_epochs=30, **settings)().fit(
        data, take_users(data, np.arange(20)), seed=0
    )
    scores = ranker.score([_support([item, item + 1, item + 2]) for item in range(17)])
    assert (scores.argmax(axis=1) == np.arange(17) + 3).mean() >= 0.95


def test_the_set_encoder_starts_at_a_first_order_ials_fold_in(views):
    training, validation, _ = views
    settings = {"num_factors": 8, "regularization": 3.0, "alpha": 5.0, "use_ratings": 0}
    start = baseline("set-encoder", rate=1e-12, vector_rate=1e-12, num_epochs=1, **settings)()
    ranker = start.fit(training, validation, seed=0)
    from warmprompt.baselines.neural import log_share
    from warmprompt.data.factors import fit_item_factors

    factors = fit_item_factors(
        training, num_factors=8, regularization=3.0, alpha=5.0, num_iterations=15, seed=0
    ).astype(np.float64)
    items = [3, 10, 21]
    user = 5.0 * np.linalg.solve(factors.T @ factors + 3.0 * np.eye(8), factors[items].sum(0))
    # The attention and the network on top start at zero, the gain of K events at K^.27 / sqrt(K).
    logits = 32 * 3**0.27 / np.sqrt(3) * factors @ user + 0.8 * log_share(training)
    expected = logits - np.log(np.exp(logits).sum())
    assert ranker.score([_support(items)])[0] == pytest.approx(expected, abs=1e-3)  # float32 inverse


def test_several_set_encoders_average_their_log_probabilities(views):
    training, validation, _ = views
    pair = baseline("set-encoder", num_models=2, num_factors=8, num_epochs=1)().fit(
        training, validation, seed=0
    )
    supports = [_support([1, 2, 3])]
    alone = [replace(pair, nets=(net,)).score(supports) for net in pair.nets]
    assert pair.score(supports) == pytest.approx((alone[0] + alone[1]) / 2, abs=1e-5)
    assert pair.num_parameters == 2 * replace(pair, nets=pair.nets[:1]).num_parameters


def test_ratings_reach_the_set_encoder_only_where_asked_for(views):
    training, validation, _ = views
    settings = {"num_factors": 8, "num_epochs": 3}
    one, five = (
        replace(_support([1, 2, 3]), ratings_K=np.full(3, rating, np.float32)) for rating in (1.0, 5.0)
    )
    deaf, hearing = (
        baseline("set-encoder", use_ratings=flag, **settings)().fit(training, validation, seed=0)
        for flag in (0, 1)
    )
    assert (deaf.score([one]) == deaf.score([five])).all()
    assert not (hearing.score([one]) == hearing.score([five])).all()


def test_lightfm_folds_in_to_the_minimum_of_its_own_loss(views):
    training, validation, _ = views
    ranker = baseline("lightfm", width=4, num_epochs=3)().fit(training, validation, seed=0)
    with torch.no_grad():
        vectors, bias = ranker.net.items().double(), ranker.net.biases().double()
    items = torch.tensor([2, 6, 10])
    own = torch.zeros(4, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([own], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def loss():
        optimizer.zero_grad()
        fit = -torch.log_softmax(vectors @ own + bias, 0)[items].mean()
        value = fit + 0.5 * ranker.own_l2 / 3 * own.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    expected = (vectors @ own + bias).detach().numpy()
    scores = ranker.score([_support([2, 6, 10])])[0]
    # Thirty steps of Adam end near the minimum, not at it.
    assert scores == pytest.approx(expected, abs=0.03 * float(np.ptp(expected)))


def test_melu_steps_equal_gradient_steps_written_out(views):
    training, validation, _ = views
    settings = {"width": 4, "layer_width": 4, "num_steps": 2, "inner_rate": 0.3, "num_epochs": 1}
    ranker = baseline("melu", **settings)().fit(training, validation, seed=0)
    net, items = ranker.net, [1, 5]
    vectors = net.items().detach()
    layers = {name: one.detach().clone().requires_grad_() for name, one in net.layers().items()}

    def decide(rows):
        one = torch.relu(rows[:, :-1] @ layers["first"][:, 4:].T + layers["first_bias"])
        two = torch.relu(one @ layers["second"].T + layers["second_bias"])
        return (two @ layers["last"].T)[:, 0] + rows[:, -1]

    for _ in range(2):
        wrong = decide(vectors[ranker.negatives_M])
        logits = [torch.cat([right[None], wrong]) for right in decide(vectors[items])]
        loss = -torch.stack([one.log_softmax(0)[0] for one in logits]).mean()
        slopes = torch.autograd.grad(loss, list(layers.values()))
        layers = {
            name: (one - 0.3 * slope).detach().requires_grad_()
            for (name, one), slope in zip(layers.items(), slopes, strict=True)
        }
    expected = decide(vectors).detach().numpy()
    assert ranker.score([_support(items)])[0] == pytest.approx(expected, abs=1e-4)


def test_training_keeps_the_best_weights_and_stops_when_patience_ends():
    net = torch.nn.Linear(1, 1, bias=False)
    seen = []

    def value():
        seen.append(net.weight.item())
        return -abs(len(seen) - 3)  # best at the third look, after the second epoch

    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    plan = Epochs(num_epochs=50, patience=2, look_every=1, decay=0.0)
    train_net(net, optimizer, lambda _: [np.arange(1)], lambda *_: net.weight.sum(), value, plan)
    assert len(seen) == 5
    assert net.weight.item() == seen[2]
    assert not net.training


def test_what_is_looked_at_is_the_running_average_of_the_weights():
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(net.weight, 8.0)
    seen, weights = [], []

    def loss(*_):
        weights.append(net.weight.item())
        return net.weight.sum()

    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    plan = Epochs(num_epochs=4, look_every=1, decay=0.3)
    train_net(
        net, optimizer, lambda _: [np.arange(1)], loss, lambda: seen.append(net.weight.item()) or 0.0, plan
    )
    mean = 8.0
    for step, weight in enumerate(weights[1:], start=1):  # the weight that the next step starts from
        decay = min(0.3, step / (step + 9))
        mean = decay * mean + (1 - decay) * weight
        assert seen[step] == pytest.approx(mean, abs=1e-5)
    assert net.weight.item() == 8.0  # no look was better than the first


def test_a_loss_that_is_not_finite_names_its_epoch():
    net = torch.nn.Linear(1, 1, bias=False)
    with pytest.raises(NotFiniteError, match="epoch 0"):
        train_net(
            net,
            adamw(net, rate=0.1),
            lambda _: [np.arange(1)],
            lambda *_: net.weight.sum() * float("nan"),
            lambda: 0.0,
            Epochs(num_epochs=1),
        )


def test_seeded_blocks_leave_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(0, "a"):
        one = torch.rand(3)
    with seeded(0, "a"):
        again = torch.rand(3)
    assert (torch.rand(3) == expected).all()
    assert (one == again).all()


def test_padding_keeps_one_event_per_item():
    items, ratings, mask = padded(
        [replace(_support([7, 2, 7]), ratings_K=np.array([1, 2, 3], np.float32)), _support([])]
    )
    assert items[0].tolist() == [2, 7]
    assert ratings[0].tolist() == [2, 3]
    assert mask.tolist() == [[True, True], [False, False]]
    assert padded([_support([])])[0].shape == (1, 1)


def test_the_probe_asks_for_held_out_events_of_validation_users(views):
    training, validation, _ = views
    episodes = draw_validation_episodes(training, validation, seed=0, ks=(3,))
    assert len(episodes.supports[3]) == 40
    for support, query in zip(episodes.supports[3], episodes.queries[3], strict=True):
        user = validation.user_ids.index(support.user)
        own = validation.interactions.items[validation.interactions.events_of(user)]
        assert set(support.items_K) | set(query) <= set(own)
        assert not set(support.items_K) & set(query)
    perfect = mean_ndcg(lambda supports: _cheat(supports, episodes), episodes)
    assert perfect == pytest.approx(1.0)


def _cheat(supports, episodes):
    answers = {
        support.user: query for support, query in zip(episodes.supports[3], episodes.queries[3], strict=True)
    }
    scores = np.zeros((len(supports), 60), dtype=np.float32)
    for row, support in zip(scores, supports, strict=True):
        # All different, since ties count against a model.
        row[answers[support.user]] = 1 + np.arange(len(answers[support.user]))
    return scores


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("set-encoder", {"rate": 0}),
        ("set-encoder", {"num_epochs": 0}),
        ("multvae", {"dropout": 1.0}),
        ("lightfm", {"own_l2": 0}),
        ("sasrec", {"width": 7}),
        ("melu", {"inner_rate": 0}),
    ],
)
def test_settings_out_of_range_are_refused(views, name, wrong):
    with pytest.raises(BadInputError, match=next(iter(wrong))):
        baseline(name, **wrong)().fit(views[0], views[1], seed=0)
