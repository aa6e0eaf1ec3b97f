"""`warmprompt data`: what people read, and mistakes in one line."""

import json

import pytest

from warmprompt.cli import run

EVENTS = "who,what,stars,at\nann,x,5,100\nann,y,3,200\nann,x,4,300\nbob,x,1,50\n"
MAP = "user=who,item=what,rating=stars,time=at"


@pytest.fixture
def events(tmp_path, monkeypatch):
    """Return a file of four events, one of them a duplicate; data sets go into an empty home."""
    monkeypatch.setenv("WARMPROMPT_HOME", str(tmp_path / "home"))
    path = tmp_path / "events.csv"
    path.write_text(EVENTS)
    return path


def test_what_was_imported_is_described_and_listed(capfd, events, tmp_path):
    assert run(["data", "import", str(events), "--name", "mine", "--map", MAP]) == 0
    said = capfd.readouterr().out
    assert "mine: 2 users, 2 items, 3 events; left out: 1 duplicates, 0 rejects" in said
    assert str(tmp_path / "home" / "data" / "mine") in said
    assert run(["data", "describe", "mine", "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert (printed["manifest"]["num_events"], printed["p_cold"], printed["median_events"]) == (3, 1.0, 1.5)
    assert run(["data", "describe", "mine"]) == 0
    assert "cold users (at most 5 events)" in capfd.readouterr().out
    assert run(["data", "list", "--json"]) == 0
    rows = {row["name"]: row["num_events"] for row in json.loads(capfd.readouterr().out)}
    assert rows == {"mine": 3, "ml-100k": None, "ml-1m": None, "ml-latest-small": None}


def test_a_public_data_set_that_is_here_is_not_fetched_again(capfd, events):
    # Tests run without a network: fetching would fail.
    assert run(["data", "import", str(events), "--name", "ml-1m", "--map", MAP]) == 0
    assert run(["data", "get", "ml-1m"]) == 0
    said = capfd.readouterr().out
    assert "ml-1m is here already" in said
    assert run(["data", "get", "ml-1m", "--from", "nowhere.zip", "--overwrite"]) == 2


def test_rejects_are_reported_with_their_lines(capfd, events):
    events.write_text(EVENTS + "bob,y,inf,60\ncat,y,5,-1\ncat,y,five,1\n")
    assert run(["data", "import", str(events), "--name", "mine", "--map", MAP, "--max-rejects", "0.5"]) == 0
    said = capfd.readouterr().out
    for line, reason in ((6, "rating is not finite"), (7, "time is negative"), (8, "rating is not a number")):
        assert f"interactions: 1 x {reason}, line {line}" in said


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["get", "ml-100"], 2, "error: data set: 'ml-100'. Choose one of ml-100k, "),
        (["get", "ml-1m", "--from", "nowhere.zip"], 2, "error: --from: 'nowhere.zip: no such file'."),
        (["describe", "nowhere"], 2, "error: data set: 'nowhere'. Known: ml-100k, "),
        (["describe", "RUN"], 2, "error: RUN: 'its manifest.json is of something else'. Name a data set"),
        (["import", "nowhere", "--name", "x"], 2, "error: nowhere: 'no such file or folder'."),
        (["import", "FILE", "--name", "x"], 2, "error: FILE: 'no known format'. Give --format, or name"),
        (["import", "FILE", "--name", "x", "--map", "user=who"], 2, "error: columns of FILE: 'user=who'."),
        (["import", "FILE", "--name", "x", "--map", "who"], 2, "error: --map: 'who'. Write NAME=COLUMN"),
        (
            ["import", "FILE", "--name", "x", "--map", MAP, "--items", "i.csv"],
            2,
            "error: --items: 'i.csv'. Give --items and --items-map together.",
        ),
        (["import", "FILE", "--name", "a/b", "--map", MAP], 2, "error: data set name: 'a/b'. Use letters"),
        (
            ["import", "FILE", "--name", "x", "--map", MAP, "--rating-scale=-inf,5"],
            2,
            "error: --rating-scale: '-inf,5'. Write LOW,HIGH, such as 1,5.",
        ),
        (
            ["import", "FILE", "--name", "x", "--map", MAP, "--rating-scale=2,5"],
            2,
            "error: interactions, 1 of 4 rows malformed: '1 x rating is outside 2 to 5 (line 5)'. Mend",
        ),
        (
            ["import", "FILE", "--name", "x", "--map", MAP, "--max-rejects=nan"],
            2,
            "error: --max-rejects: 'nan'.",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(capfd, events, tmp_path, arguments, code, line):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text('{"format": 2, "learner": "maml"}')
    for name, path in (("FILE", events), ("RUN", tmp_path / "run")):
        arguments = [argument.replace(name, str(path)) for argument in arguments]
        line = line.replace(name, str(path))
    assert run(["data", *arguments]) == code
    said = capfd.readouterr()
    assert said.err.startswith(line)
    assert said.err.count("\n") == 1
    assert not list((tmp_path / "home" / "data").glob("*"))
