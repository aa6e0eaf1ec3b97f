"""Runs that read what users write: words are weighed by validation, and change nothing where absent."""

import pytest
from tests.assembly.written import NUM_COMMON, NUM_TASTES, items_of_taste, note, train_written, written_world

from warmprompt import Event, Known, UserState, load
from warmprompt.data.dataset import take_users
from warmprompt.data.splits import split_dataset
from warmprompt.training.start import users_hash


@pytest.fixture(scope="module")
def folder(tmp_path_factory, text_home):
    made = tmp_path_factory.mktemp("written") / "run"
    train_written(made)
    return made


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


@pytest.mark.parametrize("taste", range(NUM_TASTES))
def test_words_decide_where_events_say_nothing(model, taste):
    assert model.engine.trained.experts.weights["user_text"] > 0
    state = model.adapt([Event(item=0, text=f"  {note(taste)}\n")])
    ranking = model.rank(state, 5, exclude=range(NUM_COMMON))
    assert set(ranking.items) <= set(items_of_taste(taste))


def test_without_a_text_the_expert_adds_nothing_to_the_bit(model):
    for events in ([Event(item=0)], [Event(item=11, text=" "), Event(item=9)]):
        state = model.adapt(events)
        whole, without = model.rank(state, 20), model.rank(state, 20, drop=["user_text"])
        assert whole == without


def test_every_way_to_rank_reads_texts(model):
    events = [Event(item=0, text=note(1)), Event(item=10)]
    state = model.adapt(events)
    expected = model.rank(state, 5)
    assert model.rank(UserState.from_bytes(state.to_bytes()), 5) == expected
    assert model.rank_many([Known(events=events)], 5)[0].items == expected.items
    frame = model.recommend({"ann": events}, 5)
    assert tuple(frame["item_id"]) == expected.items
    assert model.rank(model.observe(model.adapt(events[:1]), events[1]), 5) == expected


def test_a_run_on_data_without_texts_has_no_such_expert(tmp_path, text_home):
    trained = train_written(tmp_path / "run", texts=False)
    assert "user_text" not in trained.experts.experts
    scores = load(tmp_path / "run")
    noted, plain = (scores.rank(scores.adapt([Event(item=0, text=text)]), 5) for text in ("loud", None))
    assert noted == plain


def test_the_hash_of_training_users_covers_texts():
    hashes = set()
    for texts in (True, False):
        world = written_world(texts=texts)
        split = split_dataset(world, seed=0)
        hashes.add(users_hash(take_users(world, split.train), take_users(world, split.validation)))
    assert len(hashes) == 2
