"""Texts that name a genre are read by a head of their own; all others as if there were none."""

import numpy as np
import pytest
import torch
from tests.meta.worlds import ready_world

from warmprompt.data.genre_words import GenreWords
from warmprompt.meta.initial import where_users_lead
from warmprompt.meta.named_genres import HEAD, both_heads, read_named_genres, widen

WORDS = GenreWords(words=(("comedy", "funny"), ("war",)))
NUM_TEXT = 3


@pytest.fixture(scope="module")
def case():
    """Users of three tastes, each with a text that names one of two tastes' words, or none."""
    world = ready_world(num_users=200, num_items=60)
    training, tastes = world.material.training, world.planted.user_tastes
    own = [tastes[world.planted.dataset.user_ids.index(user)][0] for user in training.user_ids]
    said = ("Something funny.", "War.", "Nothing much.")
    texts = [(user, said[taste]) for user, taste in enumerate(own)]
    rng = torch.Generator().manual_seed(0)
    features = {text: 0.1 * torch.randn(NUM_TEXT, generator=rng) for text in said}
    params = {**world.params, HEAD: torch.randn(NUM_TEXT, 8, generator=rng)}
    return training, params, world.material.data, texts, features, np.array(own)


def _leads(case, **other):
    training, params, constants, texts, _, _ = case
    return read_named_genres(params, constants, training, **{"texts": texts, "genres": WORDS, **other})


def _read(text, features_T, head_XD):
    return (widen(features_T[None], [text], WORDS) @ head_XD)[0]


def test_inputs_stand_left_where_no_genre_is_named_and_right_where_one_is():
    features_BT = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    wide_BX = widen(features_BT, ["tea", "a funny war", ""], WORDS)
    assert wide_BX.tolist() == [[1, 2, 0, 0, 0, 0], [0, 0, 3, 4, 1, 1], [5, 6, 0, 0, 0, 0]]
    assert widen(features_BT, ["tea", "a funny war", ""], None) is features_BT


def test_a_text_without_a_known_word_is_read_as_before_to_the_bit(case):
    _, params, _, _, features, _ = case
    head_XD = both_heads(params[HEAD], _leads(case), gain=1.4)
    assert head_XD.shape == (2 * NUM_TEXT + 2, 8)
    features_T = features["Nothing much."]
    assert torch.equal(_read("Nothing much.", features_T, head_XD), (features_T[None] @ params[HEAD])[0])


def test_a_named_genre_leads_where_its_users_lead_and_a_synonym_leads_there_too(case):
    training, params, constants, _, features, own = case
    led_ND = where_users_lead(params, constants, training)
    leads_GD = _leads(case)
    for taste in (0, 1):
        wanted_D = led_ND[own == taste].mean(0) - led_ND.mean(0)
        assert torch.cosine_similarity(leads_GD[taste], wanted_D, dim=0) > 0.95
    features_T = features["Something funny."]
    head_XD = both_heads(params[HEAD], leads_GD, gain=1.0)
    said, unsaid = (_read(text, features_T, head_XD) for text in ("Something funny.", "Comedy!"))
    assert torch.equal(said, unsaid)


def test_both_readers_have_a_share_and_the_gain_is_of_both(case):
    _, params, _, _, features, _ = case
    leads_GD, features_T = _leads(case), features["War."]
    once, twice = (_read("War.", features_T, both_heads(params[HEAD], leads_GD, gain=g)) for g in (1, 2))
    torch.testing.assert_close(2 * once, twice)
    encoder_D, genre_D = features_T @ params[HEAD], leads_GD[1]
    torch.testing.assert_close(once, 0.3 * encoder_D + 0.7 * genre_D)


def test_users_who_name_nothing_teach_nothing(case):
    texts = case[3]
    silent = [(user, "Nothing much.") for user, _ in texts]
    assert _leads(case, texts=silent) is None
    assert _leads(case, texts=[]) is None
    assert _leads(case, genres=GenreWords(words=())) is None
