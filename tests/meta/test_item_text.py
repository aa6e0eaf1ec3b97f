"""Item texts by several readers: the words' principal directions, the columns' order, and what is kept."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from tests.meta.worlds import random_data, random_params

from warmprompt.experts.tfidf import TfIdf
from warmprompt.meta import item_text
from warmprompt.meta.item_text import WordReader, read_item_texts, with_item_texts
from warmprompt.meta.model import make_catalogue

TEXTS = [
    "red wool scarf",
    "blue wool scarf",
    "red cotton shirt",
    "blue cotton shirt with a collar",
    "garden hose",
    "garden hose with a nozzle",
]


@pytest.fixture
def three_columns(monkeypatch):
    monkeypatch.setattr(item_text, "NUM_DIRECTIONS", 3)


@pytest.mark.usefixtures("three_columns")
def test_words_keep_the_best_cosines_of_their_rank():
    read_NC = WordReader.of_texts(TEXTS, seed=0).read(TEXTS)
    left_NR, values_R, _ = np.linalg.svd(TfIdf.of_texts(TEXTS).rows_VW.toarray().astype(float))
    best_NC = left_NR[:, :3] * values_R[:3]
    best_NC /= np.linalg.norm(best_NC, axis=1, keepdims=True)
    # Directions have no sign of their own; products of texts do.
    np.testing.assert_allclose(read_NC @ read_NC.T, best_NC @ best_NC.T, atol=1e-5)


@pytest.mark.usefixtures("three_columns")
def test_a_text_reads_the_same_alone_and_unknown_words_are_zeros():
    words = WordReader.of_texts(TEXTS, seed=0)
    np.testing.assert_array_equal(words.read(TEXTS[3:4])[0], words.read(TEXTS)[3])
    assert not words.read(["unheard-of"]).any()
    np.testing.assert_array_equal(words.read(["unheard-of wool scarf"]), words.read(["wool scarf"]))


@pytest.mark.parametrize("texts", [["one"], ["one", "one"], ["one", "two"]])
def test_few_texts_are_read_all_the_same(texts):
    read_NC = WordReader.of_texts(texts, seed=0).read(texts)
    assert read_NC.shape == (len(texts), 1)
    assert np.isfinite(read_NC).all()


def test_a_catalogue_keeps_its_words():
    words = WordReader.of_texts(TEXTS, seed=0)
    data = with_item_texts(random_data(0, num_items=6), [words.read(TEXTS)], words)
    np.testing.assert_array_equal(WordReader.of_data(data).read(TEXTS), words.read(TEXTS))
    assert data.text_widths_B.tolist() == [5]


def test_blocks_stand_in_the_order_of_the_readers():
    words = WordReader.of_texts(TEXTS, seed=0)
    of_model = {"a": np.full((6, 2), 1.0, np.float32), "b": np.full((6, 3), 2.0, np.float32)}
    blocks = read_item_texts(["b", "tfidf", "a"], TEXTS, words, encode=lambda _, name: of_model[name])
    np.testing.assert_array_equal(blocks[0], of_model["b"])
    np.testing.assert_array_equal(blocks[1], words.read(TEXTS))
    np.testing.assert_array_equal(blocks[2], of_model["a"])


def test_further_readers_leave_scores_of_items_with_events_alone():
    params = {name: value.float() for name, value in random_params(0).items()}
    data = random_data(0)
    data = replace(data, **{one.name: getattr(data, one.name).float() for one in fields(data)})
    blocks = [data.item_text_VX.numpy(), np.random.default_rng(0).normal(size=(7, 3))]
    more = with_item_texts(data, blocks, None)
    assert more.item_text_VX.shape == (7, 7)
    one, two = make_catalogue(params, data), make_catalogue(params, more)
    # Strides differ, so sums may be taken in another order.
    for name in ("support_VD", "vectors_VD", "popularity_V"):
        torch.testing.assert_close(getattr(two, name), getattr(one, name), rtol=1e-6, atol=1e-6)
