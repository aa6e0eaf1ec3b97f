"""Ids: of any size, joined however whole numbers are written; tables that do not join are refused."""

import json
from dataclasses import replace

import polars as pl
import pytest

from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.errors import BadInputError, RejectsError


def as_csv(columns):
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"


def as_jsonl(columns):
    rows = zip(*columns.values(), strict=True)
    return "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)


@pytest.fixture
def source_of(write):
    """Write items' ids in events and in the items' own file, each in a kind of file: a source."""

    def run(met, described, kinds=("csv", "csv"), dtypes=(None, None)):
        folder = write("j", {})
        parts = {
            "e": {"u": [f"u{index % 3}" for index in range(len(met))], "i": met},
            "p": {"i": described, "t": [f"Title {index}" for index in range(len(described))]},
        }
        for (name, columns), kind, dtype in zip(parts.items(), kinds, dtypes, strict=True):
            path = folder / f"{name}.{kind}"
            if kind == "parquet":
                series = [
                    pl.Series(key, values, dtype=dtype if key == "i" else None)
                    for key, values in columns.items()
                ]
                pl.DataFrame(series).write_parquet(path)
            else:
                path.write_text(as_csv(columns) if kind == "csv" else as_jsonl(columns))
        return read_mapped(
            MappedFile(path=folder / f"e.{kinds[0]}", mapping={"user": "u", "item": "i"}),
            items=MappedFile(path=folder / f"p.{kinds[1]}", mapping={"item": "i", "title": "t"}),
        )

    return run


WHOLE, FLOATS = [24, 3, 11], [24.0, 3.0, 11.0]


@pytest.mark.parametrize(
    ("met", "described", "kinds", "dtypes"),
    [
        (FLOATS, WHOLE, ("csv", "csv"), (None, None)),
        (WHOLE, FLOATS, ("csv", "csv"), (None, None)),
        (FLOATS, FLOATS, ("csv", "csv"), (None, None)),
        (["24.00", "3.0", "11"], WHOLE, ("csv", "csv"), (None, None)),
        (FLOATS, WHOLE, ("jsonl", "jsonl"), (None, None)),
        (["24.0", "3.0", "11.0"], WHOLE, ("jsonl", "jsonl"), (None, None)),
        (["24", "3", "11"], WHOLE, ("jsonl", "parquet"), (None, pl.Int64)),
        (FLOATS, WHOLE, ("parquet", "csv"), (pl.Float64, None)),
        (FLOATS, WHOLE, ("parquet", "parquet"), (pl.Float32, pl.UInt8)),
        (WHOLE, WHOLE, ("parquet", "jsonl"), (pl.Decimal(10, 0), None)),
        (WHOLE, FLOATS, ("csv", "parquet"), (None, pl.Decimal(10, 2))),
    ],
)
def test_whole_numbers_join_however_they_are_written(source_of, bring_in, met, described, kinds, dtypes):
    dataset, manifest = bring_in(source_of(met, described, kinds, dtypes))
    assert dict(zip(dataset.item_ids, dataset.items["title"], strict=True)) == {
        24: "Title 0",
        3: "Title 1",
        11: "Title 2",
    }
    assert manifest.understood.joined == {"items": 1.0}


def test_floats_and_whole_numbers_of_one_item_are_one(source_of, bring_in):
    dataset, manifest = bring_in(source_of(["24", "24.0", "3"], ["24", "24.0", "3"]))
    assert dataset.item_ids == (3, 24)
    assert manifest.num_repeated_ids["items"] == 1
    assert dataset.items["title"].to_list() == ["Title 2", "Title 0"]


@pytest.mark.parametrize("ids", [["1.0", "1.5", "2.0"], ["1.0", "a", "2.0"], ["01.0", "2.0"]])
def test_other_ids_stay_as_they_are_written(source_of, bring_in, ids):
    dataset, _ = bring_in(source_of(ids, ids))
    assert set(dataset.item_ids) == set(ids)


BIG = [2**53 + 1, 2**53, 2**62, -(2**63), 2**63 - 1]
BEYOND = [2**63, 2**64 - 1, 5]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_integers_of_any_size_are_kept_exactly(source_of, bring_in, kind):
    dataset, _ = bring_in(source_of(BIG, BIG, (kind, kind), (pl.Int64, pl.Int64)))
    assert dataset.item_ids == tuple(sorted(BIG))
    dataset, _ = bring_in(source_of(BEYOND, BEYOND, (kind, kind), (pl.UInt64, pl.UInt64)))
    assert set(dataset.item_ids) == set(map(str, BEYOND))
    if kind != "parquet":
        huge = [10**30, -(10**25), 7]
        dataset, _ = bring_in(source_of(huge, huge, (kind, kind)))
        assert set(dataset.item_ids) == set(map(str, huge))


@pytest.mark.parametrize(
    ("ids", "said"), [([1.5, 2.0], "1.5 as an id"), ([2.0**53, 1.0], "floats are exact below 2^53 only")]
)
def test_floats_that_name_nothing_exactly_are_refused(source_of, bring_in, ids, said):
    with pytest.raises(BadInputError) as caught:
        bring_in(source_of(ids, ids, ("parquet", "csv"), (pl.Float64, None)))
    assert said in caught.value.line()
    with pytest.raises(RejectsError, match="item id is neither text nor an integer"):
        bring_in(source_of(ids, ids, ("jsonl", "csv")))


@pytest.mark.parametrize(
    ("met", "described", "ours", "theirs", "why"),
    [
        (["B01", "B02", "B03"], ["b01", "b02", "b03"], "B01", "b01", "capital letters"),
        (["007", "008", "x"], ["7", "8", "y"], "007", "7", "leading zeros"),
        ([" a", " b", " c"], ["a", "b", "c"], " a", "a", "white space"),
        (["a-1", "b-2", "c-3"], ["a1", "b2", "c3"], "a-1", "a1", "signs"),
        (["item_17", "item_18", "item_19"], ["17", "18", "19"], "item_17", "17", "letters around a number"),
        (["a", "b", "c"], ["x", "y", "z"], "a", "x", "No looser spelling"),
    ],
)
def test_tables_that_do_not_join_are_refused_with_both_spellings(
    source_of, bring_in, met, described, ours, theirs, why
):
    # In separated text the space around ids is dropped; in JSON it is part of them.
    with pytest.raises(BadInputError) as caught:
        bring_in(source_of(met, described, ("jsonl", "jsonl")))
    line = caught.value.line()
    assert f"Events have {ours!r} where the items' file has {theirs!r}" in line
    assert why in line
    assert "0.0% of events join" in line


def test_half_may_join_and_the_share_is_reported_per_event(source_of, bring_in):
    # Three of four events are with "a"; one of two items is described.
    dataset, manifest = bring_in(source_of(["a", "b", "a", "a"], ["a", "z"]))
    assert manifest.understood.joined == {"items": 0.75}
    assert dataset.item_ids == ("a", "b", "z")


@pytest.mark.parametrize(("least", "refused"), [(0.5, True), (0.26, True), (0.25, False), (0.0, False)])
def test_a_lower_share_can_be_allowed(source_of, bring_in, least, refused):
    source = replace(source_of(["a", "b", "c", "d"], ["a", "z"]), min_joined=least)
    if refused:
        with pytest.raises(BadInputError, match=r"25.0% of events join"):
            bring_in(source)
    else:
        assert bring_in(source)[1].understood.joined == {"items": 0.25}


def test_users_join_too_and_those_without_events_are_left_out(write, bring_in):
    folder = write("n", {"e.csv": "u,i\n1,a\n2,a\n2,b\n", "p.csv": "u,age\n2,30\n3,40\n4,50\nx,60\n"})
    source = read_mapped(
        MappedFile(path=folder / "e.csv", mapping={"user": "u", "item": "i"}),
        users=MappedFile(path=folder / "p.csv", mapping={"user": "u", "age": "age"}),
    )
    dataset, manifest = bring_in(source)
    # "x" is nobody's, so that the ids of those who are left are integers all the same.
    assert dataset.user_ids == (1, 2)
    assert dataset.users["age"].to_list() == [None, "30"]
    assert manifest.understood.joined == {"users": pytest.approx(2 / 3)}
    assert manifest.understood.num_idle_users == 3
    assert manifest.num_users == 2
