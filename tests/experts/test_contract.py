"""Every expert keeps the contract; the closed-form baselines keep the part of it that they share."""

import numpy as np
import pytest
from tests.experts.contract import CHECKS, SUPPORTS, fitted
from tests.experts.worlds import batch_of, small_world, support_of

from warmprompt.baselines.registry import baseline
from warmprompt.data.dataset import take_users
from warmprompt.experts import EXPERTS, Mixture
from warmprompt.experts.registry import LEARNED, ORDERED

COUNTED = [name for name in EXPERTS if name not in (*LEARNED, *ORDERED)]
RANKERS = ("toppop", "itemknn", "userknn", "ease", "ials", "content-tfidf", "markov", "blend")


@pytest.fixture(scope="module")
def experts():
    return {name: fitted(kind) for name, kind in EXPERTS.items()}


@pytest.mark.parametrize("name", EXPERTS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_expert_keeps_the_contract(experts, name, check):
    check(experts[name])


@pytest.mark.parametrize("name", RANKERS)
def test_a_baseline_keeps_the_contract_of_scores(name):
    world = small_world()
    validation = take_users(small_world(num_users=60), np.arange(40, 60))
    ranker = baseline(name)().fit(world, validation, seed=0)
    scores_BV = ranker.score(SUPPORTS)
    assert scores_BV.shape == (len(SUPPORTS), world.num_items)
    assert scores_BV.dtype == np.float32
    assert np.isfinite(scores_BV).all()
    np.testing.assert_array_equal(ranker.score(SUPPORTS), scores_BV)
    np.testing.assert_allclose(ranker.score(SUPPORTS[::-1])[::-1], scores_BV, rtol=1e-5, atol=1e-6)
    assert ranker.score([]).shape == (0, world.num_items)


def test_kappa_is_the_number_of_events_at_which_experts_of_events_weigh_half(experts):
    weights = dict.fromkeys(experts, 1.0)
    plain, damped = (Mixture(experts=experts, weights=weights, kappa=kappa) for kappa in (0.0, 2.0))
    for items in ((1, 4), (1, 4, 9, 12, 20, 25)):
        users = batch_of(support_of(*items, items[0]))
        whole, less = plain.contributions(users), damped.contributions(users)
        for name, expert in experts.items():
            share = len(items) / (len(items) + 2) if expert.from_events else 1.0
            np.testing.assert_allclose(less[name], whole[name] * share, rtol=1e-5)


def test_the_description_lists_every_expert_with_its_cost(experts):
    mixture = Mixture(experts=experts, weights=dict.fromkeys(experts, 2.0))
    rows = mixture.describe(batch_of(*SUPPORTS))
    assert [row.name for row in rows] == list(EXPERTS)
    for row in rows:
        arrays = experts[row.name].arrays().values()
        assert row.num_parameters == sum(array.size for array in arrays)
        assert row.num_bytes == sum(array.nbytes for array in arrays)
        assert row.microseconds >= 0
        assert row.weight == 2.0


def test_a_mixture_comes_back_from_its_arrays(experts):
    counted = {name: experts[name] for name in COUNTED}
    weights = {name: float(rank) for rank, name in enumerate(counted, start=1)}
    mixture = Mixture(experts=counted, weights=weights, kappa=1.5)
    back = Mixture.from_arrays(mixture.arrays(), weights=weights, kappa=1.5, ordered={})
    users = batch_of(*SUPPORTS)
    np.testing.assert_array_equal(back.score(users), mixture.score(users))
    assert Mixture.from_arrays({}, weights={}, kappa=0.0, ordered={}).score(users).shape == (len(SUPPORTS), 0)
