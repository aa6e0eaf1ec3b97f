"""FOMAML: the query gradient at the adapted prompt, taken as if the inner steps were constants."""

from __future__ import annotations

from warmprompt.meta.inner import adapt
from warmprompt.meta.learner import Learner, Outer, gradients_of
from warmprompt.meta.model import Params
from warmprompt.meta.task import Task, detached, start_of


def meta_gradient(params: Params, task: Task) -> Outer:
    """Return the first-order meta-gradient: d start of the adapted prompt is taken as the identity.

    Source: Finn, Abbeel & Levine 2017, section 5.2.
    """
    constant = detached(params)
    start = start_of(task, params)
    moved = adapt(start, lambda prompts: task.support_loss(constant, prompts), rates=task.rates(constant))
    loss = task.query_loss(params, start + (moved - start).detach()).mean()
    return Outer(loss=loss.detach(), gradients=gradients_of(loss, params))


fomaml = Learner(name="fomaml", gradient=meta_gradient)
