"""The likelihood of texts behind a prompt: against plain passes, finite differences and torch.func."""

import pytest
import torch
import transformers
from torch import Tensor

from warmprompt.backbone.load import load_causal
from warmprompt.errors import BadInputError
from warmprompt.meta.learners import LEARNERS
from warmprompt.meta.task import Task
from warmprompt.meta.text_likelihood import (
    TextLikelihood,
    load_text_model,
    pack_texts,
    read_lead,
    user_losses,
)
from warmprompt.meta.text_prompts import PromptParams, SubspacePrompt, WholePrompt

LEAD = "Reviews: "
SUPPORT = [["a red guitar", "loud"], ["it broke, sadly"]]
QUERY = [["very red"], ["broke again!"]]
NUM_VECTORS, NUM_DIRECTIONS = 3, 2


@pytest.fixture(scope="module")
def lm():
    """Return the random model in float64, differentiable twice."""
    model, tokenizer = load_causal("tiny", attention="eager")
    return read_lead(model.double(), tokenizer, lead=LEAD)


def tokens(lm, texts):
    return pack_texts([[lm.ids(text) for text in own] for own in texts])


def random_params(lm, seed=0):
    generator = torch.Generator().manual_seed(seed)
    width = lm.embed([0]).shape[1]

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "prompt.start": lm.embed(lm.ids("xyz")) + 0.1 * draw(NUM_VECTORS, width),
        "user.start": draw(NUM_DIRECTIONS),
        "prompt.directions": 0.1 * draw(NUM_DIRECTIONS, NUM_VECTORS, width),
        "prompt.log_rates": 0.1 * draw(NUM_DIRECTIONS),
        "inner.log_rates": draw(2),
        "support.log_kappa": draw(()),
    }


def subspace_task(lm, unit=1.0):
    return Task(
        adapter=SubspacePrompt(features_BT=torch.zeros(2, 0), unit=unit),
        objective=TextLikelihood(lm=lm, support=tokens(lm, SUPPORT), query=tokens(lm, QUERY)),
        data=PromptParams,
    )


def loss_of_one(lm, prompt_PH: Tensor, texts) -> Tensor:
    """Return the mean over all tokens of one user's texts, each by a plain pass over the whole sequence."""
    losses = []
    for text in texts:
        ids = torch.tensor(lm.ids(text))
        front = torch.cat([lm.embed(lm.ids(LEAD)), prompt_PH])
        logits = lm.model(inputs_embeds=torch.cat([front, lm.embed(ids)])[None]).logits[0]
        log_p = torch.log_softmax(logits[len(front) - 1 : -1], dim=1)
        losses.append(-log_p[torch.arange(len(ids)), ids])
    return torch.cat(losses).mean()


def test_losses_are_those_of_a_pass_over_lead_prompt_and_text(lm):
    start = random_params(lm)["prompt.start"]
    prompts = torch.stack([start, 1.1 * start])
    found = user_losses(lm, tokens(lm, SUPPORT), prompts)
    wanted = [loss_of_one(lm, prompt, own).item() for prompt, own in zip(prompts, SUPPORT, strict=True)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-10)


def test_users_without_texts_lose_nothing_and_have_no_gradient(lm):
    prompts = random_params(lm)["prompt.start"].expand(2, -1, -1).clone().requires_grad_()
    losses = user_losses(lm, tokens(lm, [[], ["red"]]), prompts)
    (gradient,) = torch.autograd.grad(losses.sum(), prompts)
    assert losses[0].item() == 0.0 < losses[1].item()
    assert gradient[0].abs().max() == 0.0 < gradient[1].abs().max()
    assert user_losses(lm, tokens(lm, [[], []]), prompts).tolist() == [0.0, 0.0]


def test_gradients_are_finite_differences(lm):
    texts, prompts = tokens(lm, SUPPORT), random_params(lm)["prompt.start"].expand(2, -1, -1).clone()
    direction = torch.randn(prompts.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    point = prompts.requires_grad_()
    (gradient,) = torch.autograd.grad(user_losses(lm, texts, point).sum(), point)
    with torch.no_grad():
        ahead, behind = (user_losses(lm, texts, prompts + step * direction).sum() for step in (3e-3, -3e-3))
    # The model takes norms and softmax in float32, about 3e-6 of a loss of 20: no step is good to better.
    assert (gradient * direction).sum().item() == pytest.approx((ahead - behind).item() / 6e-3, rel=5e-3)


def test_maml_on_texts_is_the_derivative_by_torch_func(lm):
    params, task = random_params(lm), subspace_task(lm)

    def user_loss(params, texts, numbers):
        prompt = params["prompt.start"] + torch.einsum("z,zph->ph", numbers, params["prompt.directions"])
        return loss_of_one(lm, prompt, texts)

    def outer(params):
        losses = []
        for support, query in zip(SUPPORT, QUERY, strict=True):
            numbers, weight = (
                params["user.start"],
                len(support) / (len(support) + params["support.log_kappa"].exp()),
            )
            for log_rate in params["inner.log_rates"]:
                slope = torch.func.grad(lambda at, own=support: user_loss(params, own, at))(numbers)
                numbers = numbers - log_rate.exp() * fixed_rates * weight * slope
            losses.append(user_loss(params, query, numbers))
        return torch.stack(losses).mean()

    fixed_rates = params["prompt.log_rates"].exp()
    wanted = torch.func.grad(outer)(params)
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    found = LEARNERS["maml"].gradient(leaves, task)
    # The model takes norms and softmax in float32.
    assert found.loss.item() == pytest.approx(outer(params).item(), abs=1e-5)
    # Rates per number are Meta-SGD's: MAML leaves them.
    for name in set(params) - {"prompt.log_rates"}:
        torch.testing.assert_close(found.gradients[name], wanted[name], atol=1e-5, rtol=1e-4)


def test_a_step_on_the_numbers_is_a_preconditioned_step_on_the_prompt(lm):
    params, task = random_params(lm), subspace_task(lm)
    params["inner.log_rates"] = params["inner.log_rates"][:1]
    free = task.at(params)
    start = free.adapter.users(free.model, free.start)
    whole = Task(
        adapter=WholePrompt(features_BT=torch.zeros(2, 0)), objective=task.objective, data=PromptParams
    )
    point = start.clone().requires_grad_()
    (slope,) = torch.autograd.grad(whole.at(params).inner_loss()(point).sum(), point)
    directions, rates = params["prompt.directions"].flatten(1), free.rates[0]
    wanted = start.flatten(1) - slope.flatten(1) @ directions.T @ (rates[:, None] * directions)
    found = free.adapter.users(free.model, free.adapted()).flatten(1)
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-8)


def test_a_unit_only_scales_start_and_directions(lm):
    params = random_params(lm)
    finer = {**params, **{name: params[name] / 0.25 for name in ("prompt.start", "prompt.directions")}}
    plain, scaled = subspace_task(lm).at(params), subspace_task(lm, unit=0.25).at(finer)
    torch.testing.assert_close(scaled.adapted(), plain.adapted(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        scaled.users(scaled.adapted()), plain.users(plain.adapted()), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["multitask", "reptile", "fomaml", "meta-sgd", "maml"])
def test_each_learner_makes_its_query_loss_smaller(lm, name):
    task = subspace_task(lm)
    state = LEARNERS[name].init(random_params(lm))
    losses = []
    for _ in range(12):
        state, seen = LEARNERS[name].step(state, task, rate=0.01, clip_norm=10.0)
        losses.append(seen.loss)
    assert losses[-1] < losses[0] - 0.01


def test_unusable_texts_and_leads_are_refused():
    with pytest.raises(BadInputError, match="text of user 1"):
        pack_texts([[[3]], [[]]])
    with pytest.raises(BadInputError, match="lead"):
        load_text_model("tiny", lead="")
    with pytest.raises(BadInputError, match="encoder"):
        load_text_model("tiny-encoder", lead=LEAD)


def test_exact_attention_is_the_models_own_choice():
    assert isinstance(load_text_model("tiny", lead=LEAD).model, transformers.PreTrainedModel)
    assert load_text_model("tiny", lead=LEAD, exact=True).model.config._attn_implementation == "eager"
