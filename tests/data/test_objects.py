"""Objects in text: JSON or Python's spelling, one in a line, in an array, or over several lines."""

import gzip
import json
import pprint

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.data.readers.lines import TEXT
from warmprompt.data.readers.objects import array_objects, parsed
from warmprompt.data.readers.source import LINE, RejectLog

ROWS = [
    {"u": f"p{n // 3}", "i": f"x{n % 3}", "r": n % 5 + 1, "note": 'it\'s "fine"', "early": n > 3}
    for n in range(9)
]
MAPPING = {"user": "u", "item": "i", "rating": "r"}
EXPECTED = sorted((row["u"], row["i"], float(row["r"])) for row in ROWS)


def python2(row):
    """Write a row as Python 2 wrote its text."""
    return (
        "{"
        + ", ".join(f"u'{key}': {'u' * isinstance(value, str)}{value!r}" for key, value in row.items())
        + "}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{row!r}\n" for row in ROWS),
        "".join(f"{python2(row)}\n" for row in ROWS),
        "".join(f"{json.dumps(row) if n % 2 else repr(row)}\n" for n, row in enumerate(ROWS)),
        "".join(f"{json.dumps(row)},\n" for row in ROWS),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        repr(ROWS),
        pprint.pformat(ROWS, width=40),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        "\n\n" + "[" + ",\n".join(json.dumps(row) for row in ROWS) + "]\n",
    ],
    ids=[
        "python",
        "python2",
        "mixed",
        "commas",
        "array",
        "indented",
        "list",
        "pprint",
        "concatenated",
        "lines",
    ],
)
@pytest.mark.parametrize("name", ["e.json", "e.jsonl.gz", "e.txt"])
def test_every_spelling_gives_the_same_events(write, bring_in, events_of, text, name):
    raw = text.encode()
    path = write("o", {name: gzip.compress(raw) if name.endswith("gz") else raw}) / name
    dataset, manifest = bring_in(read_mapped(MappedFile(path=path, mapping=MAPPING)))
    assert [(user, item, rating) for user, item, rating, _ in events_of(dataset)] == EXPECTED
    assert manifest.rejects == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "{'a': None, 'b': True, 'c': -1.5, 'd': [1, (2, 3)]}",
            {"a": None, "b": True, "c": -1.5, "d": [1, (2, 3)]},
        ),
        ("{'a': null, 'b': true}", {"a": None, "b": True}),
        ("{'a': inf, 'b': -Infinity}", {"a": float("inf"), "b": float("-inf")}),
        (r"{u'a': u'\ud83c\udfac'}", {"a": "🎬"}),
        (r"{'a': 'C:\windows'}", {"a": r"C:\windows"}),
        ("{'a': __import__('os').getcwd()}", None),
        ("{'a': open}", None),
        ("{'a': {1, 2}}", None),
        ("{'a': b'bytes'}", None),
        ("{'a': 1", None),
        ("(" * 5000, None),
        ("a,b,c", None),
    ],
)
def test_literals_are_parsed_and_nothing_is_run(text, value):
    assert parsed(text) == value


def test_nan_is_no_rating_and_no_id(write, bring_in, events_of):
    lines = [
        '{"u": "a", "i": "x", "r": NaN}',
        "{'u': 'a', 'i': 'y', 'r': nan}",
        '{"u": NaN, "i": "x", "r": 2}',
    ]
    lines.append('{"u": "a", "i": "z", "r": 3}')
    path = write("o", {"e.json": "\n".join(lines)}) / "e.json"
    dataset, manifest = bring_in(read_mapped(MappedFile(path=path, mapping=MAPPING)), max_rejects=0.5)
    assert events_of(dataset) == [("a", "x", None, None), ("a", "y", None, None), ("a", "z", 3.0, None)]
    assert [(each.reason, each.first_lines) for each in manifest.rejects] == [("user id is empty", (3,))]


@pytest.mark.parametrize(
    ("text", "found", "rejects"),
    [
        ('[{"a": 1},\n 5,\n {"a": 2}]', [(1, 1), (3, 2)], {"not a JSON object": [2]}),
        ('[{"a": 1},\n {"a": oops},\n {"a": 2}]', [(1, 1), (3, 2)], {"not a JSON object": [2]}),
        ('[{"a": 1},\n {"a": 2}', [(1, 1), (2, 2)], {"the array has no end: the file is cut short": [3]}),
        (
            '[{"a": 1},\n {"a": "x',
            [(1, 1)],
            {"not a JSON object": [2], "the array has no end: the file is cut short": [3]},
        ),
        ("[]", [], {}),
    ],
)
def test_what_is_no_object_in_an_array_is_counted_with_its_line(text, found, rejects):
    lines = text.split("\n")
    log = RejectLog("x")
    chunk = pl.DataFrame({LINE: range(1, len(lines) + 1), TEXT: lines})
    objects = [(line, each["a"]) for part in array_objects(iter([chunk]), log) for line, each in part]
    assert (objects, log.first_lines) == (found, rejects)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), min_size=1, max_size=5)


@given(rows=OBJECTS, size=st.integers(1, 3), spelled=st.sampled_from([json.dumps, repr]))
def test_an_array_does_not_depend_on_the_size_of_the_pieces(rows, size, spelled):
    lines = ("[" + ",\n".join(spelled(row) for row in rows) + "\n]").split("\n")
    chunks = [
        pl.DataFrame({LINE: range(at + 1, at + 1 + len(lines[at : at + size])), TEXT: lines[at : at + size]})
        for at in range(0, len(lines), size)
    ]
    log = RejectLog("x")
    found = [pair for part in array_objects(iter(chunks), log) for pair in part]
    assert [each for _, each in found] == rows
    assert [line for line, _ in found] == list(range(1, len(rows) + 1))
    assert log.counts == {}
