"""A frozen model's linear layers with their weights laid out for the processor, once and for good.

An ordinary product reorders the weights each time, which for the few rows of an adaptation costs more than
the product itself. oneDNN multiplies by weights that were reordered beforehand. Frozen weights never change,
and gradients are taken in prompts alone, so the weights are kept twice: as they are for the way forward and
transposed for the way back. Results differ from the ordinary ones in the last bits.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from warmprompt.backbone.load import Backbone

# Rows that the layout is chosen for; it serves any other number as well.
_ROWS = 20
# Sums of up to some thousand products in another order.
_ALIKE = 1e-3


def packed(backbone: Backbone) -> Backbone | None:
    """Return the backbone with packed linear layers, the given one untouched; None where this cannot be.

    Embeddings and norms are shared with the given model. It cannot be off the processor, in another precision
    than float32, or where torch comes without oneDNN.
    """
    if backbone.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    model = _copied(backbone.model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is not nn.Linear:
                continue
            layer = _layer(child)
            if layer is None:
                return None
            setattr(parent, name, layer)
    return replace(backbone, model=model)


class PackedLinear(nn.Module):
    """A linear layer whose weights are fixed; differentiable in its input, as often as need be.

    Args:
        weight_OI: Weights; read now, never again.
        bias_O: Added to each row, or None.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        super().__init__()
        self._forth, self._back = _reordered(weight_OI), _reordered(weight_OI.T.contiguous())
        self._bias_O = bias_O

    def forward(self, rows: Tensor) -> Tensor:
        """Return the rows, (..., I), times the transposed weights, plus the bias: (..., O)."""
        product: Tensor = _Product.apply(rows, self._forth, self._back, self._bias_O)  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, forth: Tensor, back: Tensor, bias: Tensor | None) -> Tensor:
        ctx.forth, ctx.back = forth, back
        return _multiplied(rows, forth, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        # A product of the same kind, so that it can be differentiated again.
        return _Product.apply(gradient.contiguous(), ctx.back, ctx.forth, None), None, None, None  # type: ignore[no-untyped-call]


def _copied(model: nn.Module) -> Any:
    """Return the model with modules of its own; tensors, and layers packed before, are shared."""
    done = (one for one in model.modules() if isinstance(one, PackedLinear))
    return copy.deepcopy(model, {id(one): one for one in (*model.parameters(), *model.buffers(), *done)})


def _layer(plain: nn.Linear) -> PackedLinear | None:
    """Return the layer packed, or None where oneDNN refuses it or answers otherwise."""
    if plain.weight.dtype != torch.float32:
        return None
    try:
        layer = PackedLinear(plain.weight.detach(), _detached(plain.bias))
        rows = torch.linspace(-1, 1, 2 * plain.in_features).reshape(2, -1)
        with torch.no_grad():
            ours, theirs = layer(rows), plain(rows)
    except (RuntimeError, AttributeError):
        return None
    size = theirs.abs().max().clamp(min=1.0)
    return layer if bool(((ours - theirs).abs() <= _ALIKE * size).all()) else None


def _detached(bias_O: Tensor | None) -> Tensor | None:
    return None if bias_O is None else bias_O.detach()


def _reordered(weight_OI: Tensor) -> Tensor:
    made: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_OI, _ROWS)  # noqa: SLF001 - torch has no other way
    return made


def _multiplied(rows: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    made: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weights, bias, "none", [], "")  # noqa: SLF001
    return made
