"""Stress tests against cascades followed by hand, plain loops, and the functions they are made of."""

from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.risk.contagion import debtrank_impacts, furfine_impacts
from warmprompt.risk.stress import (
    ContagionSettings,
    books_from_tables,
    run_stress,
    save_stress_report,
    stress_report,
)

# Ann lends 10 to Bob, Cem 4 to Ann and 1 to Bob; Dov has nothing to do with anybody.
EDGES = pl.DataFrame(
    {"lender": ["Ann", "Cem", "Cem"], "borrower": ["Bob", "Ann", "Bob"], "amount": [10.0, 4.0, 1.0]}
)
BALANCE = pl.DataFrame({"bank": ["Ann", "Bob", "Cem", "Dov"], "capital": [8.0, 5.0, 4.5, 1.0]})


def books():
    return books_from_tables(EDGES, BALANCE)


def by_bank(test, column):
    table = test.table()
    return dict(zip(table["bank"], table[column], strict=True))


def random_books(seed, num_banks=40, leverage=0.25):
    rng = np.random.default_rng(seed)
    amounts = rng.lognormal(0, 1, (num_banks, num_banks)) * (rng.random((num_banks, num_banks)) < 0.15)
    np.fill_diagonal(amounts, 0)
    lender, borrower = np.nonzero(amounts)
    names = np.array([f"bank {index:02d}" for index in range(num_banks)])
    edges = pl.DataFrame(
        {"lender": names[lender], "borrower": names[borrower], "amount": amounts[lender, borrower]}
    )
    capital = leverage * amounts.sum(axis=1) + rng.uniform(0.1, 1, num_banks)
    return books_from_tables(edges, pl.DataFrame({"bank": names, "capital": capital})), amounts


def test_a_threshold_cascade_by_hand():
    test = run_stress(books(), ["Bob"], settings=ContagionSettings(name="threshold"))
    # Bob falls; Ann loses 10 of 8; Cem loses 1 and then 4 of 4.5.
    assert by_bank(test, "round") == {"Ann": 1, "Bob": 0, "Cem": 2, "Dov": None}
    assert by_bank(test, "lost_by_contagion") == {"Ann": 10, "Bob": 0, "Cem": 5, "Dov": 0}
    assert by_bank(test, "failures") == {"Ann": 0, "Bob": 2, "Cem": 0, "Dov": 0}
    # Of the capital of all, 18.5, Ann's and Cem's 12.5 are lost.
    assert by_bank(test, "impact")["Bob"] == pytest.approx(12.5 / 18.5)


def test_a_loss_of_part_of_the_capital_leaves_less_for_the_cascade():
    settings = ContagionSettings(name="threshold", loss_given_default=0.7)
    assert by_bank(run_stress(books(), ["Bob"], settings=settings), "round")["Ann"] is None
    # Ann loses 7 of the 8 - 1.2 that the shock leaves.
    test = run_stress(books(), {"Bob": None, "Ann": 0.15}, settings=settings)
    assert by_bank(test, "round")["Ann"] == 1
    assert by_bank(test, "lost_by_shock")["Ann"] == pytest.approx(1.2)


def test_debtrank_by_hand():
    test = run_stress(books(), {"Bob": 0.4})
    # Ann loses .4 * 10 / 8 = .5, Cem .4 * 1 / 4.5 and .5 * 4 / 4.5.
    shares = by_bank(test, "lost_share_of_capital")
    assert shares == pytest.approx({"Ann": 0.5, "Bob": 0.4, "Cem": 2.4 / 4.5, "Dov": 0.0})
    assert by_bank(run_stress(books(), ["Bob"]), "round") == {"Ann": 1, "Bob": 0, "Cem": 2, "Dov": None}


def test_clearing_by_hand_with_and_without_costs():
    balance = BALANCE.with_columns(assets=pl.Series([5.0, 16.0, 3.0, 1.0]))
    given = books_from_tables(EDGES, balance)
    # Outside debts balance: Ann 5 + 10 - 4 - 8 = 3, Bob 16 - 11 - 5 = 0, Cem 3 + 5 - 4.5 = 3.5, Dov 0.
    assert given.outside_N.tolist() == pytest.approx([3, 0, 3.5, 0])
    test = run_stress(
        given, {"Bob": 1.0}, shock_of="assets", settings=ContagionSettings(name="eisenberg-noe")
    )
    # Bob has nothing and pays nothing; Ann has 5 of 7; Cem gets 4 * 5 / 7 and owes 3.5.
    assert by_bank(test, "round") == {"Ann": 1, "Bob": 0, "Cem": None, "Dov": None}
    assert by_bank(test, "lost_by_contagion")["Cem"] == pytest.approx(1 + 4 * 2 / 7)
    costly = run_stress(
        given, {"Bob": 1.0}, shock_of="assets", settings=ContagionSettings(name="rogers-veraart", alpha=0.1)
    )
    # Ann recovers .5 of 7: Cem has 3 + 4 / 14 for 3.5.
    assert by_bank(costly, "round")["Cem"] == 2
    assert costly.outcome.destroyed_N.sum() == pytest.approx(0.9 * 5 + 0.9 * 3)


@pytest.mark.parametrize(
    ("name", "impacts"), [("debtrank", debtrank_impacts), ("threshold", furfine_impacts)]
)
def test_impacts_are_those_of_the_model(name, impacts):
    given, amounts = random_books(1)
    expected = impacts(amounts, given.capital_N)
    test = run_stress(given, ["bank 03"], settings=ContagionSettings(name=name))
    assert test.impacts.impact_N == pytest.approx(expected.impact_N, abs=1e-6)
    assert test.impacts.failures_N.tolist() == expected.failures_N.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_debtrank_rounds_equal_a_plain_loop(seed):
    given, amounts = random_books(seed, leverage=0.4)
    stress = shock = (np.arange(40) == 5).astype(float)
    rounds = {5: 0}
    for number in range(1, 150):
        stress = np.minimum(1, shock + amounts / given.capital_N[:, None] @ stress)
        rounds |= {int(bank): number for bank in np.flatnonzero(stress >= 1 - 1e-12) if bank not in rounds}
    found = run_stress(given, ["bank 05"]).outcome.round_N
    assert {int(bank): int(found[bank]) for bank in np.flatnonzero(found >= 0)} == rounds


@pytest.mark.parametrize(
    ("name", "leverage"), [("debtrank", 1.5), ("threshold", 0.6), ("eisenberg-noe", 0.4)]
)
def test_the_reverse_test_finds_the_edge(name, leverage):
    given, _ = random_books(4, leverage=leverage)
    settings = ContagionSettings(name=name)
    test = run_stress(given, ["bank 03"], settings=settings, reverse_share=0.3)
    below, above = (
        run_stress(given, dict.fromkeys(given.network.nodes, scale), settings=settings).outcome.failed_N.sum()
        for scale in (test.reverse.scale - 2e-4, test.reverse.scale)
    )
    assert below < 12 <= above
    order = test.table()["bank"].to_list()
    assert list(test.reverse.banks) == order[: len(test.reverse.banks)]
    for count, reached in ((len(test.reverse.banks), True), (len(test.reverse.banks) - 1, False)):
        failed = (
            0 if count == 0 else run_stress(given, order[:count], settings=settings).outcome.failed_N.sum()
        )
        assert (failed >= 12) == reached


def test_data_frames_of_pandas_and_polars_mean_the_same():
    ours = books_from_tables(
        pd.DataFrame(EDGES.to_dict(as_series=False)), pd.DataFrame(BALANCE.to_dict(as_series=False))
    )
    assert run_stress(ours, ["Bob"]).table().equals(run_stress(books(), ["Bob"]).table())


def test_capital_follows_from_assets_and_debts():
    sheet = pl.DataFrame(
        {"bank": ["Ann", "Bob", "Cem"], "assets": [1.0, 20.0, 3.0], "to_outside": [2.0, 0.0, 1.0]}
    )
    given = books_from_tables(EDGES, sheet)
    assert given.capital_N.tolist() == pytest.approx([1 + 10 - 4 - 2, 20 - 11, 3 + 5 - 1])


def test_a_report_names_the_banks_and_holds_its_pictures(tmp_path):
    test = run_stress(books(), ["Bob"])
    assert [path.name for path in save_stress_report(test, tmp_path / "report.html")] == ["report.html"]
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    written = save_stress_report(test, tmp_path / "report.md")
    assert sorted(path.name for path in written) == sorted(
        path.name for path in tmp_path.glob("report*.[mp]*")
    )
    text = stress_report(test)
    # Fails by the shock, by contagion, and in round 2: each in its own row.
    rows = [line for line in text.splitlines() if line.startswith("| Cem |")]
    assert rows
    assert all(line.endswith("100.0% | 2 |") for line in rows)
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert all(text.index(one) < text.index(other) for one, other in pairwise(headings))


def test_odd_names_are_shown_as_they_are(tmp_path):
    names = {"Ann": "A$1$ & Co", "Bob": "B|b <i>"}
    edges = EDGES.with_columns(pl.col("lender", "borrower").replace(names))
    given = books_from_tables(edges, BALANCE.with_columns(pl.col("bank").replace(names)))
    test = run_stress(given, ["B|b <i>"], settings=ContagionSettings(name="threshold"))
    save_stress_report(test, tmp_path / "deep" / "report.html")
    page = (tmp_path / "deep" / "report.html").read_text()
    assert "A$1$ &amp; Co" in page
    assert "B|b &lt;i&gt;" in page
    assert "| B\\|b <i> |" in stress_report(test)


@pytest.mark.parametrize(
    ("balance", "shock", "settings", "error", "said"),
    [
        (BALANCE.drop("capital"), ["Bob"], {}, BadInputError, "capital"),
        (BALANCE[:2], ["Bob"], {}, BadInputError, "capital of Cem"),
        (BALANCE, ["Bop"], {}, UnknownNameError, "Bob"),
        (BALANCE, {"Bob": 1.2}, {}, BadInputError, "from 0 to 1"),
        (BALANCE, [], {}, BadInputError, "at least one bank"),
        (BALANCE, ["Bob"], {"name": "furfine"}, BadInputError, "threshold"),
        (BALANCE, ["Bob"], {"name": "rogers-veraart"}, BadInputError, "alpha"),
        (BALANCE, ["Bob"], {"name": "eisenberg-noe", "beta": 0.5}, BadInputError, "rogers-veraart"),
        (BALANCE, ["Bob"], {"name": "eisenberg-noe", "loss_given_default": 0.5}, BadInputError, "clearing"),
        (BALANCE.with_columns(assets=pl.Series([1.0, 1, 1, 1])), ["Bob"], {}, BadInputError, "assets of Ann"),
    ],
)
def test_wrong_input_is_one_clear_error(balance, shock, settings, error, said):
    with pytest.raises(error) as raised:
        run_stress(books_from_tables(EDGES, balance), shock, settings=ContagionSettings(**settings))
    assert said in raised.value.line()
