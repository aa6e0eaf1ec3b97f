"""Mapped CSV, JSON lines and Parquet files, and the CSV reader beneath them."""

import csv
import io
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.data.readers.delimited import CSV, delimited_rows
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
    dataset, _ = bring_in(source)
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
        ("e.xlsx", {"user": "who", "item": "what"}, ".csv"),
        ("none.csv", {"user": "who", "item": "what"}, "none.csv"),
        ("none.parquet", {"user": "who", "item": "what"}, "none.parquet"),
    ],
)
def test_wrong_columns_and_files_are_named(write, bring_in, name, mapping, said):
    path = write("g", {"e.csv": as_csv(), "e.jsonl": as_jsonl()})
    with pytest.raises(BadInputError) as caught:
        bring_in(read_mapped(MappedFile(path=path / name, mapping=mapping)))
    assert said in caught.value.line()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("e.csv", b"", "empty file"),
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
    path = write("g", {"e.csv": b"u,i\n" + rows.encode() + "zo\u00e9".encode()[:-1] + b"\nu,i,extra\nlonely"})
    mapped = MappedFile(path=path / "e.csv", mapping={"user": "u", "item": "i"})
    with pytest.raises(RejectsError):
        bring_in(read_mapped(mapped))
    dataset, manifest = bring_in(read_mapped(mapped), max_rejects=0.2)
    assert len(dataset.interactions) == 20
    assert {(each.reason, each.first_lines) for each in manifest.rejects} == {
        ("not utf-8 text", (22,)),
        ("too many fields", (23,)),
        ("too few fields", (24,)),
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
    frames = list(delimited_rows(path, log, dialect=CSV, columns=("a", "b", "c")))
    assert log.counts == {}
    assert [row for frame in frames for row in frame.select("a", "b", "c").rows()] == rows
    starts = [1 + text.getvalue()[: text.getvalue().index("\n") + 1].count("\n")]
    for row in rows[:-1]:
        starts.append(starts[-1] + 1 + sum(field.count("\n") for field in row))
    assert [line for frame in frames for line in frame[LINE]] == starts


def test_an_unclosed_quote_counts_every_line_it_swallows(write):
    path = write("g", {"x.csv": 'a,b\n1,2\n3,"4\n5,6\n7,8\n'}) / "x.csv"
    log = RejectLog("x")
    frames = list(delimited_rows(path, log, dialect=CSV, columns=("a", "b")))
    assert [row for frame in frames for row in frame.select("a", "b").rows()] == [("1", "2")]
    assert log.first_lines == {"broken quoting": [3, 4, 5]}


@given(
    lines=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\ufeff"), max_size=9), min_size=1
    ),
    chunk_bytes=st.integers(1, 40),
)
def test_lines_do_not_depend_on_the_size_of_the_pieces(tmp_path_factory, lines, chunk_bytes):
    path = tmp_path_factory.mktemp("lines") / "x.txt"
    path.write_bytes("\n".join([*lines, "end"]).encode())
    frames = numbered_lines(path, RejectLog("x"), chunk_bytes=chunk_bytes)
    found = [row for frame in frames for row in frame.rows()]
    assert found == list(enumerate([*lines, "end"], start=1))
