"""Models, states and errors cross into other processes by plain pickle, and rank there to the same bits."""

import multiprocessing
import multiprocessing.reduction
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest

from warmprompt import BadInputError, Event, Known, MismatchError, UnknownNameError, UserState, load
from warmprompt.backbone.hashing import hash_weights
from warmprompt.data.tables import open_dataset


@pytest.fixture(scope="module")
def opened(trained_folder):
    """Return the run as a caller opens it, with the clock of the machine."""
    return load(trained_folder)


@pytest.fixture(scope="module")
def users(opened):
    events = [Event(item=item, rating=float(1 + index % 5)) for index, item in enumerate(opened.items[:60:7])]
    return [Known(events=events), Known(events=events[:2], about="hm", attributes={"age": "24"}), Known()]


def test_a_spawned_process_ranks_to_the_same_bits(opened, users):
    """Every task below takes the model along; the pool's function is the model's own method."""
    state = opened.adapt(users[1].events, about="hm", attributes={"age": "24"})
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        asked = [
            pool.submit(opened.rank, state, 20),
            pool.submit(opened.rank_many, users, 20),
            pool.submit(opened.adapt, users[1].events, about="hm", attributes={"age": "24"}),
            pool.submit(opened.observe, state, users[0].events[3]),
        ]
        ranking, linear, adapted, observed = (one.result(timeout=300) for one in asked)
        with pytest.raises(UnknownNameError, match=r"item: 'nothing'\.") as caught:
            pool.submit(opened.title, "nothing").result(timeout=300)
    assert ranking == opened.rank(state, 20)
    assert linear == opened.rank_many(users, 20)
    assert adapted.to_bytes() == state.to_bytes()
    assert observed.to_bytes() == opened.observe(state, users[0].events[3]).to_bytes()
    assert caught.value.field == "item"


def test_sending_moves_no_memory_that_the_sender_uses(opened):
    """Torch moves what queues of processes send to shared memory; arrays that view it would dangle."""
    tensors = [opened.engine.popularity_V, *opened.engine.trained.params.values()]
    before = [tensor.data_ptr() for tensor in tensors]
    multiprocessing.reduction.ForkingPickler.dumps(opened)
    assert [tensor.data_ptr() for tensor in tensors] == before
    assert not any(tensor.is_shared() for tensor in tensors)


def test_a_pickle_holds_no_frozen_weights_and_shares_those_in_use(opened):
    sent = pickle.dumps(opened)
    one, other = pickle.loads(sent), pickle.loads(sent)
    assert one.engine.backbone is other.engine.backbone
    assert hash_weights(one.engine.backbone.model) == hash_weights(opened.engine.backbone.model)
    weights = sum(value.numel() * value.element_size() for value in opened.engine.backbone.model.parameters())
    assert len(sent) < len(pickle.dumps(opened.engine.trained)) * 2 + weights / 2


def test_what_was_derived_is_not_sent(opened):
    before = len(pickle.dumps(opened))
    opened.rank_many([Known(events=[Event(item=opened.items[0], rating=5.0)])])
    assert len(pickle.dumps(opened)) == before


def test_other_weights_under_the_name_are_refused(opened, monkeypatch):
    monkeypatch.setattr("warmprompt.backbone.load._IN_USE", {})
    sent = pickle.dumps(opened.engine.backbone)
    monkeypatch.setattr("warmprompt.backbone.load.hash_weights", lambda _: "f" * 64)
    with pytest.raises(MismatchError, match="weights of backbone tiny: 'ffffffffffff'"):
        pickle.loads(sent)


def test_a_state_a_data_set_and_an_error_come_back_equal(opened, users, planted_folder):
    state = opened.adapt(users[1].events, about="hm", attributes={"age": "24"})
    again = pickle.loads(pickle.dumps(state))
    assert isinstance(again, UserState)
    assert again.to_bytes() == state.to_bytes()
    dataset = open_dataset(planted_folder[0])
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy.user_ids, copy.content_hash) == (dataset.user_ids, dataset.content_hash)
    assert copy.interactions.items.tolist() == dataset.interactions.items.tolist()
    assert copy.items.equals(dataset.items)
    error = BadInputError(field="n", value=threading.Lock(), remedy="Give another.")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.line()) == (BadInputError, error.line())
