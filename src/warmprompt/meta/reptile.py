"""Reptile: the start moves towards where plain gradient steps on the user's events end."""

from __future__ import annotations

import torch

from warmprompt.meta.inner import adapt
from warmprompt.meta.learner import Learner, Outer, gradients_of
from warmprompt.meta.model import Params
from warmprompt.meta.task import Task


def meta_gradient(params: Params, task: Task) -> Outer:
    """Return start minus end for the start, and the query gradient at the adapted prompt for the rest.

    The inner steps run over the user's minibatches in turn: first the support events, then one step
    on the query events. Reptile moves only what adapts; head and item vectors learn from the query
    loss before that last step.

    Source: Nichol, Achiam & Schulman 2018, algorithm 2.
    """
    free = task.at(params)
    fixed = free.detached()
    moved, rates = fixed.adapted(), fixed.rates
    ended = adapt(moved, fixed.inner_loss(on_query=True), rates=rates[-1:], step_from=len(rates))
    loss = free.query_loss(moved).mean()
    gradients = gradients_of(loss, params)
    with torch.no_grad():
        gradients[free.start_name] = (fixed.start - ended).mean(0)
    return Outer(loss=loss.detach(), gradients=gradients)


reptile = Learner(name="reptile", gradient=meta_gradient)
