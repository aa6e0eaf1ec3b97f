"""Reptile: the start moves towards where plain gradient steps on the user's events end."""

from __future__ import annotations

import torch

from warmprompt.meta.inner import adapt
from warmprompt.meta.learner import Learner, Outer, gradients_of
from warmprompt.meta.model import Params
from warmprompt.meta.task import Task, detached, start_of


def meta_gradient(params: Params, task: Task) -> Outer:
    """Return start minus end for the start, and the query gradient at the adapted prompt for the rest.

    The inner steps run over the user's minibatches in turn: first the support events, then one step
    on the query events. Reptile moves only what adapts; head and item vectors learn from the query
    loss before that last step.

    Source: Nichol, Achiam & Schulman 2018, algorithm 2.
    """
    constant = detached(params)
    rates = task.rates(constant)
    start = start_of(task, constant)
    moved = adapt(start, lambda prompts: task.support_loss(constant, prompts), rates=rates)
    ended = adapt(
        moved, lambda prompts: task.query_step_loss(constant, prompts), rates=rates[-1:], step_from=len(rates)
    )
    loss = task.query_loss(params, moved).mean()
    gradients = gradients_of(loss, params)
    with torch.no_grad():
        gradients[task.start_name] = (start - ended).mean(0)
    return Outer(loss=loss.detach(), gradients=gradients)


reptile = Learner(name="reptile", gradient=meta_gradient)
