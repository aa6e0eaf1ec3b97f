"""Payments in words: the sentence of a payment, and sentences that reach the score."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from warmprompt.errors import BadInputError
from warmprompt.risk.profile import make_profiler, score_episodes, score_rows, train_profile
from warmprompt.risk.profile.features import FEATURE_NAMES
from warmprompt.risk.profile.model import pooled_sentences
from warmprompt.risk.profile.words import PAYMENT_SENTENCES, describe_payment, sentence_rows

NUM = 3


@pytest.fixture(scope="module")
def in_words(model, episodes_of, entities):
    """The same training as `model`, with payments in words; the entity's own part is switched on."""
    found = train_profile(
        episodes_of(entities[:80], per_entity=2),
        episodes_of(entities[80:100]),
        model.backbone,
        settings=replace(model.settings, payment_words=True, num_sentence_features=NUM),
        label_delay_s=7 * 86_400,
        seed=0,
    )
    return replace(found, params=found.params | {"risk.own": torch.tensor(1.0)})


def test_a_payments_sentence_is_found_from_its_features(world, episodes_of, entities):
    episodes, payments = episodes_of(entities[:60]), world.payments
    for row, position in zip(episodes.row_R, sentence_rows(episodes.features_RF), strict=True):
        time_s, amount = int(payments.time_N[row]), int(payments.amount_minor_N[row])
        assert PAYMENT_SENTENCES[position] == describe_payment(time_s=time_s, amount_minor=amount)
    assert len(set(PAYMENT_SENTENCES)) == len(PAYMENT_SENTENCES) == 15 * 2 * 4 * 3


def test_no_part_of_the_day_begins_a_second_off():
    seconds = np.sort(np.concatenate([np.arange(24) * 3600, np.arange(1, 25) * 3600 - 1]))
    features = np.zeros((len(seconds), len(FEATURE_NAMES)))
    features[:, FEATURE_NAMES.index("hour_sin")] = np.sin(seconds * (2 * np.pi / 86_400))
    features[:, FEATURE_NAMES.index("hour_cos")] = np.cos(seconds * (2 * np.pi / 86_400))
    # 1970-01-01 was a Thursday.
    found = [PAYMENT_SENTENCES[position] for position in sentence_rows(features)]
    assert found == [describe_payment(time_s=int(second), amount_minor=0) for second in seconds]


def test_sentences_are_read_once_into_components_of_variance_1(model, in_words):
    assert model.scaling.sentences_SX.shape == (0, 0)
    sentences = in_words.scaling.sentences_SX.double()
    assert torch.allclose(sentences.T @ sentences / 360, torch.eye(NUM).double(), atol=1e-4)
    rows = {name: len(in_words.params[name]) - len(one) for name, one in model.params.items() if one.ndim}
    assert {name: more for name, more in rows.items() if more} == {"phi.hidden": NUM, "prior.text_head": NUM}


def test_the_support_is_pooled_with_the_labels_that_are_known(in_words, episodes_of, entities):
    episodes = episodes_of(entities, days=(40, 55), ks=(0, 5, 20))
    pooled = pooled_sentences(in_words.scaling, episodes.support_EKF, episodes.history)
    history, sentences = episodes.history, in_words.scaling.sentences_SX
    assert (history.known_RK & history.fraud_RK).any()
    for position, mask in enumerate(history.mask_RK):
        texts = [
            describe_payment(
                time_s=int(history.time_RK[position, slot]),
                amount_minor=round(history.amount_RK[position, slot] * 100),
                fraud=bool(history.fraud_RK[position, slot]) if history.known_RK[position, slot] else None,
            )
            for slot in np.flatnonzero(mask)
        ]
        rows = sentences[[PAYMENT_SENTENCES.index(text) for text in texts]]
        expected = rows.mean(0) if texts else torch.zeros(NUM)
        assert torch.allclose(pooled[position], expected, atol=1e-5)


def test_what_is_read_reaches_the_score(in_words, episodes_of, entities):
    episodes = episodes_of(entities[100:120], ks=(20,))
    deaf = in_words.params["phi.hidden"].clone()
    deaf[len(FEATURE_NAMES) :] = 0
    one = score_episodes(in_words, episodes)
    two = score_episodes(replace(in_words, params=in_words.params | {"phi.hidden": deaf}), episodes)
    assert np.abs(one - two).max() > 1e-4
    head = in_words.params["prior.text_head"].clone()
    head[-NUM:] += 1
    three = score_episodes(replace(in_words, params=in_words.params | {"prior.text_head": head}), episodes)
    assert np.abs(one - three).max() > 1e-4


def test_a_stream_reads_them_as_a_batch_does(
    in_words, episodes_of, entities, world, context, payment_at, state_before
):
    profiler = make_profiler(in_words, {0: episodes_of(entities[100:140], per_entity=2, ks=(0,))})
    rows = np.concatenate([np.flatnonzero(world.payments.entity_N == one)[-3:] for one in entities[140:143]])
    scores, _ = score_rows(profiler, world.payments, context, rows)
    for row, score in zip(rows, scores, strict=True):
        estimate = profiler.score(state_before(profiler, row), payment_at(row))
        assert estimate.score == pytest.approx(score, abs=1e-4)


def test_more_components_than_there_are_is_refused(model, episodes_of, entities):
    with pytest.raises(BadInputError, match="num_sentence_features"):
        train_profile(
            episodes_of(entities[:80], per_entity=2),
            episodes_of(entities[80:100]),
            model.backbone,
            settings=replace(model.settings, payment_words=True, num_sentence_features=361),
            label_delay_s=7 * 86_400,
            seed=0,
        )
