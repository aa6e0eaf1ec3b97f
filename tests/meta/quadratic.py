"""A task of two users whose meta-gradients can be written down: quadratic losses, one inner step."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from warmprompt.meta.adapters import RidgeAdapter
from warmprompt.meta.inner import adapt
from warmprompt.meta.objectives import LearnedTarget

P, OFFSET, RATE, AIM = 0.7, -0.4, 0.3, 1.2
A, B = (2.0, -1.0), (1.5, 0.25)


@dataclass(frozen=True)
class Bound:
    """A task at some parameters, made of functions of what moves."""

    params: dict
    bind: Callable

    start_name = "start"

    @property
    def start(self):
        start = self.params["start"]
        return start.expand(self.bind.num_users, *start.shape)

    @property
    def rates(self):
        return self.params["inner.log_rates"].exp()[:, None] * self.params["prompt.log_rates"].exp()

    def inner_loss(self, *, on_query=False):
        if on_query:
            return lambda prompts: self.bind.query_loss(self.params, prompts)
        return self.bind.support_loss(self.params)

    def query_loss(self, prompts):
        return self.bind.query_loss(self.params, prompts)

    def adapted(self):
        return adapt(self.start, self.inner_loss(), rates=self.rates)

    def detached(self):
        return Bound({name: value.detach() for name, value in self.params.items()}, self.bind)


@dataclass(frozen=True)
class Quadratic:
    """Two users with L(p) = (p + offset - c)^2 / 2, c being a for support and b for query events."""

    a_B1: Tensor
    b_B1: Tensor
    num_users = 2

    def at(self, params):
        return Bound(params, self)

    def support_loss(self, params):
        return lambda prompts: ((prompts + params["offset"] - self.a_B1) ** 2 / 2).sum(1)

    def query_loss(self, params, prompts):
        return ((prompts + params["offset"] - self.b_B1) ** 2 / 2).sum(1)


class Aimed(Quadratic):
    """Steps lead to a learned target."""

    def support_loss(self, params):
        target_B1 = (params["aim"] * self.a_B1).detach()
        return lambda prompts: ((prompts - target_B1) ** 2 / 2).sum(1)

    def query_loss(self, params, prompts):
        target_B1 = params["aim"] * self.a_B1
        return super().query_loss(params, prompts + target_B1 - target_B1.detach())


class Solved(Quadratic):
    """Ridge around the start: minimises (p + offset - a)^2 + l (p - start)^2."""

    def query_loss(self, params, prompts):
        weight = params["ridge"].exp()
        solved = (self.a_B1 - params["offset"] + weight * prompts) / (1 + weight)
        return super().query_loss(params, solved)


def quadratic(learner):
    """Return parameters and a task that suits the learner, in float64."""
    params = {
        "start": _number([P]),
        "offset": _number(OFFSET),
        "inner.log_rates": _number([RATE]).log(),
        "prompt.log_rates": _number([0.0]),
        "ridge": _number(0.0),
        "aim": _number(AIM),
    }
    kind = Aimed if learner.objective is LearnedTarget else Quadratic
    kind = Solved if learner.adapter is RidgeAdapter else kind
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    return leaves, kind(_number(A)[:, None], _number(B)[:, None])


def mean(values):
    return sum(values) / len(values)


def _number(values):
    return torch.tensor(values, dtype=torch.float64)


# The derivatives by hand for one inner step, means over the two users.
INNER = [P + OFFSET - a for a in A]  # the support gradient at the start
LANDED = [P - RATE * gradient for gradient in INNER]
OUTER = [end + OFFSET - b for end, b in zip(LANDED, B, strict=True)]  # the query gradient there
PLAIN = [P + OFFSET - b for b in B]  # the query gradient at the start
SLOPE = 1 - RATE  # of where the step lands, in the start
IN_RATE = mean([-RATE * first * second for first, second in zip(INNER, OUTER, strict=True)])
# Two minibatches of Reptile: the support events, then one more step on the query events.
_ENDS = [end - RATE * gradient for end, gradient in zip(LANDED, OUTER, strict=True)]
_TO_TARGET = [P - RATE * (P - AIM * a) + OFFSET - b for a, b in zip(A, B, strict=True)]
# Ridge of weight 1: solved = (a - offset + start) / 2, and its slope in the logarithm of the weight.
_SOLVED = [(a - OFFSET + P) / 2 + OFFSET - b for a, b in zip(A, B, strict=True)]
_IN_WEIGHT = [(P - (a - OFFSET)) / 4 for a in A]

EXPECTED = {
    "learned-target": {
        "start": mean(_TO_TARGET),
        "offset": mean(_TO_TARGET),
        "aim": mean([gradient * a for gradient, a in zip(_TO_TARGET, A, strict=True)]),
    },
    "reptile": {"start": mean([P - end for end in _ENDS]), "offset": mean(OUTER)},
    "fomaml": {"start": mean(OUTER), "offset": mean(OUTER)},
    "maml": {"start": mean(OUTER) * SLOPE, "offset": mean(OUTER) * SLOPE, "inner.log_rates": IN_RATE},
    "meta-sgd": {
        "start": mean(OUTER),
        "offset": mean(OUTER),
        "inner.log_rates": IN_RATE,
        "prompt.log_rates": IN_RATE,
    },
    "multitask": {"start": mean(PLAIN), "offset": mean(PLAIN)},
    "closed-form": {
        "start": mean(_SOLVED) / 2,
        "offset": mean(_SOLVED) / 2,
        "ridge": mean([gradient * slope for gradient, slope in zip(_SOLVED, _IN_WEIGHT, strict=True)]),
    },
}
