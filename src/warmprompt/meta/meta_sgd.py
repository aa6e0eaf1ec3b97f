"""Meta-SGD: the start and a step size per prompt coordinate are learned together."""

from __future__ import annotations

from warmprompt.meta.inner import adapt
from warmprompt.meta.learner import Learner, Outer, gradients_of
from warmprompt.meta.model import Params
from warmprompt.meta.task import Task


def meta_gradient(params: Params, task: Task) -> Outer:
    """Return the meta-gradient in start and rates, with inner gradients taken as constants.

    The derivative in a rate is minus the inner gradient times the query gradient, which is exact for
    one step; the terms left out are the inner losses' second derivatives, as in FOMAML.

    Source: Li, Zhou, Chen & Li 2017, eq. 1 and algorithm 1, first order.
    """
    free = task.at(params)
    moved = adapt(free.start, free.detached().inner_loss(), rates=free.rates, through="rates")
    loss = free.query_loss(moved).mean()
    return Outer(loss=loss.detach(), gradients=gradients_of(loss, params))


meta_sgd = Learner(name="meta-sgd", gradient=meta_gradient)
