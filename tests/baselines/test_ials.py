"""iALS against the normal equations of Hu, Koren & Volinsky, written out densely."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from warmprompt.baselines import baseline
from warmprompt.data.factors import fit_ials, fit_item_factors
from warmprompt.data.matrices import user_item_matrix
from warmprompt.errors import BadInputError
from warmprompt.types import Support

SETTINGS = {"num_factors": 6, "regularization": 2.0, "alpha": 4.0, "num_iterations": 20, "seed": 0}


@pytest.fixture(scope="module")
def data(worlds):
    """Return random histories over 25 of 27 items."""
    return worlds.make_dataset(
        [np.random.default_rng(user).permutation(25)[: 3 + user % 9].tolist() for user in range(40)],
        num_items=27,
    )


def _solve(vectors, liked, *, regularization, alpha):
    """Return the x of (sum_i c_i y_i y_i' + r I) x = sum_i c_i p_i y_i with c = alpha where liked, else 1."""
    confidence = np.where(liked, alpha, 1.0)
    left = (vectors * confidence[:, None]).T @ vectors + regularization * np.eye(vectors.shape[1])
    return np.linalg.solve(left, (vectors * (confidence * liked)[:, None]).sum(axis=0))


def test_a_new_user_is_folded_in_by_the_normal_equation(data):
    ranker = baseline("ials", num_factors=6, regularization=2.0, alpha=4.0)().fit(data, data, seed=0)
    items = np.array([1, 4, 9, 16], dtype=np.int32)
    scores = ranker.score(
        [Support(user="new", items_K=items, ratings_K=np.full(4, np.nan, dtype=np.float32))]
    )[0]
    vectors = ranker.model.item_factors.astype(np.float64)
    expected = vectors @ _solve(vectors, np.isin(np.arange(27), items), regularization=2.0, alpha=4.0)
    assert scores == pytest.approx(expected, abs=1e-5)  # float32 Cholesky, scores below 1


def test_fitting_reaches_a_point_where_every_normal_equation_holds(data):
    model = fit_ials(data, **{**SETTINGS, "num_iterations": 200})
    liked = user_item_matrix(data).toarray() > 0
    users, items = model.user_factors.astype(np.float64), model.item_factors.astype(np.float64)
    for item in range(25):
        # The last half-step solves the items, three conjugate-gradient steps at a time.
        assert items[item] == pytest.approx(
            _solve(users, liked[:, item], regularization=2.0, alpha=4.0), abs=2e-3 * np.abs(items).max()
        )


def test_one_seed_gives_one_result_whatever_the_number_of_threads_around(data):
    with threadpool_limits(limits=1):
        one = fit_item_factors(data, **SETTINGS)
    with threadpool_limits(limits=2):
        other = fit_item_factors(data, **SETTINGS)
    assert (one == other).all()
    assert not (one == fit_item_factors(data, **{**SETTINGS, "seed": 1})).all()


def test_item_factors_have_one_row_per_item_and_zeros_without_events(data):
    factors = fit_item_factors(data, **SETTINGS)
    assert factors.shape == (27, 6)
    assert factors.dtype == np.float32
    assert (factors[25:] == 0).all()
    assert (np.abs(factors[:25]).sum(axis=1) > 0).all()


def test_the_matrix_holds_one_per_user_and_item_however_often(worlds):
    data = worlds.make_dataset([[2, 0, 2], [], [1]])
    assert user_item_matrix(data).toarray().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    "wrong", [{"num_factors": 0}, {"regularization": -1.0}, {"alpha": 0.0}, {"num_iterations": 0}]
)
def test_settings_out_of_range_are_refused(data, wrong):
    with pytest.raises(BadInputError, match=next(iter(wrong))):
        fit_item_factors(data, **{**SETTINGS, **wrong})


def test_a_data_set_without_events_is_refused(worlds):
    with pytest.raises(BadInputError, match="with events"):
        fit_item_factors(worlds.make_dataset([[], []], num_items=3), **SETTINGS)
