"""States do not depend on their batch: compared bit for bit, and with plain adaptation up to rounding."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from warmprompt import Event, Known
from warmprompt.adaptation.engine import score
from warmprompt.backbone.text import pool_texts
from warmprompt.experts import Mixture
from warmprompt.experts.tfidf import TfIdf
from warmprompt.meta.initial import predicted_popularity
from warmprompt.meta.model import support_vectors
from warmprompt.service.model.catalogue import NewItem, with_items, with_spare_capacity
from warmprompt.service.model.served_model import adapt_all, extended, make_model
from warmprompt.types import Support


def somebody(model, number, *, events=None):
    rng = random.Random(number)
    items = rng.sample(model.personaliser.items[:50], rng.randrange(1, 12) if events is None else events)
    return Known(
        events=[Event(item=item, rating=float(rng.randrange(1, 6))) for item in items],
        about=rng.choice([None, None, "I like westerns", "I like slow films"]),
        attributes={},
    )


def counted(forward, passes):
    """Return a forward pass that is counted."""

    def count(self, *args, **kwargs):
        passes.append(self)
        return forward(self, *args, **kwargs)

    return count


def bits(state):
    return state.vector_D.tobytes() + state.offsets_PH.tobytes()


def test_state_is_bitwise_independent_of_batch(tiny_model):
    people = [somebody(tiny_model, number) for number in range(13)]
    people[5], people[9] = Known(), Known(about="I like westerns")
    alone = [bits(adapt_all(tiny_model, [one])[0]) for one in people]
    for seed in range(4):
        order = random.Random(seed).sample(range(13), 13)
        states = adapt_all(tiny_model, [people[one] for one in order])
        assert [bits(state) for state in states] == [alone[one] for one in order]


def test_served_state_agrees_with_plain_adaptation(tiny_model, personaliser):
    for number in range(6):
        known = somebody(tiny_model, number)
        served = adapt_all(tiny_model, [known])[0]
        plain = personaliser.adapt(known.events, about=known.about)
        # The same sums in another order; two inner steps carry float32 error along.
        np.testing.assert_allclose(served.vector_D, plain.vector_D, atol=2e-4)
        # Half precision keeps 11 bits.
        np.testing.assert_allclose(served.offsets_PH, plain.offsets_PH, rtol=2**-11, atol=2e-4)


WORDS = ("quiet", "slow", "films about people", "rivers", "robots", "and long wars", "old", "in small rooms")


def sentences(num, *, seed=0):
    rng = random.Random(seed)
    return [f"{number} " + " ".join(rng.choices(WORDS, k=rng.randrange(0, 60))) for number in range(num)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_texts_have_the_same_bits_in_batches_of_any_size(tiny_model, size):
    texts = sentences(26)
    alone = {text: tiny_model.texts.read([text])[text].tobytes() for text in texts}
    assert len(set(alone.values())) == len(texts)
    for start in range(0, len(texts), size):
        together = tiny_model.texts.read(texts[start : start + size])
        assert {text: reading.tobytes() for text, reading in together.items()} == {
            text: alone[text] for text in together
        }


def test_texts_longer_than_a_window_have_the_same_bits(tiny_model):
    texts = [" ".join(sentences(60, seed=seed)) for seed in range(3)] + sentences(2)
    alone = [tiny_model.texts.read([text])[text].tobytes() for text in texts]
    assert [reading.tobytes() for reading in tiny_model.texts.read(texts).values()] == alone


def test_texts_are_read_together(tiny_model, monkeypatch):
    model, passes = tiny_model.adapting_engine.encoder.model, []
    monkeypatch.setattr(type(model), "forward", counted(type(model).forward, passes))
    tiny_model.texts.read([f"{number} slow films" for number in range(8)])
    assert (tiny_model.texts.batch_size, len(passes)) == (8, 1)


def test_texts_are_read_one_by_one_where_bits_depend_on_the_batch(personaliser, monkeypatch):
    from warmprompt.service.model import reading

    pool, count = reading.pool_texts, itertools.count()

    def irreproducible(texts, encoder, **options):
        return pool(texts, encoder, **options) + 1e-6 * (len(texts) > 1) * next(count)

    monkeypatch.setattr(reading, "pool_texts", irreproducible)
    reader = make_model(personaliser, room=0, largest_batch=8).texts
    assert reader.batch_size == 1
    texts = sentences(5)
    alone = [reader.read([text])[text].tobytes() for text in texts]
    assert [one.tobytes() for one in reader.read(texts).values()] == alone


def test_padded_vectors_are_those_without_padding(tiny_model):
    encoder, texts = tiny_model.adapting_engine.encoder, sentences(9)
    # The same sums in another order.
    np.testing.assert_allclose(
        pool_texts(texts, encoder, always_padded=True), pool_texts(texts, encoder), atol=1e-6
    )


def test_added_item_changes_no_state(tiny_model):
    people = [somebody(tiny_model, number) for number in range(5)]
    larger = extended(
        tiny_model, [NewItem(id="new", title="Star Kitchen (2026)", text="Comedy")], items_version=1
    )
    before, after = adapt_all(tiny_model, people), adapt_all(larger, people)
    assert [bits(one) for one in before] == [bits(one) for one in after]
    assert larger.version == tiny_model.version


def test_new_item_scores_like_a_cold_item(tiny_model, personaliser):
    # A catalogue item given once more under another id has the same text, so only what was learned differs.
    larger = extended(tiny_model, [NewItem(id="new", title="Star Kitchen (2026)")], items_version=1)
    position = larger.personaliser.index["new"]
    params = personaliser.engine.trained.params
    text_X = larger.personaliser.engine.trained.data.item_text_VX[position]
    assert float(text_X.norm()) == pytest.approx(1.0, abs=1e-6)
    # Ranked where the map for new items puts it; as an event it pulls along the text map of training.
    engine = larger.personaliser.engine
    expected = (text_X.double() @ params["items.new_map"].double()).numpy()
    np.testing.assert_allclose(engine.catalogue_VD[position].numpy(), expected, atol=1e-5)
    popular = float(text_X @ params["items.new_popularity"] + params["items.new_level"])
    assert float(engine.popularity_V[position]) == pytest.approx(popular, abs=1e-5)
    pull = (text_X.double() @ params["items.text_map"].double()).numpy()
    vectors = support_vectors(engine.trained.params, engine.trained.data)
    np.testing.assert_allclose(vectors[position].numpy(), pull, atol=1e-5)
    state = adapt_all(larger, [Known(events=[Event(item="new", rating=5.0)])])[0]
    assert bits(state) != bits(larger.start)
    everything = larger.personaliser.rank(larger.start, larger.num_items)
    assert "new" in everything.items
    assert "new" not in larger.personaliser.rank(state, larger.num_items).items


def test_new_item_popularity_matches_ridge_regression():
    rng = np.random.default_rng(0)
    texts_VX = rng.standard_normal((40, 3)).astype(np.float32)
    texts_VX /= np.linalg.norm(texts_VX, axis=1, keepdims=True)
    counts_V = rng.integers(1, 50, 40)
    log_V = np.log1p(counts_V).astype(np.float32)
    # A ridge regression is least squares with rows of the identity for the penalty.
    mean = log_V[:30].mean()
    rows = np.vstack([texts_VX[:30], np.eye(3)])
    weights_X = np.linalg.lstsq(rows, np.concatenate([log_V[:30] - mean, np.zeros(3)]), rcond=None)[0]
    expected = np.clip(texts_VX[30:] @ weights_X + mean, 0, log_V[:30].max())
    np.testing.assert_allclose(
        predicted_popularity(texts_VX[:30], log_V[:30], texts_VX[30:]), expected, atol=1e-5
    )


def test_new_item_is_scored_by_its_words(personaliser):
    trained = personaliser.engine.trained
    num_items = len(trained.item_ids)
    words = Mixture(experts={"tfidf": TfIdf.of_texts(trained.titles)}, weights={"tfidf": 2.0})
    engine = with_spare_capacity(replace(personaliser.engine, trained=replace(trained, experts=words)), 4)
    new = NewItem(id="new", title=trained.titles[3])
    text_1X = trained.data.item_text_VX[3:4].numpy()
    larger = with_items(engine, [new], text_1X, first=num_items)
    assert engine.mixture.experts["tfidf"].num_items == num_items
    support = Support(user="u", items_K=np.array([3], np.int32), ratings_K=np.array([np.nan], np.float32))
    users_1D = torch.zeros(1, larger.catalogue_VD.shape[1])
    whole_C, without_C = (score(larger, users_1D, [support], drop=drop)[0] for drop in ((), ("tfidf",)))
    gained_C = whole_C - without_C
    assert gained_C[num_items] == pytest.approx(2.0, abs=1e-5)
    assert gained_C[num_items] == pytest.approx(gained_C[3], abs=1e-5)
    assert not gained_C[num_items + 1 :].any()
