"""What a text's own metric makes of a gap, found from the metric of a text that differs in little.

`InverseResponse` inverts a text's whole response R, one row of a Jacobian per factor. For one gap g the
product R^-1 g is enough, and conjugate gradients find it. Each round needs R p = move J (J^T move^T p), two
passes of derivatives for all texts at once. The metric of a nearby text, which maps R to
nearly the identity, is their preconditioner.

    between a sentence and the same without one word    about 5 rounds to a thousandth

B is texts, D factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from warmprompt.backbone.forward import PlainAttention, TextPrefix, read_out
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import ReadOut, damping_of, prompts_at

TOLERANCE = 1e-3
_MAX_ROUNDS = 30


@torch.no_grad()
def apply_inverse_response(
    backbone: Backbone,
    read: ReadOut,
    prefix: TextPrefix,
    gap_BD: Tensor,
    *,
    metric_DD: Tensor,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Return each row's gap, (B, D), times the inverse response of its own text.

    The damping of the inversion (`damping_of`) is taken from the nearby text.

    Args:
        backbone: The frozen model.
        read: The normalised read-out.
        prefix: The texts, one per row.
        gap_BD: Gaps between user vectors and targets.
        metric_DD: The metric of a text that all of these are like.
        tolerance: What may be left of a gap, as a share of it, both measured in that metric.

    Source: Hestenes & Stiefel 1952, with a preconditioner.
    """
    respond = _response(backbone, read, prefix)
    metric_DD = metric_DD.double()
    damping = damping_of(metric_DD)
    left_BD = gap_BD.double()
    turned_BD = torch.zeros_like(left_BD)
    along_BD = left_BD @ metric_DD
    size_B = (left_BD * along_BD).sum(1)
    enough_B = size_B * tolerance**2
    for _ in range(_MAX_ROUNDS):
        open_B = size_B > enough_B
        if not bool(open_B.any()):
            break
        moved_BD = respond(along_BD.to(gap_BD)).double() + damping * along_BD
        # Rows that are done stay as they are, those without a gap among them.
        step_B1 = torch.where(open_B, size_B / (along_BD * moved_BD).sum(1), 0.0)[:, None]
        turned_BD = turned_BD + step_B1 * along_BD
        left_BD = left_BD - step_B1 * moved_BD
        shown_BD = left_BD @ metric_DD
        fresh_B = (left_BD * shown_BD).sum(1)
        kept_B1 = torch.where(open_B, fresh_B / size_B, 0.0)[:, None]
        along_BD, size_B = shown_BD + kept_B1 * along_BD, fresh_B
    return turned_BD.to(gap_BD)


def _response(backbone: Backbone, read: ReadOut, prefix: TextPrefix) -> Callable[[Tensor], Tensor]:
    """Return what maps directions of some rows to how displacements answer to gradient steps along them."""
    at_BPH = read.reference_PH.new_zeros(prefix.num_users, *read.reference_PH.shape).requires_grad_()

    # The fast kernels of attention can be differentiated but once.
    with torch.enable_grad(), PlainAttention():
        moved_BD = read_out(backbone, prefix, prompts_at(read, at_BPH)) @ read.move_DH.T
        # Linear in what it is taken along, so its own derivative is J at any value.
        any_BD = torch.zeros_like(moved_BD).requires_grad_()
        (step_BPH,) = torch.autograd.grad(moved_BD, at_BPH, any_BD, create_graph=True)

    def respond(along_BD: Tensor) -> Tensor:
        (gradient_BPH,) = torch.autograd.grad(moved_BD, at_BPH, along_BD, retain_graph=True)
        (answer_BD,) = torch.autograd.grad(step_BPH, any_BD, gradient_BPH, retain_graph=True)
        return answer_BD

    return respond
