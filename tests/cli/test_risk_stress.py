"""`warmprompt risk stress`: what it prints and writes is what the library computes; mistakes in one line."""

import csv
import json

import pytest

from warmprompt.cli import run


@pytest.fixture
def files(tmp_path):
    edges, balance = tmp_path / "edges.csv", tmp_path / "balance.csv"
    edges.write_text("lender,borrower,amount\nAnn,Bob,10\nCem,Ann,4\nCem,Bob,1\n")
    balance.write_text("bank,equity,country\nAnn,8,x\nBob,5,y\nCem,4.5,z\nDov,1,z\n")
    return [str(edges), f"--balance={balance}"]


def stressed(capfd, *arguments):
    assert run(["risk", "stress", *arguments, "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_from_two_files_to_the_banks_that_fail(capfd, files, tmp_path):
    table = tmp_path / "banks.csv"
    printed = stressed(capfd, *files, "--shock=Bob", "--model=threshold", f"--table={table}")
    # By hand: Ann loses 10 of 8 on Bob, Cem 1 on Bob and 4 on Ann of 4.5.
    assert {row["bank"]: row["round"] for row in printed["table"]} == {
        "Bob": 0,
        "Ann": 1,
        "Cem": 2,
        "Dov": None,
    }
    assert [row["bank"] for row in csv.DictReader(table.read_text().splitlines())] == [
        row["bank"] for row in printed["table"]
    ]
    assert any("country" in note for note in printed["notes"])
    assert any("have no link: Dov" in note for note in printed["notes"])


def test_shocks_add_up_to_the_largest_of_each_bank(capfd, files, tmp_path):
    shares = tmp_path / "shares.csv"
    shares.write_text("bank,share\nAnn,25%\nBob,0.1\n")
    printed = stressed(capfd, *files, "--shock=Bob", f"--shock={shares}", "--shock=all=0.2")
    lost = {row["bank"]: row["lost_by_shock"] for row in printed["table"]}
    assert lost == pytest.approx({"Ann": 2.0, "Bob": 5.0, "Cem": 0.9, "Dov": 0.2})


def test_it_prints_tables_and_writes_a_report(capfd, files, tmp_path):
    assert run(["risk", "stress", *files, "--shock=Bob=50%", f"--out={tmp_path / 'report.html'}"]) == 0
    said = capfd.readouterr().out
    assert "by vulnerability" in said
    assert "by impact" in said
    assert "Cem" in (tmp_path / "report.html").read_text()


def test_without_a_balance_sheet_capital_is_a_share_of_the_larger_side(capfd, files):
    printed = stressed(capfd, files[0], "--capital-share=0.5", "--shock=Bob")
    capital = {row["bank"]: row["capital"] for row in printed["table"]}
    assert capital == pytest.approx({"Ann": 5.0, "Bob": 5.5, "Cem": 2.5})
    assert run(["risk", "stress", *files, "--capital-share=0.5", "--shock=Bob"]) == 2
    assert "one of the two" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shock=Bop"], "Did you mean Bob"),
        (["--shock=Bob=2"], "BANK=0.3"),
        (["--shock=Bob=much"], "BANK=0.3"),
        (["--shock=shocks.csv"], "exists"),
        (["--shock=Bob", "--out=report.pdf"], ".html or .md"),
        (["--shock=Bob", "--reverse=0"], "share of the banks"),
        (["--shock=Bob", "--rows=owe"], "Leave --rows out"),
    ],
)
def test_a_mistake_is_one_line(capfd, files, arguments, said):
    assert run(["risk", "stress", *files, *arguments]) == 2
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_watch_ranks_banks_by_expected_loss(capfd, tmp_path):
    (tmp_path / "edges.csv").write_text("lender,borrower,amount\nAnn,Bob,4\nCem,Bob,6\nCem,Ann,1\n")
    (tmp_path / "balance.csv").write_text("bank,capital\nAnn,8\nBob,10\nCem,5\n")
    (tmp_path / "scores.csv").write_text(
        "entity,p_trouble,p_low,p_high\nAnn,.5,.4,.6\nBob,.1,0,.2\nCem,.9,.8,1\n"
    )
    files = [str(tmp_path / "edges.csv"), f"--balance={tmp_path / 'balance.csv'}"]
    command = ["risk", "watch", *files, f"--scores={tmp_path / 'scores.csv'}"]
    out, table = tmp_path / "watch.html", tmp_path / "watch.csv"
    assert run([*command, f"--out={out}", f"--table={table}", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)["table"]
    assert [(row["bank"], round(row["expected_loss"], 6)) for row in rows] == [
        ("Bob", 0.9),
        ("Ann", 0.5),
        ("Cem", 0),
    ]
    assert "Bob comes first" in out.read_text()
    assert table.read_text().startswith("bank,p_trouble,")
    assert run([*command, "--out=watch.pdf"]) == 2
    assert capfd.readouterr().err.startswith("error: --out: 'watch.pdf'. Name a .html or .md file.")
