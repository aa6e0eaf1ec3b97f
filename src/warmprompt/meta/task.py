"""What a learner sees of a batch of users: where prompts start, and losses as functions of prompts.

Two tasks fulfil the protocol. `PromptTask` runs the language model. `TangentTask` replaces the model
by the linear response that the read-out is normalised to, so the user vector itself is what adapts:
it needs no model, and trains head and item vectors in seconds before prompts are trained exactly.

B is users, D factors, T text features, P prompt vectors, H hidden width, S inner steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from warmprompt.backbone.forward import TextPrefix, read_out
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import ReadOut, displacement, prompts_at
from warmprompt.errors import BadInputError
from warmprompt.meta.model import (
    Constants,
    Events,
    Params,
    query_loss,
    ridge_users,
    support_loss,
    with_text_part,
)
from warmprompt.meta.target import target_displacement


class Task(Protocol):
    """A batch of users as differentiable functions; all are pure in parameters and prompts."""

    @property
    def start_name(self) -> str:
        """The parameter that prompts start from."""

    @property
    def num_users(self) -> int:
        """B."""

    def rates(self, params: Params) -> Tensor:
        """Return one step size per inner step, (S, ...), broadcast over prompts."""

    def support_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the loss on each user's support events, (B,)."""

    def query_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the loss on each user's query events, (B,)."""

    def query_step_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the support loss taken on the query events, (B,): one more step of the same kind."""

    def closed_form_loss(self, params: Params) -> Tensor:
        """Return the query loss of user vectors solved for by ridge regression, (B,)."""


@runtime_checkable
class TargetTask(Task, Protocol):
    """A task whose events a network can read a target off (`meta.target`)."""

    def target_loss(self, params: Params) -> Callable[[Tensor], Tensor]:
        """Return the loss that maps prompts to their distance from the learned target, (B,)."""

    def target_query_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the query loss, (B,); its gradient moves user vectors as it moves the target."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Evidence(ABC):
    """Support and query of a batch, the dropout of this step, and the losses that both tasks share.

    Attributes:
        keep_BD: Factor of each coordinate of the user vectors in the query loss; None keeps all.
    """

    constants: Constants
    support: Events
    query: Events
    features_BT: Tensor
    keep_BD: Tensor | None = None

    @abstractmethod
    def users(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the user vectors, (B, D)."""

    def support_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """See `Task`."""
        return support_loss(params, self.constants, self.support, self.users(params, prompts))

    def query_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """See `Task`."""
        return self._query_loss(params, self.users(params, prompts))

    def query_step_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """See `Task`."""
        return support_loss(params, self.constants, self.query, self.users(params, prompts))

    def target_loss(self, params: Params) -> Callable[[Tensor], Tensor]:
        """See `TargetTask`; half the squared distance, 0 for users without events."""
        has_events_B = self.support.mask_BK.any(1)
        with torch.no_grad():
            moved_BD = target_displacement(params, self.constants, self.support)
            target_BD = prior_users(params, self.features_BT) + moved_BD
        return lambda prompts: self.distance(self.users(params, prompts) - target_BD) * has_events_B

    def distance(self, gap_BD: Tensor) -> Tensor:
        """Return what the inner loop makes small of the gap between user vectors and targets, (B,)."""
        return 0.5 * gap_BD.square().sum(1)

    def target_query_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """See `TargetTask`."""
        whole = with_text_part(params, self.constants)
        moved_BD = target_displacement(whole, self.constants, self.support)
        return self._query_loss(whole, self.users(params, prompts) + moved_BD - moved_BD.detach())

    def _query_loss(self, params: Params, users_BD: Tensor) -> Tensor:
        kept_BD = users_BD if self.keep_BD is None else users_BD * self.keep_BD
        return query_loss(params, self.constants, self.support, self.query, kept_BD)


@dataclass(frozen=True, kw_only=True, eq=False)
class TangentTask(_Evidence):
    """The user vector adapts itself; text is known by its features at the reference prompt."""

    @property
    def start_name(self) -> str:
        """The common start of user vectors."""
        return "prior.start"

    @property
    def num_users(self) -> int:
        """B."""
        return len(self.features_BT)

    def rates(self, params: Params) -> Tensor:
        """Return (S, 1)."""
        return params["inner.log_rates"].exp()[:, None]

    def users(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the user vectors, (B, D): where the start has moved, plus what the text says."""
        return prompts + text_prior(params, self.features_BT)

    def closed_form_loss(self, params: Params) -> Tensor:
        """See `Task`."""
        prior_BD = self.users(params, params["prior.start"].expand(self.num_users, -1))
        return self._query_loss(params, ridge_users(params, self.constants, self.support, prior_BD))


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptTask(_Evidence):
    """Prompts adapt through the language model.

    Attributes:
        backbone: The frozen model.
        read: The normalised read-out.
        prefix: The users' texts, read once.
        reference_BH: Hidden states of those texts at the reference prompt.
        metric_BDD: Per text, how gradients are turned to move user vectors straight (`TextMetric`), for
            learned targets; None leaves them as they are.
        turn: Does what the metric does, (B, D) to (B, D), where the metric itself is not measured.
    """

    backbone: Backbone
    read: ReadOut
    prefix: TextPrefix
    reference_BH: Tensor
    metric_BDD: Tensor | None = None
    turn: Callable[[Tensor], Tensor] | None = None

    @property
    def start_name(self) -> str:
        """The common start of prompts, as an offset from the reference."""
        return "prompt.start"

    @property
    def num_users(self) -> int:
        """B."""
        return self.prefix.num_users

    def rates(self, params: Params) -> Tensor:
        """Return (S, P, H): a rate per step times a rate per coordinate."""
        return params["inner.log_rates"].exp()[:, None, None] * params["prompt.log_rates"].exp()

    def users(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the user vectors, (B, D): one pass through the language model."""
        hidden_BH = read_out(self.backbone, self.prefix, prompts_at(self.read, prompts))
        moved_BD = displacement(self.read, hidden_BH, self.reference_BH)
        return prior_users(params, self.features_BT) + moved_BD

    def distance(self, gap_BD: Tensor) -> Tensor:
        """Half the squared length in the text's metric, so that a step of rate 1 about closes any gap."""
        if self.turn is not None:
            return (gap_BD * self.turn(gap_BD.detach())).sum(1)  # twice the value, the same gradient
        if self.metric_BDD is None:
            return super().distance(gap_BD)
        return 0.5 * torch.einsum("bd,bde,be->b", gap_BD, self.metric_BDD, gap_BD)

    def closed_form_loss(self, params: Params) -> Tensor:
        """See `Task`; the prior comes from a pass at the start."""
        prior_BD = self.users(params, start_of(self, params))
        return self._query_loss(params, ridge_users(params, self.constants, self.support, prior_BD))


def prior_users(params: Params, features_BT: Tensor) -> Tensor:
    """Return the user vectors before any prompt has moved, (B, D)."""
    return params["prior.start"] + text_prior(params, features_BT)


def text_prior(params: Params, features_BT: Tensor) -> Tensor:
    """Return what texts say about their users, (B, D).

    The head stays the ridge regression of users on texts: outer steps would fit it to the wordings of
    training, so no gradient reaches it.
    """
    return features_BT @ params["prior.text_head"].detach()


def start_of(task: Task, params: Params) -> Tensor:
    """Return the prompts that all users of the batch start from, (B, ...)."""
    start = params[task.start_name]
    return start.expand(task.num_users, *start.shape)


def inner_loss(task: Task, params: Params, *, adapts_by: str) -> Callable[[Tensor], Tensor]:
    """Return what the inner loop descends: the loss on support events (`gradient`), or to the `target`."""
    if adapts_by == "target":
        return targeted(task).target_loss(params)
    return lambda prompts: task.support_loss(params, prompts)


def targeted(task: Task) -> TargetTask:
    """Return the task as one that has targets.

    Raises:
        BadInputError: It has none.
    """
    if not isinstance(task, TargetTask):
        raise BadInputError(
            field="learner.name",
            value="learned-target",
            remedy="Choose another: this task has no item vectors.",
        )
    return task


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
