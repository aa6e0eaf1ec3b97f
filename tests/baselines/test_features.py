"""Attributes as columns, against tables small enough to read."""

from __future__ import annotations

import polars as pl
import pytest

from warmprompt.baselines.features import people_of, read_items, read_users


def test_users_have_one_column_per_value_and_numbers_one_per_fifth():
    ages = [str(10 * age) for age in range(1, 11)]
    users = pl.DataFrame({"age": ages, "sex": ["f", "m"] * 4 + [None, "m"]})
    features = read_users(users)
    assert len(features.columns) == 5 + 2
    rows = features.encode(people_of(users))
    assert rows.sum(axis=1).tolist() == [2] * 8 + [1, 2]
    # Fifths of 10, 20 ... 100: two ages each, and neighbours within a fifth look alike.
    age_columns = [column for (name, _), column in features.columns.items() if name == "age"]
    assert rows[:, age_columns].sum(axis=0).tolist() == [2] * 5
    assert (rows[0, age_columns] == rows[1, age_columns]).all()
    assert (rows[1, age_columns] != rows[2, age_columns]).any()


def test_values_never_met_and_postal_codes_say_nothing():
    users = pl.DataFrame({"zip": [f"Z{user}" for user in range(60)], "age": ["30"] * 60})
    features = read_users(users)
    assert features.encode([{"zip": "Z1"}, {"age": "unknown", "planet": "mars"}]).sum() == 0


def test_items_have_genres_and_decades_and_no_titles():
    items = pl.DataFrame(
        {"title": ["a", "b", "c"], "year": ["1995", "1999", None], "genres": [["War"], ["War", "Drama"], []]}
    )
    found = read_items(items).toarray()
    assert found.shape == (3, 3)
    # Sorted: genres Drama, genres War, year 1990s.
    assert found.tolist() == [[0, 1, 1], [1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    "table", [{"title": ["a", "b"]}, {"title": ["a"] * 60, "code": [str(n) for n in range(60)]}]
)
def test_there_may_be_no_feature_at_all(table):
    items = pl.DataFrame(table)
    assert read_items(items).shape == (items.height, 0)
