"""Steps over a sample of the items: sums over all items are right on average, and only sampled rows move."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from warmprompt.data.episodes import EventBatch
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.model import make_catalogue
from warmprompt.meta.sampled_items import PER_ITEM, ItemSampler
from warmprompt.meta.tasks import Drawing, stages_of, training_task
from warmprompt.meta.trainer import StagePlan, TrainingPlan, start_training, train
from warmprompt.meta.workers import ALONE
from warmprompt.settings import Settings
from warmprompt.training.start import ALL_ITEMS, SAMPLED_ITEMS, drawing_of

NUM_ITEMS, COLD = 60, (5, 17)
SURE = np.array([0, 3, 9])


@pytest.fixture(scope="module")
def model(worlds):
    params = worlds.random_params(1, num_items=NUM_ITEMS)
    data = worlds.random_data(1, num_items=NUM_ITEMS, cold=COLD)
    return params, data


def of_sample(params, sampled):
    return {name: value[sampled.rows_S] if name in PER_ITEM else value for name, value in params.items()}


def draws(data, number, *, size=16, seed=0):
    sampler, rng = ItemSampler(data, size), np.random.default_rng(seed)
    return [sampler.draw(SURE, rng) for _ in range(number)]


def test_a_sample_holds_the_users_items_and_the_most_popular_ones_and_stands_for_all_others(model):
    _, data = model
    warm = set(range(NUM_ITEMS)) - set(COLD)
    popular = sorted(warm, key=lambda item: -float(data.log_popularity_V[item]))[:8]
    for sampled in draws(data, 50):
        rows, stands = sampled.rows_S.tolist(), sampled.log_stands_S.exp().tolist()
        assert rows == sorted(set(rows))
        sure = {*SURE.tolist(), *popular}
        assert sure <= set(rows) <= warm
        assert [stands[rows.index(item)] for item in sure] == [1.0] * len(sure)
        assert sum(stands) == pytest.approx(len(warm), rel=1e-5)
        assert torch.equal(sampled.data.log_popularity_V, data.log_popularity_V[sampled.rows_S])


def test_sums_over_items_are_right_on_average(model):
    """The mean over draws against the sum over all warm items, within four standard errors of that mean."""
    params, data = model
    whole = make_catalogue(params, data)
    users_BD = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def sums(catalogue):
        scores_BV = users_BD @ catalogue.vectors_VD.T + catalogue.popularity_V
        return scores_BV.exp()[:, catalogue.data.warm_V > 0].sum(1)

    found = [sampled.at(of_sample(params, sampled)) for sampled in draws(data, 600)]
    for wanted, each in (
        (sums(whole), torch.stack([sums(one) for one in found])),
        (whole.spread_DD, torch.stack([one.spread_DD for one in found])),
    ):
        error = each.std(0) / len(found) ** 0.5
        assert ((each.mean(0) - wanted).abs() < 4 * error + 1e-9).all()
        assert (error < 0.1 * wanted.abs() + 0.05).all()


def test_events_are_named_by_their_place_in_the_sample(model):
    (sampled,) = draws(model[1], 1)
    batch = EventBatch(
        items_BK=np.array([[9, 0], [3, 0]]),
        ratings_BK=np.full((2, 2), np.nan, np.float32),
        mask_BK=np.array([[True, True], [True, False]]),
    )
    here = sampled.here(batch)
    assert sampled.rows_S[torch.from_numpy(here.items_BK)][batch.mask_BK].tolist() == [9, 0, 3]
    assert here.items_BK[1, 1] == 0


@pytest.mark.parametrize("name", LEARNERS)
def test_a_step_over_a_sample_of_everything_is_the_step(name, worlds):
    world, learner = worlds.ready_world(num_users=60), LEARNERS[name]
    material, drawing = world.material, Drawing(seed=0, max_support=8)
    warm = np.flatnonzero(material.data.warm_V.numpy())
    sampled = ItemSampler(material.data, 2).draw(warm, np.random.default_rng(0))
    found = []
    for one in (None, sampled):
        task = training_task(
            material, drawing, [0, 1, 2, 3], stage="tangent", epoch=0, learner=learner, sampled=one
        )
        rows_S = None if one is None else one.rows_S
        found.append(learner.step(learner.init(world.params), task, rate=0.01, clip_norm=1.0, rows_S=rows_S))
    (state, report), (other, of_sample) = found
    assert of_sample.loss == pytest.approx(report.loss, rel=1e-6)
    for key, value in state.params.items():
        torch.testing.assert_close(other.params[key], value, rtol=1e-4, atol=1e-5)


def test_rows_outside_the_sample_stay_as_they_are(worlds):
    world, learner = worlds.ready_world(num_users=60), LEARNERS["learned-target"]
    plan = StagePlan(epochs=1, rate=0.02)
    drawing = Drawing(seed=0, max_support=8, sampled_items=4)
    stage, _ = stages_of(learner, world.material, drawing, TrainingPlan(tangent=plan, prompt=plan))
    task, rows_S = stage.task([7], 0, slice(None)), stage.rows([7], 0)
    state = learner.init(world.params)
    moved, _ = learner.step(state, task, rate=0.01, clip_norm=1.0, rows_S=rows_S)
    outside = np.setdiff1d(np.arange(len(world.material.data.warm_V)), rows_S)
    assert len(outside) > 0
    for key in PER_ITEM:
        for one in (moved.params, moved.first, moved.second):
            start = world.params[key] if one is moved.params else torch.zeros_like(world.params[key])
            assert torch.equal(one[key][outside], start[outside])
            assert not torch.equal(one[key][rows_S], start[rows_S])


def test_training_over_samples_learns_and_keeps_its_best_parameters(worlds):
    """Tables are written in place, so what was best must have been copied."""
    world = worlds.ready_world()
    drawing = Drawing(seed=0, max_support=8, sampled_items=16)
    plan = TrainingPlan(
        tangent=StagePlan(epochs=6, rate=0.02, validate_every=2), prompt=StagePlan(epochs=0, rate=0.01)
    )
    learner, kept = LEARNERS["learned-target"], []
    stages = stages_of(learner, world.material, drawing, plan)
    state = train(start_training(learner, world.params), stages, plan, save=kept.append)
    losses = [entry[3] for entry in state.history if entry[0] == "tangent"]
    assert min(losses) < losses[0] - 0.02
    assert stages[0].validation_loss(state.best, ALONE) == pytest.approx(min(losses), abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "num_items", "sampled"),
    [
        (None, ALL_ITEMS, None),
        (None, ALL_ITEMS + 1, SAMPLED_ITEMS),
        (0, 10**7, None),
        (50, 60, 50),
        (60, 60, None),
    ],
)
def test_many_items_are_sampled_unless_told_otherwise(asked, num_items, sampled):
    settings = Settings()
    settings = replace(settings, train=replace(settings.train, sampled_items=asked))
    assert drawing_of(settings, num_items=num_items).sampled_items == sampled
