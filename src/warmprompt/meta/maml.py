"""MAML: the exact meta-gradient, through the inner steps."""

from __future__ import annotations

from warmprompt.meta.inner import adapt
from warmprompt.meta.learner import Learner, Outer, gradients_of
from warmprompt.meta.model import Params
from warmprompt.meta.task import Task


def meta_gradient(params: Params, task: Task) -> Outer:
    """Return the second-order meta-gradient in every parameter, also those of the support loss.

    Step sizes are part of the parameters and learned with one rate per step; one rate per coordinate
    is Meta-SGD's.

    Source: Finn, Abbeel & Levine 2017, eq. 1 and algorithm 1; a rate per step: Antoniou, Edwards &
    Storkey 2019, section 4.
    """
    fixed = {name: value.detach() if name == "prompt.log_rates" else value for name, value in params.items()}
    free = task.at(fixed)
    moved = adapt(free.start, free.inner_loss(), rates=free.rates, through="everything")
    loss = free.query_loss(moved).mean()
    return Outer(loss=loss.detach(), gradients=gradients_of(loss, params))


maml = Learner(name="maml", gradient=meta_gradient, needs_second_order=True)
