"""Sentences about tested users: of what they are made, and of what they are not."""

from __future__ import annotations

import numpy as np
import pytest

from warmprompt.data.synthetic import Knobs, planted_world
from warmprompt.data.verbalise import favourite_genres
from warmprompt.errors import UnknownNameError
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.report import count_table
from warmprompt.evaluation.results import SeedCounts


@pytest.fixture(scope="module")
def data():
    knobs = Knobs(share_two_tastes=0.0, p_inside=1.0)
    return planted_world(num_users=100, num_items=160, num_tastes=4, seed=0, knobs=knobs).dataset


def task_of(data, sentences, **settings):
    return build_task(data, ProtocolSettings(ks=(0,), sentences=sentences, **settings), seed=0)


def test_a_sentence_names_the_genres_of_events_outside_the_query(data):
    for case in task_of(data, "genres").cases[0]:
        user = data.user_ids.index(case.support.user)
        items = data.interactions.items[data.interactions.events_of(user)]
        shown = items[~np.isin(items, case.held_out)]
        assert case.support.about == ", ".join(sorted(favourite_genres(shown, data)))


def test_unseen_sentences_share_no_wording_with_known_ones(data):
    known, unseen = (
        {case.support.user: case.support.about for case in task_of(data, kind).cases[0]}
        for kind in ("known", "unseen")
    )
    assert known.keys() == unseen.keys()
    assert all(known[user] != unseen[user] for user in known)
    again = {case.support.user: case.support.about for case in task_of(data, "unseen").cases[0]}
    assert again == unseen


def test_the_control_gives_every_user_another_users_sentence(data):
    own = [case.support.about for case in task_of(data, "unseen").cases[0]]
    given = [case.support.about for case in task_of(data, "unseen-shuffled").cases[0]]
    assert given == [*own[1:], own[0]]


def test_sentences_change_nothing_else_in_cases(data):
    plain, with_text = task_of(data, ""), task_of(data, "known")
    for one, other in zip(plain.cases[0], with_text.cases[0], strict=True):
        assert one.support.about is None
        assert one.query.tolist() == other.query.tolist()
    assert with_text.settings.label == "random with known sentences"
    with pytest.raises(UnknownNameError, match="sentences"):
        ProtocolSettings(sentences="unknown")


def test_users_without_a_sentence_are_counted(worlds):
    data = worlds.random_dataset(0)  # items without genres
    counts = task_of(data, "known").counts
    assert dict(counts.without_sentence) == {0: 12}
    row = SeedCounts(seed=0, **vars(counts))
    assert "| users without a sentence, K = 0 | 12 |" in count_table((row,))
