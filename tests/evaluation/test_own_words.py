"""The controls of the benchmark of users' own words: whose text each row gives, and how gains are counted."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.assembly.written import written_world

from warmprompt.data.dataset import take_users


def _benchmark():
    """Return the benchmark as a module: scripts are no package."""
    script = Path(__file__).parents[2] / "benchmarks" / "own_words.py"
    spec = importlib.util.spec_from_file_location("own_words", script)
    sys.modules["own_words"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OWN_WORDS = _benchmark()
ROWS, summary = OWN_WORDS.ROWS, OWN_WORDS.summary
tfidf_reader, with_texts_of_others = OWN_WORDS.tfidf_reader, OWN_WORDS.with_texts_of_others


@pytest.fixture(scope="module")
def views():
    """Return data in which each text names its user and item, and the first 100 users as training users."""
    world = written_world()
    events = world.interactions
    owners = np.repeat(world.user_ids, np.diff(events.offsets))
    texts = [f"{user} on {item}" for user, item in zip(owners, events.items, strict=True)]
    texts[-1] = None
    world = replace(world, interactions=replace(events, texts=pl.Series(texts)))
    return world, take_users(world, np.arange(100)), owners


@pytest.mark.parametrize("row", ["another, same item", "random"])
def test_controls_give_tested_users_the_texts_of_training_users(views, row):
    world, training, owners = views
    known = set(training.user_ids)
    given = with_texts_of_others(world, training, row, seed=0).interactions
    same_item = []
    for index, (owner, text) in enumerate(zip(owners, given.texts, strict=True)):
        if owner in known:
            assert text == world.interactions.texts[index]
        elif index == len(owners) - 1:
            assert text is None
        else:
            writer, item = text.split(" on ")
            assert int(writer) in known
            same_item.append(int(item) == given.items[index])
    assert np.mean(same_item) == 1 if row != "random" else np.mean(same_item) < 0.5


def test_other_rows_keep_the_texts(views):
    world, training, _ = views
    assert with_texts_of_others(world, training, "own", seed=0) is world


def test_tfidf_vectors_have_length_one_and_equal_words_give_equal_vectors(views):
    _, training, _ = views
    vectors = tfidf_reader(training)(["7 on 3", "3 ON 7", "unheard"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_gains_are_ratios_of_means_with_seeds_averaged_within_the_user():
    rows = ROWS[:2]
    first = {1: {"a": np.array([0.2, 0.3]), "b": np.array([0.4, 0.4])}}
    second = {1: {"a": np.array([0.4, 0.5])}}
    (cell,) = summary([first, second], rows).values()
    # ids: (mean(.2, .4) + .4) / 2 = .35; own: (mean(.3, .5) + .4) / 2 = .4.
    assert cell["ndcg"] == {"ids": 0.35, "own": 0.4}
    assert cell["gain"]["own"][0] == pytest.approx(100 * (0.4 / 0.35 - 1), abs=0.01)
    assert cell["num_users"] == 2
