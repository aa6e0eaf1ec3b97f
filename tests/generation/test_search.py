"""Trees, exact likelihoods and beam search against one plain forward pass per text."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from warmprompt.errors import BadInputError
from warmprompt.generation.likelihood import node_log_p
from warmprompt.generation.lm import grow, read_contexts, repeat_context
from warmprompt.generation.search import Scoring, beam_search
from warmprompt.generation.trie import make_trie

# Float32 sums over cached and uncached keys are split differently.
CLOSE = 2e-4
WORDS = ("star", "start", "stars north", "a kiss", "a kiss in the north", "north", "b")


@pytest.fixture(scope="module")
def contexts(lm):
    return [lm.embed(lm.ids(text)) for text in ("one likes ", "somebody else likes much more than that: ")]


@pytest.fixture(scope="module")
def trie(lm):
    return make_trie([lm.ids(word) for word in WORDS], end_id=lm.end_id)


@torch.no_grad()
def text_log_p(lm, context_TH, ids):
    """Return log p of each token of `ids` behind the context, by running the whole input once."""
    joined = torch.cat([context_TH, lm.embed(ids)])[None]
    logits = lm.model(inputs_embeds=joined).logits[0].double()
    log_p = torch.log_softmax(logits, dim=-1)
    places = range(len(context_TH) - 1, len(context_TH) - 1 + len(ids))
    return torch.stack([log_p[index, token] for index, token in zip(places, ids, strict=True)])


def brute(lm, context, words=WORDS):
    return np.array([text_log_p(lm, context, [*lm.ids(word), lm.end_id]).sum().item() for word in words])


def test_a_token_sees_its_context_and_its_ancestors_alone(lm, contexts):
    tree = read_contexts(lm, contexts)
    # Two passes: a root with two children, then a grandchild under the first child, and a second root.
    first = np.array([[5, 6, 7]] * 2)
    tree, near = grow(lm, tree, first, np.array([[-1, 0, 0]] * 2))
    _, far = grow(lm, tree, np.array([[8, 9]] * 2), np.array([[1, -1]] * 2))
    for row, context in enumerate(contexts):
        for path, log_p_W in (
            ([5], near[row, 0]), ([5, 6], near[row, 1]), ([5, 7], near[row, 2]),
            ([5, 6, 8], far[row, 0]), ([9], far[row, 1]),
        ):  # fmt: skip
            joined = torch.cat([context, lm.embed(path)])[None]
            with torch.no_grad():
                alone_W = torch.log_softmax(lm.model(inputs_embeds=joined).logits[0, -1], dim=-1)
            torch.testing.assert_close(log_p_W, alone_W, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("num_tokens", [1, 4, 256])
def test_whole_languages_are_read_exactly(lm, contexts, trie, num_tokens):
    found_BX = node_log_p(lm, read_contexts(lm, contexts), trie, num_tokens=num_tokens)
    ends = {trie.texts[node][0]: node for node in range(len(trie)) if trie.texts[node]}
    for row, context in enumerate(contexts):
        own = found_BX[row, [ends[index] for index in range(len(WORDS))]]
        np.testing.assert_allclose(own, brute(lm, context), atol=10 * CLOSE)
    assert not found_BX[:, 0].any()


@pytest.mark.parametrize("stride", [1, 3, 50])
def test_with_beams_for_all_a_search_is_exact(lm, contexts, trie, stride):
    scoring = Scoring(length_power=0.0)
    tree = read_contexts(lm, contexts)
    found = beam_search(lm, tree, [trie, trie], width=len(trie), scoring=scoring, stride=stride)
    for written, context in zip(found, contexts, strict=True):
        expected = brute(lm, context)
        assert [trie.texts[one.node][0] for one in written] == list(np.argsort(-expected))
        np.testing.assert_allclose([one.log_p for one in written], np.sort(expected)[::-1], atol=10 * CLOSE)


def test_scores_are_corrected_and_per_token(lm, contexts, trie):
    base_X = -np.arange(len(trie), dtype=float)
    (written,) = beam_search(
        lm, read_contexts(lm, contexts[:1]), [trie], width=50,
        scoring=Scoring(length_power=0.5, correction=0.25), base=[base_X],
    )  # fmt: skip
    assert len(written) == len(WORDS)
    for one in written:
        num_tokens = len(lm.ids(WORDS[trie.texts[one.node][0]])) + 1
        assert one.score == pytest.approx((one.log_p - 0.25 * -one.node) / num_tokens**0.5)
    assert [one.score for one in written] == sorted((one.score for one in written), reverse=True)


@settings(max_examples=25)
@given(
    st.lists(st.text("abc ü", min_size=1, max_size=6), min_size=1, max_size=12, unique=True),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.0]),
)
def test_a_search_writes_nothing_but_the_texts(lm, contexts, texts, width, stride, power):
    trie = make_trie([lm.ids(text) for text in texts], end_id=lm.end_id)
    scoring = Scoring(length_power=power)
    (written,) = beam_search(
        lm, read_contexts(lm, contexts[:1]), [trie], width=width, scoring=scoring, stride=stride
    )
    decoded = [lm.tokenizer.decode(trie.token_X[trie.path(one.node)[:-1]].tolist()) for one in written]
    assert decoded
    assert set(decoded) <= set(texts)
    assert len(set(decoded)) == len(decoded)


def test_rows_with_tries_of_their_own_do_not_disturb_one_another(lm, contexts, trie):
    other = make_trie([lm.ids("x"), lm.ids("north star")], end_id=lm.end_id)
    together = beam_search(
        lm, read_contexts(lm, contexts), [trie, other], width=3, scoring=Scoring(), stride=4
    )
    for row, own in enumerate((trie, other)):
        (alone,) = beam_search(
            lm, read_contexts(lm, contexts[row : row + 1]), [own], width=3, scoring=Scoring(), stride=4
        )
        assert [one.node for one in together[row]] == [one.node for one in alone]
        np.testing.assert_allclose(
            [one.score for one in together[row]], [one.score for one in alone], atol=CLOSE
        )


def test_one_context_serves_many_rows(lm, contexts, trie):
    tree = repeat_context(read_contexts(lm, contexts[:1]), 3)
    found = beam_search(lm, tree, [trie] * 3, width=4, scoring=Scoring())
    assert found[0] == found[1] == found[2]


def test_sizes_that_do_not_fit_are_refused(lm, contexts, trie):
    tree = read_contexts(lm, contexts[:1])
    for arguments in (
        {"tries": [trie], "width": 0, "scoring": Scoring()},
        {"tries": [trie] * 2, "width": 1, "scoring": Scoring()},
        {"tries": [trie], "width": 1, "scoring": Scoring(correction=1.0)},
    ):
        with pytest.raises(BadInputError):
            beam_search(lm, tree, **arguments)
    with pytest.raises(BadInputError, match="length_power"):
        Scoring(length_power=-1.0)
