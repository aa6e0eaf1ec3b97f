"""The read-out, normalised: what a text says and how far a prompt has moved it.

A frozen model's hidden state is badly conditioned: random changes of a prompt move
it along few directions, so plain gradient steps would take every user the same way.
Two linear maps, fitted once from training texts and small random changes of the
starting prompt, undo that:

- text features, (h - mean) @ text.T: principal components of the hidden states over
  training texts, each with unit variance;
- displacement, (h - h_reference) @ move.T: the D directions along which prompts move the
  hidden state most, scaled such that one gradient step of rate 1 on a prompt moves the
  displacement by minus the loss's gradient in it, to first order.

Prompts are measured from the reference prompt, at which the maps were fitted, in units:
prompt = reference + unit * offset. An offset of 0 is the reference itself.

N is texts, M perturbations, H hidden width, T text features, D factors, P prompt vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from warmprompt.backbone.forward import read_out, read_texts
from warmprompt.backbone.load import Backbone
from warmprompt.errors import BadInputError, NotFiniteError
from warmprompt.rng import derive

_CHUNK = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadOut:
    """The two maps and the units that belong to them.

    Attributes:
        mean_H: Mean hidden state over training texts at the reference prompt.
        text_TH: Text feature map.
        move_DH: Displacement map.
        reference_PH: The reference prompt.
        unit: How far a prompt travels per unit of offset, a scalar.
    """

    mean_H: Tensor
    text_TH: Tensor
    move_DH: Tensor
    reference_PH: Tensor
    unit: Tensor


def fit_read_out(
    backbone: Backbone,
    prompt_PH: Tensor,
    texts: Sequence[str],
    *,
    num_directions: int,
    num_text_features: int,
    reach: float,
    seed: int,
    num_perturbations: int = 512,
) -> ReadOut:
    """Measure the two maps at a reference prompt.

    With hidden-state changes of covariance C under prompt noise of deviation e per coordinate,
    C is about e^2 J J^T. With U, L the leading eigenvectors and eigenvalues of C, unit u and
    move = (e/u) L^(-1/2) U^T, a gradient step of rate 1 on the offset changes the displacement by
    -u^2 move J J^T move^T g = -g. The unit, u = reach |prompt|, is how far the prompt then travels
    per unit of displacement: the smaller, the nearer to linear the response.

    Args:
        backbone: The frozen model.
        prompt_PH: The reference prompt.
        texts: Training texts (the empty one included), at least two distinct ones.
        num_directions: D; at most H and at most `num_perturbations`.
        num_text_features: T; cut to what the texts span.
        reach: Share of the prompt's norm travelled per unit of displacement; small keeps the map linear.
        seed: Of the noise.
        num_perturbations: M.

    Raises:
        BadInputError: D out of range.
        NotFiniteError: The model returns NaN or infinite states.
    """
    if not 1 <= num_directions <= min(backbone.hidden_size, num_perturbations):
        raise BadInputError(
            field="model.num_factors",
            value=num_directions,
            remedy=f"Choose 1 to {min(backbone.hidden_size, num_perturbations)} for {backbone.name}.",
        )
    hidden_NH = read_reference(backbone, prompt_PH, texts)
    mean_H, text_TH = _components(hidden_NH, num_text_features)
    changes_MH, noise = _perturb(backbone, prompt_PH, texts, num_perturbations, seed)
    covariance_HH = changes_MH.T @ changes_MH / len(changes_MH)
    values_H, vectors_HH = torch.linalg.eigh(covariance_HH.double())
    if not torch.isfinite(values_H).all():
        raise NotFiniteError(
            field="read-out", value=backbone.name, remedy="Choose float32, or another read-out depth."
        )
    top = slice(backbone.hidden_size - num_directions, backbone.hidden_size)
    floor = values_H[-1] * 1e-9
    unit = reach * prompt_PH.norm().item()
    scale = noise / unit
    move_DH = (vectors_HH[:, top] / values_H[top].clamp(min=floor).sqrt()).T.flip(0) * scale
    return ReadOut(
        mean_H=mean_H,
        text_TH=text_TH,
        move_DH=move_DH.float().contiguous(),
        reference_PH=prompt_PH.clone(),
        unit=torch.tensor(unit, dtype=torch.float32, device=prompt_PH.device),
    )


def text_features(read: ReadOut, hidden_BH: Tensor) -> Tensor:
    """Return the text features of hidden states at the reference prompt, (B, T)."""
    return (hidden_BH - read.mean_H) @ read.text_TH.T


def displacement(read: ReadOut, hidden_BH: Tensor, reference_BH: Tensor) -> Tensor:
    """Return how far prompts have moved the hidden states from those at the reference prompt, (B, D)."""
    return (hidden_BH - reference_BH) @ read.move_DH.T


def prompts_at(read: ReadOut, offsets_BPH: Tensor) -> Tensor:
    """Return the prompts at these offsets from the reference, (B, P, H)."""
    return read.reference_PH + read.unit * offsets_BPH


@torch.no_grad()
def read_reference(backbone: Backbone, prompt_PH: Tensor, texts: Sequence[str]) -> Tensor:
    """Return the hidden states of many texts at one prompt, (N, H)."""
    chunks = [texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK)]
    return torch.cat(
        [
            read_out(backbone, read_texts(backbone, chunk), prompt_PH.expand(len(chunk), -1, -1))
            for chunk in chunks
        ]
    )


def _components(hidden_NH: Tensor, num_features: int) -> tuple[Tensor, Tensor]:
    """Return the mean and the leading principal directions, scaled to unit variance."""
    mean_H = hidden_NH.mean(0)
    _, values, directions = torch.linalg.svd((hidden_NH - mean_H).double(), full_matrices=False)
    deviations = values / max(1, len(hidden_NH) - 1) ** 0.5
    kept = min(num_features, int((deviations > 1e-4 * deviations[0].clamp(min=1e-12)).sum()))
    return mean_H, (directions[:kept] / deviations[:kept, None]).float()


@torch.no_grad()
def _perturb(
    backbone: Backbone, prompt_PH: Tensor, texts: Sequence[str], num: int, seed: int
) -> tuple[Tensor, float]:
    """Return hidden-state changes under prompt noise, (M, H), and the noise's deviation per coordinate.

    Noise of 2 % of the prompt's norm, in opposite pairs, so that even terms of the response cancel.
    """
    rng = derive(seed, "read-out")
    noise = 0.02 * prompt_PH.norm().item() / prompt_PH.numel() ** 0.5
    changes = []
    for start in range(0, num, _CHUNK):
        size = min(_CHUNK, num - start)
        chosen = [texts[int(index)] for index in rng.integers(0, len(texts), size=size)]
        shift = torch.as_tensor(rng.standard_normal((size, *prompt_PH.shape)), dtype=torch.float32)
        shift_BPH = noise * shift.to(prompt_PH.device)
        prefix = read_texts(backbone, chosen)
        ahead = read_out(backbone, prefix, prompt_PH + shift_BPH)
        behind = read_out(backbone, prefix, prompt_PH - shift_BPH)
        changes.append((ahead - behind) / 2)
    return torch.cat(changes), noise
