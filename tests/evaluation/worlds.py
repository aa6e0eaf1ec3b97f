"""Small data sets for the tests of this folder."""

from __future__ import annotations

import numpy as np
import polars as pl

from warmprompt.data.dataset import Dataset, Interactions


def make_dataset(histories, *, ratings=None, times=None, num_items=None, attributes=None):
    """Return a data set from a list of item lists, one per user."""
    lengths = [len(history) for history in histories]
    items = np.array([item for history in histories for item in history], dtype=np.int32)
    size = num_items if num_items is not None else int(items.max(initial=-1)) + 1
    users = tuple(f"u{number}" for number in range(len(histories)))
    return Dataset(
        name="small",
        content_hash="0" * 64,
        user_ids=users,
        item_ids=tuple(range(size)),
        interactions=Interactions(
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            items=items,
            ratings=None
            if ratings is None
            else np.array([r for rs in ratings for r in rs], dtype=np.float32),
            times_s=None if times is None else np.array([t for ts in times for t in ts], dtype=np.int64),
        ),
        items=pl.DataFrame({"title": [f"item {item}" for item in range(size)]}),
        users=pl.DataFrame(attributes if attributes is not None else {"who": list(users)}),
        rating_scale=None if ratings is None else (1.0, 5.0),
    )


def random_dataset(seed, *, num_users=60, num_items=50, lengths=(12, 40), rated=True, timed=True):
    """Return a data set of random histories without repeated items; each user starts at another time."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(lengths[0], lengths[1] + 1, size=num_users)
    histories = [rng.permutation(num_items)[:size].tolist() for size in sizes]
    ratings = [rng.integers(1, 6, size=size).tolist() for size in sizes] if rated else None
    starts = rng.permutation(num_users) * 1000
    times = [(start + 100 * np.arange(size)).tolist() for start, size in zip(starts, sizes, strict=True)]
    return make_dataset(histories, ratings=ratings, times=times if timed else None, num_items=num_items)


def two_tastes(seed, *, num_users=150, num_items=60, size=24):
    """Return users who stay within one half of the items: anything that learns beats chance by far."""
    rng = np.random.default_rng(seed)
    half = num_items // 2
    halves = rng.integers(2, size=num_users)
    return make_dataset(
        [(rng.permutation(half)[:size] + half * h).tolist() for h in halves], num_items=num_items
    )
