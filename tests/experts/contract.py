"""The contract of experts: `check_expert` runs every check on one kind of expert."""

import numpy as np
import pytest
from tests.experts.worlds import batch_of, context_of, small_world, support_of

from warmprompt.errors import UnknownNameError
from warmprompt.experts import EXPERTS, Mixture
from warmprompt.experts.mixture import ANCHORS
from warmprompt.experts.registry import ORDERED

SUPPORTS = (
    support_of(1, 4),
    support_of(),
    support_of(9),
    support_of(3, 1, 4, 12, 20, 25),
    support_of(ordered=True),
    support_of(20, 2, 7, ordered=True),
)


def fitted(kind):
    """Return an expert of small data; it has texts and times."""
    world = small_world()
    return kind.fit(world, context_of(world))


def check_expert(kind):
    """Run every check on a kind of expert."""
    expert = fitted(kind)
    for check in CHECKS:
        check(expert)


def check_form(expert):
    scores_BV = expert.score(batch_of(*SUPPORTS))
    assert scores_BV.shape == (len(SUPPORTS), expert.num_items)
    assert scores_BV.dtype == np.float32
    assert np.isfinite(scores_BV).all()
    assert expert.score(batch_of()).shape == (0, expert.num_items)


def check_determinism(expert):
    scores_BV = np.array(expert.score(batch_of(*SUPPORTS)))
    np.testing.assert_array_equal(expert.score(batch_of(*SUPPORTS)), scores_BV)
    np.testing.assert_array_equal(fitted(type(expert)).score(batch_of(*SUPPORTS)), scores_BV)


def check_order_of_users(expert):
    scores_BV = expert.score(batch_of(*SUPPORTS))
    turned_BV = expert.score(batch_of(*SUPPORTS[::-1]))[::-1]
    np.testing.assert_allclose(turned_BV, scores_BV, rtol=1e-5, atol=1e-6)


def check_order_repeats_and_company(expert):
    alone = expert.score(batch_of(support_of(3, 1, 4)))[0]
    together = expert.score(batch_of(support_of(1, 4, 3, 1), support_of(5)))[0]
    if expert.from_events:
        assert together.tobytes() == alone.tobytes()
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def check_events(expert):
    """Those that score by events score nothing without any, and pass over dislikes."""
    if not expert.from_events:
        return
    assert not expert.score(batch_of(support_of())).any()
    assert not expert.score(batch_of(support_of(1, 4, ratings=[1.0, 1.5]), least_rating=2.0)).any()
    mixed, liked, unrated = (
        expert.score(batch_of(one, least_rating=2.0))
        for one in (support_of(1, 4, ratings=[5.0, 1.0]), support_of(1, ratings=[5.0]), support_of(1))
    )
    np.testing.assert_array_equal(mixed, liked)
    np.testing.assert_array_equal(unrated, liked)


def check_save_and_load(expert):
    arrays = expert.arrays()
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    back = type(expert).from_arrays(arrays)
    users = batch_of(*SUPPORTS)
    np.testing.assert_array_equal(back.score(users), expert.score(users))
    assert back.num_items == expert.num_items


def check_new_items(expert):
    text_NX = np.random.default_rng(5).standard_normal((2, 4)).astype(np.float32)
    longer = expert.with_items(["blue thing of make 0", "unheard of"], text_NX)
    width = expert.num_items
    before, after = (one.score(batch_of(support_of(1, 4))) for one in (expert, longer))
    np.testing.assert_allclose(after[:, :width], before, rtol=1e-5)
    assert after.shape[1] == longer.num_items
    # A user of nothing but a new item can be scored by all.
    assert longer.score(batch_of(support_of(width))).shape == (1, longer.num_items)


def check_drop(expert):
    every = {name: fitted(kind) for name, kind in EXPERTS.items()} | {expert.name: expert}
    mixture = Mixture(
        experts=every,
        weights={one: 1.0 + 0.5 * rank for rank, one in enumerate(every) if one not in ORDERED},
        ordered={one: np.linspace(1, 2, len(ANCHORS)) for one in every if one in ORDERED},
    )
    users = batch_of(*SUPPORTS)
    whole_BV, parts = mixture.score(users), mixture.contributions(users)
    np.testing.assert_allclose(sum(parts.values()), whole_BV, rtol=1e-5, atol=1e-5)
    without_BV = mixture.score(users, drop=[expert.name])
    np.testing.assert_allclose(without_BV, whole_BV - parts[expert.name], rtol=1e-4, atol=1e-4)
    assert expert.name not in mixture.without(expert.name).experts
    with pytest.raises(UnknownNameError, match="user_vector, popularity"):
        mixture.score(users, drop=["memory"])


CHECKS = (
    check_form,
    check_determinism,
    check_order_of_users,
    check_order_repeats_and_company,
    check_events,
    check_save_and_load,
    check_new_items,
    check_drop,
)
