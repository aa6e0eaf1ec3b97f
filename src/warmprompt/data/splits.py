"""User-disjoint splits: 70 % meta-train, 10 % validation, 20 % test (PROTOCOL, "Users")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset
from warmprompt.rng import derive
from warmprompt.types import short_repr


@dataclass(frozen=True, kw_only=True, eq=False)
class UserSplit:
    """Sorted, disjoint user indexes that together are all users with an event."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    __repr__ = short_repr


def split_dataset(dataset: Dataset, *, seed: int) -> UserSplit:
    """Split the users who have an event, as `split_users` does; the others are in no part."""
    met = np.flatnonzero(np.diff(dataset.interactions.offsets) > 0)
    split = split_users(len(met), seed=seed)
    return UserSplit(train=met[split.train], validation=met[split.validation], test=met[split.test])


def split_users(num_users: int, *, seed: int) -> UserSplit:
    """Split users at random; the same seed gives the same split.

    Sizes are 10 % validation and 20 % test, both rounded to the nearest whole user; the rest trains.
    """
    order = derive(seed, "split").permutation(num_users)
    num_test, num_validation = round(0.2 * num_users), round(0.1 * num_users)
    test, validation, train = np.split(order, [num_test, num_test + num_validation])
    return UserSplit(train=np.sort(train), validation=np.sort(validation), test=np.sort(test))
