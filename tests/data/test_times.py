"""Times: the only plausible unit is found, a given one is believed, dates in doubt are refused."""

import datetime as dt
from dataclasses import replace

import polars as pl
import pytest

from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.errors import BadInputError, RejectsError

MOMENT = dt.datetime(2019, 3, 4, 15, 6, 7, tzinfo=dt.UTC)
SECONDS = int(MOMENT.timestamp())
MIDNIGHT = int(dt.datetime(2019, 3, 4, tzinfo=dt.UTC).timestamp())


@pytest.fixture
def time_of(write, bring_in):
    """Import one way to write a time, several times over: (seconds of the first event, manifest)."""

    def run(written, unit=None):
        rows = "".join(f'a,i{index},"{text}"\n' for index, text in enumerate(written))
        path = write("t", {"e.csv": f"u,i,t\n{rows}"}) / "e.csv"
        source = read_mapped(MappedFile(path=path, mapping={"user": "u", "item": "i", "time": "t"}))
        dataset, manifest = bring_in(replace(source, time_unit=unit))
        return int(dataset.interactions.times_s[0]), manifest

    return run


@pytest.mark.parametrize(
    ("written", "unit", "expected"),
    [
        (f"{SECONDS}", "s", SECONDS),
        (f"{SECONDS}.0", "s", SECONDS),
        (f"{SECONDS}.75", "s", SECONDS),
        (f"{SECONDS * 1000 + 999}", "ms", SECONDS),
        (f"{SECONDS * 10**6}", "us", SECONDS),
        (f"{SECONDS * 10**9}", "ns", SECONDS),
        ("1.551712e9", "s", 1551712000),
        ("2019-03-04T15:06:07Z", "iso", SECONDS),
        ("2019-03-04 15:06:07", "iso", SECONDS),
        ("2019-03-04T16:06:07.123456+01:00", "iso", SECONDS),
        ("2019-03-04 10:06:07-0500", "iso", SECONDS),
        ("2019-03-04 15:06:07+00", "iso", SECONDS),
        ("2019-03-04 15:06:07 UTC", "iso", SECONDS),
        ("2019-03-04 15:06", "iso", SECONDS - 7),
        ("2019-03-04 15:06:07,5", "iso", SECONDS),
        ("2019/03/04 15:06:07", "iso", SECONDS),
        ("2019/3/4", "iso", MIDNIGHT),
        ("2019-03-04", "iso", MIDNIGHT),
        ("20190304", "iso", MIDNIGHT),
        ("20190304150607", "iso", SECONDS),
        ("20190304T150607Z", "iso", SECONDS),
    ],
)
def test_the_only_plausible_unit_is_found_and_reported(time_of, written, unit, expected):
    found, manifest = time_of([written] * 3)
    assert found == expected
    assert manifest.understood.time_unit == unit
    assert manifest.understood.notes == ()
    assert manifest.understood.first_s == manifest.understood.last_s == expected


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("04/03/2019", "Day and month cannot be distinguished"),
        ("4.3.2019 15:06", "Day and month cannot be distinguished"),
        ("3-4-19", "Day and month cannot be distinguished"),
        ("Mar 4, 2019", "Write dates as 2020-12-31"),
        ("43528", "days of a spreadsheet"),
        ("43528.629", "days of a spreadsheet"),
    ],
)
def test_dates_in_doubt_are_refused(time_of, written, said):
    with pytest.raises(BadInputError) as caught:
        time_of([written] * 3)
    assert said in caught.value.line()
    assert written in caught.value.line()


def test_a_unit_that_is_given_is_believed(time_of):
    assert time_of(["43528"] * 3, unit="s")[0] == 43528
    assert time_of([f"{SECONDS}"] * 3, unit="ms")[0] == SECONDS // 1000


def test_the_wrong_unit_is_reported_or_refused(time_of):
    _, manifest = time_of([f"{SECONDS}"] * 3, unit="ms")
    assert "100% of times lie before 1990, read as milliseconds" in manifest.understood.notes[0]
    with pytest.raises(RejectsError, match=r"time is in the future.*--time-unit s, ms, us, ns or iso"):
        time_of([f"{SECONDS * 1000}"] * 3, unit="s")
    with pytest.raises(RejectsError, match=r"time is not a number.*--time-unit"):
        time_of([f"{SECONDS}"] * 3, unit="iso")


def test_an_order_is_no_moment_but_orders(time_of):
    found, manifest = time_of(["3", "1", "2"])
    assert found == 1
    assert "before 1990" in manifest.understood.notes[0]


def test_a_few_odd_times_do_not_decide(time_of):
    found, manifest = time_of([f"{SECONDS * 1000}"] * 20 + ["0"] * 3)
    assert manifest.understood.time_unit == "ms"
    assert found == 0
    assert "13% of times lie before 1990" in manifest.understood.notes[0]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_units_are_found_in_every_kind_of_file(write, bring_in, kind):
    frame = pl.DataFrame({"u": ["a", "b"], "i": ["x", "y"], "t": [SECONDS * 1000, SECONDS * 1000 + 1]})
    path = write("k", {}) / f"e.{kind}"
    if kind == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    source = read_mapped(MappedFile(path=path, mapping={"user": "u", "item": "i", "time": "t"}))
    dataset, manifest = bring_in(source)
    assert dataset.interactions.times_s.tolist() == [SECONDS, SECONDS]
    assert manifest.understood.time_unit == "ms"


def test_parquet_dates_are_reported_as_dates(write, bring_in):
    frame = pl.DataFrame({"u": ["a"], "i": ["x"], "t": [MOMENT]})
    frame.write_parquet(write("d", {}) / "e.parquet")
    path = write("d", {}) / "e.parquet"
    source = read_mapped(MappedFile(path=path, mapping={"user": "u", "item": "i", "time": "t"}))
    dataset, manifest = bring_in(source)
    assert dataset.interactions.times_s.tolist() == [SECONDS]
    assert manifest.understood.time_unit == "dates"
