"""Item vectors by implicit-feedback matrix factorisation (iALS), on one thread so that a seed fixes them.

Two users of this file: the iALS baseline folds new users into the factors, and
the model may start its learned item vectors from them. N is users, V items, D factors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from warmprompt.data.dataset import Dataset
from warmprompt.data.matrices import user_item_matrix
from warmprompt.errors import BadInputError, NotFiniteError
from warmprompt.rng import derive_seed
from warmprompt.types import Floats


def fit_item_factors(
    dataset: Dataset,
    *,
    num_factors: int,
    regularization: float,
    alpha: float,
    num_iterations: int,
    seed: int,
) -> Floats:
    """Return one vector per item, (V, D) float32; items without events get zeros.

    Arguments and errors are those of `fit_ials`.
    """
    model = fit_ials(
        dataset,
        num_factors=num_factors,
        regularization=regularization,
        alpha=alpha,
        num_iterations=num_iterations,
        seed=seed,
    )
    return np.asarray(model.item_factors, dtype=np.float32)


def fit_ials(
    dataset: Dataset,
    *,
    num_factors: int,
    regularization: float,
    alpha: float,
    num_iterations: int,
    seed: int,
) -> Any:
    """Return a fitted `implicit.cpu.als.AlternatingLeastSquares` over all of the data set's users.

    Every event counts as liked, whatever its rating: preference 1 with confidence `alpha`, times its
    strength where the data set has weights, and preference 0 with confidence 1 for every other item.

    `implicit` promises no fixed result on several threads: threaded BLAS sums in another order from
    one thread count to the next, and rounding then grows over the iterations. Here both `implicit`
    and BLAS run on one thread, so one seed gives one result, bit for bit, on one machine.

    Args:
        dataset: Users and items; duplicate events of a user with an item count once.
        num_factors: D, at least 1.
        regularization: Added to the diagonal of each user's and item's normal equation, >= 0.
        alpha: Confidence of an event, > 0.
        num_iterations: Alternations; each solves all users, then all items.
        seed: Draws the starting factors.

    Raises:
        BadInputError: A setting out of range, or a data set without events.
        NotFiniteError: The factors diverged.

    Source: Hu, Koren & Volinsky 2008, eq. 4 and 5.
    """
    # Imported here: ranking fits no factors.
    from implicit.cpu.als import AlternatingLeastSquares

    _check(dataset, num_factors, regularization, alpha, num_iterations)
    with threadpool_limits(limits=1):
        model = AlternatingLeastSquares(
            factors=num_factors,
            regularization=regularization,
            alpha=alpha,
            iterations=num_iterations,
            num_threads=1,
            random_state=derive_seed(seed, "ials"),
        )
        model.fit(user_item_matrix(dataset, weighted=True), show_progress=False)
        model.YtY  # noqa: B018 - computed and kept here, on one thread, for every later fold-in
    if not np.isfinite(model.item_factors).all():
        raise NotFiniteError(
            field="iALS item factors",
            value="NaN or infinite",
            remedy="Raise the regularization or lower alpha.",
        )
    return model


def _check(
    dataset: Dataset, num_factors: int, regularization: float, alpha: float, num_iterations: int
) -> None:
    if num_factors < 1:
        raise BadInputError(field="num_factors", value=num_factors, remedy="Give at least 1.")
    if not regularization >= 0:
        raise BadInputError(field="regularization", value=regularization, remedy="Give 0 or more.")
    if not alpha > 0:
        raise BadInputError(field="alpha", value=alpha, remedy="Give a number above 0.")
    if num_iterations < 1:
        raise BadInputError(field="num_iterations", value=num_iterations, remedy="Give at least 1.")
    if len(dataset.interactions) == 0:
        raise BadInputError(field="data set", value=dataset.name, remedy="Give a data set with events.")
