"""The learned target: prompts descend towards a user vector that a network reads off the events.

The inner loop stays what it is, gradient steps on each user's prompt through the frozen model. What is
learned is its loss: half the squared distance of the user vector to a target (`meta.target`), in place of a
likelihood written by hand.
"""

from __future__ import annotations

from warmprompt.meta.inner import adapt
from warmprompt.meta.learner import Learner, Outer, gradients_of
from warmprompt.meta.model import Params
from warmprompt.meta.task import Task, detached, start_of, targeted


def meta_gradient(params: Params, task: Task) -> Outer:
    """Return the gradient of the query loss at the adapted user vector, first order.

    The user vector that prompts have reached is taken to move as the target and the start do. Where the
    response to prompts is linear and one step of rate 1 is taken, that is exact.

    Source: a learned inner loss: Bechtle et al. 2021 (ML3), eq. 1; first order as Finn et al. 2017,
    section 5.2.
    """
    constant = detached(params)
    start = start_of(task, params)
    moved = adapt(start, targeted(task).target_loss(constant), rates=task.rates(constant))
    loss = targeted(task).target_query_loss(params, start + (moved - start).detach()).mean()
    return Outer(loss=loss.detach(), gradients=gradients_of(loss, params))


learned_target = Learner(name="learned-target", gradient=meta_gradient, adapts_by="target")
