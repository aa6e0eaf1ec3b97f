"""The multi-task prompt: one prompt for everybody, no inner loop while training."""

from __future__ import annotations

from warmprompt.meta.learner import Learner, Outer, gradients_of
from warmprompt.meta.model import Params
from warmprompt.meta.task import Task, start_of


def meta_gradient(params: Params, task: Task) -> Outer:
    """Return the plain gradient of the query loss at the start.

    Source: Lester, Al-Rfou & Constant 2021 (prompt tuning over a mixture of tasks).
    """
    loss = task.query_loss(params, start_of(task, params)).mean()
    return Outer(loss=loss.detach(), gradients=gradients_of(loss, params))


multitask = Learner(name="multitask", gradient=meta_gradient)
