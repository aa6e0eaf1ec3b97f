"""Filters by item attributes: masks against a plain loop, and refusals that name what there is."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.data.attributes import ItemAttributes, parsed_filter
from warmprompt.errors import BadInputError, UnknownNameError

ROWS = [
    {"genres": ["Comedy", "Drama"], "year": "1995", "studio": "Toho"},
    {"genres": ["comedy "], "year": "1999.0", "studio": None},
    {"genres": [], "year": None, "studio": "TOHO"},
    {"genres": None, "year": "unknown", "studio": "Ümlaut Film"},
    {"genres": ["Sci-Fi", None, "Drama"], "year": "2004", "studio": " toho "},
    {"genres": ["Straße"], "year": "-44", "studio": ""},
]
SCHEMA = {"genres": pl.List(pl.String), "year": pl.String, "studio": pl.String}


@pytest.fixture
def attributes():
    return ItemAttributes(pl.DataFrame(ROWS, schema=SCHEMA))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"genres": "Comedy"}, [0, 1]),
        ({"genres": "COMEDY"}, [0, 1]),
        ({"genres": ["sci-fi", "Comedy"]}, [0, 1, 4]),
        ({"genres": ("Drama",), "studio": "toho"}, [0, 4]),
        ({"genres": "STRASSE"}, [5]),
        ({"studio": "toho"}, [0, 2, 4]),
        ({"studio": "ÜMLAUT film"}, [3]),
        ({"year": "1995"}, [0]),
        ({"year": 1995}, [0]),
        ({"year": 1999}, [1]),
        ({"year": np.int64(2004)}, [4]),
        ({"year": np.array([1995, 2004])}, [0, 4]),
        ({"year": ["unknown", 1995.0]}, [0, 3]),
        ({"year": {"min": 1995}}, [0, 1, 4]),
        ({"year": {"max": 1995}}, [0, 5]),
        ({"year": {"min": 1995, "max": 1999}}, [0, 1]),
        ({"year": {"min": 3000}}, []),
        ({"genres": "Sci-Fi", "studio": "Ümlaut Film"}, []),
    ],
)
def test_a_filter_passes_these_rows(attributes, wanted, expected):
    assert np.flatnonzero(attributes.mask(wanted)).tolist() == expected
    # The same filter from the kept mask, and in another order.
    assert np.flatnonzero(attributes.mask(dict(reversed(wanted.items())))).tolist() == expected


values = st.sampled_from(["a", "A", "b", "c c", "C C", "7", "7.0", "é"])


@given(
    rows=st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), values), max_size=4)), min_size=1),
    wanted=st.sets(values, min_size=1),
)
def test_membership_is_that_of_a_plain_loop(rows, wanted):
    attributes = ItemAttributes(pl.DataFrame({"kind": rows}, schema={"kind": pl.List(pl.String)}))
    there = {one.casefold() for row in rows for one in row or () if one}
    wanted = {one for one in wanted if one.casefold() in there}
    keys = {one.casefold() for one in wanted}
    expected = [any(one is not None and one.casefold() in keys for one in row or ()) for row in rows]
    if wanted:
        assert attributes.mask({"kind": sorted(wanted)}).tolist() == expected


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"genre": "Comedy"}, UnknownNameError, r"filter: 'genre'.*genres, year, studio"),
        ({"genres": "Comdey"}, UnknownNameError, r"filter genres: 'comdey'.*Comedy"),
        ({"genres": ["Comedy", "Horror"]}, UnknownNameError, r"'horror'.*Drama"),
        ({"year": 1996}, UnknownNameError, r"filter year: '1996'.*1995"),
        ({"genres": {"min": 1}}, BadInputError, r"has no numbers.*Comedy"),
        ({"year": {"from": 1}}, BadInputError, "min"),
        ({"year": {}}, BadInputError, "min"),
        ({"year": {"min": "1990"}}, BadInputError, "min of filter year"),
        ({"year": {"min": float("nan")}}, BadInputError, "finite"),
        ({"year": {"min": 2, "max": 1}}, BadInputError, "min below max"),
        ({"year": True}, BadInputError, "filter year"),
        ({"year": None}, BadInputError, "filter year"),
        ({"year": []}, BadInputError, "filter year"),
        ({"year": float("nan")}, BadInputError, "filter year"),
        ({3: "x"}, BadInputError, "Name attributes as text"),
        (["genres"], BadInputError, "Write it as"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(attributes, wanted, error, message):
    with pytest.raises(error, match=message):
        attributes.mask(wanted)


def test_of_many_values_the_nearest_are_named():
    many = ItemAttributes(pl.DataFrame({"brand": [f"brand number {n}" for n in range(1000)]}))
    with pytest.raises(UnknownNameError, match=r"nearest of its 1000 values: brand number 77\b"):
        many.mask({"brand": "brand nubmer 77"})


def test_new_items_carry_what_the_catalogue_knows(attributes):
    longer = attributes.extended(
        [{"genres": "Comedy", "year": "2026"}, {"genres": ["Drama"], "colour": "red"}, {}]
    )
    assert np.flatnonzero(longer.mask({"genres": ["Comedy", "Drama"]})).tolist() == [0, 1, 4, 6, 7]
    assert np.flatnonzero(longer.mask({"year": {"min": 2020}})).tolist() == [6]
    assert len(attributes.mask({"genres": "Comedy"})) == 6
    assert longer.frame.schema == attributes.frame.schema


def test_a_mask_cannot_be_written_to(attributes):
    with pytest.raises(ValueError, match="read-only"):
        attributes.mask({"genres": "Comedy"})[0] = False


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {}),
        (["genres=Comedy"], {"genres": ["Comedy"]}),
        (["genres=Comedy", "genres = Drama"], {"genres": ["Comedy", "Drama"]}),
        (["note=a=b"], {"note": ["a=b"]}),
        (["year=1990..1999", "genres=Comedy"], {"genres": ["Comedy"], "year": {"min": 1990, "max": 1999}}),
        (["year=1990.."], {"year": {"min": 1990}}),
        (["year=..1999"], {"year": {"max": 1999}}),
        (["year=-1.5..2.5"], {"year": {"min": -1.5, "max": 2.5}}),
        (["title=.."], {"title": [".."]}),
        (["title=A..B"], {"title": ["A..B"]}),
    ],
)
def test_filters_are_written_as_text(texts, expected):
    assert parsed_filter(texts, field="--filter") == expected


@pytest.mark.parametrize(
    "texts", [["genres"], ["=x"], ["genres="], [""], ["year=1..2", "year=5"], ["year=5", "year=1..2"]]
)
def test_a_text_that_is_no_filter_is_refused(texts):
    with pytest.raises(BadInputError, match="--filter"):
        parsed_filter(texts, field="--filter")
