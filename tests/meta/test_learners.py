"""Meta-gradients against closed forms, finite differences and other libraries; outer steps against AdamW."""

from dataclasses import dataclass

import pytest
import torch
from tests.meta.quadratic import EXPECTED, OFFSET, A, B, Bound, P, mean, quadratic

from warmprompt.errors import NotFiniteError, UnknownNameError
from warmprompt.meta.learner import RELATIVE_RATE, Learner, Outer
from warmprompt.meta.learners import LEARNERS, learner_of
from warmprompt.meta.target import initial_target


@pytest.fixture(autouse=True)
def _float64():
    """Let the whole path, also the matrices made on the way, run in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", LEARNERS)
def test_meta_gradients_on_a_quadratic_are_the_closed_forms(name):
    params, task = quadratic(LEARNERS[name])
    found = {key: value.item() for key, value in LEARNERS[name].gradient(params, task).gradients.items()}
    assert {key: value for key, value in found.items() if value} == pytest.approx(EXPECTED[name], abs=1e-12)


def test_several_steps_of_maml_scale_the_slope_by_each():
    params, task = quadratic(LEARNERS["maml"])
    rates = [0.3, 0.5, 0.9]
    params["inner.log_rates"] = torch.tensor(rates, dtype=torch.float64).log().requires_grad_()
    left = (1 - 0.3) * (1 - 0.5) * (1 - 0.9)
    # p + offset - a shrinks by `left`; then the query gradient is a - b plus what is left.
    outer = [a - b + (P + OFFSET - a) * left for a, b in zip(A, B, strict=True)]
    found = LEARNERS["maml"].gradient(params, task).gradients["start"].item()
    assert found == pytest.approx(mean(outer) * left, abs=1e-12)


def _adapted_loss(params, task):
    """The plain outer objective: adapt, then ask the query. No derivative of the loop is used."""
    free = task.at(params)
    return free.query_loss(free.adapted()).mean().item()


def _difference(objective, params, name, direction, step=1e-5):
    ahead, behind = (objective({**params, name: params[name] + sign * step * direction}) for sign in (1, -1))
    return (ahead - behind) / (2 * step)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("learner", ["maml", "closed-form"])
def test_exact_meta_gradients_are_the_slopes_of_the_outer_objective(worlds, learner, seed):
    kind = LEARNERS[learner].adapter
    task, params = worlds.tangent_task(seed, adapter=kind), worlds.random_params(seed)
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    gradients = LEARNERS[learner].gradient(leaves, task).gradients
    if learner == "maml":
        unread = {"ridge.log_spread", "ridge.log_prior", "ridge.log_target"}
    else:
        unread = {"inner.log_rates", "support.log_kappa"}
    # The text head is a regression that no outer step moves.
    assert set(gradients) == set(params) - unread - {"prior.text_head"}
    generator = torch.Generator().manual_seed(seed)
    for name, gradient in gradients.items():
        direction = torch.randn(params[name].shape, generator=generator, dtype=torch.float64)
        slope = _difference(lambda at: _adapted_loss(at, task), params, name, direction)
        # Central differences of step 1e-5 in float64 are good to about 1e-9 here.
        assert (gradient * direction).sum().item() == pytest.approx(slope, abs=1e-7), name


def test_first_order_learners_are_exact_in_what_the_support_loss_does_not_read(worlds):
    # items.bias moves support and query; cold rows of it do not reach the rates.
    task, params = worlds.tangent_task(2), worlds.random_params(2)
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    gradients = LEARNERS["meta-sgd"].gradient(leaves, task).gradients
    last = torch.zeros(2, dtype=torch.float64)
    last[-1] = 1.0  # of the last rate alone the derivative is exact: nothing comes after it
    slope = _difference(lambda at: _adapted_loss(at, task), params, "inner.log_rates", last)
    assert gradients["inner.log_rates"][-1].item() == pytest.approx(slope, abs=1e-7)


def _network_task(seed):
    """Return three users' regressions by a network of 2-3-1 whose 13 weights are the prompt."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = (torch.randn(2, 3, 5, width, generator=generator).double() for width in (2, 1))

    def predict(flat, x_N2):
        first, bias, second, last = flat[:6].reshape(2, 3), flat[6:9], flat[9:12], flat[12]
        return torch.tanh(x_N2 @ first + bias) @ second[:, None] + last

    def loss(flat, x_N2, y_N1):
        return ((predict(flat, x_N2) - y_N1) ** 2).mean()

    @dataclass(frozen=True)
    class Network:
        num_users = 3

        def at(self, params):
            return Bound(params, self)

        def support_loss(self, params):
            return lambda prompts: torch.stack(
                [loss(prompts[i], inputs[0, i], targets[0, i]) for i in range(3)]
            )

        def query_loss(self, params, prompts):
            return torch.stack([loss(prompts[i], inputs[1, i], targets[1, i]) for i in range(3)])

    params = {
        "start": torch.randn(13, generator=generator).double(),
        "inner.log_rates": torch.tensor([0.1, 0.2]).double().log(),
        "prompt.log_rates": 0.1 * torch.randn(13, generator=generator).double(),
    }
    return Network(), params, loss, inputs, targets


def test_maml_agrees_with_torch_func():
    # Functional transforms: a gradient of gradients, vectorised over users; they share no code with adapt.
    task, params, loss, inputs, targets = _network_task(0)

    def outer(start, rates_SF, support_x, support_y, query_x, query_y):
        moved = start
        for rate_F in rates_SF:
            moved = moved - rate_F * torch.func.grad(loss)(moved, support_x, support_y)
        return loss(moved, query_x, query_y)

    def mean_outer(start, log_rates_S):
        rates_SF = log_rates_S.exp()[:, None] * params["prompt.log_rates"].exp()
        each = torch.func.vmap(outer, in_dims=(None, None, 0, 0, 0, 0))
        return each(start, rates_SF, inputs[0], targets[0], inputs[1], targets[1]).mean()

    expected = torch.func.grad(mean_outer, argnums=(0, 1))(params["start"], params["inner.log_rates"])
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    found = LEARNERS["maml"].gradient(leaves, task).gradients
    torch.testing.assert_close(found["start"], expected[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found["inner.log_rates"], expected[1], rtol=1e-10, atol=1e-12)


def test_maml_agrees_with_torchopt():
    torchopt = pytest.importorskip("torchopt", reason="the cross-check needs torchopt")
    task, params, loss, inputs, targets = _network_task(1)
    params["prompt.log_rates"].zero_()  # torchopt's rate is one number
    params["inner.log_rates"].fill_(params["inner.log_rates"][0].item())
    rate = params["inner.log_rates"][0].exp().item()

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.flat = torch.nn.Parameter(params["start"].detach().clone())

    net, losses = Net(), []
    begun = net.flat
    for user in range(3):
        optimiser = torchopt.MetaSGD(net, lr=rate)
        kept = torchopt.extract_state_dict(net, by="reference")
        for _ in range(2):
            optimiser.step(loss(net.flat, inputs[0, user], targets[0, user]))
        losses.append(loss(net.flat, inputs[1, user], targets[1, user]))
        torchopt.recover_state_dict(net, kept)
    (expected,) = torch.autograd.grad(sum(losses) / 3, begun)
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    found = LEARNERS["maml"].gradient(leaves, task).gradients["start"]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def _fixed(gradients):
    return Learner(
        name="fixed", gradient=lambda params, task: Outer(loss=torch.tensor(1.0), gradients=gradients[task])
    )


@pytest.mark.parametrize("clip_norm", [0.5, 1e9])
def test_outer_steps_are_those_of_torch_adamw(clip_norm):
    generator = torch.Generator().manual_seed(0)
    names = ("prompt.start", "items.learned", "popularity.weight", "prior.text_head")
    params = {name: torch.randn(4, 3, generator=generator) for name in names}
    steps = [
        {name: torch.randn(4, 3, generator=generator) for name in names} for _ in range(4)
    ]  # fmt: skip
    learner = _fixed(steps)
    state = learner.init(params)
    theirs = {name: torch.nn.Parameter(value.clone()) for name, value in params.items()}
    scale = {name: next((v for k, v in RELATIVE_RATE.items() if name.startswith(k)), 1.0) for name in names}
    groups = [{"params": [theirs[name]], "lr": 0.01 * scale[name]} for name in names]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.1)
    for number, gradients in enumerate(steps):
        state, report = learner.step(state, number, rate=0.01, clip_norm=clip_norm, weight_decay=0.1)
        for name in names:
            theirs[name].grad = gradients[name].clone()
        norm = torch.nn.utils.clip_grad_norm_(list(theirs.values()), clip_norm)
        optimiser.step()
        assert report.gradient_norm == pytest.approx(norm.item(), rel=1e-6)
    for name in names:
        # Torch divides by the norm plus 1e-6 where it clips.
        torch.testing.assert_close(state.params[name], theirs[name].data, rtol=1e-7, atol=1e-8)


def test_a_step_leaves_the_state_it_starts_from_and_parameters_without_a_gradient():
    params = {"a": torch.ones(2), "b": torch.ones(3)}
    learner = _fixed([{"a": torch.ones(2)}])
    state = learner.init(params)
    moved, _ = learner.step(state, 0, rate=0.1, clip_norm=1.0)
    assert torch.equal(state.params["a"], torch.ones(2))
    assert not torch.equal(moved.params["a"], torch.ones(2))
    assert torch.equal(moved.params["b"], torch.ones(3))
    assert not state.first["a"].any()
    params["a"].zero_()
    assert torch.equal(state.params["a"], torch.ones(2))  # the state holds its own copy
    assert (state.step, moved.step) == (0, 1)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_meta_gradient_is_a_pure_function(worlds, name):
    learner, params = LEARNERS[name], worlds.random_params(0)
    task = worlds.tangent_task(0, objective=learner.objective, adapter=learner.adapter)
    if name == "learned-target":
        target = initial_target(3, max_support=4, kappa=10.0, seed=0)
        params |= {key: value.double() for key, value in target.items()}
    before = {key: value.clone() for key, value in params.items()}
    results = [learner.step(learner.init(params), task, rate=0.1, clip_norm=1.0) for _ in range(2)]
    assert all(torch.equal(params[key], value) for key, value in before.items())
    assert results[0][1] == results[1][1]
    for key, value in results[0][0].params.items():
        assert torch.equal(value, results[1][0].params[key])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_meta_gradient_that_is_no_number_names_learner_and_step(bad):
    learner = _fixed([{"a": torch.tensor([bad])}])
    with pytest.raises(NotFiniteError) as caught:
        learner.step(learner.init({"a": torch.zeros(1)}), 0, rate=0.1, clip_norm=1.0)
    assert caught.value.field == "meta-gradient of fixed at step 0"


def test_names_are_the_learners_own_and_near_misses_are_suggested():
    assert list(LEARNERS) == [
        "learned-target",
        "reptile",
        "fomaml",
        "maml",
        "meta-sgd",
        "multitask",
        "closed-form",
    ]
    assert all(learner_of(name).name == name for name in LEARNERS)
    for wrong, meant in (("meta_sgd", "meta-sgd"), ("FOMAML", "fomaml"), ("reptil", "reptile")):
        with pytest.raises(UnknownNameError, match=f"Did you mean {meant}"):
            learner_of(wrong)
    with pytest.raises(UnknownNameError, match="The learners are learned-target"):
        learner_of("transformer")
