"""Order is used where it predicts validation users, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.assembly.small import small_settings
from tests.evaluation.worlds import make_dataset
from tests.experts.worlds import context_of, support_of

from warmprompt.adaptation.describe import model_description
from warmprompt.adaptation.opening import open_engine
from warmprompt.data.dataset import take_users
from warmprompt.data.splits import split_dataset
from warmprompt.experts.mixture import ANCHORS
from warmprompt.experts.popularity import Popularity
from warmprompt.runs.format import load_trained
from warmprompt.training.order import choose_half_life, choose_order, order_line
from warmprompt.training.run import train_run

NUM_ITEMS, DAY_S = 30, 86_400
NAMES = ("position_popularity", "transitions", "ordered_ridge")


def _circle(*, shuffled):
    """Return users who walk a circle of items from anywhere, or have the same items in any order."""
    rng = np.random.default_rng(0)
    histories = [[(start + step) % NUM_ITEMS for step in range(12)] for start in rng.integers(0, 30, 150)]
    return make_dataset([rng.permutation(one).tolist() for one in histories] if shuffled else histories)


@pytest.fixture(scope="module")
def in_order():
    return _circle(shuffled=False)


@pytest.fixture(scope="module")
def run(in_order, tmp_path_factory):
    """Return the folder of a run whose events have a planted order, and the lines of its training."""
    lines = []
    folder = tmp_path_factory.mktemp("order") / "run"
    train_run(
        small_settings("experts.use=", f"experts.order={','.join(NAMES)}"),
        folder,
        dataset=in_order,
        progress=lines.append,
    )
    return folder, lines


def test_a_planted_order_is_found_and_kept(run, in_order):
    folder, lines = run
    trained = load_trained(folder)
    found = trained.manifest["order"]
    assert {"transitions", "ordered_ridge"} & set(trained.experts.ordered)
    assert found["ndcg"]["5"] > found["without"]["5"] + 0.2
    assert found["half_life_days"] is None
    assert found["horizon"] == 10
    assert order_line(found) in lines
    engine = open_engine(trained)
    walked, same = support_of(3, 4, 5, ordered=True), support_of(3, 4, 5)
    scores_2V = engine.mixture.score(engine.users(torch.zeros(2, 4), [walked, same]))
    ahead = [6, 7, 8]
    gained_V = scores_2V[0] - scores_2V[1]
    assert gained_V[ahead].min() > np.delete(gained_V, ahead).max()


def test_scores_without_an_order_are_those_without_experts_of_order(run):
    trained = load_trained(run[0])
    engine = open_engine(trained)
    users = engine.users(torch.randn(2, 4, generator=torch.manual_seed(0)), [support_of(3, 4), support_of()])
    plain = engine.mixture.without(*NAMES)
    np.testing.assert_array_equal(engine.mixture.score(users), plain.score(users))


def _first_and_rest():
    """Return users whose first event is one of ten items and all later ones are of fifteen others."""
    rng = np.random.default_rng(3)
    later = np.arange(10, 25)
    histories = [[rng.integers(10), *rng.permutation(later)[:11]] for _ in range(800)]
    return make_dataset([list(map(int, one)) for one in histories], num_items=25)


def test_runs_of_two_horizons_rank_another_list_and_each_wins_on_its_own(tmp_path):
    """Ten items come next with p = 1/10 each; fifteen others are among the next ten with p = 3/5 each."""
    dataset = _first_and_rest()
    trained = {
        horizon: train_run(
            small_settings("experts.use=", f"experts.order={','.join(NAMES)}", f"experts.horizon={horizon}"),
            tmp_path / f"horizon-{horizon}",
            dataset=dataset,
        )
        for horizon in (1, 10)
    }
    events, tested = dataset.interactions, split_dataset(dataset, seed=0).test
    histories = [events.items[events.events_of(user)] for user in tested]
    found, unordered = {}, {}
    for horizon, one in trained.items():
        engine = open_engine(load_trained(tmp_path / f"horizon-{horizon}"))
        assert one.manifest["order"]["horizon"] == horizon
        assert f"order: horizon {horizon}, NDCG@10" in str(model_description(engine, "small"))
        stranger = engine.users(torch.zeros(1, 4), [support_of(ordered=True)])
        best = np.argsort(-engine.mixture.score(stranger)[0])[:10]
        found[horizon] = [np.mean([np.isin(items[:n], best).sum() for items in histories]) for n in (1, 10)]
        users = engine.users(torch.ones(2, 4), [support_of(), support_of(3, 12, 14)])
        unordered[horizon] = engine.mixture.score(users)
    assert found[1][0] > found[10][0] + 0.5
    assert found[10][1] > found[1][1] + 3
    np.testing.assert_array_equal(unordered[1], unordered[10])


def _without_order(folder):
    trained = load_trained(folder)
    return replace(trained, experts=trained.experts.without(*NAMES))


def _judged(dataset, trained, *, names=NAMES):
    split = split_dataset(dataset, seed=0)
    training, validation = (take_users(dataset, users) for users in (split.train, split.validation))
    no_text_T = torch.zeros(len(trained.params["prior.text_head"]))
    return choose_order(trained, training, validation, context_of(training), names=names, no_text_T=no_text_T)


def test_weights_are_there_for_every_k_and_histories_without_an_order_get_little(run, in_order):
    trained = _without_order(run[0])
    mixture, planted = _judged(in_order, trained)
    assert all(len(weights) == len(ANCHORS) for weights in mixture.ordered.values())
    _, shuffled = _judged(_circle(shuffled=True), trained)

    def gain(found):
        return np.mean(list(found["ndcg"].values())) - np.mean(list(found["without"].values()))

    assert gain(shuffled) < gain(planted) / 3


def test_no_expert_of_order_is_no_order(run, in_order):
    trained = _without_order(run[0])
    mixture, found = _judged(in_order, trained, names=())
    assert mixture is trained.experts
    assert found == {}
    assert "not judged" in order_line(found)


def _fashions(*, change):
    """Return users who come one a day and begin with what is in fashion: another ten items every 70 days."""
    rng = np.random.default_rng(1)
    histories, times = [], []
    for day in range(200):
        first = 10 * (day // 70) if change else 0
        histories.append((first + rng.permutation(10)[:6]).tolist())
        times.append([day * DAY_S + step for step in range(6)])
    return make_dataset(histories, times=times, num_items=NUM_ITEMS)


def test_recent_events_count_more_where_fashions_change():
    changing, steady = (_fashions(change=change) for change in (True, False))
    assert choose_half_life(changing, context_of(changing)) in (30.0, 60.0)
    assert choose_half_life(steady, context_of(steady)) is None
    timeless = _circle(shuffled=False)
    assert choose_half_life(timeless, context_of(timeless)) is None


def test_order_is_reported_in_the_list_of_experts(run):
    trained = load_trained(run[0])
    engine = open_engine(trained)
    rows = {row.name: row for row in engine.mixture.describe(engine.users(torch.zeros(0, 4), []))}
    for name, weights in trained.experts.ordered.items():
        assert rows[name].weights_by_events == dict(zip(ANCHORS, weights, strict=True))
    assert not rows[Popularity.name].weights_by_events
