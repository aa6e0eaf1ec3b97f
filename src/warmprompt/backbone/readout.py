"""The read-out, normalised: what a text says and how far a prompt has moved it.

A frozen model's hidden state is badly conditioned: changes of a prompt move it along
few directions, so plain gradient steps would take every user the same way. Two linear
maps, fitted once from training texts and the Jacobian at a reference prompt, undo that:

- text features, (s - mean) @ text.T: leading principal components of the states of training texts. A
  text's state is its sentence embedding, of length 1 as it is; or without a sentence encoder the hidden
  state at the reference prompt, standardised, such that all components together have variance 1 at most;
- displacement, (h - h_reference) @ move.T: the D directions along which prompts move the
  hidden state most, scaled such that one gradient step of rate 1 on a prompt moves the
  displacement by minus the loss's gradient in it, to first order.

Prompts are measured from the reference prompt, at which the maps were fitted, in units:
prompt = reference + unit * offset. An offset of 0 is the reference itself.

N is texts, H hidden width, X width of text states, T text features, D factors, P prompt vectors.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from warmprompt.backbone.forward import PlainAttention, TextPrefix, read_out, read_texts, text_row
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.text import pool_texts
from warmprompt.errors import BadInputError, NotFiniteError
from warmprompt.rng import derive
from warmprompt.types import short_repr

NUM_JACOBIANS = 7
_CHUNK = 64
_DAMPING = 0.01


@dataclass(frozen=True, kw_only=True)
class ReadOutSize:
    """How wide the maps are, and how long a unit of offset is.

    Attributes:
        num_directions: D, at most H and at most the prompt's coordinates.
        num_text_features: T; cut to what the texts span.
        reach: Share of the prompt's norm travelled per unit of displacement.
        standardise: Divide the coordinates of text states by their deviations, as hidden states need it.
    """

    num_directions: int
    num_text_features: int
    reach: float
    standardise: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadOut:
    """The two maps and the units that belong to them.

    Attributes:
        mean_X: Mean state over training texts.
        text_TX: Text feature map.
        move_DH: Displacement map.
        reference_PH: The reference prompt.
        unit: How far a prompt travels per unit of offset, a scalar.
    """

    mean_X: Tensor
    text_TX: Tensor
    move_DH: Tensor
    reference_PH: Tensor
    unit: Tensor

    __repr__ = short_repr


class InverseResponse:
    """How gradients have to be turned behind one text to move displacements straight along them.

    Measured when first asked for, then kept, with the Jacobian J of displacements in offsets. With R the
    response of displacements to gradient steps on prompts behind the text, J J^T, it is the inverse of R.
    The read-out makes R the identity on average over texts; behind one text its eigenvalues lie between
    about .05 and 5. Costs one pass forward, and one backward for 64 rows of J at a time. Keeps D P H numbers
    as long as the text is kept. Safe to share between threads.

    Args:
        backbone: The frozen model.
        read: The normalised read-out.
        prefix: The text as the model has read it, one row.
    """

    def __init__(self, backbone: Backbone, read: ReadOut, prefix: TextPrefix) -> None:
        self._backbone, self._read = backbone, read
        self._prefix: TextPrefix | None = prefix
        self._lock = threading.Lock()
        self._measured = (torch.empty(0), torch.empty(0))

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the lock."""
        with self._lock:
            return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the same, and a lock of its own."""
        vars(self).update(state)
        self._lock = threading.Lock()

    def get(self) -> Tensor:
        """Return the metric, (D, D)."""
        return self._measure()[0]

    def jacobian(self) -> Tensor:
        """Return how displacements move with offsets from the reference, (D, P, H)."""
        return self._measure()[1]

    def _measure(self) -> tuple[Tensor, Tensor]:
        with self._lock:
            if self._prefix is not None:
                read = self._read
                rows_DPH = _jacobian(self._backbone, self._prefix, read.reference_PH, read.move_DH)
                jacobian_DPH = read.unit * rows_DPH
                flat_DX = jacobian_DPH.flatten(1).double()
                response_DD = flat_DX @ flat_DX.T
                damping = (
                    _DAMPING * response_DD.diagonal().mean() * torch.eye(len(response_DD)).to(response_DD)
                )
                self._measured = (torch.linalg.inv(response_DD + damping).float(), jacobian_DPH)
                self._prefix = None
            return self._measured


def prompt_step(metrics: Sequence[InverseResponse], gap_BD: Tensor, *, rate: Tensor) -> Tensor:
    """Return the offsets after one inner step from the reference prompt towards targets, (B, P, H).

    With M the metric and J the Jacobian of a user's text, the gradient of half the gap's squared length in
    the metric is J^T M gap, so this is -rate J^T M gap: no pass of the model, forward or backward.

    Args:
        metrics: Each user's text; users of the same text share one.
        gap_BD: User vectors at the reference prompt minus targets; zero where a user has no events.
        rate: Step size, (P, H) or a scalar.
    """
    # Row by row: sums over a batch would depend on its size in their last bits.
    moved = [
        torch.tensordot(gap_D @ one.get(), one.jacobian(), dims=1)
        for gap_D, one in zip(gap_BD, metrics, strict=True)
    ]
    return -rate * torch.stack(moved)


def damping_of(metric_DD: Tensor) -> Tensor:
    """Return what is added to the diagonal of the response before it is inverted, a scalar."""
    damping: Tensor = torch.linalg.inv(metric_DD).diagonal().mean() * _DAMPING / (1 + _DAMPING)
    return damping


def inverse_responses(
    backbone: Backbone, read: ReadOut, prefix: TextPrefix, texts: Sequence[str]
) -> tuple[InverseResponse, ...]:
    """Return the metric of each read text, row by row; equal texts share one, so it is measured once."""
    rows = {text: row for row, text in enumerate(texts)}
    metrics = {text: InverseResponse(backbone, read, text_row(prefix, row)) for text, row in rows.items()}
    return tuple(metrics[text] for text in texts)


def fit_read_out(
    backbone: Backbone,
    prompt_PH: Tensor,
    texts: Sequence[str],
    states_NX: Tensor,
    size: ReadOutSize,
    *,
    seed: int,
) -> ReadOut:
    """Measure the two maps at a reference prompt.

    J, the Jacobian of the hidden state in the prompt, depends on the text. With C the mean of J J^T,
    half of the weight on the empty text and half on a few drawn from `texts`, U and L its leading
    eigenvectors and eigenvalues, unit u and move = L^(-1/2) U^T / u, a gradient step of rate 1 on the
    offset changes the displacement by -u^2 move J J^T move^T g, which is -g on average over texts. The
    unit, u = reach |prompt|, is how far the prompt then travels per unit of displacement: the smaller, the
    nearer to linear the response.

    Args:
        backbone: The frozen model.
        prompt_PH: The reference prompt.
        texts: Training texts (the empty one included), at least two distinct ones.
        states_NX: Their states: sentence embeddings, or hidden states from `read_reference`.
        size: Widths of the maps and the unit.
        seed: Of the draw of texts.

    Raises:
        BadInputError: D out of range.
        NotFiniteError: The model returns NaN or infinite states.
    """
    largest = min(backbone.hidden_size, prompt_PH.numel())
    if not 1 <= size.num_directions <= largest:
        raise BadInputError(
            field="model.num_factors",
            value=size.num_directions,
            remedy=f"Choose 1 to {largest} for {backbone.name}.",
        )
    rng = derive(seed, "read-out")
    sampled = [texts[int(index)] for index in rng.integers(0, len(texts), size=NUM_JACOBIANS)]
    text_HH = torch.stack([_response(backbone, prompt_PH, text) for text in sampled]).mean(0)
    empty_HH = _response(backbone, prompt_PH, "")
    covariance_HH = (empty_HH + text_HH) / 2
    if not torch.isfinite(covariance_HH).all():
        raise NotFiniteError(
            field="read-out", value=backbone.name, remedy="Choose float32, or another read-out depth."
        )
    values_H, vectors_HH = torch.linalg.eigh(covariance_HH)
    top = slice(backbone.hidden_size - size.num_directions, backbone.hidden_size)
    floor = values_H[-1].item() * 1e-9
    unit = size.reach * prompt_PH.norm().item()
    move_DH = (vectors_HH[:, top] / values_H[top].clamp(min=floor).sqrt()).T.flip(0) / unit
    mean_X, text_TX = _components(states_NX, size.num_text_features, standardise=size.standardise)
    return ReadOut(
        mean_X=mean_X,
        text_TX=text_TX,
        move_DH=move_DH.float().contiguous(),
        reference_PH=prompt_PH.clone(),
        unit=torch.tensor(unit, dtype=torch.float32, device=prompt_PH.device),
    )


def text_features(read: ReadOut, states_BX: Tensor) -> Tensor:
    """Return the text features of texts' states, (B, T)."""
    return (states_BX - read.mean_X) @ read.text_TX.T


def sentence_states(encoder: Backbone, texts: Sequence[str], nothing_X: Tensor) -> Tensor:
    """Return texts' sentence embeddings, (B, X), each of length 1; an empty text's is `nothing_X`."""
    states_BX = nothing_X.expand(len(texts), -1).clone()
    filled = [index for index, text in enumerate(texts) if text]
    if filled:
        embedded = pool_texts([texts[index] for index in filled], encoder)
        states_BX[filled] = torch.from_numpy(embedded).to(nothing_X)
    return states_BX


def displacement(read: ReadOut, hidden_BH: Tensor, reference_BH: Tensor) -> Tensor:
    """Return how far prompts have moved the hidden states from those at the reference prompt, (B, D)."""
    return (hidden_BH - reference_BH) @ read.move_DH.T


def prompts_at(read: ReadOut, offsets_BPH: Tensor) -> Tensor:
    """Return the prompts at these offsets from the reference, (B, P, H)."""
    return read.reference_PH + read.unit * offsets_BPH


@torch.no_grad()
def read_reference(backbone: Backbone, prompt_PH: Tensor, texts: Sequence[str]) -> Tensor:
    """Return the hidden states of many texts at one prompt, (N, H); texts of like length run together."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    hidden_NH = torch.empty(len(texts), backbone.hidden_size, device=prompt_PH.device)
    for start in range(0, len(order), _CHUNK):
        chunk = order[start : start + _CHUNK]
        prefix = read_texts(backbone, [texts[index] for index in chunk])
        hidden_NH[chunk] = read_out(backbone, prefix, prompt_PH.expand(len(chunk), -1, -1))
    return hidden_NH


def _components(states_NX: Tensor, num_features: int, *, standardise: bool) -> tuple[Tensor, Tensor]:
    """Return the mean and the leading principal directions of the texts' states.

    Standardised: coordinates are divided by their deviations and the features by sqrt(X), so that a ridge
    regression on the features is one on standardised coordinates, cut to the directions that texts use.
    """
    mean_X = states_NX.mean(0)
    centred_NX = states_NX - mean_X
    scale_X = torch.ones_like(mean_X)
    if standardise:
        deviation_X = (centred_NX.square().sum(0) / max(1, len(states_NX) - 1)).sqrt()
        scale_X = deviation_X.clamp(min=1e-6 * states_NX.abs().mean().item()) * len(mean_X) ** 0.5
    scaled_NX = (centred_NX / scale_X).double()
    values, vectors = torch.linalg.eigh(scaled_NX.T @ scaled_NX)
    values, directions = values.flip(0).clamp(min=0).sqrt(), vectors.flip(1).T
    # Beyond rounding there are at most as many directions as texts.
    kept = min(num_features, int((values > 1e-4 * values[0].clamp(min=1e-12)).sum()))
    return mean_X, (directions[:kept] / scale_X).float()


def _response(backbone: Backbone, prompt_PH: Tensor, text: str) -> Tensor:
    """Return J J^T at a text, (H, H) float64, J the Jacobian of the hidden state in the prompt."""
    every_HH = torch.eye(backbone.hidden_size, device=prompt_PH.device)
    prefix = read_texts(backbone, [text])
    jacobian_HX = _jacobian(backbone, prefix, prompt_PH, every_HH).flatten(1).double()
    return jacobian_HX @ jacobian_HX.T


def _jacobian(backbone: Backbone, text: TextPrefix, prompt_PH: Tensor, along_NH: Tensor) -> Tensor:
    """Return the derivatives of the hidden state along some directions in the prompt, (N, P, H).

    Args:
        backbone: The frozen model.
        text: One row.
        prompt_PH: Where the derivatives are taken.
        along_NH: Directions.
    """
    with torch.enable_grad():
        at_1PH = prompt_PH[None].detach().clone().requires_grad_()
        with PlainAttention():
            hidden_1H = read_out(backbone, text, at_1PH)
        rows = [
            torch.autograd.grad(
                hidden_1H, at_1PH, some_NH[:, None], retain_graph=True, is_grads_batched=True
            )[0]
            for some_NH in torch.split(along_NH, _CHUNK)
        ]
    return torch.cat(rows)[:, 0]
