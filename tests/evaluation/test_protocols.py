"""Cases against what PROTOCOL says of them, checked on histories that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.data.dataset import Dataset, popularity, take_users
from warmprompt.data.splits import split_users
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.evaluation.cases import query_size
from warmprompt.evaluation.protocols import PROTOCOLS, ProtocolSettings, build_task, temporal_date


def _history(dataset: Dataset, name):
    user = dataset.user_ids.index(name)
    return dataset.interactions.items[dataset.interactions.events_of(user)].tolist()


def _by_user(task, k):
    return {case.support.user: case for case in task.cases[k]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("reading", ["new-only", "mixed"])
@given(seed=st.integers(0, 5))
def test_support_and_query_never_share_an_event(worlds, protocol, reading, seed):
    data = worlds.random_dataset(seed)
    task = build_task(data, ProtocolSettings(protocol=protocol, reading=reading, ks=(0, 2, 5)), seed=seed)
    for k, cases in task.cases.items():
        for case in cases:
            assert len(case.support.items_K) == k == case.k
            assert not set(case.support.items_K.tolist()) & set(case.held_out.tolist())
            together = case.support.items_K.tolist() + case.held_out.tolist()
            assert set(together) <= set(_history(data, case.support.user))


@given(seed=st.integers(0, 20))
def test_random_keeps_one_query_of_ten_and_nests_its_supports(worlds, seed):
    task = build_task(worlds.random_dataset(seed), ProtocolSettings(ks=(0, 1, 5, 20)), seed=seed)
    queries, supports = {}, {}
    for k in (0, 1, 5, 20):
        for case in task.cases[k]:
            user = case.support.user
            assert len(case.query) == 10
            assert queries.setdefault(user, case.query.tolist()) == case.query.tolist()
            assert supports.get(user, set()) <= set(case.support.items_K.tolist())
            supports[user] = set(case.support.items_K.tolist())


def test_supports_are_oldest_first_and_carry_rating_and_time(worlds):
    data = worlds.random_dataset(3)
    for case in build_task(data, ProtocolSettings(ks=(5,)), seed=0).cases[5]:
        user = data.user_ids.index(case.support.user)
        rows = data.interactions.events_of(user)
        places = [data.interactions.items[rows].tolist().index(item) for item in case.support.items_K]
        assert places == sorted(places)
        assert case.support.ratings_K.tolist() == data.interactions.ratings[rows][places].tolist()
        assert case.support.times_K.tolist() == data.interactions.times_s[rows][places].tolist()


def test_ratings_are_nan_and_times_none_where_there_are_none(worlds):
    data = worlds.random_dataset(3, rated=False, timed=False)
    case = build_task(data, ProtocolSettings(ks=(2,)), seed=0).cases[2][0]
    assert np.isnan(case.support.ratings_K).all()
    assert case.support.times_K is None


@pytest.mark.parametrize(
    ("protocol", "query"), [("next", [4]), ("gap10", [14]), ("next10", list(range(4, 14)))]
)
def test_time_ordered_queries_lie_where_the_protocol_says(worlds, protocol, query):
    data = worlds.make_dataset([list(range(30))] * 20)
    for case in build_task(data, ProtocolSettings(protocol=protocol, ks=(4,)), seed=0).cases[4]:
        assert case.support.items_K.tolist() == [0, 1, 2, 3]
        assert case.query.tolist() == query


def test_users_too_short_for_a_k_are_left_out_and_counted(worlds):
    data = worlds.make_dataset([list(range(30 if user % 3 else 12)) for user in range(100)])
    task = build_task(data, ProtocolSettings(ks=(0, 2, 3)), seed=1)
    short = sum(user % 3 == 0 for user in split_users(100, seed=1).test.tolist())
    assert dict(task.counts.users_left_out) == {0: 0, 2: 0, 3: short}
    assert len(task.cases[3]) == 20 - short


@pytest.mark.parametrize(
    ("events", "size"), [(1, 1), (2, 1), (3, 1), (5, 2), (9, 4), (19, 9), (20, 10), (50, 10)]
)
def test_a_short_history_gives_half_of_itself_to_the_query(events, size):
    assert query_size(events, short=True) == size
    assert query_size(events, short=False) == 10


def test_short_data_sets_drop_large_k(worlds):
    # Medians of 6 events: the query holds 3, so K = 3 is the last that any user reaches; 8 of 10 do.
    data = worlds.make_dataset([list(range(6 if user % 5 else 3)) for user in range(50)])
    task = build_task(data, ProtocolSettings(ks=(0, 3, 4)), seed=0)
    assert {len(case.query) for case in task.cases[0]} == {3, 1}
    assert set(task.cases) == {0, 3}
    assert task.counts.ks_left_out == (4,)


def test_the_catalogue_is_what_meta_training_users_have_touched(worlds):
    # Each user's last item is touched by nobody else.
    data = worlds.make_dataset([[*range(20), 20 + user] for user in range(50)])
    task = build_task(data, ProtocolSettings(ks=(0,)), seed=0)
    train = split_users(50, seed=0).train
    assert np.flatnonzero(task.candidates_V).tolist() == [*range(20), *(20 + train).tolist()]
    outside = sum(20 + int(case.support.user[1:]) in case.query for case in task.cases[0])
    assert outside > 0
    assert task.counts.query_misses[0] == outside


def test_lowest_rating_splits_the_query(worlds):
    data = worlds.random_dataset(2)
    task = build_task(data, ProtocolSettings(ks=(0, 2), min_rating=5), seed=0)
    for case in task.cases[2]:
        user = data.user_ids.index(case.support.user)
        rows = data.interactions.events_of(user)
        ratings = dict(zip(data.interactions.items[rows], data.interactions.ratings[rows], strict=True))
        assert case.query.tolist() == [item for item in case.held_out.tolist() if ratings[item] >= 5]
    # Twelve users are tested; whoever has no positive among ten is counted.
    assert len(task.cases[0]) + task.counts.users_without_positive[0] == 12


def test_attributes_are_withheld_unless_asked_for(worlds):
    data = worlds.make_dataset(
        [list(range(20))] * 20, attributes={"age": ["24", *[None] * 19], "sex": ["f"] * 20}
    )
    given_to = {
        case.support.user: dict(case.support.attributes)
        for seed in range(8)
        for case in build_task(data, ProtocolSettings(ks=(0,), attributes=True), seed=seed).cases[0]
    }
    assert given_to["u0"] == {"age": "24", "sex": "f"}
    assert given_to["u1"] == {"sex": "f"}
    withheld = build_task(data, ProtocolSettings(ks=(0,)), seed=0).cases[0]
    assert all(case.support.attributes == {} for case in withheld)


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "temporal"])
def test_fit_sees_no_tested_user(worlds, protocol):
    data = worlds.random_dataset(1)
    task = build_task(data, ProtocolSettings(protocol=protocol, ks=(0, 1)), seed=4)
    tested = {data.user_ids[user] for user in split_users(60, seed=4).test}
    seen = {*task.training.user_ids, *task.validation.user_ids}
    assert not tested & seen
    assert {case.support.user for case in task.cases[0]} <= tested


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_tested_users_did_changes_nothing_that_fit_sees(worlds, protocol):
    """Replace every tested user's items: training, validation and candidates stay what they were."""
    data = worlds.random_dataset(1)
    settings = ProtocolSettings(protocol=protocol, ks=(0,))
    before = build_task(data, settings, seed=2)
    items = data.interactions.items.copy()
    for case in before.cases[0]:
        rows = data.interactions.events_of(data.user_ids.index(case.support.user))
        items[rows] = (items[rows] + 7) % data.num_items
    changed = worlds.make_dataset([[0]], num_items=data.num_items)
    changed = type(data)(
        **{
            **vars(data),
            "interactions": type(data.interactions)(**{**vars(data.interactions), "items": items}),
        }
    )
    after = build_task(changed, settings, seed=2)
    for one, other in ((before.training, after.training), (before.validation, after.validation)):
        assert one.user_ids == other.user_ids
        assert one.interactions.items.tolist() == other.interactions.items.tolist()
    assert before.candidates_V.tolist() == after.candidates_V.tolist()


def test_new_items_are_gone_from_training_and_fill_the_query(worlds):
    data = worlds.random_dataset(0)
    full = popularity(take_users(data, split_users(60, seed=0).train)) > 0
    for reading in ("new-only", "mixed"):
        task = build_task(data, ProtocolSettings(protocol="cold-item", reading=reading, ks=(0, 3)), seed=0)
        warm = popularity(task.training) > 0
        new = full & ~warm
        assert new.sum() == task.counts.num_new_items == round(0.1 * full.sum())
        assert not (popularity(task.validation) > 0)[new].any()
        assert task.candidates_V.tolist() == (new if reading == "new-only" else full).tolist()
        queried = np.concatenate([case.query for case in task.cases[3]])
        assert new[queried].all() == (reading == "new-only")
        assert new[queried].any()
        assert not new[np.concatenate([case.support.items_K for case in task.cases[3]])].any()


def test_temporal_parts_users_and_events_by_one_date(worlds):
    data = worlds.random_dataset(0)
    date = temporal_date(data)
    task = build_task(data, ProtocolSettings(protocol="temporal", ks=(0, 2)), seed=0)
    starts = data.interactions.times_s[data.interactions.offsets[:-1]]
    assert (starts <= date).mean() == 0.8
    assert task.training.interactions.times_s.max() <= date
    assert task.validation.interactions.times_s.max() <= date
    assert task.validation.num_users == 6
    late = {data.user_ids[user] for user in np.flatnonzero(starts > date)}
    assert {case.support.user for case in task.cases[0]} == late
    assert all(case.support.times_K.min() > date for case in task.cases[2])


def test_sampled_negatives_are_unseen_catalogue_items(worlds):
    data = worlds.random_dataset(0, num_items=300)
    task = build_task(data, ProtocolSettings(ks=(0, 5), candidates="sampled100"), seed=0)
    for case in task.cases[5]:
        assert len(set(case.negatives.tolist())) == 100
        assert task.candidates_V[case.negatives].all()
        assert not set(case.negatives.tolist()) & set(_history(data, case.support.user))
    before, after = _by_user(task, 0), _by_user(task, 5)
    assert all(before[user].negatives.tolist() == after[user].negatives.tolist() for user in after)


def test_too_few_items_for_100_negatives_are_counted(worlds):
    task = build_task(worlds.random_dataset(0), ProtocolSettings(ks=(0,), candidates="sampled100"), seed=0)
    assert task.counts.short_negatives[0] == len(task.cases[0])


def test_cases_do_not_depend_on_who_else_is_in_the_data(worlds):
    data = worlds.random_dataset(0)
    one = build_task(data, ProtocolSettings(ks=(3,)), seed=0).cases[3][0]
    alone = take_users(data, np.array([data.user_ids.index(one.support.user)] * 1 + list(range(9))))
    for seed_users in build_task(alone, ProtocolSettings(ks=(3,)), seed=0).cases[3]:
        if seed_users.support.user == one.support.user:
            assert seed_users.query.tolist() == one.query.tolist()


def test_validation_users_are_tested_when_asked(worlds):
    data = worlds.random_dataset(0)
    task = build_task(data, ProtocolSettings(ks=(0,), users="validation"), seed=0)
    assert {case.support.user for case in task.cases[0]} == set(task.validation.user_ids)


def test_subsampling_keeps_catalogue_and_cases(worlds):
    data = worlds.random_dataset(0)
    whole = build_task(data, ProtocolSettings(ks=(0,)), seed=0)
    part = build_task(data, ProtocolSettings(ks=(0,), max_training_users=5), seed=0)
    assert part.counts.num_training_users == 5
    assert set(part.training.user_ids) < set(whole.training.user_ids)
    assert part.candidates_V.tolist() == whole.candidates_V.tolist()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"protocol": "randm"}, UnknownNameError),
        ({"candidates": "some"}, UnknownNameError),
        ({"reading": "old"}, UnknownNameError),
        ({"ks": (0, 0)}, BadInputError),
        ({"ks": (-1,)}, BadInputError),
        ({"ks": ()}, BadInputError),
        ({"candidates": "query-only"}, BadInputError),
        ({"max_training_users": 0}, BadInputError),
    ],
)
def test_wrong_settings_are_refused(wrong, error):
    with pytest.raises(error):
        ProtocolSettings(**wrong)


@pytest.mark.parametrize(
    ("setting", "field"), [({"protocol": "temporal"}, "protocol"), ({"min_rating": 4}, "min_rating")]
)
def test_what_the_data_cannot_give_is_refused(worlds, setting, field):
    data = worlds.random_dataset(0, rated=False, timed=False)
    with pytest.raises(BadInputError, match=field):
        build_task(data, ProtocolSettings(**setting), seed=0)


def test_data_without_enough_users_is_refused(worlds):
    with pytest.raises(BadInputError, match="more users"):
        build_task(worlds.make_dataset([[0, 1]]), ProtocolSettings(), seed=0)


def test_labels_name_unusual_settings():
    assert ProtocolSettings().label == "random"
    settings = ProtocolSettings(
        min_rating=3.5, max_training_users=1057, attributes=True, candidates="sampled100"
    )
    assert settings.label == "random with attributes rated 3.5 or more from 1057 training users (sampled100)"
