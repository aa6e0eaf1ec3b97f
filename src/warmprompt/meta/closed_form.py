"""The closed-form head: ridge regression around the prompt's user vector, differentiated through."""

from __future__ import annotations

from warmprompt.meta.learner import Learner, Outer, gradients_of
from warmprompt.meta.model import Params
from warmprompt.meta.task import Task


def meta_gradient(params: Params, task: Task) -> Outer:
    """Return the gradient of the query loss through the ridge solution.

    Source: Bertinetto, Henriques, Torr & Vedaldi 2019 (R2-D2), section 3.3.
    """
    loss = task.closed_form_loss(params).mean()
    return Outer(loss=loss.detach(), gradients=gradients_of(loss, params))


closed_form = Learner(name="closed-form", gradient=meta_gradient, adapts_by="ridge")
