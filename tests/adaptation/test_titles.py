"""From a typed title to an item: what is forgiven, and when the person is asked instead."""

import numpy as np
import pytest

from warmprompt.adaptation.titles import find_title, title_index
from warmprompt.errors import BadInputError, UnknownNameError

TITLES = (
    "Heat (1995)",
    "Matrix, The (1999)",
    "Toy Story (1995)",
    "Toy Story 2 (1999)",
    "Sabrina (1954)",
    "Sabrina (1995)",
    "Chasing Amy (1997)",
    "Chasing Amy (1997)",
    "Amélie",
    "",
    "Postino, Il (1994)",
    "Beauty & the Beast (1991)",
    "Schindler's List (1993)",
    "A",
)
POPULARITY = np.array([5, 5, 5, 5, 5, 5, 1, 7, 5, 9, 5, 5, 5, 5], dtype=float)
INDEX = title_index(TITLES, POPULARITY)


@pytest.mark.parametrize(
    ("typed", "item"),
    [
        ("Heat (1995)", 0),
        ("heat", 0),
        ("  HEAT  (1995) ", 0),
        ("the matrix", 1),
        ("Matrix, The", 1),
        ("matrix", 1),
        ("The Matrix (1999)", 1),
        ("toy story", 2),
        ("Toy Story 2", 3),
        ("sabrina (1954)", 4),
        ("amelie", 8),
        ("il postino", 10),
        ("beauty and the beast", 11),
        ("schindlers list", 12),
        ("Schindler's Lst", 12),  # one letter missing: ratio 2 * 14 / 29 = .97
        ("a", 13),
    ],
)
def test_a_title_is_found_in_another_spelling(typed, item):
    assert find_title(INDEX, typed) == item


def test_of_items_with_the_very_same_title_the_most_popular_is_meant():
    assert find_title(INDEX, "Chasing Amy") == 7


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("Sabrina", "Several titles fit: Sabrina (1954); Sabrina (1995)."),
        ("Sabrina (1999)", "The nearest titles are: Sabrina (19"),
        ("Toy Story 3", "Toy Story"),
        ("Heta", "Heat (1995)"),
        ("Matrix, The (2003)", "Matrix, The (1999)"),
        ("zzz", "The nearest titles are:"),
        ("!!!", "The nearest titles are:"),
    ],
)
def test_where_unsure_the_nearest_titles_are_named(typed, message):
    with pytest.raises(UnknownNameError) as caught:
        find_title(INDEX, typed)
    assert message in caught.value.line()


@pytest.mark.parametrize("typed", ["", "  ", None, 7])
def test_something_that_is_no_title_is_refused(typed):
    with pytest.raises(BadInputError):
        find_title(INDEX, typed)


def test_a_catalogue_without_titles_says_so():
    with pytest.raises(UnknownNameError, match="No item has a title"):
        find_title(title_index(("", ""), np.ones(2)), "Heat")


def test_untitled_items_are_no_suggestions():
    with pytest.raises(UnknownNameError) as caught:
        find_title(title_index(("", "Heat (1995)", ""), np.ones(3)), "qqqq")
    assert caught.value.remedy == "The nearest titles are: Heat (1995)."
