"""Weights of memory: what is given is kept, the rest is found on validation users, noise is not followed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.assembly.small import small_settings
from warmprompt.scoring.memory import KINDS, RecallWeights, recalled, remember
from warmprompt.scoring.words import read_words

from warmprompt.adaptation.engine import users_linearly
from warmprompt.adaptation.opening import open_engine
from warmprompt.data.dataset import take_users
from warmprompt.data.splits import split_users
from warmprompt.data.synthetic import planted_world
from warmprompt.data.verbalise import item_texts
from warmprompt.errors import BadInputError
from warmprompt.runs.format import load_trained
from warmprompt.settings import ModelSettings
from warmprompt.training import mixture_weights as recalling
from warmprompt.training.mixture_weights import (
    START,
    START_BELIEVING,
    believes,
    choose_weights,
    given_weights,
)
from warmprompt.training.run import train_run
from warmprompt.types import Support


@pytest.fixture(scope="module")
def world():
    return planted_world(num_users=120, num_items=40, num_tastes=3, seed=0).dataset


def _choose(world, trained, *, given):
    split = split_users(world.num_users, seed=0)
    training, validation = take_users(world, split.train), take_users(world, split.validation)
    return choose_weights(
        replace(trained, memory=None),
        remember(training, num_neighbours=10),
        training,
        validation,
        given=given,
        no_text_T=torch.zeros(len(trained.params["prior.text_head"])),
        seed=0,
        order="random",
    )


def test_a_run_keeps_what_it_remembers_and_ranks_with_it(world, tmp_path):
    train_run(small_settings("model.neighbours_weight=5"), tmp_path / "run", dataset=world)
    trained = load_trained(tmp_path / "run")
    assert trained.recall.neighbours == 5.0
    assert trained.recall.text == 0.0  # there are no texts
    split = split_users(world.num_users, seed=0)
    expected = remember(take_users(world, split.train), num_neighbours=50)
    for name in ("offsets_U", "items", "near_offsets_V", "near_items", "near_shares"):
        np.testing.assert_array_equal(getattr(trained.memory, name), getattr(expected, name))


def test_a_run_recalls_words_where_it_has_texts(world, tmp_path):
    told = ("backbone.item_text=tiny-encoder", "model.words_weight=2", "model.alike_share=0.1")
    train_run(small_settings(*told), tmp_path / "words", dataset=world)
    trained = load_trained(tmp_path / "words")
    assert trained.recall.words == 2.0
    assert trained.memory.alike_share == 0.1
    expected = read_words(item_texts(world, untitled=""))
    np.testing.assert_array_equal(trained.memory.words.cosines(3), expected.cosines(3))
    train_run(small_settings("model.words_weight=2"), tmp_path / "bare", dataset=world)
    assert load_trained(tmp_path / "bare").memory.words is None


def test_a_run_that_is_to_remember_nothing_keeps_nothing(world, tmp_path):
    settings = small_settings(*(f"model.{kind}_weight=0" for kind in KINDS))
    train_run(settings, tmp_path / "run", dataset=world)
    trained = load_trained(tmp_path / "run")
    assert trained.memory is None
    assert trained.recall == RecallWeights()


def test_a_run_believes_of_its_training_users_what_their_histories_say(world, tmp_path):
    train_run(small_settings("model.posterior_weight=2"), tmp_path / "run", dataset=world)
    trained = load_trained(tmp_path / "run")
    assert trained.recall.posterior == 2.0
    training = take_users(world, split_users(world.num_users, seed=0).train)
    # User by user, not in batches: nobody's padding may count.
    engine = open_engine(trained)
    for user in (0, 3, training.num_users - 1):
        own = training.interactions.events_of(user)
        support = Support(
            user="u",
            items_K=training.interactions.items[own],
            ratings_K=training.interactions.ratings[own],
        )
        vector_D = users_linearly(engine, [""], [support])[0].detach().numpy()
        np.testing.assert_allclose(trained.memory.believed.users_UD[user], vector_D, rtol=1e-4, atol=1e-5)
    scores = engine.catalogue_VD.numpy() @ trained.memory.believed.users_UD[0] + engine.popularity_V.numpy()
    believed = trained.memory.believed
    np.testing.assert_allclose(
        believed.items_VD @ believed.users_UD[0] + believed.level_V, scores, rtol=1e-4, atol=1e-5
    )
    train_run(small_settings("model.posterior_weight=0"), tmp_path / "without", dataset=world)
    assert load_trained(tmp_path / "without").memory.believed is None


def test_too_many_training_users_times_items_are_told_before_training(world, tmp_path, monkeypatch):
    monkeypatch.setattr(recalling, "MAX_CELLS", 84 * 40 - 1)
    told = r"model\.posterior_weight.*84 training users times 40 items are more than 3,359"
    with pytest.raises(BadInputError, match=told):
        train_run(small_settings("model.posterior_weight=2"), tmp_path / "asked", dataset=world)
    assert not (tmp_path / "asked").exists()
    assert not believes(ModelSettings(posterior_weight=None), world)
    monkeypatch.setattr(recalling, "MAX_CELLS", world.num_users * world.num_items)
    assert believes(ModelSettings(posterior_weight=None), world)
    assert not believes(ModelSettings(posterior_weight=0.0), world)


def test_given_weights_are_kept_and_a_clear_gain_is_found(world, tmp_path, monkeypatch):
    train_run(small_settings("model.neighbours_weight=0"), tmp_path / "run", dataset=world)
    trained = load_trained(tmp_path / "run")
    # A model that knows nothing: whatever memory says is a gain.
    blank = {name: torch.zeros_like(value) for name, value in trained.params.items()}
    blank["items.learned"] = trained.params["items.learned"] * 1e-6
    ignorant = replace(trained, params={**trained.params, **blank})
    assert _choose(world, ignorant, given={"neighbours": 0.0, "together": 0.0}).together == 0.0
    assert _choose(world, ignorant, given={"neighbours": 0.0}).together > 0
    # Where memory is a draw, nothing is gained and the start stays.
    rng = np.random.default_rng(0)

    def noise(memory, kind, supports, **told):
        shape = recalled(memory, kind, supports, **told).shape
        return 1e-3 * rng.standard_normal(shape).astype(np.float32)

    monkeypatch.setattr(recalling, "recalled", noise)
    assert _choose(world, trained, given={"together": 0.0}).neighbours == START.neighbours


@pytest.mark.parametrize(
    ("overtakes_at", "lost_at", "best"),
    [(100, 300, 160.0), (200, 700, 320.0), (30, 50, 40.0), (12, 35, 20.0), (1e5, 1e6, 3.0)],
)
def test_a_weight_is_found_beyond_the_grid_where_it_is_planted(overtakes_at, lost_at, best):
    """The query item passes the others at one weight, and ten decoys pass it at another."""
    num_users, num_items = 40, 20
    rng = np.random.default_rng(0)
    # Nine others, one after another: each is passed earlier than the last, at 1 in units of the first weight.
    plain_BV = np.zeros((num_users, num_items), dtype=np.float32)
    plain_BV[:, 11:] = np.linspace(0.05, 0.98, 9) + rng.uniform(0, 0.02, (num_users, 9))
    plain_BV[:, 0] = 0.0
    plain_BV[:, 1:11] = -lost_at / 100
    kind_BV = np.zeros_like(plain_BV)
    kind_BV[:, 0] = 1 / overtakes_at
    kind_BV[:, 1:11] = 1 / overtakes_at + 1 / 100
    nobody = Support(user="u", items_K=np.zeros(0, np.int32), ratings_K=np.zeros(0, np.float32))
    scored = recalling._Scored(
        plain_BV=plain_BV,
        kinds={"words": kind_BV},
        supports=[nobody] * num_users,
        queries=[np.array([0], np.int32)] * num_users,
    )
    found = recalling._improved([scored], RecallWeights(words=3.0), "words", np.ones(num_items, np.bool_))
    assert found.words == best


def test_doubling_a_weight_ends_at_a_bound():
    """Scores of ever rising size: each doubling brings some users more, without an end."""
    steps = 2.0 ** np.arange(40)
    plain_BV = np.ones((40, 30), dtype=np.float32)
    plain_BV[:, 0] = 0.0
    kind_BV = np.zeros_like(plain_BV)
    kind_BV[:, 0] = 1.01 / steps
    nobody = Support(user="u", items_K=np.zeros(0, np.int32), ratings_K=np.zeros(0, np.float32))
    scored = recalling._Scored(
        plain_BV=plain_BV,
        kinds={"words": kind_BV},
        supports=[nobody] * 40,
        queries=[np.array([0], np.int32)] * 40,
    )
    found = recalling._improved([scored], RecallWeights(), "words", np.ones(30, np.bool_))
    assert found.words == recalling.HIGHEST


def test_the_search_begins_with_the_posterior_where_training_users_are_believed_in(
    world, tmp_path, monkeypatch
):
    train_run(small_settings("model.posterior_weight=1"), tmp_path / "run", dataset=world)
    trained = load_trained(tmp_path / "run")
    # Nothing is recalled, so no weight gains anything, and all stay where they begin.
    monkeypatch.setattr(
        recalling,
        "recalled",
        lambda memory, kind, supports, **told: np.zeros((len(supports), 40), np.float32),
    )
    split = split_users(world.num_users, seed=0)
    training, validation = take_users(world, split.train), take_users(world, split.validation)
    plain = remember(training, num_neighbours=10)
    for memory, start in (
        (plain, START),
        (replace(plain, believed=trained.memory.believed), START_BELIEVING),
    ):
        found = choose_weights(
            replace(trained, memory=None),
            memory,
            training,
            validation,
            given={},
            no_text_T=torch.zeros(len(trained.params["prior.text_head"])),
            seed=0,
            order="random",
        )
        assert found == start


def test_settings_tell_which_weights_are_given():
    assert given_weights(ModelSettings(posterior_weight=None)) == {}
    assert given_weights(ModelSettings(text_weight=0.0, neighbours_weight=2.0)) == {
        "neighbours": 2.0,
        "posterior": 0.0,
        "text": 0.0,
    }
