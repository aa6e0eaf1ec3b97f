"""Small tasks and planted worlds for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from warmprompt.backbone.load import load_backbone
from warmprompt.backbone.prompt import init_prompt
from warmprompt.backbone.readout import ReadOut, ReadOutSize, fit_read_out, read_reference, text_features
from warmprompt.data.dataset import take_users
from warmprompt.data.splits import split_users
from warmprompt.data.synthetic import planted_world
from warmprompt.meta.adapters import LinearAdapter, by_steps
from warmprompt.meta.initial import ItemStart, initial_items, initial_prior, initial_prompt_params
from warmprompt.meta.learner import LearnerState
from warmprompt.meta.model import CatalogueData, Events
from warmprompt.meta.objectives import CatalogueLikelihood
from warmprompt.meta.target import initial_target
from warmprompt.meta.task import Task
from warmprompt.meta.tasks import TrainingInputs
from warmprompt.meta.texts import write_texts
from warmprompt.meta.trainer import TrainState

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


def random_params(seed, *, num_items=7, num_factors=3, num_text=2, num_steps=2):
    """Return what a task in the linear response reads, float64, no parameter at a special value."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "items.learned": draw(num_items, num_factors),
        "items.support_offset": 0.3 * draw(num_items, num_factors),
        "items.text_map": draw(4, num_factors),
        "items.bias": draw(num_items),
        "popularity.weight": draw(()),
        "ratings.size": draw(len(LEVELS)),
        "support.log_kappa": draw(()),
        "ridge.log_spread": draw(()),
        "ridge.log_prior": draw(()),
        "ridge.log_target": draw(()),
        "prior.start": draw(num_factors),
        "prior.text_head": draw(num_text, num_factors),
        "inner.log_rates": 0.3 * draw(num_steps),
    }


def random_data(seed, *, num_items=7, cold=(5,)):
    """Return data of items with the items `cold` unseen in training."""
    generator = torch.Generator().manual_seed(seed)
    warm_V = torch.ones(num_items, dtype=torch.float64)
    warm_V[list(cold)] = 0
    text_VX = torch.randn(num_items, 4, generator=generator, dtype=torch.float64)
    return CatalogueData(
        item_text_VX=text_VX / text_VX.norm(dim=1, keepdim=True),
        log_popularity_V=torch.rand(num_items, generator=generator, dtype=torch.float64),
        warm_V=warm_V,
        rating_levels_R=torch.tensor(LEVELS, dtype=torch.float64),
        rating_range=torch.tensor([1.0, 5.0], dtype=torch.float64),
    )


def events_of(rows, *, width=None):
    """Return events from one list of (item, rating from 0 to 1 or NaN) per user."""
    width = max(len(row) for row in rows) if width is None else width
    items_BK = torch.zeros(len(rows), width, dtype=torch.long)
    ratings_BK = torch.full((len(rows), width), torch.nan, dtype=torch.float64)
    mask_BK = torch.zeros(len(rows), width, dtype=torch.bool)
    for index, row in enumerate(rows):
        for position, (item, rating) in enumerate(row):
            items_BK[index, position], ratings_BK[index, position], mask_BK[index, position] = (
                item,
                rating,
                True,
            )
    return Events(items_BK=items_BK, ratings_BK=ratings_BK, mask_BK=mask_BK)


def tangent_task(seed, *, num_text=2, objective=CatalogueLikelihood, adapter=by_steps):
    """Return a task of three users: several events, one without ratings, and none at all."""
    nan = float("nan")
    features_BT = torch.randn(3, num_text, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    support = events_of([[(0, 1.0), (1, 0.25), (2, 0.6)], [(3, nan)], []])
    query = events_of([[(4, 1.0), (3, 0.0)], [(0, nan), (6, nan)], [(2, 0.75)]])
    return Task(
        adapter=adapter(LinearAdapter(features_BT=features_BT), support),
        objective=objective(support=support, query=query),
        data=random_data(seed),
    )


@dataclass(frozen=True)
class World:
    """A planted world, made ready for training."""

    planted: object
    split: object
    material: TrainingInputs
    params: dict


def ready_world(*, num_users=240, num_items=60, kind="tiny", seed=0, num_steps=2, attention="eager"):
    """Return a planted world of three tastes with the random small backbone around it."""
    planted = planted_world(num_users=num_users, num_items=num_items, num_tastes=3, seed=seed)
    split = split_users(num_users, seed=seed)
    training = take_users(planted.dataset, split.train)
    validation = take_users(planted.dataset, split.validation)
    backbone = load_backbone(kind, attention=attention)
    texts, validation_texts = (write_texts(part, wordings=1, seed=seed) for part in (training, validation))
    prompt_PH = init_prompt(backbone, length=4, init="vocab", seed=seed)
    known = sorted({*texts.unique(), *validation_texts.unique()})
    hidden_NH = read_reference(backbone, prompt_PH, known)
    size = ReadOutSize(num_directions=8, num_text_features=8, reach=0.02)
    read = fit_read_out(backbone, prompt_PH, known, hidden_NH, size, seed=seed)
    item_params, data = initial_items(training, None, ItemStart(num_factors=8, regularization=5.0), seed=seed)
    prior = initial_prior(num_factors=8, num_text_features=len(read.text_TX), num_steps=num_steps, rate=0.8)
    return World(
        planted=planted,
        split=split,
        material=TrainingInputs(
            training=training,
            validation=validation,
            texts=texts,
            validation_texts=validation_texts,
            data=data,
            backbone=backbone,
            readout=read,
            features=dict(zip(known, text_features(read, hidden_NH), strict=True)),
        ),
        params={
            **item_params,
            **prior,
            **initial_prompt_params(read),
            **initial_target(8, max_support=8, kappa=10.0, seed=seed),
        },
    )


def some_read_out():
    """Return a read-out of 3 directions, 2 text features and a prompt of 2 vectors of width 5."""
    generator = torch.Generator().manual_seed(3)
    return ReadOut(
        mean_X=torch.randn(5, generator=generator),
        text_TX=torch.randn(2, 5, generator=generator),
        move_DH=torch.randn(3, 5, generator=generator),
        reference_PH=torch.randn(2, 5, generator=generator),
        unit=torch.tensor(0.25),
    )


def some_state():
    """Return a state in the middle of training, with numbers that decimal writing would round."""
    generator = torch.Generator().manual_seed(5)
    # Neither in the order of their names nor of one type, as a file might sort them.
    params = {
        "z": torch.randn(3, 2, generator=generator),
        "b": torch.randn((), generator=generator).double(),
        "a": torch.randn(4, generator=generator).bfloat16(),
    }
    learner = LearnerState(
        params=params,
        first={name: value / 3 for name, value in params.items()},
        second={name: value.square() / 7 for name, value in params.items()},
        step=17,
    )
    return TrainState(
        stage=1,
        epoch=2,
        batch=3,
        learner=learner,
        best=dict(params),
        best_loss=float(np.nextafter(0.1, 1)),
        since_best=1,
        history=(("tangent", 1, 1 / 3, 2 / 7), ("tangent", 2, 1e-17, 3.0)),
        train_loss=1 / 7,
    )


def same_state(one, other):
    """Tell whether two training states are equal bit for bit, the order of names included."""
    parts = [("best",), ("learner", "params"), ("learner", "first"), ("learner", "second")]
    for path in parts:
        left, right = one, other
        for name in path:
            left, right = getattr(left, name), getattr(right, name)
        if list(left) != list(right) or not all(
            left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
        ):
            return False
    plain = ("stage", "epoch", "batch", "best_loss", "since_best", "history", "train_loss")
    return one.learner.step == other.learner.step and all(
        getattr(one, name) == getattr(other, name) for name in plain
    )
