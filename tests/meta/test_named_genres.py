"""Texts that name a genre are read by a head of their own; all others as if there were none."""

import numpy as np
import pytest
import torch
from tests.meta.worlds import ready_world

from warmprompt.data.genre_words import GenreWords
from warmprompt.meta.initial import where_users_lead
from warmprompt.meta.named_genres import HEAD, read_named_genres, widen

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
    return training, params, world.material.constants, texts, features, np.array(own)


def _head(case):
    training, params, constants, texts, features, _ = case
    return read_named_genres(params, constants, training, texts=texts, features=features, genres=WORDS)[HEAD]


def test_inputs_stand_left_where_no_genre_is_named_and_right_where_one_is():
    features_BT = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    wide_BX = widen(features_BT, ["tea", "a funny war", ""], WORDS)
    assert wide_BX.tolist() == [[1, 2, 0, 0, 0, 0], [0, 0, 3, 4, 3, 3], [5, 6, 0, 0, 0, 0]]
    assert widen(features_BT, ["tea", "a funny war", ""], None) is features_BT


def test_a_text_without_a_known_word_is_read_as_before_to_the_bit(case):
    _, params, _, _, features, _ = case
    head_XD = _head(case)
    assert head_XD.shape == (2 * NUM_TEXT + 2, 8)
    text = "Nothing much."
    assert torch.equal(
        widen(features[text][None], [text], WORDS) @ head_XD, features[text][None] @ params[HEAD]
    )


def test_a_named_genre_leads_where_its_users_lead(case):
    training, params, constants, _, features, own = case
    led_ND = where_users_lead(params, constants, training)
    head_XD = _head(case)
    for taste, text in enumerate(("Something funny.", "War.")):
        told_D = (widen(features[text][None], [text], WORDS) @ head_XD)[0]
        wanted_D = led_ND[own == taste].mean(0) - led_ND.mean(0)
        assert torch.cosine_similarity(told_D, wanted_D, dim=0) > 0.95
        # A synonym that no user has said says the same.
        if taste == 0:
            same_D = (widen(features[text][None], ["Comedy!"], WORDS) @ head_XD)[0]
            assert torch.equal(told_D, same_D)


def test_users_who_name_nothing_leave_the_head_as_it_is(case):
    training, params, constants, texts, features, _ = case
    silent = [(user, "Nothing much.") for user, _ in texts]
    none = GenreWords(words=())
    for told, genres in ((silent, WORDS), (texts, none), ([], WORDS)):
        found = read_named_genres(params, constants, training, texts=told, features=features, genres=genres)
        assert found == {}
