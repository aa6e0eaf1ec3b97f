"""Adapters for texts: a user is a soft prompt, moved as a whole or within a few learned directions.

B is users, P prompt vectors, H hidden width, Z directions, S inner steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from warmprompt.meta.model import Params


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptParams:
    """Parameters alone: users share nothing that would have to be computed from them."""

    params: Params

    @staticmethod
    def at(params: Params) -> PromptParams:
        """Return these parameters."""
        return PromptParams(params=params)

    def detached(self) -> PromptParams:
        """Return them as constants."""
        return PromptParams(params={name: value.detach() for name, value in self.params.items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class WholePrompt:
    """All P H numbers of the prompt move.

    Attributes:
        features_BT: As `Adapter` wants it; no feature is read.
    """

    features_BT: Tensor
    start_name: str = "prompt.start"

    def rates(self, params: Params) -> Tensor:
        """Return (S, P, H): a rate per step times a rate per number."""
        return params["inner.log_rates"].exp()[:, None, None] * params["prompt.log_rates"].exp()

    def users(self, model: Any, moved: Tensor) -> Tensor:  # noqa: ARG002 - as in `Adapter`
        """Return the prompts themselves, (B, P, H)."""
        return moved

    def distance(self) -> Callable[[Tensor], Tensor]:
        """Return half the squared length."""
        return lambda gap: 0.5 * gap.flatten(1).square().sum(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class SubspacePrompt:
    """Z numbers move the prompt: prompt = unit (start + sum_z number_z direction_z), all directions learned.

    A gradient step on the numbers is a step on the prompt, preconditioned by the directions' outer product.

    Attributes:
        features_BT: As `Adapter` wants it; no feature is read.
        unit: Scale of start and directions: one outer rate serves them and the logarithms of inner rates.
    """

    features_BT: Tensor
    unit: float = 1.0
    start_name: str = "user.start"

    def rates(self, params: Params) -> Tensor:
        """Return (S, Z): a rate per step times a rate per direction."""
        return params["inner.log_rates"].exp()[:, None] * params["prompt.log_rates"].exp()

    def users(self, model: Any, moved: Tensor) -> Tensor:
        """Return the prompts, (B, P, H)."""
        offset_BPH = torch.einsum("bz,zph->bph", moved, model.params["prompt.directions"])
        prompts_BPH: Tensor = self.unit * (model.params["prompt.start"] + offset_BPH)
        return prompts_BPH

    def distance(self) -> Callable[[Tensor], Tensor]:
        """Return half the squared length."""
        return lambda gap: 0.5 * gap.flatten(1).square().sum(1)
