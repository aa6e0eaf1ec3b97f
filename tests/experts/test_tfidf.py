"""Words weigh as TF-IDF says, and a text that comes later is read as those before it were."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from tests.experts.worlds import batch_of, support_of

from warmprompt.experts.tfidf import TfIdf

TEXTS = [
    "OPI Nail Lacquer, 0.5-Fluid Ounce",
    "OPI Red Shatter Nail Polish, nail nail",
    "Dove Shampoo",
    "",
    "Dove Soap, Dove",
]
NO_VECTORS = np.zeros((0, 1), np.float32)


def test_cosines_are_those_of_scikit_learn():
    vectors = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit_transform(TEXTS)
    expected_VV = (vectors @ vectors.T).toarray()
    words = TfIdf.of_texts(TEXTS)
    found_VV = np.stack([words.cosines(item) for item in range(len(TEXTS))])
    np.testing.assert_allclose(found_VV, expected_VV, atol=1e-6)
    assert found_VV[0, 1] > 0.2
    assert not found_VV[3].any()


def test_the_score_is_the_mean_over_the_items():
    words = TfIdf.of_texts(TEXTS)
    found_BV = words.score(batch_of(support_of(0, 2), support_of()))
    np.testing.assert_allclose(found_BV[0], (words.cosines(0) + words.cosines(2)) / 2, rtol=1e-6)
    assert not found_BV[1].any()


def test_a_later_text_is_read_alike_and_changes_no_bit_of_the_others():
    words = TfIdf.of_texts(TEXTS)
    longer = words.with_items([TEXTS[1], "", "unheard of"], NO_VECTORS).with_items([TEXTS[2]], NO_VECTORS)
    assert longer.num_items == len(TEXTS) + 4
    np.testing.assert_array_equal(longer.cosines(0)[: len(TEXTS)], words.cosines(0))
    np.testing.assert_array_equal(longer.cosines(5), longer.cosines(1))
    assert longer.cosines(5)[5] == pytest.approx(1.0, abs=1e-6)
    assert not longer.cosines(6).any()
    assert not longer.cosines(7).any()
    np.testing.assert_array_equal(longer.cosines(8), longer.cosines(2))


def test_a_catalogue_without_any_word_is_near_nothing():
    words = TfIdf.of_texts(["", "", ""])
    assert not words.cosines(1).any()
    assert TfIdf.of_texts([]).num_items == 0
