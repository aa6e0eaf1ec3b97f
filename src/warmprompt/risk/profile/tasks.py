"""A batch of entities as the meta-learners see it: `warmprompt.meta.task.Task` for risk.

`RiskTangentTask` adapts the entity's vector itself, `RiskPromptTask` the soft prompt through the frozen
language model; where the read-out is linear the two agree to first order, as for recommendation.

B is entities, D factors, T text features, P prompt vectors, H hidden width, S inner steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from warmprompt.backbone.forward import TextPrefix, read_out
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import ReadOut, displacement, prompts_at
from warmprompt.errors import BadInputError
from warmprompt.meta.task import prior_users
from warmprompt.risk.profile.model import Evidence, Params, Scaling, query_loss, support_loss


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    scaling: Scaling
    support: Evidence
    query: Evidence
    features_BT: Tensor

    @property
    def num_users(self) -> int:
        """B."""
        return len(self.features_BT)

    def closed_form_loss(self, params: Params) -> Tensor:  # noqa: ARG002 - the protocol's argument
        """Raise: a log-likelihood of labels has no closed form."""
        raise BadInputError(field="learner", value="closed-form", remedy="Choose one that takes steps.")


@dataclass(frozen=True, kw_only=True, eq=False)
class RiskTangentTask(_Batch):
    """The entity's vector adapts itself; no language model runs."""

    @property
    def start_name(self) -> str:
        """The common start of entity vectors."""
        return "prior.start"

    def rates(self, params: Params) -> Tensor:
        """Return (S, 1)."""
        return params["inner.log_rates"].exp()[:, None]

    def users(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the entity vectors, (B, D)."""
        return prompts + self.features_BT @ params["prior.text_head"]

    def support_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the loss on the support, (B,)."""
        return support_loss(params, self.scaling, self.support, self.users(params, prompts))

    def query_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the loss on the query, (B,)."""
        return query_loss(params, self.scaling, self.query, self.users(params, prompts))

    def query_step_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the support loss taken on the query payments, (B,)."""
        return support_loss(params, self.scaling, self.query, self.users(params, prompts))


@dataclass(frozen=True, kw_only=True, eq=False)
class RiskPromptTask(_Batch):
    """The soft prompt adapts through the language model.

    Attributes:
        backbone: The frozen model.
        read: The normalised read-out.
        prefix: The entities' texts, read once.
        reference_BH: Hidden states of those texts at the reference prompt.
    """

    backbone: Backbone
    read: ReadOut
    prefix: TextPrefix
    reference_BH: Tensor

    @property
    def start_name(self) -> str:
        """The common start of prompts, as an offset from the reference."""
        return "prompt.start"

    def rates(self, params: Params) -> Tensor:
        """Return (S, P, H)."""
        return params["inner.log_rates"].exp()[:, None, None] * params["prompt.log_rates"].exp()

    def users(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the entity vectors, (B, D): one pass through the language model."""
        hidden_BH = read_out(self.backbone, self.prefix, prompts_at(self.read, prompts))
        moved_BD = displacement(self.read, hidden_BH, self.reference_BH)
        return prior_users(params, self.features_BT) + moved_BD

    def support_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the loss on the support, (B,)."""
        return support_loss(params, self.scaling, self.support, self.users(params, prompts))

    def query_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the loss on the query, (B,)."""
        return query_loss(params, self.scaling, self.query, self.users(params, prompts))

    def query_step_loss(self, params: Params, prompts: Tensor) -> Tensor:
        """Return the support loss taken on the query payments, (B,)."""
        return support_loss(params, self.scaling, self.query, self.users(params, prompts))
