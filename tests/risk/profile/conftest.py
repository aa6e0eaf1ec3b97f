"""A small made-up world, and a profiler trained on it with a random tiny model."""

import numpy as np
import pytest
import torch

from warmprompt.backbone.load import load_backbone
from warmprompt.risk.profile import (
    Payment,
    ProfileSettings,
    WorldSettings,
    build_episodes,
    counterparty_context,
    draw_cuts,
    make_profiler,
    make_world,
    train_profile,
)
from warmprompt.risk.profile.population import BoostingSettings, ForestSettings

SETTINGS = ProfileSettings(
    num_factors=8,
    num_hidden=8,
    num_text_features=4,
    prompt_length=2,
    num_reference=32,
    tangent_epochs=1,
    prompt_steps=1,
    batch=64,
    boosting=BoostingSettings(num_trees=20, num_leaves=8, min_leaf=20),
    forest=ForestSettings(num_trees=10),
)


@pytest.fixture(scope="session")
def world():
    return make_world(
        WorldSettings(
            num_customers=160,
            num_terminals=300,
            num_days=80,
            radius=8.0,
            terminals_per_day=0.4,
            customers_per_day=0.8,
        ),
        seed=0,
    )


@pytest.fixture(scope="session")
def context(world):
    return counterparty_context(world.payments)


@pytest.fixture(scope="session")
def payment_at(world, context):
    def payment(row):
        return Payment(
            id=int(row),
            time_s=int(world.payments.time_N[row]),
            amount_minor=int(world.payments.amount_minor_N[row]),
            counterparty=int(world.payments.counterparty_N[row]),
            context=tuple(context[row].tolist()),
        )

    return payment


@pytest.fixture(scope="session")
def state_before(world, payment_at):
    def state(profiler, row):
        """Return what was known just before a payment of the table: payments, and labels that were due."""
        payments = world.payments
        before = np.flatnonzero(payments.entity_N == payments.entity_N[row])
        before = before[payments.time_N[before] < payments.time_N[row]][-20:]
        due = before[payments.time_N[before] + payments.label_delay_s <= payments.time_N[row]]
        labels = {int(one): bool(payments.fraud_N[one]) for one in due}
        return profiler.profile(int(payments.entity_N[row]), [payment_at(one) for one in before], labels)

    return state


@pytest.fixture(scope="session")
def episodes_of(world, context):
    def build(entities, *, days=(25, 45), per_entity=1, ks=(0, 1, 5, 20), seed=0):
        cuts = draw_cuts(entities, days=days, start_s=1_522_540_800, per_entity=per_entity, ks=ks, seed=seed)
        return build_episodes(world.payments, context, cuts)

    return build


@pytest.fixture(scope="session")
def entities(world):
    return np.unique(world.payments.entity_N)


@pytest.fixture(scope="session")
def model(episodes_of, entities, computed_once):
    torch.set_num_threads(1)

    def train():
        return train_profile(
            episodes_of(entities[:80], per_entity=2),
            episodes_of(entities[80:100]),
            load_backbone("tiny", num_layers=1),
            settings=SETTINGS,
            label_delay_s=7 * 86_400,
            seed=0,
        )

    return computed_once("risk-model", train)


@pytest.fixture(scope="session")
def profiler(model, episodes_of, entities):
    return make_profiler(model, {k: episodes_of(entities[100:140], per_entity=2, ks=(k,)) for k in (0, 5)})
