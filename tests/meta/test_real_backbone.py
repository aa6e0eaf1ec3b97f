"""Learning through SmolLM2 itself: second derivatives, passes per adaptation, and weights that stay."""

import pytest
import torch

from warmprompt.backbone.forward import count_forwards, read_out, read_texts
from warmprompt.backbone.hashing import hash_weights
from warmprompt.backbone.load import load_backbone
from warmprompt.backbone.prompt import init_prompt
from warmprompt.backbone.readout import ReadOut, text_features
from warmprompt.data.episodes import EventBatch
from warmprompt.meta.inner import adapt
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.predict import adapt_users, read_user_texts
from warmprompt.meta.task import PromptTask, start_of

NUM_FACTORS, NUM_TEXT = 8, 2
# About how far the hidden state moves, along a random direction, per length that the prompt travels; small
# enough that inner steps bend and the second-order terms weigh.
RESPONSE = {"tiny": 0.1, "tiny-encoder": 0.3, "smollm2-135m": 2.0}
TEXTS = ["I love slow science fiction.", ""]


def _read_out_by_hand(backbone):
    """Return a read-out with random maps, scaled by hand: no Jacobian has to be measured for it."""
    generator = torch.Generator().manual_seed(0)
    prompt_PH = init_prompt(backbone, length=4, init="vocab", seed=0)
    unit = 0.01 * prompt_PH.norm().item()
    maps = torch.randn(NUM_FACTORS + NUM_TEXT, backbone.hidden_size, generator=generator)
    maps = maps / maps.norm(dim=1, keepdim=True)
    return ReadOut(
        mean_X=torch.zeros(backbone.hidden_size),
        text_TX=0.1 * maps[:NUM_TEXT],
        move_DH=maps[NUM_TEXT:] / (RESPONSE[backbone.name] * unit),
        reference_PH=prompt_PH,
        unit=torch.tensor(unit),
    )


def _setting(worlds, name, **settings):
    backbone = load_backbone(name, attention="eager", **settings)
    read = _read_out_by_hand(backbone)
    params = worlds.random_params(0, num_factors=NUM_FACTORS, num_text=NUM_TEXT)
    params = {key: value.float() for key, value in params.items()} | {
        "prompt.start": torch.zeros_like(read.reference_PH),
        "prompt.log_rates": torch.zeros_like(read.reference_PH),
        "support.log_kappa": torch.tensor(0.0),
    }
    constants = worlds.random_constants(0)
    constants = type(constants)(**{key: value.float() for key, value in vars(constants).items()})
    prefix = read_texts(backbone, TEXTS)
    with torch.no_grad():
        reference_BH = read_out(backbone, prefix, read.reference_PH.expand(len(TEXTS), -1, -1))

    def events(rows):
        made = worlds.events_of(rows)
        return type(made)(items_BK=made.items_BK, ratings_BK=made.ratings_BK.float(), mask_BK=made.mask_BK)

    task = PromptTask(
        constants=constants,
        support=events([[(0, 1.0), (1, 0.0), (2, 0.75)], [(3, 1.0)]]),
        query=events([[(4, 1.0), (6, 1.0)], [(0, 1.0)]]),
        features_BT=text_features(read, reference_BH),
        backbone=backbone,
        read=read,
        prefix=prefix,
        reference_BH=reference_BH,
    )
    return task, params


def _adapted_loss(params, task):
    """The outer objective without any derivative of the inner loop."""
    landed = adapt(start_of(task, params), lambda at: task.support_loss(params, at), rates=task.rates(params))
    with torch.no_grad():
        return task.query_loss(params, landed).mean().double().item()


def _check_second_order(task, params):
    """Compare MAML's gradient, along itself, with the slope of the objective, and with FOMAML's."""
    slopes = {}
    for name in ("maml", "fomaml"):
        leaves = {key: value.clone().requires_grad_() for key, value in params.items()}
        slopes[name] = LEARNERS[name].gradient(leaves, task).gradients["prompt.start"]
    direction = slopes["maml"] / slopes["maml"].norm()
    step = 0.01
    ahead, behind = (
        _adapted_loss({**params, "prompt.start": params["prompt.start"] + sign * step * direction}, task)
        for sign in (1, -1)
    )
    slope = (ahead - behind) / (2 * step)
    exact, first = ((value * direction).sum().item() for value in slopes.values())
    # Inside, these models compute norms and softmax in float32 whatever their weights are: the loss (about
    # 5 nats) is good to about 1e-6, the slope to 1e-3 of its size or better.
    assert exact == pytest.approx(slope, rel=3e-3)
    # What FOMAML leaves out is far more than that, so the two cannot be taken for one another.
    assert abs(first - slope) > 0.05 * abs(slope)


@pytest.mark.parametrize("name", ["tiny", "tiny-encoder"])
def test_maml_through_a_small_model_has_the_slope_of_the_outer_objective(worlds, name):
    _check_second_order(*_setting(worlds, name))


@pytest.mark.backbone
def test_maml_through_smollm2_has_the_slope_of_the_outer_objective(worlds, smollm2):
    _check_second_order(*_setting(worlds, smollm2, num_layers=6))


@pytest.mark.backbone
@pytest.mark.parametrize("learner", ["fomaml", "maml"])
def test_training_leaves_every_weight_of_smollm2(worlds, smollm2, learner):
    task, params = _setting(worlds, smollm2, num_layers=6)
    before = hash_weights(task.backbone.model)
    state = LEARNERS[learner].init(params)
    for _ in range(2):
        state, _ = LEARNERS[learner].step(state, task, rate=0.1, clip_norm=1.0)
    assert not torch.equal(state.params["prompt.start"], params["prompt.start"])
    assert hash_weights(task.backbone.model) == before
    assert all(parameter.grad is None for parameter in task.backbone.model.parameters())


def _adapt(task, params, num_events, *, adapts_by="gradient"):
    """Count the passes of reading texts and of adapting to so many events."""
    items_BK = torch.zeros(len(TEXTS), num_events).long().numpy()
    events = EventBatch(
        items_BK=items_BK,
        ratings_BK=torch.full((len(TEXTS), num_events), 5.0).numpy(),
        mask_BK=torch.ones(len(TEXTS), num_events).bool().numpy(),
    )
    with count_forwards(task.backbone) as reading:
        texts = read_user_texts(task.backbone, task.read, TEXTS)
    with count_forwards(task.backbone) as adapting:
        adapted = adapt_users(
            params,
            task.constants,
            task.backbone,
            task.read,
            texts=texts,
            events=events,
            adapts_by=adapts_by,
        )
    return reading, adapting, adapted


@pytest.mark.parametrize("num_steps", [0, 1, 3])
@pytest.mark.parametrize("num_events", [0, 1, 20])
def test_adapting_costs_one_pass_per_step_and_one_to_read_the_result(worlds, num_steps, num_events):
    task, params = _setting(worlds, "tiny")
    params["inner.log_rates"] = torch.full((num_steps,), -1.0)
    reading, adapting, _ = _adapt(task, params, num_events)
    assert reading == [len(TEXTS)] * 2  # the texts, and their states at the reference prompt
    steps = num_steps if num_events else 0
    assert adapting == [len(TEXTS)] * (steps + 1)


@pytest.mark.parametrize("adapts_by", ["ridge", "nothing"])
def test_without_gradient_steps_one_pass_is_enough(worlds, adapts_by):
    task, params = _setting(worlds, "tiny")
    _, adapting, adapted = _adapt(task, params, 5, adapts_by=adapts_by)
    assert adapting == [len(TEXTS)]
    assert torch.equal(adapted.offsets_BPH, params["prompt.start"].expand(len(TEXTS), -1, -1))


def test_prediction_lands_where_the_inner_loop_of_training_lands(worlds):
    task, params = _setting(worlds, "tiny")
    landed = adapt(start_of(task, params), lambda at: task.support_loss(params, at), rates=task.rates(params))
    ratings_BK = 1 + 4 * task.support.ratings_BK  # back on the scale from 1 to 5
    events = EventBatch(
        items_BK=task.support.items_BK.numpy(),
        ratings_BK=ratings_BK.numpy(),
        mask_BK=task.support.mask_BK.numpy(),
    )
    texts = read_user_texts(task.backbone, task.read, TEXTS)
    adapted = adapt_users(params, task.constants, task.backbone, task.read, texts=texts, events=events)
    torch.testing.assert_close(adapted.offsets_BPH, landed, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(adapted.users_BD, task.users(params, landed), rtol=1e-5, atol=1e-5)
