"""Training on a planted world: it finds the plant, stops in time, and goes on after a kill as before."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from warmprompt.backbone.hashing import hash_weights
from warmprompt.data.episodes import batch_supports
from warmprompt.errors import NotFiniteError
from warmprompt.meta import trainer
from warmprompt.meta.learner import Outer
from warmprompt.meta.learners import LEARNERS, UNADAPTED
from warmprompt.meta.model import make_catalogue, score_catalogue
from warmprompt.meta.predict import adapt_users, encode_texts
from warmprompt.meta.tasks import (
    VALIDATION_KS,
    Drawing,
    epoch_batches,
    stages_of,
    training_task,
    validation_loss,
    validation_tasks,
    validation_users,
)
from warmprompt.meta.trainer import StagePlan, TrainingPlan, start_training
from warmprompt.rng import derive
from warmprompt.runs.training_state import load_state
from warmprompt.scoring.ranking import ranks
from warmprompt.types import Support

DRAWING = Drawing(seed=0, max_support=8, batch_size=32)
NUM_QUERY = 5


def train(learner, state, material, drawing, plan, **callbacks):
    return trainer.train(state, stages_of(learner, material, drawing, plan), plan, **callbacks)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(worlds):
    return worlds.ready_world()


def _cases(world, k):
    """Return support, query items and loved items of each test user; the query is the same for every k."""
    events = world.planted.dataset.interactions
    for user in world.split.test:
        rows = derive(0, "case", int(user)).permutation(
            np.arange(events.offsets[user], events.offsets[user + 1])
        )
        items, ratings = events.items[rows], events.ratings[rows]
        chosen = slice(NUM_QUERY, NUM_QUERY + k)
        support = Support(user=int(user), items_K=items[chosen], ratings_K=ratings[chosen])
        yield support, items[:NUM_QUERY], world.planted.loved(int(user))


def _scores(world, params, supports, *, by):
    material = world.material
    texts = encode_texts(material.backbone, material.readout, [""] * len(supports))
    catalogue = make_catalogue(params, material.data)
    adapted = adapt_users(
        catalogue,
        by,
        material.backbone,
        material.readout,
        texts=texts,
        events=batch_supports(supports),
    )
    return score_catalogue(catalogue, adapted.users_BD).detach().numpy()


def _ndcg(scores_BV, cases):
    """Return the mean NDCG@10 of the query items, written out."""
    supports, queries, _ = zip(*cases, strict=True)
    found = ranks(scores_BV, queries, excluded=[support.items_K for support in supports])
    ideal = sum(1 / math.log2(1 + position) for position in range(1, NUM_QUERY + 1))
    gains = [sum(1 / math.log2(1 + rank) for rank in row if rank <= 10) / ideal for row in found]
    return float(np.mean(gains))


def _share_loved(scores_BV, cases):
    """Return the share of loved items among the ten that rank first, support items left out."""
    shares = []
    for scores_V, (support, _, loved) in zip(scores_BV.copy(), cases, strict=True):
        scores_V[support.items_K] = -np.inf
        shares.append(loved[np.argsort(-scores_V)[:10]].mean())
    return float(np.mean(shares))


@pytest.mark.parametrize("name", LEARNERS)
def test_adapted_users_are_ranked_far_better_than_by_popularity_and_than_unadapted_ones(world, name):
    learner = LEARNERS[name]
    plan = TrainingPlan(
        tangent=StagePlan(epochs=4, rate=0.02, validate_every=2), prompt=StagePlan(epochs=1, rate=5e-3)
    )
    params = train(learner, start_training(learner, world.params), world.material, DRAWING, plan).best
    cases = list(_cases(world, 5))
    supports = [support for support, _, _ in cases]
    adapted = _ndcg(_scores(world, params, supports, by=learner), cases)
    unadapted = _ndcg(_scores(world, params, supports, by=UNADAPTED), cases)
    popular = _ndcg(np.tile(world.material.data.log_popularity_V.numpy(), (len(cases), 1)), cases)
    # Popularity reaches about .28, adapted users .4 and more; over 48 users the standard error is .03.
    assert adapted > 1.25 * popular
    assert adapted > 1.25 * unadapted
    fewer = list(_cases(world, 1))
    once = _ndcg(_scores(world, params, [case[0] for case in fewer], by=learner), fewer)
    assert once < adapted


@pytest.mark.parametrize("name", ["maml", "meta-sgd"])
def test_the_plant_is_found_from_item_vectors_that_know_nothing(world, name):
    # The learners whose meta-gradient reaches the support side must find the three tastes from noise.
    learner = LEARNERS[name]
    generator = torch.Generator().manual_seed(0)
    noise = {"items.learned": 0.3 * torch.randn(60, 8, generator=generator)}
    plan = TrainingPlan(
        tangent=StagePlan(epochs=20, rate=0.5, validate_every=5), prompt=StagePlan(epochs=1, rate=5e-3)
    )
    begun = start_training(learner, {**world.params, **noise})
    params = train(learner, begun, world.material, DRAWING, plan).best
    cases = list(_cases(world, 5))
    supports = [support for support, _, _ in cases]
    before, after = (
        _share_loved(_scores(world, which, supports, by=learner), cases) for which in (begun.best, params)
    )
    assert before < 0.6  # chance is about .45: a third of the items or two
    assert after > 0.9


def test_training_leaves_every_weight_of_the_backbone(world):
    before = hash_weights(world.material.backbone.model)
    plan = TrainingPlan(tangent=StagePlan(epochs=1, rate=0.1), prompt=StagePlan(epochs=1, rate=0.1))
    train(LEARNERS["maml"], start_training(LEARNERS["maml"], world.params), world.material, DRAWING, plan)
    assert hash_weights(world.material.backbone.model) == before


KILL_AFTER = [int(moment) for moment in derive(0, "kill").integers(4, 20, size=3)]


@pytest.mark.slow
def test_killed_training_that_is_gone_on_with_ends_in_the_same_bits(worlds, tmp_path):
    script = Path(__file__).with_name("killed_training.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), *map(str, KILL_AFTER)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    *kills, ended, whole = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert kills == [(-9, moment) for moment in KILL_AFTER]
    assert ended[0] == whole[0] == 0
    assert ended[1] < whole[1]  # it went on, rather than beginning again
    states = [load_state(tmp_path / name / "state", identity={"world": 0}) for name in ("killed", "whole")]
    assert all(state.done for state in states)
    assert worlds.same_state(*states)


def _short(tangent, prompt=0, **settings):
    stages = {"rate": 0.02, "validate_every": 1, "patience": 3, **settings}
    return TrainingPlan(
        tangent=StagePlan(epochs=tangent, **stages), prompt=StagePlan(epochs=prompt, **stages)
    )


def _run(world, plan, *, learner="fomaml", params=None, **callbacks):
    chosen = LEARNERS[learner]
    begun = start_training(chosen, params or world.params)
    return train(chosen, begun, world.material, DRAWING, plan, **callbacks)


@pytest.mark.parametrize("stop", ["tangent", "prompt"])
def test_a_run_cut_at_any_save_and_gone_on_with_ends_in_the_same_bits(world, worlds, stop):
    saved = []
    plan = replace(_short(2, 1), save_every=2)
    whole = _run(world, plan, save=saved.append)
    cut = [state for state in saved if not state.done and state.stage == ["tangent", "prompt"].index(stop)]
    assert len(cut) >= 2
    for state in cut[:2]:
        again = train(LEARNERS["fomaml"], state, world.material, DRAWING, plan)
        assert worlds.same_state(again, whole)


def test_the_global_generator_and_earlier_runs_do_not_matter(world, worlds):
    torch.manual_seed(1)
    first = _run(world, _short(1, 1))
    torch.manual_seed(2)
    assert worlds.same_state(first, _run(world, _short(1, 1)))
    other = train(
        LEARNERS["fomaml"], start_training(LEARNERS["fomaml"], world.params), world.material,
        replace(DRAWING, seed=1), _short(1, 1),
    )  # fmt: skip
    assert not worlds.same_state(first, other)


def test_a_stage_without_gain_stops_after_its_patience(world):
    # With rate 0 nothing changes: what the stage was given is the best, every later one gains nothing.
    state = _run(world, _short(9, 0, rate=0.0, patience=2))
    assert [(entry[0], entry[1]) for entry in state.history] == [
        ("tangent", 0),
        ("tangent", 1),
        ("tangent", 2),
    ]
    assert len({entry[3] for entry in state.history}) == 1
    assert all(torch.equal(state.best[name], value) for name, value in world.params.items())


def test_the_parameters_kept_are_those_of_the_best_validation(world):
    # A rate this high soon makes validation worse, so the best is not the last.
    state = _run(world, _short(6, 0, rate=1.0, patience=9))
    losses = [entry[3] for entry in state.history]
    assert losses[-1] > min(losses)
    again = validation_loss(
        state.best, world.material, DRAWING, stage="tangent", learner=LEARNERS["fomaml"], max_users=1024
    )
    assert again == min(losses)


def test_the_rate_rises_over_a_twentieth_and_falls_as_a_cosine_to_a_tenth(world):
    rates = []
    epochs = 7
    _run(world, _short(epochs, 0, patience=9), progress=lambda p: rates.append(p.rate) if p.report else None)
    num_batches = len(epoch_batches(world.material, DRAWING, stage="tangent", epoch=0))
    total = epochs * num_batches
    rise = total // 20
    assert len(rates) == total
    assert rates[:rise] == pytest.approx([0.02 * (step + 1) / rise for step in range(rise)])
    expected = [
        0.02 * (0.55 + 0.45 * math.cos(math.pi * step / (total - rise))) for step in range(total - rise)
    ]
    assert rates[rise:] == pytest.approx(expected)


@pytest.mark.parametrize("stage", ["tangent", "prompt"])
def test_a_loss_that_is_no_number_stops_and_names_the_episodes(world, stage):
    def no_number(params, task):
        del task
        return Outer(loss=torch.tensor(math.nan), gradients=dict(params))

    plan = _short(1, 0) if stage == "tangent" else _short(0, 1)
    users = epoch_batches(world.material, DRAWING, stage=stage, epoch=0)[0]
    learner = replace(LEARNERS["fomaml"], gradient=no_number)
    with pytest.raises(NotFiniteError, match=f"{stage} epoch 0") as caught:
        train(learner, start_training(learner, world.params), world.material, DRAWING, plan)
    assert str(world.material.training.user_ids[users[0]]) in caught.value.value


def test_a_stage_never_returns_worse_than_it_was_given(world):
    # A rate this high spoils the parameters in the first epoch.
    state = _run(world, _short(1, 0, rate=3.0))
    losses = [entry[3] for entry in state.history]
    assert losses[1] > losses[0]
    assert all(torch.equal(state.best[name], value) for name, value in world.params.items())


def test_an_epoch_visits_every_user_with_a_task_once_and_in_another_order_each_time(world):
    lengths = np.diff(world.material.training.interactions.offsets)
    orders = [
        [user for batch in epoch_batches(world.material, DRAWING, stage=stage, epoch=epoch) for user in batch]
        for stage in ("tangent", "prompt")
        for epoch in (0, 1)
    ]
    for order in orders:
        assert sorted(order) == np.flatnonzero(lengths >= 2).tolist()
    assert len({tuple(order) for order in orders}) == 4


def test_a_task_does_not_depend_on_what_was_drawn_before(world):
    one, other = (
        training_task(world.material, DRAWING, [3, 1, 4], stage="prompt", epoch=2, learner=LEARNERS["fomaml"])
        for _ in range(2)
    )
    assert torch.equal(one.objective.support.items_BK, other.objective.support.items_BK)
    assert torch.equal(one.objective.query.items_BK, other.objective.query.items_BK)
    assert torch.equal(one.objective.keep_BD, other.objective.keep_BD)
    assert torch.equal(one.adapter.features_BT, other.adapter.features_BT)


def test_validation_counts_every_user_once_per_number_of_events(world):
    # The mean over users for each K, then over K, each user adapted on the public path.
    whole = validation_loss(
        world.params, world.material, DRAWING, stage="tangent", learner=LEARNERS["fomaml"], max_users=5
    )
    means = {k: [] for k in VALIDATION_KS}
    learner = LEARNERS["fomaml"]
    users = validation_users(world.material, max_users=5)
    tasks = validation_tasks(world.material, DRAWING, users, stage="tangent", learner=learner)
    for (index, _), task in tasks:
        free = task.at(world.params)
        means[VALIDATION_KS[index]] += free.query_loss(free.adapted()).tolist()
    assert {len(losses) for losses in means.values()} == {5}
    assert whole == pytest.approx(np.mean([np.mean(losses) for losses in means.values()]), rel=1e-6)
