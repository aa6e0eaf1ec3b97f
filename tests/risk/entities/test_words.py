"""Rows in words: numbers of every magnitude, the figures that separate classes, labels newest first."""

import numpy as np
import pytest

from warmprompt.risk.entities import make_table
from warmprompt.risk.entities.encoding import fit_encoding, known_labels
from warmprompt.risk.entities.words import describe_rows, number_in_words, rank_in_words, telling_figures


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (3.44e9, "3.4 billion"),
        (-120_400, "-120 thousand"),
        (999_600, "1 million"),
        (2.5e13, "25 trillion"),
        (0.0123, "0.012"),
        (4.51e-7, "4.5e-07"),
        (12.0, "12"),
        (float("nan"), "unknown"),
    ],
)
def test_numbers_have_two_digits_and_a_magnitude(value, words):
    assert number_in_words(value) == words


def test_ranks_have_five_levels():
    levels = ["among the lowest", "low", "middling", "high", "among the highest", "not reported"]
    assert [rank_in_words(one) for one in (-0.9, -0.5, 0.0, 0.5, 0.9, np.nan)] == levels


def test_the_figures_are_those_that_separate_classes():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 500)
    noise = rng.normal(size=(500, 3))
    strong = label + 0.2 * noise[:, 0]
    columns = np.stack(
        [noise[:, 1], strong, label + noise[:, 2], strong + 0.1 * noise[:, 2], np.zeros(500)], axis=1
    )
    assert telling_figures(columns, label)[:2] == (1, 2)  # 3 is nearly 1, 4 says nothing
    assert 3 not in telling_figures(columns, label)


def test_a_row_says_words_then_labels_then_figures(banks, schema):
    table = make_table(banks, schema)
    encoding, known = fit_encoding(table), known_labels(table, delay=1)
    row = int(np.flatnonzero((table.period_N == 3) & (table.entity_N == 5))[0])
    (text,) = describe_rows(table, schema, encoding.ranks(table), known, np.array([row]), (0,))
    before = [schema.classes[one] for one in table.label_N[row - 3 : row]]
    country = table.words_NW[row, 0]
    assert text.startswith(
        f"bank; country {country}; rating {before[2]}, before {before[1]}, before {before[0]}; total assets "
    )
