"""The numbers that docs/results tells against the JSON that `make evidence` wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PAGES = ("index.md", "ablations.md")

_PERCENT = r"([+-]\d*\.\d)"
_GAIN = re.compile(rf"{_PERCENT}(?: %)? \[{_PERCENT}, {_PERCENT}\](\\\*)?")
_STARRED = re.compile(r"(?<![\d.])([+-]\d*\.?\d+)\\\*")
_VALUE = re.compile(r"(?<![\d+-])(\.\d{4})(?: \[(\.\d{4}), (\.\d{4})\])?(?!\d)")

# In no table: of validation users, of settings no longer in use, or a gain of a table the other way round.
FROM_THE_LOG = {
    ("index.md", "-4.2 % [-6.9, -1.5]"),
    ("index.md", ".0591"),
    # The main table's cells of splits 0 to 2.
    ("index.md", ".0754"),
    *(
        ("ablations.md", told)
        for told in ("-27\\*", ".0591", ".1261", ".1460", ".1564", ".1778", ".0982", ".0906", ".0991")
    ),
}


@pytest.fixture(scope="module")
def tables():
    told = [json.loads(file.read_text()) for file in sorted((RESULTS / "evidence").glob("*.json"))]
    return [one for one in told if "rows" in one]


@pytest.mark.parametrize("page", PAGES)
def test_every_gain_with_an_interval_is_in_a_table_and_marked_only_where_it_is_certain(tables, page):
    known = {}
    for one in (one for table in tables for one in (*table["headline"], *table["further"])):
        if one["percent"] is not None:
            key = _tenths(one["percent"], one["percent_low"], one["percent_high"])
            known[key] = min(one["p_holm"], known.get(key, 1.0))
    for one in (one for table in tables for one in table["mean_gains"]):
        known.setdefault(_tenths(one["percent"], one["low"], one["high"]), 1.0)
    found = list(_GAIN.finditer((RESULTS / page).read_text()))
    assert len(found) > 5
    for match in found:
        *numbers, star = match.groups()
        if (page, match.group()) not in FROM_THE_LOG:
            key = _tenths(*map(float, numbers))
            assert key in known, f"{page}: {match.group()} is in no table: report it again, or mend the page"
            assert not star or known[key] < 0.05, f"{page}: {match.group()} is marked, and no table says so"


@pytest.mark.parametrize("page", PAGES)
def test_every_starred_gain_is_certain_in_a_table(tables, page):
    certain = [
        one["percent"]
        for table in tables
        for one in (*table["headline"], *table["further"])
        if one["percent"] is not None and one["p_holm"] < 0.05
    ]
    shown = {f"{percent:+.{digits}f}" for percent in certain for digits in (0, 1)}
    found = list(_STARRED.finditer((RESULTS / page).read_text()))
    assert found
    for match in found:
        if (page, match.group()) not in FROM_THE_LOG:
            told = match.group()
            assert match[1] in shown, f"{page}: {told} is in no table: report it again, or mend the page"


@pytest.mark.parametrize("page", PAGES)
def test_every_value_is_in_a_table(tables, page):
    rows = [one for table in tables for one in table["rows"]]
    alone = {_digits(one["value"]) for one in rows}
    whole = {tuple(_digits(one[key]) for key in ("value", "low", "high")) for one in rows}
    found = list(_VALUE.finditer((RESULTS / page).read_text()))
    assert len(found) > 20
    for match in found:
        value, low, high = match.groups()
        if (page, match.group()) not in FROM_THE_LOG:
            is_there = (value, low, high) in whole if low else value in alone
            assert is_there, f"{page}: {match.group()} is in no table: report it again, or mend the page"


def test_what_is_excused_is_still_told():
    for page, told in FROM_THE_LOG:
        assert told in (RESULTS / page).read_text(), f"{page} no longer tells {told}: take it off the list"


def _tenths(*numbers: float) -> tuple[float, ...]:
    return tuple(float(f"{number:.1f}") for number in numbers)


def _digits(value: float) -> str:
    return f"{value:.4f}".lstrip("0")
