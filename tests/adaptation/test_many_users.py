"""Rankings for many users in one frame: whatever tells of them, the same rows as one user after the other."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import warmprompt.adaptation.many_users as many_users
import warmprompt.adaptation.personaliser as personaliser
import warmprompt.data.histories as histories
import warmprompt.data.readers.frames as frames
from warmprompt import BadInputError, Dataset, Event, Known, UnknownNameError
from warmprompt.data.tables import open_dataset
from warmprompt.errors import RejectsError

COLUMNS = ["user_id", "item_id", "title", "score", "rank"]


@pytest.fixture(scope="module")
def events(model):
    """Return a frame of events of five users, in no order; `c` has one item twice."""
    items = model.items
    rows = [("b", 3, 5.0, 40), ("a", 7, 2.0, 10), ("c", 9, 1.0, 5), ("b", 1, 4.0, 30), ("a", 8, 5.0, 20),
            ("d", 30, 3.0, 1), ("c", 9, 5.0, 6), ("e", 31, 5.0, 1), ("b", 50, 1.0, 20)]  # fmt: skip
    return pl.DataFrame(
        {
            "user_id": [row[0] for row in rows],
            "item_id": [items[row[1]] for row in rows],
            "rating": [row[2] for row in rows],
            "datetime": [1_600_000_000 + row[3] for row in rows],
        }
    )


@pytest.fixture(scope="module")
def known(model):
    """Return the same users as the model takes them, oldest event first."""
    items = model.items

    def of(*rows):
        return Known(events=[Event(item=items[item], rating=rating) for item, rating in rows])

    return {
        "b": of((50, 1.0), (1, 4.0), (3, 5.0)),
        "a": of((7, 2.0), (8, 5.0)),
        "c": of((9, 5.0)),
        "d": of((30, 3.0)),
        "e": of((31, 5.0)),
    }


def expected(model, known, n, *, exact=False):
    """Return the rows that ranking one user after the other gives."""
    rows = []
    for user, one in known.items():
        ranking = model.rank(model.adapt_many([one])[0], n) if exact else model.rank_many([one], n)[0]
        rows += [{"user_id": user, **row} for row in ranking.to_dicts()]
    return pl.DataFrame(rows, schema_overrides={"rank": pl.Int32})


def same(found, wanted):
    assert found.columns == COLUMNS
    assert found.drop("score").equals(wanted.drop("score"))
    # Sums over a padded batch are split differently.
    np.testing.assert_allclose(found["score"], wanted["score"], atol=2e-4)


@pytest.mark.parametrize("make", [pl.DataFrame, lambda frame: frame.to_arrow(), lambda frame: frame.lazy()])
def test_a_frame_of_events_gives_each_users_own_ranking(model, events, known, make):
    same(model.recommend(make(events), 7), expected(model, known, 7))


def test_a_pandas_frame_does_too(model, events, known):
    pytest.importorskip("pandas")
    same(model.recommend(events.to_pandas(), 3), expected(model, known, 3))


def test_columns_by_mapping(model, events, known):
    renamed = events.rename({"user_id": "uid", "item_id": "sku", "rating": "stars", "datetime": "at"})
    columns = {"user": "uid", "item": "sku", "rating": "stars", "time": "at"}
    same(model.recommend(renamed, 4, columns=columns), expected(model, known, 4))


def test_mappings_and_lists_give_the_same(model, known):
    wanted = expected(model, known, 5)
    same(model.recommend(known, 5), wanted)
    same(model.recommend({user: one.events for user, one in known.items()}, 5), wanted)
    listed = model.recommend(list(known.values()), 5)
    assert listed["user_id"].to_list() == [index for index in range(5) for _ in range(5)]
    assert listed["item_id"].to_list() == wanted["item_id"].to_list()
    bare = model.recommend({1: np.array([model.items[3]])}, np.int64(2))
    same(bare, expected(model, {1: Known(events=[Event(item=model.items[3])])}, 2))


def test_exactly_is_through_prompts(model, events, known):
    same(model.recommend(events, 6, exact=True), expected(model, known, 6, exact=True))


def test_a_data_set_ranks_for_its_users(model, planted_folder):
    dataset = open_dataset(planted_folder[0])
    found = model.recommend(dataset, 3)
    assert found["user_id"].unique(maintain_order=True).to_list() == list(dataset.user_ids)
    events = dataset.interactions
    for user in (0, 57):
        rows = events.events_of(user)
        one = Known(
            events=[
                Event(item=dataset.item_ids[item], rating=float(rating))
                for item, rating in zip(events.items[rows], events.ratings[rows], strict=True)
            ]
        )
        ranking = model.rank_many([one], 3)[0]
        own = found.filter(pl.col("user_id") == dataset.user_ids[user])
        assert own["item_id"].to_list() == list(ranking.items)
    with_texts = model.recommend(dataset, 3, attributes=True)
    assert not with_texts["score"].equals(found["score"])


def test_selection_reaches_the_ranking(model, known):
    some = [model.items[index] for index in (2, 4, 6, 10)]
    found = model.recommend(known, 3, candidates=some, exclude=some[:1])
    assert set(found["item_id"]) == set(some[1:])


def test_a_small_chunk_and_spooled_rows_change_nothing(model, events, monkeypatch):
    whole = model.recommend(events, 5)
    monkeypatch.setattr(many_users, "CHUNK", 2)
    monkeypatch.setattr(histories, "_ROWS_IN_MEMORY", 3)
    source_of = frames.frames_source

    def in_pieces(*arguments, **options):
        """Hand the frame out in three pieces, as a reader hands out a long file."""
        source = source_of(*arguments, **options)
        (rows,) = source.events(histories.RejectLog("events"))
        return replace(source, events=lambda _: iter([rows[:4], rows[4:5], rows[5:]]))

    monkeypatch.setattr(frames, "frames_source", in_pieces)
    order = ["user_id", "rank"]
    same(model.recommend(events, 5).sort(order), whole.sort(order))


def test_beyond_a_thousand_events_all_items_are_left_out(model, monkeypatch):
    monkeypatch.setattr(many_users, "MAX_EVENTS", 4)
    items = model.items[:10]
    inputs = Known(events=[Event(item=item, rating=5.0) for item in items])
    found = model.recommend({"x": inputs}, 50)
    latest = model.rank_many([replace(inputs, events=inputs.events[-4:])], 60)[0]
    assert found["item_id"].to_list() == [item for item in latest.items if item not in items]
    assert found["rank"].to_list() == list(range(1, 51))


def test_unknown_items_are_refused_or_counted(model, events, known):
    strange = pl.concat([events, events[:2].with_columns(item_id=pl.lit("nowhere"))])
    with pytest.raises(UnknownNameError, match="item of an event: 'nowhere'"):
        model.recommend(strange)
    with pytest.warns(UserWarning, match="2 events are left out: .* such as nowhere"):
        same(model.recommend(strange, 4, unknown_items="skip"), expected(model, known, 4))
    inputs = {"a": [model.items[0], "nowhere"]}
    with pytest.raises(UnknownNameError, match="user 'a', item of event 1: 'nowhere'"):
        model.recommend(inputs)
    with pytest.warns(UserWarning, match="1 events are left out"):
        assert model.recommend(inputs, 2, unknown_items="skip").height == 2


def test_nobody_gives_no_rows_with_the_same_columns(model):
    found = model.recommend([])
    assert (found.height, found.columns) == (0, COLUMNS)


def test_whole_numbers_stay_numbers(model, events):
    numbered = events.with_columns(user_id=pl.Series([2, 1, 3, 2, 1, 4, 3, 5, 2]))
    assert model.recommend(numbered, 1)["user_id"].to_list() == [2, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("users", "options", "error", "message"),
    [
        ("a", {}, BadInputError, "interactions: 'str'. Give a polars"),
        ({"a": "i00001"}, {}, BadInputError, "user 'a': 'i00001'. Give a Known"),
        ({"a": [Event(item="i00001", rating=9.0)]}, {}, BadInputError, "user 'a', rating of event 0: '9.0'"),
        ([], {"n": 0}, BadInputError, "n: '0'"),
        ([], {"unknown_items": "no"}, BadInputError, "unknown_items: 'no'"),
        ({}, {"columns": {"user": "u"}}, BadInputError, "users are no frame"),
        ({}, {"attributes": True}, BadInputError, "attributes: 'True'. Give a Dataset"),
        ({1: ["i00001"], "b": ["i00001"]}, {}, BadInputError, "ids of several types"),
    ],
)
def test_mistakes_are_named(model, users, options, error, message):
    assert model.items[1] == "i00001"
    with pytest.raises(error) as caught:
        model.recommend(users, **options)
    assert message in caught.value.line()


def test_bad_rows_of_a_frame_are_named(model, events):
    bad = events.with_columns(rating=pl.when(pl.col("user_id") == "d").then(9.0).otherwise("rating"))
    with pytest.raises(RejectsError, match=re.escape("1 x rating is outside 1 to 5 (line 6)")):
        model.recommend(bad)
    strangers = events.with_columns(item_id=pl.lit("x") + pl.col("item_id"))
    with pytest.raises(BadInputError, match="items of users' events: '0.0% are known to the model"):
        model.recommend(pa.table(strangers.to_arrow()), unknown_items="skip")
    assert Dataset.from_frames(events).num_users == 5


@pytest.mark.parametrize(
    ("num_items", "users"), [(10, 64), (262_144, 64), (262_145, 63), (10**6, 16), (10**9, 1)]
)
def test_scores_in_memory_are_bounded(num_items, users):
    assert many_users.pass_size(num_items, most=64) == users


def test_small_passes_rank_what_large_ones_rank(model, monkeypatch):
    known = [Known(events=[Event(item=model.items[number])]) for number in range(9)]
    wanted = model.rank_many(known, 7)
    sizes = []
    score = personaliser.score

    def counting(engine, users_BD, *rest, **options):
        sizes.append(len(users_BD))
        return score(engine, users_BD, *rest, **options)

    monkeypatch.setattr(personaliser, "score", counting)
    monkeypatch.setattr(many_users, "MAX_CELLS", 4 * len(model.items))
    found = model.rank_many(known, 7)
    assert sizes == [4, 4, 1]
    assert [one.items for one in found] == [one.items for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
