"""Adapters: how a user vector answers to evidence.

`PromptAdapter` moves a soft prompt through the frozen language model. `LinearAdapter` takes the model's
linear response, to which the read-out is normalised: the user vector itself moves, without any pass.
`RidgeAdapter` solves for the vector around what one of those gives, and `NoAdaptation` stays at the start.

B is users, D factors, T text features, P prompt vectors, H hidden width, S inner steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from warmprompt.backbone.forward import TextPrefix, read_out
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import InverseResponse, ReadOut, displacement, prompts_at
from warmprompt.meta.model import Catalogue, Events, Model, Params, ridge_users


class Adapter(Protocol):
    """A batch of users whose vectors are functions of what adapts; pure in parameters."""

    @property
    def start_name(self) -> str:
        """The parameter that adaptation starts from."""

    @property
    def features_BT(self) -> Tensor:
        """Text features of the users' texts."""

    def rates(self, params: Params) -> Tensor:
        """Return one step size per inner step, (S, ...)."""

    def users(self, model: Any, moved: Tensor) -> Tensor:
        """Return the user vectors, (B, D), where the start has moved to `moved`, (B, ...)."""

    def distance(self) -> Callable[[Tensor], Tensor]:
        """Return a map from gaps, (B, D), to half their squared length: rate 1 about closes them."""


AdapterKind = Callable[[Adapter, Events], Adapter]


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearAdapter:
    """The user vector adapts itself; text is known by its features at the reference prompt.

    Attributes:
        features_BT: Text features of the users' texts.
        learns_head: Outer gradients reach the text head, which else stays the regression that it began as.
    """

    features_BT: Tensor
    learns_head: bool = False
    start_name: str = "prior.start"

    def rates(self, params: Params) -> Tensor:
        """Return (S, 1)."""
        return params["inner.log_rates"].exp()[:, None]

    def users(self, model: Model, moved: Tensor) -> Tensor:
        """Return where the start has moved, plus what the text says."""
        head_TD = model.params["prior.text_head"]
        return moved + self.features_BT @ (head_TD if self.learns_head else head_TD.detach())

    def distance(self) -> Callable[[Tensor], Tensor]:
        """Return half the squared length itself."""
        return lambda gap_BD: 0.5 * gap_BD.square().sum(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptAdapter:
    """Prompts adapt through the language model.

    Attributes:
        features_BT: Text features of the users' texts.
        backbone: The frozen model.
        readout: The normalised read-out.
        prefix: The users' texts, encoded.
        reference_BH: Hidden states of those texts at the reference prompt.
        responses: Inverse response behind each text, measured when a distance is first asked for.
        apply_inverse: Applies the inverse responses to gaps, (B, D), in place of measuring them.
    """

    features_BT: Tensor
    backbone: Backbone
    readout: ReadOut
    prefix: TextPrefix
    reference_BH: Tensor
    responses: Sequence[InverseResponse] = ()
    apply_inverse: Callable[[Tensor], Tensor] | None = None
    start_name: str = "prompt.start"

    def rates(self, params: Params) -> Tensor:
        """Return (S, P, H): a rate per step times a rate per coordinate."""
        return params["inner.log_rates"].exp()[:, None, None] * params["prompt.log_rates"].exp()

    def users(self, model: Model, moved: Tensor) -> Tensor:
        """Return the user vectors: one pass through the language model."""
        hidden_BH = read_out(self.backbone, self.prefix, prompts_at(self.readout, moved))
        moved_BD = displacement(self.readout, hidden_BH, self.reference_BH)
        return prior_users(model.params, self.features_BT) + moved_BD

    def distance(self) -> Callable[[Tensor], Tensor]:
        """Return half the squared length in the inverse response behind each text."""
        apply = self.apply_inverse
        if apply is not None:
            # Twice the value, the same gradient.
            return lambda gap_BD: (gap_BD * apply(gap_BD.detach())).sum(1)
        inverse_BDD = torch.stack([one.get() for one in self.responses])
        return lambda gap_BD: 0.5 * torch.einsum("bd,bde,be->b", gap_BD, inverse_BDD, gap_BD)


class AroundAnother(Adapter, Protocol):
    """An adapter that takes no step of its own: all but the user vectors is another adapter's."""

    around: Adapter

    @property
    def start_name(self) -> str:
        """As the other adapter's."""
        return self.around.start_name

    @property
    def features_BT(self) -> Tensor:
        """As the other adapter's."""
        return self.around.features_BT

    def rates(self, params: Params) -> Tensor:
        """Return no step at all."""
        return self.around.rates(params)[:0]

    def users(self, model: Any, moved: Tensor) -> Tensor:
        """Return what the other adapter gives."""
        return self.around.users(model, moved)

    def distance(self) -> Callable[[Tensor], Tensor]:
        """As the other adapter's."""
        return self.around.distance()


@dataclass(frozen=True, eq=False)
class NoAdaptation(AroundAnother):
    """Users stay at the learned start of another adapter."""

    around: Adapter
    support: Events


@dataclass(frozen=True, eq=False)
class RidgeAdapter(AroundAnother):
    """User vectors are solved for by ridge regression around the start of another adapter.

    Attributes:
        around: The other adapter.
        support: Events to be explained.
        keeps_prior: Users without events keep the start; else they too are pulled to zero over the catalogue,
            as training does it.
    """

    around: Adapter
    support: Events
    keeps_prior: bool = False

    def users(self, model: Catalogue, moved: Tensor) -> Tensor:
        """Return the solution around what the other adapter gives."""
        prior_BD = self.around.users(model, moved)
        solved_BD = ridge_users(model, self.support, prior_BD)
        if not self.keeps_prior:
            return solved_BD
        return torch.where(self.support.mask_BK.any(dim=1, keepdim=True), solved_BD, prior_BD)


def by_steps(around: Adapter, support: Events) -> Adapter:  # noqa: ARG001 - the signature of a kind
    """Return the adapter itself, which takes gradient steps."""
    return around


def prior_users(params: Params, features_BT: Tensor) -> Tensor:
    """Return the user vectors before any prompt has moved, (B, D).

    The text head stays the ridge regression of users on texts: outer steps would fit it to the wordings of
    training, so no gradient reaches it.
    """
    return params["prior.start"] + features_BT @ params["prior.text_head"].detach()
