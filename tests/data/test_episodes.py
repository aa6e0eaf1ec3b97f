"""Episodes: support and query never meet, K is drawn evenly, and padding carries nothing."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.data.dataset import Dataset, Interactions, take_users
from warmprompt.data.episodes import batch_episodes, batch_supports, draw_episode, join
from warmprompt.errors import BadInputError
from warmprompt.types import Support


def _dataset(lengths, *, rated=True):
    """Return users with so many events; event number n of user u is item 100 u + n with rating n."""
    items = [100 * user + index for user, length in enumerate(lengths) for index in range(length)]
    return Dataset(
        name="counted",
        content_hash="0" * 64,
        user_ids=tuple(f"u{user}" for user in range(len(lengths))),
        item_ids=tuple(range(100 * len(lengths))),
        interactions=Interactions(
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            items=np.array(items, dtype=np.int32),
            ratings=np.array(items, dtype=np.float32) % 100 if rated else None,
            times_s=None,
        ),
        items=pl.DataFrame({"title": [""] * 100 * len(lengths)}),
        users=pl.DataFrame(),
        rating_scale=(0.0, 99.0) if rated else None,
    )


HISTORIES = _dataset([1, 2, 3, 5, 19, 20, 21, 40, 99])


@given(
    user=st.integers(0, 8),
    seed=st.integers(0, 1000),
    round_index=st.integers(-1, 50),
    max_support=st.integers(0, 30),
    order=st.sampled_from(["random", "time"]),
    fixed=st.none() | st.integers(0, 30),
)
def test_support_and_query_are_disjoint_and_as_large_as_stated(
    user, seed, round_index, max_support, order, fixed
):
    length = [1, 2, 3, 5, 19, 20, 21, 40, 99][user]
    episode = draw_episode(
        HISTORIES, user, seed=seed, round_index=round_index, max_support=max_support, order=order,
        num_support=fixed,
    )  # fmt: skip
    both = [*episode.support, *episode.query]
    assert len(set(both)) == len(both)
    assert set(both) <= set(range(length))
    assert len(episode.query) == max(1, min(10, length // 2))
    room = min(max_support, length - len(episode.query))
    assert len(episode.support) <= room
    if fixed is not None:
        assert len(episode.support) == min(fixed, room)
    if order == "time":
        assert both == list(range(len(both)))


def test_k_is_drawn_evenly():
    drawn = [
        len(draw_episode(HISTORIES, 8, seed=0, round_index=number, max_support=4).support)
        for number in range(1000)
    ]
    # 200 each on average, with a deviation of about 12.6.
    assert abs(np.bincount(drawn, minlength=5) - 200).max() < 5 * 12.6


def test_every_event_is_asked_for_equally_often():
    counts = np.zeros(20)
    for number in range(1000):
        counts[draw_episode(HISTORIES, 5, seed=0, round_index=number, max_support=4).query] += 1
    # 10 of 20 events each time: 500 on average, with a deviation of about 15.8.
    assert abs(counts - 500).max() < 5 * 15.8


def _same(one, other):
    return np.array_equal(one.support, other.support) and np.array_equal(one.query, other.query)


def test_an_episode_depends_on_seed_round_and_id_and_not_on_who_else_is_there():
    settings = {"seed": 4, "round_index": 2, "max_support": 9}
    alone = take_users(HISTORIES, np.array([7]))
    assert _same(draw_episode(HISTORIES, 7, **settings), draw_episode(alone, 0, **settings))
    renamed = replace(HISTORIES, user_ids=tuple("abcdefghi"))
    for changed in ({**settings, "seed": 5}, {**settings, "round_index": 3}):
        assert not _same(draw_episode(HISTORIES, 7, **settings), draw_episode(HISTORIES, 7, **changed))
    assert not _same(draw_episode(HISTORIES, 7, **settings), draw_episode(renamed, 7, **settings))


def test_a_user_without_events_is_refused():
    with pytest.raises(BadInputError, match="u0"):
        draw_episode(_dataset([0, 3]), 0, seed=0, round_index=0, max_support=3)


@pytest.mark.parametrize("rated", [True, False])
def test_batches_hold_each_users_own_events_and_nothing_where_padded(rated):
    data = _dataset([3, 40, 5], rated=rated)
    episodes = [draw_episode(data, user, seed=1, round_index=0, max_support=6) for user in (1, 0, 2)]
    batch = batch_episodes(data, episodes)
    assert batch.users == (1, 0, 2)
    for part in ("support", "query"):
        events = getattr(batch, part)
        for row, episode in enumerate(episodes):
            positions = getattr(episode, part)
            size = len(positions)
            assert events.mask_BK[row].tolist() == [True] * size + [False] * (events.mask_BK.shape[1] - size)
            assert events.items_BK[row, :size].tolist() == [100 * episode.user + index for index in positions]
            assert not events.items_BK[row, size:].any()
            ratings = events.ratings_BK[row, :size]
            assert ratings.tolist() == positions.tolist() if rated else np.isnan(ratings).all()
            assert np.isnan(events.ratings_BK[row, size:]).all()


def test_joined_events_are_support_and_query_together():
    batch = batch_episodes(
        HISTORIES, [draw_episode(HISTORIES, user, seed=1, round_index=0, max_support=6) for user in (4, 1)]
    )
    joined = join(batch)
    for row in range(2):
        expected = [
            *batch.support.items_BK[row][batch.support.mask_BK[row]],
            *batch.query.items_BK[row][batch.query.mask_BK[row]],
        ]
        assert joined.items_BK[row][joined.mask_BK[row]].tolist() == expected


@pytest.mark.parametrize("sizes", [(0, 0), (3, 0, 1), ()])
def test_supports_of_unseen_users_are_padded_to_the_longest(sizes):
    supports = [
        Support(
            user=size,
            items_K=np.arange(1, size + 1, dtype=np.int32),
            ratings_K=np.full(size, 4.0, dtype=np.float32),
        )
        for size in sizes
    ]
    batch = batch_supports(supports)
    assert batch.num_users == len(sizes)
    assert batch.items_BK.shape == (len(sizes), max(sizes, default=0))
    assert batch.mask_BK.sum(axis=1).tolist() == list(sizes)
