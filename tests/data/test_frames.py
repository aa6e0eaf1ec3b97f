"""DataFrames as data sets: the same tables as the same rows in a file, whichever library holds them."""

import datetime as dt
import subprocess
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from warmprompt.data.dataset import Dataset
from warmprompt.data.importing import import_source
from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError, RejectsError

EVENTS = {
    "user_id": ["u1", "u2", "u1", "u2", "u3"],
    "item_id": [10, 20, 20, 10, 30],
    "rating": [5.0, 1.0, 3.0, None, 4.0],
    "datetime": [dt.datetime(2020, 1, day, 12, tzinfo=dt.UTC) for day in (5, 1, 2, 3, 4)],
}
ITEMS = {
    "item_id": [10, 20, 30, 40],
    "title": ["Alien", "Heat", None, "Fargo"],
    "genres": [["horror", "sf"], ["crime"], [], ["crime", "comedy"]],
    "year": [1979, 1995, None, 1996],
}
USERS = {"user_id": ["u1", "u2"], "age": [24, 51], "occupation": ["artist", None]}


class Stream:
    """Nothing but a stream of Arrow."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


def pandas_frame(columns):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(columns)


KINDS = {
    "polars": pl.DataFrame,
    "lazy polars": pl.LazyFrame,
    "pandas": pandas_frame,
    "pyarrow": pa.table,
    "stream": lambda columns: Stream(pa.table(columns)),
}


def same(one, other):
    assert (one.user_ids, one.item_ids, one.rating_scale) == (
        other.user_ids,
        other.item_ids,
        other.rating_scale,
    )
    assert one.content_hash == other.content_hash
    for name in ("offsets", "items", "ratings", "times_s", "weights"):
        np.testing.assert_array_equal(getattr(one.interactions, name), getattr(other.interactions, name))
    assert one.items.equals(other.items)
    assert one.users.equals(other.users)


@pytest.fixture
def from_files(tmp_path):
    """Return the data set that an import of the same rows as Parquet files gives."""
    for name, columns in (("events", EVENTS), ("items", ITEMS), ("users", USERS)):
        pl.DataFrame(columns).write_parquet(tmp_path / f"{name}.parquet")
    source = read_mapped(
        MappedFile(path=tmp_path / "events.parquet",
                   mapping={"user": "user_id", "item": "item_id", "rating": "rating", "time": "datetime"}),
        items=MappedFile(path=tmp_path / "items.parquet",
                         mapping={"item": "item_id", "title": "title", "genres": "genres", "year": "year"}),
        users=MappedFile(path=tmp_path / "users.parquet",
                         mapping={"user": "user_id", "age": "age", "occupation": "occupation"}),
    )  # fmt: skip
    import_source(source, tmp_path / "d", name="mine", now_s=2_000_000_000)
    return open_dataset(tmp_path / "d")


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_any_library_are_what_files_are(kind, from_files):
    make = KINDS[kind]
    found = Dataset.from_frames(make(EVENTS), make(ITEMS), make(USERS), name="mine")
    same(found, from_files)
    assert found.user_ids == ("u1", "u2", "u3")
    assert found.item_ids == (10, 20, 30, 40)
    assert found.items["title"].to_list() == ["Alien", "Heat", "", "Fargo"]
    # In pandas a column of whole numbers with a gap is one of floats; years stay years.
    assert found.items["year"].to_list() == ["1979", "1995", None, "1996"]
    # u1 met 20 on the second of January and 10 on the fifth.
    assert found.interactions.items.tolist() == [1, 0, 1, 0, 2]
    assert found.interactions.times_s[0] == dt.datetime(2020, 1, 2, 12, tzinfo=dt.UTC).timestamp()


def test_columns_by_mapping_rename_what_is_there(from_files):
    events = pl.DataFrame(EVENTS).rename(
        {"user_id": "uid", "item_id": "sku", "rating": "stars", "datetime": "at"}
    )
    items = pl.DataFrame(ITEMS).rename({"item_id": "sku", "title": "name"})
    users = pl.DataFrame(USERS).rename({"user_id": "uid", "occupation": "job"})
    columns = {
        "user": "uid",
        "item": "sku",
        "rating": "stars",
        "time": "at",
        "title": "name",
        "occupation": "job",
    }
    same(Dataset.from_frames(events, items, users, columns=columns), from_files)


def test_events_alone_are_enough_and_other_columns_are_reported():
    lines = []
    frame = {"user": [1, 1, 2], "item": ["a", "b", "a"], "page": [0, 0, 0]}
    found = Dataset.from_frames(pl.DataFrame(frame), progress=lines.append)
    assert (found.user_ids, found.item_ids) == ((1, 2), ("a", "b"))
    assert (found.rating_scale, found.weight_unit, found.name) == (None, None, "frames")
    assert "not used: interactions page" in lines
    assert "columns: interactions user=user, item=item" in lines


def test_weights_are_strengths_and_never_a_scale():
    frame = pl.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [1, 2, 1, 3], "weight": [1, 50, 3, 900]})
    found = Dataset.from_frames(frame)
    assert found.rating_scale is None
    assert found.interactions.weights.tolist() == [1.0, 50.0, 3.0, 900.0]


def test_features_in_the_long_form_of_rectools_are_attributes():
    long = pl.DataFrame(
        {
            "id": [1, 1, 2, 2, 1, 2],
            "feature": ["genre", "genre", "genre", "title", "title", "year"],
            "value": ["sf", "horror", "crime", "Heat", "Alien", "1995"],
        }
    )
    found = Dataset.from_frames(pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2]}), long)
    assert found.items["title"].to_list() == ["Alien", "Heat"]
    assert found.items["genre"].to_list() == [["sf", "horror"], ["crime"]]
    assert found.items["year"].to_list() == [None, "1995"]


def test_pandas_ids_with_gaps_a_named_index_and_categories():
    pandas = pytest.importorskip("pandas")
    events = pandas.DataFrame(
        {"user_id": [1.0, 2.0, np.nan, 1.0], "item_id": pandas.Categorical(["a", "b", "a", "b"])}
    )
    with pytest.raises(RejectsError, match=r"1 x user id is empty \(line 3\)"):
        Dataset.from_frames(events)
    items = pandas.DataFrame({"title": ["Alien", "Heat"]}, index=pandas.Index(["a", "b"], name="item_id"))
    found = Dataset.from_frames(events, items, max_rejects=0.25)
    assert (found.user_ids, found.item_ids) == ((1, 2), ("a", "b"))
    assert found.items["title"].to_list() == ["Alien", "Heat"]
    shuffled = events.dropna().iloc[::-1]
    assert Dataset.from_frames(shuffled, items).item_ids == ("a", "b")
    zoned = pandas.to_datetime(["2020-01-02 00:30", "2020-01-01 00:00"]).tz_localize("Europe/Berlin")
    timed = pandas.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "datetime": zoned})
    assert Dataset.from_frames(timed).interactions.times_s.tolist() == [1577833200, 1577921400]


EVENT = {"user_id": [1, 2], "item_id": [1, 2]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"interactions": [[1, 2]]}, "interactions: 'list'. Give a polars, pandas or pyarrow table"),
        ({"interactions": pl.DataFrame({"a": [1], "item_id": [2]})},
         "column of users in interactions: 'a, item_id'. Name it user_id, or say"),
        ({"interactions": pl.DataFrame(EVENT), "columns": {"rating": "stars"}},
         "columns, rating: 'stars'. Name one that is there (interactions: user_id, item_id)."),
        ({"interactions": pl.DataFrame(EVENT), "columns": {"title": "name"}}, "columns, title: 'name'."),
        ({"interactions": pl.DataFrame({**EVENT, "rating": ["a", "b"]})}, "ratings: 'a, b'. They are words"),
        ({"interactions": pl.DataFrame({"user_id": [1.5, 2], "item_id": [1, 2]})},
         "column 'user_id': '1.5 as an id'."),
        ({"interactions": pl.DataFrame(EVENT), "items": pl.DataFrame({"sku": [1]})},
         "column of items in items: 'sku'. Name it item_id"),
        ({"interactions": pl.DataFrame(EVENT), "items": pl.DataFrame({"item_id": [7, 8]})},
         "item ids: '0.0% of events join'."),
        ({"interactions": pl.DataFrame(EVENT), "items": pl.DataFrame({"item_id": [1], "x": [b"a"]})},
         "column 'x': 'Binary'."),
        ({"interactions": pl.DataFrame(EVENT), "time_unit": "ms"},
         "time_unit: 'ms'. Leave it out: there is no"),
        ({"interactions": pl.DataFrame({**EVENT, "datetime": [dt.date(2020, 1, 1)] * 2}), "time_unit": "ms"},
         "time_unit: 'ms'. Leave it out: the column holds dates already."),
        ({"interactions": pl.DataFrame({**EVENT, "rating": [7, 3]}), "rating_scale": (1, 5)},
         "1 x rating is outside 1 to 5 (line 1)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(arguments, message):
    with pytest.raises(BadInputError) as caught:
        Dataset.from_frames(arguments.pop("interactions"), **arguments)
    assert message in caught.value.line()


def test_mixed_types_in_a_pandas_column_are_one_clear_error():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(BadInputError, match="interactions: .*Give each column one type"):
        Dataset.from_frames(pandas.DataFrame({"user_id": ["a", 1], "item_id": [1, 2]}, dtype=object))


def test_frames_need_no_pandas():
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "import polars as pl, warmprompt\n"
        "frame = pl.DataFrame({'user_id': [1, 2], 'item_id': [1, 2]})\n"
        "print(warmprompt.Dataset.from_frames(frame))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "Dataset('frames', 2 users, 2 items, 2 events, no ratings)\n"
