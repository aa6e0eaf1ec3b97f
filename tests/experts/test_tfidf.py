"""Words weigh as TF-IDF says, and a text that comes later is read as those before it were."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from warmprompt.scoring.words import read_words

TEXTS = [
    "OPI Nail Lacquer, 0.5-Fluid Ounce",
    "OPI Red Shatter Nail Polish, nail nail",
    "Dove Shampoo",
    "",
    "Dove Soap, Dove",
]


def test_cosines_are_those_of_scikit_learn():
    vectors = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit_transform(TEXTS)
    expected_VV = (vectors @ vectors.T).toarray()
    words = read_words(TEXTS)
    found_VV = np.stack([words.cosines(item) for item in range(len(TEXTS))])
    np.testing.assert_allclose(found_VV, expected_VV, atol=1e-6)
    assert found_VV[0, 1] > 0.2
    assert not found_VV[3].any()


def test_nearness_is_the_mean_over_the_items():
    words = read_words(TEXTS)
    found_V = words.nearness(np.array([0, 2], dtype=np.int32))
    np.testing.assert_allclose(found_V, (words.cosines(0) + words.cosines(2)) / 2, rtol=1e-6)
    assert not words.nearness(np.zeros(0, dtype=np.int32)).any()


def test_a_later_text_is_read_alike_and_changes_no_bit_of_the_others():
    words = read_words(TEXTS)
    longer = words.with_texts([TEXTS[1], "", "unheard of"]).with_texts([TEXTS[2]])
    assert longer.num_items == len(TEXTS) + 4
    np.testing.assert_array_equal(longer.cosines(0)[: len(TEXTS)], words.cosines(0))
    np.testing.assert_array_equal(longer.cosines(5), longer.cosines(1))
    assert longer.cosines(5)[5] == pytest.approx(1.0, abs=1e-6)
    assert not longer.cosines(6).any()
    assert not longer.cosines(7).any()
    np.testing.assert_array_equal(longer.cosines(8), longer.cosines(2))


def test_a_catalogue_without_any_word_is_near_nothing():
    words = read_words(["", "", ""])
    assert not words.cosines(1).any()
    assert read_words([]).num_items == 0
