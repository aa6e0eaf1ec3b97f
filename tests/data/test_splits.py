"""Splits of users: disjoint, whole, of the stated sizes, and decided by the seed alone."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.data.dataset import Dataset, Interactions
from warmprompt.data.splits import split_dataset, split_users


@given(num_users=st.integers(0, 500), seed=st.integers(0, 2**31))
def test_every_user_is_in_exactly_one_part(num_users, seed):
    split = split_users(num_users, seed=seed)
    parts = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_users))
    assert all((np.diff(part) > 0).all() for part in parts)


@pytest.mark.parametrize(
    ("num_users", "sizes"),
    [(943, (660, 94, 189)), (6040, (4228, 604, 1208)), (10, (7, 1, 2)), (1, (1, 0, 0))],
)
def test_sizes_are_seventy_ten_and_twenty_per_cent(num_users, sizes):
    split = split_users(num_users, seed=3)
    assert (len(split.train), len(split.validation), len(split.test)) == sizes


def test_the_seed_decides_and_nothing_else():
    first, again, other = (split_users(300, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(first.test, again.test)
    assert np.array_equal(first.validation, again.validation)
    assert not np.array_equal(first.test, other.test)


@given(has_events=st.lists(st.booleans(), max_size=60), seed=st.integers(0, 99))
def test_users_without_events_are_in_no_part_and_change_nothing(has_events, seed):
    everybody = dataset_of(has_events)
    met = np.flatnonzero(has_events)
    alone = dataset_of([True] * len(met))
    split, expected = split_dataset(everybody, seed=seed), split_dataset(alone, seed=seed)
    for part in ("train", "validation", "test"):
        assert getattr(split, part).tolist() == met[getattr(expected, part)].tolist()
    assert expected.test.tolist() == split_users(len(met), seed=seed).test.tolist()


def dataset_of(has_events):
    offsets = np.concatenate([[0], np.cumsum(has_events)]).astype(np.int64)
    events = Interactions(offsets=offsets, items=np.zeros(offsets[-1], np.int32), ratings=None, times_s=None)
    return Dataset(
        name="x",
        content_hash="",
        user_ids=tuple(range(len(has_events))),
        item_ids=("a",),
        interactions=events,
        items=pl.DataFrame({"title": ["A"]}),
        users=pl.DataFrame(),
        rating_scale=None,
    )


def test_users_are_tested_evenly_over_seeds():
    # 200 splits test each of 50 users 40 times on average, with a deviation of about 5.7.
    counts = np.zeros(50)
    for seed in range(200):
        counts[split_users(50, seed=seed).test] += 1
    assert abs(counts - 40).max() < 5 * 5.7
