"""Tables: ids stay text, periods are in the order of time, and what cannot be read is named."""

import numpy as np
import polars as pl
import pytest

from warmprompt.errors import UserError
from warmprompt.risk.entities import UNLABELLED, learn_schema, make_table, read_frame

ROWS = {
    "bank": ["7", "007", "7", "007"],
    "year": ["9", "10", "10", "9"],
    "size": [1.5, None, 3.0, 2.0],
    "country": ["Peru", "", None, "Chile"],
    "grade": ["2", None, "10", "2"],
}


def read(rows, **columns):
    frame = pl.DataFrame(ROWS | rows)
    asked = {"entity": "bank", "time": "year", "label": "grade"} | columns
    schema = learn_schema(frame, **asked)
    return schema, make_table(frame, schema)


def test_rows_are_by_entity_then_time():
    schema, table = read({})
    assert (table.names, table.periods) == (("007", "7"), ("9", "10"))
    assert [
        (table.names[e], table.periods[p]) for e, p in zip(table.entity_N, table.period_N, strict=True)
    ] == [
        ("007", "9"),
        ("007", "10"),
        ("7", "9"),
        ("7", "10"),
    ]
    assert schema.classes == ("2", "10")  # numbers in rising order
    assert (schema.ordered, schema.trouble) == (True, ("10",))
    assert table.label_N.tolist() == [0, UNLABELLED, 0, 1]
    np.testing.assert_array_equal(table.numbers_NJ[:, 0], [2.0, np.nan, 1.5, 3.0])
    assert table.words_NW[:, 0].tolist() == ["Chile", "", "Peru", ""]


def test_csv_ids_keep_their_zeros(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("bank,year,size,grade\n007,2016Q1,1,1\n7,2016Q1,2,2\n")
    frame = read_frame(path, text=("bank", "year", "grade"))
    assert frame["bank"].to_list() == ["007", "7"]


@pytest.mark.parametrize(
    ("labels", "classes", "ordered", "trouble"),
    [
        ([1.0, 2.0, None, 1.0], ("1", "2"), True, ("2",)),
        ([True, False, None, True], ("false", "true"), True, ("true",)),
    ],
)
def test_labels_of_any_kind_are_classes(labels, classes, ordered, trouble):
    schema, _ = read({"grade": labels})
    assert (schema.classes, schema.ordered, schema.trouble) == (classes, ordered, trouble)


@pytest.mark.parametrize(
    ("rows", "columns", "line"),
    [
        ({}, {"entity": "firm"}, "entity column: 'firm'. The columns are bank, year, size, country, grade."),
        ({}, {"features": ["sizes"]}, "features column: 'sizes'. The columns are bank, year"),
        ({}, {"features": ["grade"]}, "features: 'grade'. It is the entity, time or label column"),
        ({}, {"delay": 0}, "delay: '0'. Give at least 1: a label must not be known in its own period."),
        ({}, {"trouble": ["3"]}, "trouble: '3'. Labels are 2, 10."),
        ({}, {"trouble": ["2", "10"]}, "trouble: '2, 10'. Name some, not all, of the labels 2, 10."),
        (
            {},
            {"classes": ["2", "3"]},
            "column grade: '10'. The classes are 2, 3; add it or correct the rows.",
        ),
        ({"grade": ["a", "b", "a", "b"]}, {}, "trouble: 'none'. Name some, not all, of the labels a, b."),
        ({"grade": ["1", "1", "1", "1"]}, {}, "column grade: '1 different labels'. Give 2 to 20 classes"),
        ({"bank": ["7", "7", "7", "8"]}, {}, "bank 7: '10 twice'. Give one row per entity and period."),
        ({"bank": ["7", "", "8", "9"]}, {}, "column bank, row 2: 'empty'. Fill it or drop the row."),
        (
            {"year": ["9", "1/2/03", "10", "9"]},
            {},
            "column year: '1/2/03'. Write every period in the same form",
        ),
        (
            {"year": ["2016Q1", "2016-03", "2016Q2", "2016Q1"]},
            {},
            "column year: '2016-03'. Write every period",
        ),
        ({"size": [1.0, float("inf"), 2.0, 3.0]}, {}, "column size, row 2: 'inf'. Give a finite number"),
        ({"size": [None, None, None, None]}, {}, "column size: 'no value'. Leave it out of the features."),
        ({"size": [[1], [2], [3], [4]]}, {}, "column size: 'List(Int64)'. Convert it to numbers or text"),
    ],
)
def test_what_cannot_be_read_is_named(rows, columns, line):
    with pytest.raises(UserError) as refusal:
        read(rows, **columns)
    assert refusal.value.line().startswith(line)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"grade": ["3", None, "10", "2"]}, "column grade, row 1: '3'. Labels are 2, 10."),
        ({"size": ["a", "b", "c", "d"]}, "column size: 'String'. The profiler was trained on numbers there"),
    ],
)
def test_a_later_table_must_be_like_the_first(change, line):
    schema, _ = read({})
    with pytest.raises(UserError) as refusal:
        make_table(pl.DataFrame(ROWS | change), schema)
    assert refusal.value.line().startswith(line)
    with pytest.raises(UserError, match="features column: 'size'"):
        make_table(pl.DataFrame(ROWS).drop("size"), schema)


def test_the_label_column_may_be_missing_later():
    schema, _ = read({})
    assert set(make_table(pl.DataFrame(ROWS).drop("grade"), schema).label_N.tolist()) == {UNLABELLED}
