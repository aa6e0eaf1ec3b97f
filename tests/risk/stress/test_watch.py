"""The watch: expected losses by hand, refusals, and a report that says who comes first."""

import polars as pl
import pytest

from warmprompt.errors import UserError
from warmprompt.risk.stress import ContagionSettings, books_from_tables, save_watch_report, watch_banks

# Ann lends Bob 4 of her capital of 8; Cem lends Bob 6 of his 5 and Ann 1.
EDGES = pl.DataFrame(
    {"lender": ["Ann", "Cem", "Cem"], "borrower": ["Bob", "Bob", "Ann"], "amount": [4.0, 6.0, 1.0]}
)
BALANCE = pl.DataFrame({"bank": ["Ann", "Bob", "Cem"], "capital": [8.0, 10.0, 5.0]})
SCORES = pl.DataFrame(
    {
        "entity": ["Bob", "Cem", "Ann", "Zoe"],
        "p_trouble": [0.1, 0.9, 0.5, 0.3],
        "p_low": [0.05, 0.8, 0.4, 0.2],
        "p_high": [0.2, 1.0, 0.6, 0.5],
    }
)


@pytest.fixture(scope="module")
def books():
    return books_from_tables(EDGES, BALANCE)


@pytest.mark.parametrize(
    ("model", "losses"),
    [
        # Threshold cascade: Bob's failure takes 4 of Ann's 8 and all of Cem's 5, whom nobody lends to. Ann's
        # takes 1 of Cem's 5.
        ("threshold", {"Bob": 9.0, "Ann": 1.0, "Cem": 0.0}),
        # DebtRank: as before, and half of Ann's stress reaches Cem, who has lost everything anyway.
        ("debtrank", {"Bob": 9.0, "Ann": 1.0, "Cem": 0.0}),
    ],
)
def test_expected_losses_are_those_of_the_hand(books, model, losses):
    watch = watch_banks(books, SCORES, ContagionSettings(name=model))
    table = watch.table()
    p = {row["entity"]: row for row in SCORES.iter_rows(named=True)}
    assert table["bank"].to_list() == ["Bob", "Ann", "Cem"]
    for row in table.iter_rows(named=True):
        loss, own = losses[row["bank"]], p[row["bank"]]
        assert row["loss_of_others"] == pytest.approx(loss, abs=1e-9)
        assert row["expected_loss"] == pytest.approx(own["p_trouble"] * loss, abs=1e-9)
        assert row["expected_low"] == pytest.approx(own["p_low"] * loss, abs=1e-9)
        assert row["expected_high"] == pytest.approx(own["p_high"] * loss, abs=1e-9)
    assert table["share"].to_list() == pytest.approx([0.9 / 1.4, 0.5 / 1.4, 0])
    assert watch.notes == ("1 banks with a score are not in the network",)


def test_a_score_without_interval_is_its_own(books):
    table = watch_banks(books, SCORES.drop("p_low", "p_high")).table()
    assert (
        table["expected_low"].to_list()
        == table["expected_loss"].to_list()
        == table["expected_high"].to_list()
    )


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        (
            SCORES.drop("p_trouble"),
            "scores: 'entity, p_low, p_high'. Give columns bank (or entity) and p_trouble.",
        ),
        (SCORES.head(2), "score of Ann: 'none'. Give every bank of the network a row; 1 have none."),
        (pl.concat([SCORES, SCORES.head(1)]), "score of Bob: 'twice'. Give one row per bank."),
        (
            SCORES.with_columns(pl.lit(1.5).alias("p_high")),
            "p_high of Ann: '1.5'. Give a probability from 0 to 1.",
        ),
    ],
)
def test_scores_that_cannot_be_are_named(books, scores, line):
    with pytest.raises(UserError) as refusal:
        watch_banks(books, scores)
    assert refusal.value.line() == line


def test_the_report_says_who_comes_first(books, tmp_path):
    watch = watch_banks(books, SCORES)
    page, picture = save_watch_report(watch, tmp_path / "watch.md")
    text = page.read_text()
    assert (
        "Bob comes first: trouble with probability 10.0%, and its failure would cost the others 39.13%"
        in text
    )
    assert "| Bob | 10.0% | 9 | 0.9 | 0.45 | 1.8 | 64.3% |" in text
    assert picture.read_bytes()[:4] == b"\x89PNG"
    (page,) = save_watch_report(watch, tmp_path / "watch.html")
    assert "data:image/png;base64," in page.read_text()
