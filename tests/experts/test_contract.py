"""What every expert promises: learned ones, counted ones, and the closed-form baselines."""

import numpy as np
import pytest
from tests.experts.worlds import batch_of, context_of, small_world, support_of

from warmprompt.baselines.registry import baseline
from warmprompt.data.dataset import take_users
from warmprompt.errors import UnknownNameError
from warmprompt.experts import EXPERTS, Mixture
from warmprompt.experts.registry import LEARNED

COUNTED = [name for name in EXPERTS if name not in LEARNED]
RANKERS = ("toppop", "itemknn", "userknn", "ease", "ials", "content-tfidf", "markov", "blend")


@pytest.fixture(scope="module")
def world():
    return small_world()


@pytest.fixture(scope="module")
def experts(world):
    return {name: kind.fit(world, context_of(world)) for name, kind in EXPERTS.items()}


@pytest.fixture(scope="module")
def scorers(world, experts):
    """Return a function from supports to scores per expert and per baseline."""
    validation = take_users(small_world(num_users=60), np.arange(40, 60))
    rankers = {name: baseline(name)().fit(world, validation, seed=0) for name in RANKERS}
    own = {name: lambda supports, one=one: one.score(batch_of(*supports)) for name, one in experts.items()}
    return own | {name: one.score for name, one in rankers.items()}


SUPPORTS = (support_of(1, 4), support_of(), support_of(9), support_of(3, 1, 4, 12, 20, 25))


@pytest.mark.parametrize("name", [*EXPERTS, *RANKERS])
def test_scores_have_a_row_per_user_and_a_column_per_item(scorers, world, name):
    scores_BV = scorers[name](SUPPORTS)
    assert scores_BV.shape == (len(SUPPORTS), world.num_items)
    assert scores_BV.dtype == np.float32
    assert np.isfinite(scores_BV).all()
    assert scorers[name]([]).shape == (0, world.num_items)


@pytest.mark.parametrize("name", [*EXPERTS, *RANKERS])
def test_scores_are_the_same_each_time_and_in_any_order_of_users(scorers, name):
    scores_BV = np.array(scorers[name](SUPPORTS))
    np.testing.assert_array_equal(scorers[name](SUPPORTS), scores_BV)
    np.testing.assert_allclose(scorers[name](SUPPORTS[::-1]), scores_BV[::-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", COUNTED)
def test_order_repeats_and_company_change_no_bit(scorers, name):
    alone = scorers[name]([support_of(3, 1, 4)])[0]
    together = scorers[name]([support_of(1, 4, 3, 1), support_of(5)])[0]
    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize("name", COUNTED)
def test_users_without_events_score_nothing(experts, name):
    assert not experts[name].score(batch_of(support_of())).any()
    disliked = batch_of(support_of(1, 4, ratings=[1.0, 1.5]), least_rating=2.0)
    assert not experts[name].score(disliked).any()


@pytest.mark.parametrize("name", COUNTED)
def test_disliked_events_do_not_count(experts, name):
    mixed, liked, unrated = (
        experts[name].score(batch_of(one, least_rating=2.0))
        for one in (support_of(1, 4, ratings=[5.0, 1.0]), support_of(1, ratings=[5.0]), support_of(1))
    )
    np.testing.assert_array_equal(mixed, liked)
    np.testing.assert_array_equal(unrated, liked)


@pytest.mark.parametrize("name", EXPERTS)
def test_arrays_bring_every_bit_back(experts, name):
    arrays = experts[name].arrays()
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    back = EXPERTS[name].from_arrays(arrays)
    users = batch_of(*SUPPORTS)
    np.testing.assert_array_equal(back.score(users), experts[name].score(users))
    assert back.num_items == experts[name].num_items


@pytest.mark.parametrize("name", EXPERTS)
def test_new_items_leave_the_others_as_they_are(experts, world, name):
    rng = np.random.default_rng(5)
    longer = experts[name].with_items(
        ["blue thing of make 0", "unheard of"], rng.standard_normal((2, 4)).astype(np.float32)
    )
    users = batch_of(support_of(1, 4))
    width = world.num_items
    before, after = experts[name].score(users), longer.score(users)
    np.testing.assert_allclose(after[:, :width], before, rtol=1e-5)
    assert after.shape[1] == longer.num_items
    # Who has nothing but a new item is scored by those experts alone that know it by its text.
    new = batch_of(support_of(width))
    assert longer.score(new).shape == (1, longer.num_items)


@pytest.mark.parametrize("name", EXPERTS)
def test_a_dropped_expert_takes_exactly_its_part_along(experts, name):
    mixture = Mixture(experts=experts, weights={one: 1.0 + 0.5 * at for at, one in enumerate(experts)})
    users = batch_of(*SUPPORTS)
    whole_BV, parts = mixture.score(users), mixture.contributions(users)
    np.testing.assert_allclose(sum(parts.values()), whole_BV, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        mixture.score(users, drop=[name]), whole_BV - parts[name], rtol=1e-4, atol=1e-4
    )
    assert name not in mixture.without(name).experts
    with pytest.raises(UnknownNameError, match="user_vector, popularity"):
        mixture.score(users, drop=["memory"])


def test_kappa_is_the_number_of_events_at_which_counted_experts_weigh_half(experts):
    weights = dict.fromkeys(experts, 1.0)
    plain, damped = (Mixture(experts=experts, weights=weights, kappa=kappa) for kappa in (0.0, 2.0))
    for items in ((1, 4), (1, 4, 9, 12, 20, 25)):
        users = batch_of(support_of(*items, items[0]))
        whole, less = plain.contributions(users), damped.contributions(users)
        for name in experts:
            share = 1.0 if name in LEARNED else len(items) / (len(items) + 2)
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
    weights = {name: float(at + 1) for at, name in enumerate(counted)}
    mixture = Mixture(experts=counted, weights=weights, kappa=1.5)
    back = Mixture.from_arrays(mixture.arrays(), weights=weights, kappa=1.5)
    users = batch_of(*SUPPORTS)
    np.testing.assert_array_equal(back.score(users), mixture.score(users))
    assert Mixture.from_arrays({}, weights={}, kappa=0.0).score(users).shape == (len(SUPPORTS), 0)
