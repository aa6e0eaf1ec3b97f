"""Weights of experts: what is asked for is fitted, gains are found on validation users, noise is dropped."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from tests.assembly.small import small_settings

from warmprompt.adaptation.engine import users_linearly
from warmprompt.adaptation.opening import open_engine
from warmprompt.data.dataset import take_users
from warmprompt.data.matrices import item_cosines
from warmprompt.data.splits import split_users
from warmprompt.data.synthetic import planted_world
from warmprompt.data.verbalise import item_texts
from warmprompt.errors import UnknownNameError
from warmprompt.experts import EXPERTS
from warmprompt.experts.tfidf import TfIdf
from warmprompt.experts.user_neighbours import UserNeighbours
from warmprompt.experts.user_posterior import UserPosterior
from warmprompt.runs.format import load_trained
from warmprompt.scoring.shortlist import make_shortlist
from warmprompt.settings import ExpertSettings
from warmprompt.training import mixture_weights
from warmprompt.training.mixture_weights import (
    START,
    START_WITH_POSTERIOR,
    choose_weights,
    fit_context,
    fit_experts,
)
from warmprompt.training.run import train_run
from warmprompt.types import Support


@pytest.fixture(scope="module")
def world():
    return planted_world(num_users=120, num_items=40, num_tastes=3, seed=0).dataset


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """Return a model without counted experts."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    return train_run(small_settings("experts.use="), folder, dataset=world)


@dataclass(frozen=True)
class Together:
    """Score by cosines of items over training users."""

    cosines_VV: csr_matrix
    from_events: ClassVar[bool] = True

    def score(self, users):
        return np.stack([self.cosines_VV[own].toarray().sum(0) for own in users.liked])


def _views(world):
    split = split_users(world.num_users, seed=0)
    return take_users(world, split.train), take_users(world, split.validation)


def _choose(world, trained, *, use):
    training, validation = _views(world)
    no_text_T = torch.zeros(len(trained.params["prior.text_head"]))
    settings = ExpertSettings(use=use, num_neighbours=10)
    context = fit_context(trained, settings, texts=None, no_text_T=no_text_T, seed=0, progress=print)
    experts = fit_experts(training, context, use)
    mixture, _ = choose_weights(
        trained, experts, training, validation, kappa=0.0, no_text_T=no_text_T, seed=0, order="random"
    )
    return mixture


def test_a_run_keeps_its_experts_and_ranks_with_them(world, tmp_path):
    train_run(small_settings("experts.use=user_neighbours"), tmp_path / "run", dataset=world)
    trained = load_trained(tmp_path / "run")
    assert set(trained.experts.experts) <= {"user_neighbours"}
    assert all(weight > 0 for weight in trained.experts.weights.values())
    engine = open_engine(trained)
    assert list(engine.mixture.experts) == ["user_vector", "popularity", *trained.experts.experts]


def test_experts_of_words_need_item_texts(world, tmp_path):
    given = ("experts.use=tfidf,user_neighbours", "experts.similar_item_weight=0.1")
    for name, texts in (("with", ("backbone.item_text=tiny-encoder",)), ("without", ())):
        trained = train_run(small_settings(*given, *texts), tmp_path / name, dataset=world)
        near = trained.experts.experts.get("user_neighbours")
        assert near is None or (near.similar is not None) == bool(texts)
        if not texts:
            assert "tfidf" not in trained.experts.experts
    words = TfIdf.of_texts(item_texts(world, untitled=""))
    assert words.num_items == world.num_items


def test_a_run_without_counted_experts_keeps_none(trained):
    assert not trained.experts.experts


@pytest.mark.parametrize(
    ("key", "name", "near"),
    [
        ("use", "user_neighbors", "user_neighbours"),
        ("use", "popularity", "Choose"),
        ("use", "transitions", "Choose"),
        ("order", "transition", "transitions"),
    ],
)
def test_an_unknown_expert_is_named_before_training(world, tmp_path, key, name, near):
    with pytest.raises(UnknownNameError, match=f"experts.{key}: '{name}'.*{near}"):
        train_run(small_settings(f"experts.{key}={name}"), tmp_path / "run", dataset=world)
    assert not (tmp_path / "run").exists()


def test_the_posterior_holds_the_vectors_of_whole_histories(world, trained):
    training, _ = _views(world)
    engine = open_engine(trained)
    no_text_T = engine.no_text.features_BT[0]
    settings = ExpertSettings(use=("user_posterior",))
    context = fit_context(trained, settings, texts=None, no_text_T=no_text_T, seed=0, progress=print)
    posterior = fit_experts(training, context, settings.use)["user_posterior"]
    # User by user, not in batches: nobody's padding may count.
    for user in (0, 3, training.num_users - 1):
        own = training.interactions.events_of(user)
        support = Support(
            user="u",
            items_K=training.interactions.items[own],
            ratings_K=training.interactions.ratings[own],
        )
        vector_D = users_linearly(engine, [""], [support])[0].detach().numpy()
        np.testing.assert_allclose(posterior.users_UD[user], vector_D, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(posterior.items_VD, engine.catalogue_VD.numpy())
    np.testing.assert_array_equal(posterior.popularity_V, engine.popularity_V.numpy())


def test_a_clear_gain_is_found_and_noise_is_dropped(world, trained, monkeypatch):
    # A model that knows nothing: whatever an expert scores is a gain.
    ignorant = replace(
        trained, params={**trained.params, "items.learned": trained.params["items.learned"] * 1e-6}
    )
    together = Together(item_cosines(_views(world)[0], shrinkage=10.0, num_kept=200))
    monkeypatch.setattr(UserPosterior, "score", lambda _, users: together.score(users))
    monkeypatch.setattr(mixture_weights, "START_WITH_POSTERIOR", {})
    assert _choose(world, ignorant, use=("user_posterior",)).weights["user_posterior"] > 0
    rng = np.random.default_rng(0)

    def noise(_expert, users):
        return rng.standard_normal((len(users), 40)).astype(np.float32)

    monkeypatch.setattr(UserNeighbours, "score", noise)
    assert _choose(world, trained, use=("user_neighbours",)).weights == {}


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
    queries = [np.array([0], np.int32)] * num_users
    short = make_shortlist(
        [plain_BV, kind_BV], [nobody] * num_users, queries, np.ones(plain_BV.shape[1], np.bool_)
    )
    found = mixture_weights._improved([short], {"tfidf": 3.0}, "tfidf")
    assert found["tfidf"] == best


def test_doubling_a_weight_ends_at_a_bound():
    """Scores of ever rising size: each doubling brings some users more, without an end."""
    steps = 2.0 ** np.arange(40)
    plain_BV = np.ones((40, 30), dtype=np.float32)
    plain_BV[:, 0] = 0.0
    kind_BV = np.zeros_like(plain_BV)
    kind_BV[:, 0] = 1.01 / steps
    nobody = Support(user="u", items_K=np.zeros(0, np.int32), ratings_K=np.zeros(0, np.float32))
    queries = [np.array([0], np.int32)] * 40
    short = make_shortlist([plain_BV, kind_BV], [nobody] * 40, queries, np.ones(plain_BV.shape[1], np.bool_))
    found = mixture_weights._improved([short], {"tfidf": 0.0}, "tfidf")
    assert found["tfidf"] == mixture_weights.HIGHEST


def test_the_search_begins_with_the_posterior_where_it_is_used(world, trained, monkeypatch):
    for name in ("user_neighbours", "user_posterior"):
        # Nothing is scored, so no weight gains anything, and all stay where they begin.
        monkeypatch.setattr(EXPERTS[name], "score", lambda _, users: np.zeros((len(users), 40), np.float32))
    for use, start in (
        (("user_neighbours",), START),
        (("user_neighbours", "user_posterior"), START_WITH_POSTERIOR),
    ):
        assert _choose(world, trained, use=use).weights == dict(start)


def test_weights_hardly_move_with_the_draw_of_validation_users(world, trained):
    """Halves of the validation users choose weights whose rankings agree on the others."""
    training, _ = _views(world)
    rest = np.setdiff1d(np.arange(world.num_users), split_users(world.num_users, seed=0).train)
    no_text_T = torch.zeros(len(trained.params["prior.text_head"]))
    experts = {"together": Together(item_cosines(training, shrinkage=10.0, num_kept=200))}
    found = []
    for half in (rest[::2], rest[1::2]):
        mixture, summary = choose_weights(
            trained,
            experts,
            training,
            take_users(world, half),
            kappa=0.0,
            no_text_T=no_text_T,
            seed=0,
            order="random",
        )
        assert summary["num_users"] == np.count_nonzero(
            np.diff(take_users(world, half).interactions.offsets) >= 2
        )
        found.append(mixture.weights.get("together", 0.0))
    assert max(found) <= 4 * max(min(found), 5.0)
