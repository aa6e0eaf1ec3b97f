"""What a learner sees of a batch of users: an adapter times an objective, at some parameters. B is users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from warmprompt.meta.adapters import Adapter
from warmprompt.meta.inner import adapt
from warmprompt.meta.model import Model, Params
from warmprompt.meta.objectives import Objective


class ModelData(Protocol):
    """What all users share besides parameters."""

    def at(self, params: Params) -> Model:
        """Return what these parameters give all users alike, differentiable in them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskAt:
    """A task at its parameters: what all users share is computed once."""

    adapter: Adapter
    objective: Objective
    model: Model

    @property
    def start_name(self) -> str:
        """The parameter that adaptation starts from."""
        return self.adapter.start_name

    @property
    def start(self) -> Tensor:
        """What all users of the batch start from, (B, ...)."""
        start = self.model.params[self.start_name]
        return start.expand(len(self.adapter.features_BT), *start.shape)

    @property
    def rates(self) -> Tensor:
        """One step size per inner step, (S, ...)."""
        return self.adapter.rates(self.model.params)

    def users(self, moved: Tensor) -> Tensor:
        """Return the user vectors, (B, D)."""
        return self.adapter.users(self.model, moved)

    def inner_loss(self, *, on_query: bool = False) -> Callable[[Tensor], Tensor]:
        """Return what inner steps descend; see `Objective.inner_loss`."""
        return self.objective.inner_loss(self.model, self.adapter, on_query=on_query)

    def query_loss(self, moved: Tensor) -> Tensor:
        """Return the loss on each user's query events, (B,)."""
        return self.objective.query_loss(self.model, self.users(moved))

    def adapted(self) -> Tensor:
        """Return where the inner loop leads, (B, ...), as a constant."""
        start, rates = self.start, self.rates
        return adapt(start, self.inner_loss(), rates=rates) if len(rates) else start.detach()

    def detached(self) -> TaskAt:
        """Return the same task at parameters that are constants."""
        return replace(self, model=self.model.detached())


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A batch of users: how their vectors answer to evidence, and what is to be explained."""

    adapter: Adapter
    objective: Objective
    data: ModelData

    def at(self, params: Params) -> TaskAt:
        """Return the task at these parameters, differentiable in them."""
        return TaskAt(adapter=self.adapter, objective=self.objective, model=self.data.at(params))


def detached(params: Params) -> dict[str, Tensor]:
    """Return the parameters as constants."""
    return {name: value.detach() for name, value in params.items()}


def dropout_mask(shape: tuple[int, int], *, rate: float, seed: int) -> Tensor | None:
    """Return a mask of zeros and 1 / (1 - rate), or None for rate 0; torch's global generator is untouched.

    Source: Srivastava et al. 2014, inverted form.
    """
    if rate == 0:
        return None
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) >= rate).float() / (1 - rate)
