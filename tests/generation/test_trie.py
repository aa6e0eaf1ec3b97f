"""The trie holds the given texts and no other, each shared beginning once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.errors import BadInputError
from warmprompt.generation.trie import make_trie

END = 9
texts_of = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple), min_size=1, max_size=20)


@given(texts_of)
def test_the_paths_that_end_are_the_texts(texts):
    trie = make_trie(texts, end_id=END)
    found = {
        index: tuple(int(trie.token_X[one]) for one in trie.path(node))
        for node in range(len(trie))
        for index in trie.texts[node]
    }
    assert found == {index: (*text, END) for index, text in enumerate(texts)}
    assert all(bool(trie.texts[node]) == (not trie.children[node]) for node in range(len(trie)))


@given(texts_of)
def test_every_beginning_is_stored_once(texts):
    trie = make_trie(texts, end_id=END)
    beginnings = {(*text, END)[:length] for text in texts for length in range(1, len(text) + 2)}
    assert len(trie) == 1 + len(beginnings)
    assert {
        tuple(int(trie.token_X[n]) for n in trie.path(node)) for node in range(1, len(trie))
    } == beginnings
    assert [len(trie.path(node)) for node in range(len(trie))] == trie.depth_X.tolist()


@given(texts_of, st.data())
def test_a_stretch_of_nodes_and_the_ancestors_of_its_first_are_a_tree(texts, data):
    trie = make_trie(texts, end_id=END)
    start = data.draw(st.integers(1, len(trie) - 1))
    stop = data.draw(st.integers(start, len(trie) - 1))
    known = {0, *trie.path(start)}
    for node in range(start, stop + 1):
        assert int(trie.parent_X[node]) in known
        known.add(node)
    assert np.all(trie.parent_X[1:] < np.arange(1, len(trie)))


@pytest.mark.parametrize("texts", [[], [(1,), ()], [(1, END)]])
def test_texts_that_cannot_be_are_refused(texts):
    with pytest.raises(BadInputError):
        make_trie(texts, end_id=END)
