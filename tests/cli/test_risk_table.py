"""`risk train --table` and `risk score`: from a file to the riskiest, and one line for what cannot be."""

import json

import polars as pl
import pytest

from warmprompt.cli import run
from warmprompt.risk.entities.made_up import make_banks


@pytest.fixture(scope="module")
def trained(made_once):
    def train(folder):
        folder.mkdir()
        table = folder / "banks.csv"
        make_banks(240, 8, seed=0).write_csv(table)
        columns = ["--entity=bank", "--time=quarter", "--label=rating", "--classes=A,B,C,D"]
        backbone = ["--backbone=tiny", "--layers=1", "--tangent-epochs=1", "--prompt-steps=1"]
        out = f"--out={folder / 'profiler'}"
        assert run(["risk", "train", f"--table={table}", *columns, "--trouble=C,D", *backbone, out]) == 0

    return made_once("trained-table-profiler", train)


def test_the_riskiest_of_a_file_come_first(capfd, trained, tmp_path):
    out = tmp_path / "scores.parquet"
    command = ["risk", "score", str(trained / "profiler"), str(trained / "banks.csv")]
    assert run([*command, f"--out={out}", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    banks = pl.read_csv(trained / "banks.csv")
    empty = banks.filter((pl.col("quarter") == "2017Q4") & pl.col("rating").is_null())
    assert sorted(row["entity"] for row in rows) == sorted(empty["bank"].to_list())
    assert [row["p_trouble"] for row in rows] == sorted((row["p_trouble"] for row in rows), reverse=True)
    assert pl.read_parquet(out).to_dicts() == rows
    for row in rows:
        assert row["p_low"] <= row["p_trouble"] <= row["p_high"]
        assert sum(row[f"p_{name}"] for name in "ABCD") == pytest.approx(1)
        assert (row["known_labels"], row["labelled_peers"]) == (7, 60)
    # Half of the ratings are C or D, and a bank keeps its strength: the last rating tells the two ends apart.
    last = dict(banks.filter(pl.col("quarter") == "2017Q3").select("bank", "rating").iter_rows())
    assert sum(last[row["entity"]] in "CD" for row in rows[:40]) > 30
    assert sum(last[row["entity"]] in "CD" for row in rows[-40:]) < 10


def test_one_entity_is_scored_with_its_own_label_hidden(capfd, trained):
    command = ["risk", "score", str(trained / "profiler"), str(trained / "banks.csv")]
    assert run([*command, "--entity=B007", "--period=2017Q2", "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert (row["entity"], row["period"], row["known_labels"]) == ("B007", "2017Q2", 5)
    assert row["labelled_peers"] == 239


def test_all_banks_can_be_scored(capfd, trained):
    command = ["risk", "score", str(trained / "profiler"), str(trained / "banks.csv"), "--json"]
    assert run(command) == 0
    some = {row["entity"]: row for row in json.loads(capfd.readouterr().out)}
    assert run([*command, "--all"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert len({row["entity"] for row in rows}) == len(rows) == 240
    # Rated banks are scored with their own rating hidden and without peers; the others as before.
    for row in rows:
        expected = some.get(row["entity"])
        assert row == expected if expected else row["labelled_peers"] == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--table=T", "--time=quarter", "--label=rating"], "--entity: 'left out'. Name that column"),
        (["--entity=bank"], "--entity: 'bank'. It is of a table; name one with --table."),
        (["--table=T", "--customers=9"], "--customers: 'given'. It is of payments; leave it out"),
        (["--table=T", "--save-table=x.csv"], "--save-table: 'x.csv'. Leave it out: --table"),
        (["--save-table=x.txt"], "--save-table: 'x.txt'. Name a .parquet or .csv file."),
        (
            ["--table=none.csv", "--entity=bank", "--time=quarter", "--label=rating"],
            "table: 'none.csv'. Name a CSV or Parquet file.",
        ),
        (
            ["--table=T", "--entity=firm", "--time=quarter", "--label=rating"],
            "entity column: 'firm'. The columns are bank, quarter, country",
        ),
        (
            ["--table=T", "--entity=bank", "--time=quarter", "--label=rating", "--trouble=E"],
            "trouble: 'E'. Labels are A, B, C, D.",
        ),
    ],
)
def test_mistakes_of_training_are_named(capfd, trained, tmp_path, arguments, line):
    given = [one.replace("=T", f"={trained / 'banks.csv'}") for one in arguments]
    assert run(["risk", "train", f"--out={tmp_path / 'new'}", *given]) == 2
    assert capfd.readouterr().err.startswith(f"error: {line}")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--period=2031Q1"], "--period: '2031Q1'. The table has 2016Q1 to 2017Q4."),
        (["--period=2016Q3"], "rows to score: 'none without rating in 2016Q3'. Leave the label empty"),
        (["--entity=B001", "--all"], "--all: 'beside --entity'. Give one of the two."),
        (["--entity=Ann"], "--entity: 'Ann'. Name one of the table's entities."),
        (["--out=scores.txt"], "--out: 'scores.txt'. Name a .parquet or .csv file."),
    ],
)
def test_mistakes_of_scoring_are_named(capfd, trained, arguments, line):
    command = ["risk", "score", str(trained / "profiler"), str(trained / "banks.csv"), *arguments]
    assert run(command) == 2
    assert capfd.readouterr().err.startswith(f"error: {line}")


def test_the_two_kinds_of_profiler_name_each_other(capfd, trained):
    assert run(["risk", "profile", str(trained / "profiler")]) == 2
    assert "It was trained on a table: use `risk score`." in capfd.readouterr().err
