"""The inner loop: how a soft prompt moves towards one user's evidence.

Every learner and the service call this loop; they differ only in how they use what it
returns. It is the only place where a gradient is taken at prediction time.
B is users, S inner steps; what adapts has any shape after B (P prompt vectors of H, or D factors).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from warmprompt.errors import NotFiniteError

SupportLoss = Callable[[Tensor], Tensor]
Through = Literal["nothing", "rates", "everything"]


def adapt(
    start: Tensor, loss: SupportLoss, *, rates: Tensor, through: Through = "nothing", step_from: int = 0
) -> Tensor:
    """Return each user's prompt after gradient steps on that user's support set.

    The sum of the users' losses is differentiated once per step: users do not interact, so this
    gives each user's own gradient in one forward and one backward pass for the whole batch.

    Args:
        start: Starting prompts, one per user, (B, ...). Never written to.
        loss: Maps prompts to one negative log-likelihood per user, (B,), in nats.
        rates: One step size per inner step, (S, ...), broadcast over users; S = 0 returns the start.
        through: What a later derivative sees: `nothing` (the result is detached), `rates` (gradients are
            constants, rates and start are not: first-order Meta-SGD), or `everything` (exact; memory grows
            linearly in S).
        step_from: Number of the first step in error messages.

    Raises:
        NotFiniteError: A loss became NaN or infinite; names the rows of the batch and the step.

    Source: Finn, Abbeel & Levine 2017, eq. 1; rates per coordinate: Li et al. 2017, eq. 1.
    """
    exact = through == "everything"
    prompts = start.detach() if through == "nothing" else start
    for step, rate in enumerate(rates, start=step_from):
        with torch.enable_grad():
            point = prompts if exact and prompts.requires_grad else prompts.detach().requires_grad_()
            losses_B = loss(point)
            _check_finite(losses_B, step)
            (gradient,) = torch.autograd.grad(losses_B.sum(), point, create_graph=exact)
        if through == "nothing":
            gradient, rate = gradient.detach(), rate.detach()  # noqa: PLW2901 - the step's own rate
        prompts = prompts - rate * gradient
    return prompts


def _check_finite(losses_B: Tensor, step: int) -> None:
    wrong = torch.nonzero(~torch.isfinite(losses_B)).flatten().tolist()
    if wrong:
        raise NotFiniteError(
            field=f"support loss at inner step {step}",
            value=f"rows {wrong[:8]} of the batch",
            remedy="Lower the inner rate, or check these users' events.",
        )
