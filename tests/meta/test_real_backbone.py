"""Learning through SmolLM2 itself: second derivatives, passes per adaptation, and weights that stay."""

import pytest
import torch

from warmprompt.backbone.forward import count_forwards, read_out, read_texts
from warmprompt.backbone.hashing import hash_weights
from warmprompt.backbone.load import load_backbone
from warmprompt.backbone.prompt import init_prompt
from warmprompt.backbone.readout import ReadOut, text_features
from warmprompt.data.episodes import EventBatch
from warmprompt.meta.adapters import PromptAdapter
from warmprompt.meta.learners import LEARNERS, UNADAPTED
from warmprompt.meta.model import make_catalogue
from warmprompt.meta.objectives import CatalogueLikelihood
from warmprompt.meta.predict import adapt_users, encode_texts
from warmprompt.meta.task import Task

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
    data = worlds.random_data(0)
    data = type(data)(**{key: value.float() for key, value in vars(data).items()})
    prefix = read_texts(backbone, TEXTS)
    with torch.no_grad():
        reference_BH = read_out(backbone, prefix, read.reference_PH.expand(len(TEXTS), -1, -1))

    def events(rows):
        made = worlds.events_of(rows)
        return type(made)(items_BK=made.items_BK, ratings_BK=made.ratings_BK.float(), mask_BK=made.mask_BK)

    adapter = PromptAdapter(
        features_BT=text_features(read, reference_BH),
        backbone=backbone,
        readout=read,
        prefix=prefix,
        reference_BH=reference_BH,
    )
    objective = CatalogueLikelihood(
        support=events([[(0, 1.0), (1, 0.0), (2, 0.75)], [(3, 1.0)]]),
        query=events([[(4, 1.0), (6, 1.0)], [(0, 1.0)]]),
    )
    task = Task(adapter=adapter, objective=objective, data=data)
    return task, params


def _adapted_loss(params, task):
    """The outer objective without any derivative of the inner loop."""
    free = task.at(params)
    landed = free.adapted()
    with torch.no_grad():
        return free.query_loss(landed).mean().double().item()


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
    before = hash_weights(task.adapter.backbone.model)
    state = LEARNERS[learner].init(params)
    for _ in range(2):
        state, _ = LEARNERS[learner].step(state, task, rate=0.1, clip_norm=1.0)
    assert not torch.equal(state.params["prompt.start"], params["prompt.start"])
    assert hash_weights(task.adapter.backbone.model) == before
    assert all(parameter.grad is None for parameter in task.adapter.backbone.model.parameters())


def _adapt(task, params, num_events, *, learner=LEARNERS["reptile"]):
    """Count the passes of reading texts and of adapting to so many events."""
    items_BK = torch.zeros(len(TEXTS), num_events).long().numpy()
    events = EventBatch(
        items_BK=items_BK,
        ratings_BK=torch.full((len(TEXTS), num_events), 5.0).numpy(),
        mask_BK=torch.ones(len(TEXTS), num_events).bool().numpy(),
    )
    with count_forwards(task.adapter.backbone) as reading:
        texts = encode_texts(task.adapter.backbone, task.adapter.readout, TEXTS)
    with count_forwards(task.adapter.backbone) as adapting:
        adapted = adapt_users(
            make_catalogue(params, task.data),
            learner,
            task.adapter.backbone,
            task.adapter.readout,
            texts=texts,
            events=events,
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


@pytest.mark.parametrize("learner", [LEARNERS["closed-form"], UNADAPTED])
def test_without_gradient_steps_one_pass_is_enough(worlds, learner):
    task, params = _setting(worlds, "tiny")
    _, adapting, adapted = _adapt(task, params, 5, learner=learner)
    assert adapting == [len(TEXTS)]
    assert torch.equal(adapted.offsets_BPH, params["prompt.start"].expand(len(TEXTS), -1, -1))


def test_prediction_lands_where_the_inner_loop_of_training_lands(worlds):
    task, params = _setting(worlds, "tiny")
    free, support = task.at(params), task.objective.support
    landed = free.adapted()
    ratings_BK = 1 + 4 * support.ratings_BK  # back on the scale from 1 to 5
    events = EventBatch(
        items_BK=support.items_BK.numpy(),
        ratings_BK=ratings_BK.numpy(),
        mask_BK=support.mask_BK.numpy(),
    )
    texts = encode_texts(task.adapter.backbone, task.adapter.readout, TEXTS)
    adapted = adapt_users(
        free.model,
        LEARNERS["reptile"],
        task.adapter.backbone,
        task.adapter.readout,
        texts=texts,
        events=events,
    )
    torch.testing.assert_close(adapted.offsets_BPH, landed, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(adapted.users_BD, free.users(landed), rtol=1e-5, atol=1e-5)
