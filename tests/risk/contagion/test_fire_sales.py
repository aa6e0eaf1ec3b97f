"""Fire sales against a worked example, the matrix formulas of the paper, and what must always hold."""

import json

import numpy as np
import pytest

from warmprompt.cli import run
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.contagion import fire_sales


def portfolios(seed, num_banks=8, num_assets=5):
    rng = np.random.default_rng(seed)
    holdings = rng.lognormal(0, 1, (num_banks, num_assets)) * (rng.random((num_banks, num_assets)) < 0.7)
    holdings[:, 0] += 0.1
    return (
        holdings,
        holdings.sum(axis=1) * rng.uniform(0.05, 0.3, num_banks),
        rng.uniform(0, 0.02, num_assets),
    )


def test_two_banks_by_hand():
    # A: 90 X and 10 Y on equity of 10, leverage 9. B: 50 Y and 50 Z on 20, leverage 4. X falls by 1 %.
    sold = fire_sales([[90, 10, 0], [0, 50, 50]], [10, 20], [0.01, 0, 0], 0.001)
    assert sold.direct_loss_N == pytest.approx([0.9, 0])
    assert sold.sold_N == pytest.approx([8.1, 0])
    assert sold.sold_K == pytest.approx([7.29, 0.81, 0])
    assert sold.price_fall_K == pytest.approx([0.00729, 0.00081, 0])
    assert sold.indirect_loss_N == pytest.approx([90 * 0.00729 + 10 * 0.00081, 50 * 0.00081])
    assert sold.direct_vulnerability_N == pytest.approx([0.09, 0])
    assert sold.indirect_vulnerability_N == pytest.approx([0.06642, 0.002025])
    assert sold.systemicness_N == pytest.approx([0.7047 / 30, 0])
    assert sold.aggregate_vulnerability == pytest.approx(0.7047 / 30)


@pytest.mark.parametrize("seed", range(3))
def test_the_papers_matrix_formulas(seed):
    holdings, equity, shock = portfolios(seed)
    impact = np.random.default_rng(seed).uniform(0, 1e-3, 5)
    A = np.diag(holdings.sum(axis=1))
    M = holdings / holdings.sum(axis=1)[:, None]
    B = np.diag((holdings.sum(axis=1) - equity) / equity)
    one, E = np.ones(8), equity.sum()
    found = fire_sales(holdings, equity, shock, impact)
    assert found.aggregate_vulnerability == pytest.approx(
        one @ A @ M @ np.diag(impact) @ M.T @ B @ A @ M @ shock / E
    )
    for bank in range(8):
        unit = np.eye(8)[bank]
        alone = one @ A @ M @ np.diag(impact) @ M.T @ B @ A @ np.outer(unit, unit) @ M @ shock / E
        assert found.systemicness_N[bank] == pytest.approx(alone)


def test_nobody_sells_more_than_it_has_left():
    # Leverage 99: a loss of 5 of 100 asks for sales of 495; 95 are left.
    sold = fire_sales([[100.0]], [1], [0.05], 1e-4)
    assert sold.sold_N == pytest.approx([95])
    assert sold.insolvent_N.tolist() == [True]


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"holdings": [[1.0, -1.0]]}, BadInputError, "at least 0"),
        ({"equity": [0.0]}, BadInputError, "more than 0"),
        ({"equity": [3.0]}, BadInputError, "at most the bank's holdings, 2"),
        ({"shock": [1.5, 0.0]}, BadInputError, "from 0 to 1"),
        ({"shock": [0.1]}, MismatchError, "2 banks"),
        ({"price_impact": 9.0}, BadInputError, "whole price"),
        ({"holdings": [1.0, 1.0]}, MismatchError, "matrix"),
    ],
)
def test_wrong_input_is_refused(changed, error, said):
    given = {"holdings": [[1.0, 1.0]], "equity": [0.5], "shock": [0.1, 0.0], "price_impact": 0.01}
    with pytest.raises(error) as raised:
        fire_sales(**(given | changed))
    assert said in raised.value.line()


def test_the_command_prints_the_worked_example(capfd, tmp_path):
    holdings, balance = tmp_path / "h.csv", tmp_path / "b.csv"
    holdings.write_text("bank,asset,amount\nA,X,90\nA,Y,10\nB,Y,50\nB,Z,50\n")
    balance.write_text("bank,equity\nB,20\nA,10\n")
    command = ["risk", "fire-sales", str(holdings), f"--balance={balance}", "--shock=X=1%"]
    out = tmp_path / "out.csv"
    assert run([*command, "--price-impact=0.001", "--json", f"--out={out}"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed["aggregate_vulnerability"] == pytest.approx(0.7047 / 30)
    assert printed["price_fall"] == pytest.approx({"X": 0.00729, "Y": 0.00081, "Z": 0})
    assert out.read_text().splitlines()[1].startswith("A,10.0,0.9")
    for wrong, said in (
        (["--price-impact=0.001", "--shock=W=1%"], "assets are X, Y, Z"),
        (["--price-impact=much"], "exists"),
    ):
        assert run([*command, *wrong]) == 2
        assert said in capfd.readouterr().err


def test_totals_become_a_network_that_stress_reads(capfd, tmp_path):
    totals, links = tmp_path / "totals.csv", tmp_path / "links.csv"
    totals.write_text("bank,assets,liabilities\nA,5,1\nB,1,4\nC,2,3\n")
    for method in ("maximum-entropy", "minimum-density"):
        command = ["risk", "network", str(totals), f"--totals={method}", f"--out={links}", "--json"]
        assert run(command) == 0
        assert json.loads(capfd.readouterr().out)["total"] == pytest.approx(8)
        balance = tmp_path / "balance.csv"
        balance.write_text("bank,capital\nA,1\nB,1\nC,1\n")
        assert run(["risk", "stress", str(links), f"--balance={balance}", "--shock=B", "--json"]) == 0
        # A is owed 5, and B owes 4 of the 8: A's capital of 1 cannot stand B's failure.
        rows = {row["bank"]: row for row in json.loads(capfd.readouterr().out)["table"]}
        assert rows["A"]["round"] == 1
    assert run(["risk", "network", str(totals), str(links), "--totals=maximum-entropy"]) == 2
    assert "one table" in capfd.readouterr().err
