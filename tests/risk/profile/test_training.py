"""Training against planted answers: what must be learned, and what must not change anything."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from warmprompt.errors import BadInputError
from warmprompt.meta.adapters import LinearAdapter
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.task import Task
from warmprompt.risk.profile import score_episodes, train_profile
from warmprompt.risk.profile.features import FEATURE_NAMES
from warmprompt.risk.profile.model import (
    PaymentBatch,
    Scaling,
    initial_params,
    query_loss,
    risk_logits,
    support_loss,
    typicality,
)
from warmprompt.risk.profile.population import (
    BoostingSettings,
    ForestSettings,
    best_weight,
    crossed_offsets,
    fit_boosting,
    fit_forest,
    fit_population,
)
from warmprompt.risk.profile.tasks import RiskLikelihood
from warmprompt.risk.profile.trees import trees_of_boosting, trees_of_forest
from warmprompt.risk.profile.words import describe_entities, describe_payment

F = len(FEATURE_NAMES)


def test_trees_as_arrays_predict_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 6))
    y = rng.random(2000) < 1 / (1 + np.exp(-2 * x[:, 0] * x[:, 1]))
    boosting = fit_boosting(x, y, BoostingSettings(num_trees=30), seed=0)
    assert np.allclose(trees_of_boosting(boosting).total(x), boosting.decision_function(x), atol=1e-9)
    forest = fit_forest(x, y, ForestSettings(num_trees=10, most_genuine=600), seed=0)
    rounded = x.astype(np.float32)
    assert np.allclose(trees_of_forest(forest).total(rounded), forest.predict_proba(x)[:, 1], atol=1e-12)


def test_weight_goes_to_the_model_that_ranks_better():
    rng = np.random.default_rng(4)
    fraud = rng.random(3000) < 0.1
    truth, noise = fraud + 0.6 * rng.normal(size=3000), rng.normal(size=3000)
    assert (best_weight(noise, truth, fraud), best_weight(truth, noise, fraud)) == (1.0, 0.0)
    # Two views of the truth with noise of their own are worth more than either.
    assert 0 < best_weight(truth, fraud + 0.6 * rng.normal(size=3000), fraud) < 1


def test_an_entity_is_left_out_of_its_own_offset():
    rng = np.random.default_rng(5)
    entity = np.repeat(np.arange(200), 20)
    # The only feature is the entity's number, and frauds are whole entities drawn at random.
    x, fraud = entity[:, None].astype(float), rng.permutation(200)[entity] < 40
    settings = {
        "boosting": BoostingSettings(num_leaves=64, min_leaf=5),
        "forest": ForestSettings(num_trees=10),
        "weight": 0.5,
        "seed": 0,
    }
    seen = fit_population(x, fraud, **settings).log_odds(x)
    crossed, (others,) = crossed_offsets(x, fraud, entity, [(x, entity)], num_folds=2, **settings)
    assert average_precision_score(fraud, seen) > 0.95
    assert average_precision_score(fraud, crossed) < 0.5
    assert np.array_equal(crossed, others)


def test_zero_history_beats_the_population_prior(model, episodes_of, entities):
    episodes = episodes_of(entities[140:], ks=(0,), per_entity=2)
    assert not episodes.history.mask_RK.any()
    value = average_precision_score(episodes.fraud_R, score_episodes(model, episodes))
    assert value > 3 * episodes.fraud_R.mean()  # the prior ranks at random: its AP is the rate of fraud


def test_a_training_without_fraud_is_refused(model, episodes_of, entities):

    episodes = episodes_of(entities[:5])
    empty = replace(episodes, fraud_R=np.zeros_like(episodes.fraud_R))
    with pytest.raises(BadInputError, match="both classes"):
        train_profile(
            empty,
            episodes,
            model.backbone,
            settings=model.settings,
            label_delay_s=0,
            seed=0,
            readout=model.readout,
        )


def test_prompts_move_as_their_linear_response_says(model, episodes_of, entities):
    speaking = replace(model, params=model.params | {"risk.own": torch.tensor(1.0)})
    episodes = episodes_of(entities[140:150], ks=(5,))
    still = score_episodes(speaking, episodes, adapts=False)
    prompt, tangent = (score_episodes(speaking, episodes, tangent=one) for one in (False, True))
    assert not np.allclose(still, prompt, atol=1e-6)
    # A gradient step on the prompt moves the vector by minus its gradient: on average over texts exactly,
    # for one text nearly, as its Jacobian is its own.
    assert np.corrcoef(prompt - still, tangent - still)[0, 1] > 0.8


def test_typicality_is_a_log_density_ratio():
    rng = np.random.default_rng(1)
    params = initial_params(num_factors=4, num_hidden=5, num_text=1, num_steps=1, rate=0.1, seed=0)
    scaling = Scaling(
        mean_F=torch.zeros(F),
        deviation_F=torch.ones(F),
        reference_MF=torch.from_numpy(rng.normal(size=(50, F))).float(),
    )
    users = torch.from_numpy(rng.normal(size=(3, 4))).float()
    everyone = PaymentBatch(
        features_BKF=scaling.reference_MF.expand(3, -1, -1),
        offset_BK=torch.zeros(3, 50),
        mask_BK=torch.ones(3, 50),
        known_BK=torch.zeros(3, 50),
        fraud_BK=torch.zeros(3, 50),
    )
    # exp of the ratio integrates to one under the reference distribution.
    ratio = typicality(params, scaling, everyone, users)
    assert torch.allclose(ratio.exp().mean(1), torch.ones(3), atol=1e-5)
    # Before anything is learned, no entity's scores differ from the population model's.
    assert torch.equal(risk_logits(params, scaling, everyone, users), torch.zeros(3, 50))


def planted_batch(rng, *, num_entities=400, num_events=12):
    """Half of the entities commit fraud where a feature is high, the other half where it is low."""
    sign = rng.choice([-1.0, 1.0], size=(num_entities, 1))
    x = rng.normal(size=(num_entities, 2 * num_events, F)).astype(np.float32)
    fraud = (x[:, :, 3] * sign > 0.3).astype(np.float32)

    def part(rows):
        ones = torch.ones(num_entities, num_events)
        return PaymentBatch(
            features_BKF=torch.from_numpy(x[:, rows]),
            offset_BK=torch.zeros(num_entities, num_events),
            mask_BK=ones,
            known_BK=ones,
            fraud_BK=torch.from_numpy(fraud[:, rows]),
        )

    scaling = Scaling(mean_F=torch.zeros(F), deviation_F=torch.ones(F), reference_MF=torch.from_numpy(x[0]))
    return Task(
        adapter=LinearAdapter(features_BT=torch.zeros(num_entities, 1), learns_head=True),
        objective=RiskLikelihood(support=part(slice(0, num_events)), query=part(slice(num_events, None))),
        data=scaling,
    )


def test_meta_learning_finds_what_differs_between_entities():
    rng = np.random.default_rng(2)
    learner = LEARNERS["maml"]
    state = learner.init(
        initial_params(num_factors=4, num_hidden=8, num_text=1, num_steps=2, rate=1.0, seed=0)
    )
    for _ in range(60):
        state, _ = learner.step(state, planted_batch(rng, num_entities=48), rate=0.04, clip_norm=5.0)
    task = planted_batch(rng)
    params = state.params
    free = task.at(params)

    def loss(users):
        return float(query_loss(params, task.data, task.objective.query, users).mean())

    # Nobody who ignores the support can know the sign: ln 2 is about the best then.
    assert loss(free.start) > 0.6
    assert loss(free.adapted()) < 0.45


def test_support_loss_ignores_padding_and_unknown_labels():
    rng = np.random.default_rng(3)
    task = planted_batch(rng, num_entities=2)
    params = initial_params(num_factors=4, num_hidden=5, num_text=1, num_steps=1, rate=0.1, seed=0)
    users = torch.from_numpy(rng.normal(size=(2, 4))).float()
    half = task.objective.support.mask_BK.clone()
    half[:, 6:] = 0
    base = PaymentBatch(**{**vars(task.objective.support), "mask_BK": half, "known_BK": half})
    changed = PaymentBatch(
        **{**vars(base), "fraud_BK": torch.where(half > 0, base.fraud_BK, 1 - base.fraud_BK)}
    )
    one, two = (support_loss(params, task.data, part, users) for part in (base, changed))
    assert torch.equal(one, two)
    blank = PaymentBatch(**{**vars(base), "mask_BK": half * 0, "known_BK": half * 0})
    assert support_loss(params, task.data, blank, users).tolist() == [0.0, 0.0]


def test_texts_say_what_is_known(episodes_of, entities):
    episodes = episodes_of(entities[:60], ks=(0, 1, 20))
    texts = describe_entities(episodes.history, side="customer")
    for index, text in enumerate(texts):
        known = episodes.history.mask_RK[index].sum()
        assert ("without any known payment" in text) == (known == 0)
        assert ("known fraud" in text and "no known fraud" not in text) == bool(
            episodes.history.fraud_RK[index].any()
        )
    sentence = describe_payment(time_s=1_523_059_200 + 3 * 3600, amount_minor=4_210, fraud=True)
    assert sentence == "a payment of about 40 at the weekend at night, later found fraudulent"
