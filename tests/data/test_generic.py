"""Mapped CSV, JSON lines and Parquet files, and the CSV reader beneath them."""

import csv
import datetime as dt
import io
import itertools
import json
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.data.readers.delimited import open_table
from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.data.readers.lines import numbered_lines
from warmprompt.data.readers.source import LINE, RejectLog
from warmprompt.errors import BadInputError, RejectsError

ROWS = [("ann", "x1", 4.0, 100), ("ann", "x2", None, 200), ("bob", "x1", 1.5, 50)]
MAPPING = {"user": "who", "item": "what", "rating": "stars", "time": "at"}


def as_csv(separator=","):
    body = "".join(
        separator.join(
            (u, i, "" if r is None else str(r), str(t), f"Title {i}", "red|blue" if i == "x1" else "")
        )
        + "\n"
        for u, i, r, t in ROWS
    )
    return separator.join(("who", "what", "stars", "at", "name", "tags")) + "\n" + body


def as_jsonl():
    rows = [
        {
            "who": u,
            "what": i,
            "stars": r,
            "at": t,
            "name": f"Title {i}",
            "tags": ["red", "blue"] if i == "x1" else [],
        }
        for u, i, r, t in ROWS
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_all_kinds_give_the_same_tables(write, bring_in, events_of, kind):
    path = write("g", {"e.csv": as_csv(), "e.tsv": as_csv("\t"), "e.jsonl": as_jsonl()})
    pl.read_ndjson(path / "e.jsonl").write_parquet(path / "e.parquet")
    tags = "tags[|]" if kind in ("csv", "tsv") else "tags"
    mapping = MAPPING | {"title": "name", tags: "tags"}
    dataset, _ = bring_in(read_mapped(MappedFile(path=path / f"e.{kind}", mapping=mapping)))
    assert events_of(dataset) == ROWS
    assert dataset.items.to_dicts() == [
        {"title": "Title x1", "tags": ["red", "blue"]},
        {"title": "Title x2", "tags": []},
    ]
    assert dataset.rating_scale == (1.5, 4.0)  # the ones seen


def test_separate_item_and_user_files(write, bring_in):
    path = write(
        "g",
        {
            "e.csv": as_csv(),
            "i.csv": "sku,brand\nx1,Acme\nx9,Unsold\n",
            "u.jsonl": '{"id":"bob","job":"nurse"}\n',
        },
    )
    source = read_mapped(
        MappedFile(path=path / "e.csv", mapping=MAPPING),
        items=MappedFile(path=path / "i.csv", mapping={"item": "sku", "brand": "brand"}),
        users=MappedFile(path=path / "u.jsonl", mapping={"user": "id", "occupation": "job"}),
    )
    dataset, _ = bring_in(replace(source, min_joined=0.3))
    assert dict(zip(dataset.item_ids, dataset.items["brand"], strict=True)) == {
        "x1": "Acme",
        "x2": None,
        "x9": "Unsold",
    }
    assert dict(zip(dataset.user_ids, dataset.users["occupation"], strict=True)) == {
        "ann": None,
        "bob": "nurse",
    }


@pytest.mark.parametrize(
    ("written", "ids"),
    [
        (("7", "12", "-3"), (-3, 7, 12)),
        (("7", "007", "12"), ("007", "12", "7")),
        (("7", "1.5", "x"), ("1.5", "7", "x")),
    ],
)
def test_text_ids_become_integers_only_if_all_are_written_as_integers(write, bring_in, written, ids):
    rows = "".join(f"{user},1\n" for user in written)
    path = write("g", {"e.csv": f"user,item\n{rows}"})
    dataset, _ = bring_in(
        read_mapped(MappedFile(path=path / "e.csv", mapping={"user": "user", "item": "item"}))
    )
    assert dataset.user_ids == ids


def test_typed_ids_keep_their_type(write, bring_in):
    path = write("g", {"e.jsonl": '{"u": "7", "i": 5}\n{"u": "8", "i": 6}\n'})
    dataset, _ = bring_in(read_mapped(MappedFile(path=path / "e.jsonl", mapping={"user": "u", "item": "i"})))
    assert dataset.user_ids == ("7", "8")
    assert dataset.item_ids == (5, 6)


def test_mixed_id_types_are_refused(write, bring_in):
    path = write("g", {"e.jsonl": '{"u": "7", "i": 5}\n{"u": 8, "i": 6}\n'})
    with pytest.raises(BadInputError, match="text and integers"):
        bring_in(read_mapped(MappedFile(path=path / "e.jsonl", mapping={"user": "u", "item": "i"})))


@pytest.mark.parametrize(
    ("unit", "written"), [("s", "1000000"), ("ms", "1000000999"), ("iso", "1970-01-12T13:46:40Z")]
)
def test_time_units(write, bring_in, events_of, unit, written):
    path = write("g", {"e.csv": f"u,i,t\na,b,{written}\n"})
    mapped = MappedFile(path=path / "e.csv", mapping={"user": "u", "item": "i", "time": "t"})
    dataset, _ = bring_in(read_mapped(mapped, time_unit=unit))
    assert events_of(dataset) == [("a", "b", None, 1_000_000)]


@pytest.mark.parametrize(
    ("name", "mapping", "said"),
    [
        ("e.csv", {"user": "who", "item": "nope"}, "who, what, stars, at, name, tags"),
        ("e.csv", {"user": "who"}, "item=COLUMN"),
        ("e.csv", {"user": "who", "item": "what", "ti tle": "name"}, "letters, digits"),
        ("e.jsonl", {"user": "who", "item": "what", "rating": "star"}, "star"),
        ("e.xlsx", {"user": "who", "item": "what"}, "a workbook"),
        ("none.csv", {"user": "who", "item": "what"}, "none.csv"),
        ("none.parquet", {"user": "who", "item": "what"}, "none.parquet"),
    ],
)
def test_wrong_columns_and_files_are_named(write, bring_in, name, mapping, said):
    path = write("g", {"e.csv": as_csv(), "e.jsonl": as_jsonl(), "e.xlsx": b"PK\x03\x04\x14\0"})
    with pytest.raises(BadInputError) as caught:
        bring_in(read_mapped(MappedFile(path=path / name, mapping=mapping)))
    assert said in caught.value.line()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("e.csv", b"", "empty file"),
        ("e.csv", b"\xff\xfe", "empty file"),
        ("e.csv", b"\xef\xbb\xbf", "empty file"),
        ("e.csv", b"\x89PNG\r\n\x00\x00\x01", "binary data"),
        ("e.csv", b"u,i\n", "at least one valid row"),
        ("e.csv", b"u,u\n1,2\n", "Name each column once"),
        ("e.csv.gz", b"\x1f\x8b\x08", "damaged gzip"),
        ("e.parquet", b"PAR1 and then nothing", "e.parquet"),
        ("e.jsonl", b"not json\n", "not a JSON object"),
    ],
)
def test_files_that_hold_no_rows(write, bring_in, name, content, said):
    path = write("g", {name: content})
    with pytest.raises(BadInputError) as caught:
        bring_in(read_mapped(MappedFile(path=path / name, mapping={"user": "u", "item": "i"})))
    assert said in caught.value.line()


def test_a_file_cut_in_the_middle_of_a_row_and_of_a_character(write, bring_in):
    rows = "".join(f"u{n},i{n}\n" for n in range(20))
    whole = "zoé,pâté\n".encode()
    path = write("g", {"e.csv": b"u,i\n" + rows.encode() + whole + whole[:3] + b"\nu,i,extra\nlonely"})
    mapped = MappedFile(path=path / "e.csv", mapping={"user": "u", "item": "i"})
    with pytest.raises(RejectsError):
        bring_in(read_mapped(mapped))
    dataset, manifest = bring_in(read_mapped(mapped), max_rejects=0.2)
    assert len(dataset.interactions) == 21
    assert {(each.reason, each.first_lines) for each in manifest.rejects} == {
        ("not utf-8 text", (23,)),
        ("too many fields", (24,)),
        ("too few fields", (25,)),
    }


FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)


@given(rows=st.lists(st.tuples(FIELDS, FIELDS, FIELDS), min_size=1, max_size=12))
def test_csv_rows_are_those_of_the_csv_module(tmp_path_factory, rows):
    # Quoted fields may hold separators, quotes and line ends; plain rows take the other path.
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("a", "b", "c"))
    writer.writerows(rows)
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_bytes(text.getvalue().encode())
    log = RejectLog("x")
    frames = list(open_table(path).rows(log))
    assert log.counts == {}
    assert [row for frame in frames for row in frame.select("a", "b", "c").rows()] == rows
    starts = [1 + text.getvalue()[: text.getvalue().index("\n") + 1].count("\n")]
    for row in rows[:-1]:
        starts.append(starts[-1] + 1 + sum(field.count("\n") for field in row))
    assert [line for frame in frames for line in frame[LINE]] == starts


@given(
    lines=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\ufeff"), max_size=9), min_size=1
    ),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=1),
    chunk_bytes=st.integers(1, 40),
)
def test_lines_depend_on_neither_line_ends_nor_the_size_of_pieces(tmp_path_factory, lines, ends, chunk_bytes):
    # A blank line between CR and LF would make one end of two.
    lines = [line or "blank" for line in lines]
    path = tmp_path_factory.mktemp("lines") / "x.txt"
    text = "".join(line + end for line, end in zip(lines, itertools.cycle(ends), strict=False))
    path.write_bytes((text + "end").encode())
    frames = numbered_lines(path, RejectLog("x"), chunk_bytes=chunk_bytes)
    found = [row for frame in frames for row in frame.rows()]
    assert found == list(enumerate([*lines, "end"], start=1))


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("user", [1.0, 2.5], "2.5 as an id"),
        ("user", [1.0, 2.0**53], "as an id"),
        ("user", [True, False], "Boolean as user"),
        ("item", [[1], [2]], "List(Int64) as item"),
        ("rating", [True, False], "Boolean as rating"),
        ("rating", [[1], [2]], "List(Int64) as rating"),
        ("time", [True, False], "Boolean as time"),
        ("title", [["a"], ["b"]], "List(String) as title"),
    ],
)
def test_parquet_columns_of_the_wrong_type(write, bring_in, column, values, said):
    path = write("g", {}) / "e.parquet"
    pl.DataFrame({"user": [1, 2], "item": [1, 2]}).with_columns(pl.Series(column, values)).write_parquet(path)
    mapping = {name: name for name in dict.fromkeys(("user", "item", column))}
    with pytest.raises(BadInputError) as caught:
        bring_in(read_mapped(MappedFile(path=path, mapping=mapping)))
    assert said in caught.value.line()


def test_parquet_dates_need_no_unit(write, bring_in, events_of):
    path = write("g", {}) / "e.parquet"
    day = dt.date(2020, 1, 1)
    pl.DataFrame({"user": [1, 2], "item": [1, 2], "time": [day, day + dt.timedelta(1)]}).write_parquet(path)
    mapped = MappedFile(path=path, mapping={"user": "user", "item": "item", "time": "time"})
    dataset, _ = bring_in(read_mapped(mapped))
    assert events_of(dataset) == [(1, 1, None, 1577836800), (2, 2, None, 1577836800 + 86400)]
    with pytest.raises(BadInputError, match="--time-unit: 'ms'. The column holds dates already"):
        read_mapped(mapped, time_unit="ms")


def test_iso_times_in_several_spellings(write, bring_in, events_of):
    # 2020-01-01 is 18262 days after 1970-01-01.
    spellings = ["2020-01-01", "2020-01-01T00:00:00", "2020-01-01 02:00:00+02:00", "2020-01-01T00:00:00.9Z"]
    rows = "".join(f"{number},1,{text}\n" for number, text in enumerate(spellings))
    path = write("g", {"e.csv": f"u,i,t\n{rows}"}) / "e.csv"
    mapped = MappedFile(path=path, mapping={"user": "u", "item": "i", "time": "t"})
    dataset, _ = bring_in(read_mapped(mapped, time_unit="iso"))
    assert {time for *_, time in events_of(dataset)} == {18262 * 86400}


def test_attributes_have_one_type_whatever_the_rows_hold(write, bring_in):
    events = '{"u": 1, "i": 1, "g": ["a", "b"], "y": 1999}\n{"u": 1, "i": 2, "g": "c", "y": "2000"}\n'
    path = write("g", {"e.jsonl": events, "p.jsonl": '{"u": 1, "likes": ["x", "y"], "age": 30}\n'})
    source = read_mapped(
        MappedFile(path=path / "e.jsonl", mapping={"user": "u", "item": "i", "genres": "g", "year": "y"}),
        users=MappedFile(path=path / "p.jsonl", mapping={"user": "u", "likes": "likes", "age": "age"}),
    )
    dataset, _ = bring_in(source)
    assert dataset.items.select("genres", "year").rows() == [(["a", "b"], "1999"), (["c"], "2000")]
    assert dataset.users.to_dicts() == [{"likes": "x, y", "age": "30"}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"u": 1234567890123456789012345678901234567890, "i": 1}', "beyond 128 bits"),
        ('{"u": true, "i": 1}', "neither text nor an integer"),
        ('{"u": {"id": 1}, "i": 1}', "neither text nor an integer"),
    ],
)
def test_json_ids_of_the_wrong_type(write, bring_in, line, said):
    path = write("g", {"e.jsonl": f"{line}\n"}) / "e.jsonl"
    with pytest.raises(BadInputError) as caught:
        bring_in(read_mapped(MappedFile(path=path, mapping={"user": "u", "item": "i"})))
    assert said in caught.value.line()


def test_items_of_refused_events_are_no_items(write, bring_in):
    path = write("g", {"e.csv": "u,i,name\na,1,One\n,2,Two\n"}) / "e.csv"
    mapped = MappedFile(path=path, mapping={"user": "u", "item": "i", "title": "name"})
    dataset, _ = bring_in(read_mapped(mapped), max_rejects=0.5)
    assert dataset.items["title"].to_list() == ["One"]


def test_a_list_where_a_rating_stands_is_a_reject(write, bring_in):
    lines = '{"who": "a", "what": "x", "stars": 5}\n{"who": "a", "what": "y", "stars": [1]}\n'
    path = write("g", {"e.jsonl": lines}) / "e.jsonl"
    mapping = {name: MAPPING[name] for name in ("user", "item", "rating")}
    _, manifest = bring_in(read_mapped(MappedFile(path=path, mapping=mapping)), max_rejects=0.5)
    assert [(bad.reason, bad.first_lines) for bad in manifest.rejects] == [("rating is not a number", (2,))]


def test_half_a_character_is_a_reject(write, bring_in):
    # The escape of a whole character beyond 16 bits has two halves; one alone can be written, but is no text.
    lines = '{"who": "a", "what": "\\ud83d\\ude00"}\n{"who": "a", "what": "\\ud83d"}\n'
    path = write("g", {"e.jsonl": lines}) / "e.jsonl"
    source = read_mapped(MappedFile(path=path, mapping={"user": "who", "item": "what"}))
    dataset, manifest = bring_in(source, max_rejects=0.5)
    assert dataset.item_ids == ("\U0001f600",)
    assert [(bad.count, bad.first_lines) for bad in manifest.rejects] == [(1, (2,))]


@pytest.mark.parametrize("values", [[b"\xff", b"x"], [[["x"]], [["y"]]], [{"x": 1}, {"x": 2}]])
def test_parquet_attributes_that_are_no_text(write, bring_in, values):
    path = write("g", {}) / "e.parquet"
    pl.DataFrame({"who": ["a", "b"], "what": ["x", "y"], "tags": values}).write_parquet(path)
    with pytest.raises(BadInputError, match="column 'tags'.*Give text"):
        bring_in(read_mapped(MappedFile(path=path, mapping={"user": "who", "item": "what", "tags": "tags"})))
