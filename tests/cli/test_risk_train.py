"""`warmprompt risk train`: the folder it writes is one that profiles; mistakes are reported in one line."""

import json

import numpy as np
import polars as pl
import pytest

from warmprompt.cli import run
from warmprompt.risk.profile import load_profiler, read_payment_table

SMALL = ["--backbone=tiny", "--layers=1", "--tangent-epochs=0", "--prompt-steps=0"]


@pytest.fixture(scope="module")
def trained(made_once):
    def train(folder):
        folder.mkdir()
        out = [f"--out={folder / 'profiler'}", f"--save-payments={folder / 'payments.parquet'}"]
        assert run(["risk", "train", *out, *SMALL, "--customers=160", "--seed=1"]) == 0

    return made_once("trained-profiler", train)


def test_what_was_trained_profiles_the_customers_it_was_made_of(capfd, trained):
    payments = read_payment_table(trained / "payments.parquet")
    assert len(np.unique(payments.entity_N)) <= 160
    assert sorted(load_profiler(trained / "profiler").calibrations) == [0, 1, 5, 20]
    entity = int(payments.entity_N[-1])
    command = ["risk", "profile", str(trained / "profiler"), str(trained / "payments.parquet")]
    assert run([*command, f"--entity={entity}", "--last=2", "--json"]) == 0
    output = json.loads(capfd.readouterr().out)
    assert output["used_in_training"] is True
    rows = output["payments"]
    assert [row["time_s"] for row in rows] == payments.time_N[payments.entity_N == entity][-2:].tolist()
    assert all(0 <= row["p_low"] <= row["p_risk"] <= row["p_high"] <= 1 for row in rows)


def test_a_profiler_is_judged_on_customers_that_are_new_to_it(capfd, trained, tmp_path):
    command = ["risk", "profile", str(trained / "profiler"), "--customers=160", "--last=20"]
    plot = tmp_path / "reliability.png"
    assert run([*command, "--seed=2", f"--plot={plot}", "--json"]) == 0
    output = json.loads(capfd.readouterr().out)
    assert output["frauds"] == sum(round(share * num) for _, share, num in output["reliability"])
    assert output["payments"] <= 20 * output["customers"] <= 20 * 160
    assert plot.read_bytes()[:4] == b"\x89PNG"
    # Calibrated on payments as they come; behind profiles as old as the cut it would be some .75.
    assert 0.85 < output["metrics"]["cover genuine"] < 0.96
    # The training's own seed makes up the training's own customers, all of them used.
    assert run([*command, "--seed=1"]) == 2
    assert capfd.readouterr().err.startswith("error: customers: 'none to judge'. All of them were used")
    assert run([*command, str(trained / "payments.parquet")]) == 2
    assert capfd.readouterr().err.startswith("error: customers: 'none to judge'.")


def test_a_file_trains_what_the_same_made_up_payments_train(capfd, trained, tmp_path):
    # The generator's payments read back from CSV: same customers, same split, same numbers learned.
    table = tmp_path / "payments.csv"
    pl.read_parquet(trained / "payments.parquet").write_csv(table)
    command = ["risk", "train", f"--out={tmp_path / 'again'}", f"--transactions={table}", "--seed=1", *SMALL]
    assert run([*command, "--json"]) == 0
    output = json.loads(capfd.readouterr().out)
    assert output["model_hash"] == load_profiler(trained / "profiler").model_hash
    # 60, 15 and 25 %; nobody is in two parts.
    assert sum(output["entities"]) == len(np.unique(read_payment_table(table).entity_N))
    assert output["entities"][0] == pytest.approx(0.6 * sum(output["entities"]), abs=1)
    # Calibration customers are new to the model; a random ranking would have the share of frauds.
    assert output["average_precision"]["0"] > 3 * output["frauds"][2] / output["payments"][2]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--out=FULL"],
            "error: --out: 'FULL'. It exists already; name another folder, or give --overwrite.",
        ),
        (["--out=FULL/file"], "error: --out: 'FULL/file'. It exists already"),
        (["--out=new", "--customers=0"], "error: --customers: '0'. Give at least 1."),
        (["--out=new", "--customers=3", *SMALL], "error: entities:"),
        (["--out=new", "--customers=40", *SMALL], "error: payments for training: "),
        (["--out=new", "--level=1"], "error: --level: '1.0'. Give a number between 0 and 1."),
        (["--out=new", "--transactions=nowhere.csv"], "error: payments file: 'nowhere.csv'."),
        (["--out=new", "--transactions=SHORT", *SMALL], "error: payments: '3 days'. Give at least 39 days"),
        (
            ["--out=new", "--transactions=SHORT", "--save-payments=a.csv"],
            "error: --save-payments: 'a.csv'. Leave",
        ),
        (
            ["--out=new", "--save-payments=a.txt"],
            "error: --save-payments: 'a.txt'. Name a .parquet or .csv file.",
        ),
        (["--out=new", "--backbone=nosuch"], "error: backbone: 'nosuch'."),
        (["--out=new", "--layers=0"], "error: Invalid value for '--layers'"),
        ([], "error: Missing option '--out'."),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(capfd, monkeypatch, tmp_path, arguments, line):
    monkeypatch.chdir(tmp_path)
    full, short = tmp_path / "full", tmp_path / "short.csv"
    full.mkdir()
    (full / "file").write_text("x")
    short.write_text(
        "TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD\n"
        "2018-04-01 00:00:31,1,2,10.5,0\n2018-04-03 10:00:00,1,2,11.0,1\n"
    )

    def filled(text):
        return text.replace("FULL", str(full)).replace("SHORT", str(short))

    assert run(["risk", "train", *map(filled, arguments)]) == 2
    said = capfd.readouterr().err.splitlines()
    assert said[-1].startswith(filled(line))
    assert sum(one.startswith("error") for one in said) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "short.csv"]
