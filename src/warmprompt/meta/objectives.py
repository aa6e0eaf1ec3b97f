"""Objectives: what adaptation is to explain, and what its result is judged by.

`CatalogueLikelihood` explains the events themselves. `LearnedTarget` leads user vectors to where a network
reads off the events (`meta.target`), and is judged by the same likelihood.

B is users, D factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from warmprompt.meta.adapters import Adapter, prior_users
from warmprompt.meta.model import Catalogue, Events, query_loss, support_loss
from warmprompt.meta.target import initial_target, target_displacement


class Objective(Protocol):
    """Losses of a batch of users, pure in the model and in what has moved."""

    def inner_loss(
        self, model: Any, adapter: Adapter, *, on_query: bool = False
    ) -> Callable[[Tensor], Tensor]:
        """Return what inner steps descend: a map from what has moved to one loss per user, (B,).

        Args:
            model: Parameters, and what they give all users alike.
            adapter: Gives user vectors and distances.
            on_query: Take the loss on the query in place of the support.
        """

    def query_loss(self, model: Any, users_BD: Tensor) -> Tensor:
        """Return the loss on each user's query, (B,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CatalogueLikelihood:
    """The likelihood of a user's events among all items.

    Attributes:
        support: Events to adapt to.
        query: Events to be found.
        keep_BD: Factor of each coordinate of the user vectors in the query loss; None keeps all.
    """

    support: Events
    query: Events
    keep_BD: Tensor | None = None

    def inner_loss(
        self, model: Catalogue, adapter: Adapter, *, on_query: bool = False
    ) -> Callable[[Tensor], Tensor]:
        """Return the loss of `meta.model.support_loss`."""
        events = self.query if on_query else self.support
        return lambda moved: support_loss(model, events, adapter.users(model, moved))

    def query_loss(self, model: Catalogue, users_BD: Tensor) -> Tensor:
        """Return the negative log-likelihood of the query events, nats."""
        kept_BD = users_BD if self.keep_BD is None else users_BD * self.keep_BD
        return query_loss(model, self.support, self.query, kept_BD)

    @staticmethod
    def initial_params(width: int, *, max_support: int, kappa: float, seed: int) -> dict[str, Tensor]:  # noqa: ARG004
        """Return no parameters: the likelihood has none of its own."""
        return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedTarget:
    """A target that a network reads off the events; attributes as `CatalogueLikelihood`."""

    support: Events
    query: Events
    keep_BD: Tensor | None = None
    initial_params = staticmethod(initial_target)

    def inner_loss(
        self, model: Catalogue, adapter: Adapter, *, on_query: bool = False
    ) -> Callable[[Tensor], Tensor]:
        """Return half the squared distance to the target, 0 for users without events."""
        events = self.query if on_query else self.support
        has_events_B, distance = events.mask_BK.any(1), adapter.distance()
        with torch.no_grad():
            prior_BD = prior_users(model.params, adapter.features_BT)
            target_BD = prior_BD + target_displacement(model, events)
        return lambda moved: distance(adapter.users(model, moved) - target_BD) * has_events_B

    def query_loss(self, model: Catalogue, users_BD: Tensor) -> Tensor:
        """Return the negative log-likelihood of the query events, nats.

        In training, user vectors are taken to move as the target does: exact where the response to prompts is
        linear and one step of rate 1 is taken.
        """
        likelihood = CatalogueLikelihood(support=self.support, query=self.query, keep_BD=self.keep_BD)
        if model.mean_D.requires_grad:
            moved_BD = target_displacement(model, self.support)
            users_BD = users_BD + moved_BD - moved_BD.detach()
        return likelihood.query_loss(model, users_BD)
