"""The risk of payments as the objective that meta-learners adapt to. B is entities, D factors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from warmprompt.errors import BadInputError
from warmprompt.meta.adapters import Adapter, by_steps
from warmprompt.meta.learner import Learner
from warmprompt.meta.learners import learner_of
from warmprompt.meta.objectives import CatalogueLikelihood
from warmprompt.risk.profile.model import PaymentBatch, RiskModel, query_loss, support_loss


@dataclass(frozen=True, kw_only=True, eq=False)
class RiskLikelihood:
    """The likelihood of an entity's payments and of their labels."""

    support: PaymentBatch
    query: PaymentBatch

    def inner_loss(
        self, model: RiskModel, adapter: Adapter, *, on_query: bool = False
    ) -> Callable[[Tensor], Tensor]:
        """Return the loss of `risk.profile.model.support_loss`."""
        evidence = self.query if on_query else self.support
        return lambda moved: support_loss(model.params, model.scaling, evidence, adapter.users(model, moved))

    def query_loss(self, model: RiskModel, users_BD: Tensor) -> Tensor:
        """Return the mean cross-entropy of each entity's query payments, nats."""
        return query_loss(model.params, model.scaling, self.query, users_BD)


def risk_learner(name: str) -> Learner:
    """Return the learner of this name.

    Raises:
        UnknownNameError: No such learner.
        BadInputError: It does not take steps down a likelihood, which is all that payments have.
    """
    learner = learner_of(name)
    if learner.objective is not CatalogueLikelihood or learner.adapter is not by_steps:
        raise BadInputError(
            field="learner.name", value=name, remedy="Choose one that takes steps down a likelihood."
        )
    return learner
