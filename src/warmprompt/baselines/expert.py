"""Any expert of order as a baseline: fitted alone, its scores as they are.

V is items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch

from warmprompt.baselines.common import (
    break_ties,
    check_positive,
    distinct,
    fitted,
    popularity_share,
)
from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError
from warmprompt.experts.position import PositionPopularity
from warmprompt.experts.protocol import Expert, FitContext, UserBatch
from warmprompt.experts.registry import EXPERTS
from warmprompt.types import Floats, Support

_DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpertRanker:
    """Rank by one expert of order; ties, and users without events, by popularity at the user's position.

    Events are read in the order given: a support's items come oldest first.

    Args:
        name: The row label in tables.
        expert_name: One of `experts.registry.ORDERED`.
        settings: Of the expert's `fit`, and `half_life_days`, 0 for none: the age at which training events
            count half.
    """

    num_parameters: ClassVar[int] = 0

    name: str
    expert_name: str
    settings: Mapping[str, float] = field(default_factory=dict)
    expert: Expert | None = None
    position: Expert | None = None
    share_V: Floats | None = None

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> ExpertRanker:
        """Fit the expert; `validation` is not needed.

        Raises:
            BadInputError: A setting is out of range, or no training user has two events.
        """
        del validation
        given = dict(self.settings)
        days = given.pop("half_life_days", 0)
        check_positive(**given)
        if days < 0:
            raise BadInputError(field="half_life_days", value=days, remedy="Give 0 or more.")
        nothing = np.zeros((training.num_items, 1), dtype=np.float32)
        context = FitContext(
            texts=None,
            text_VX=nothing,
            catalogue_VD=nothing,
            popularity_V=nothing[:, 0],
            user_vectors=lambda users: np.zeros((users.num_users, 1), dtype=np.float32),
            half_life_s=days * _DAY_S or None,
            seed=seed,
        )
        whole = {"num_neighbours"} & set(given)
        given |= {name: int(given[name]) for name in whole}
        expert = EXPERTS[self.expert_name].fit(training, context, **given)
        position = PositionPopularity.fit(training, context)
        if expert is None or position is None:
            raise BadInputError(
                field="training events", value=len(training.interactions), remedy="Give users of two or more."
            )
        return replace(self, expert=expert, position=position, share_V=popularity_share(training))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the expert's scores, (B, V)."""
        expert, position = fitted(self.expert, self.name), fitted(self.position, self.name)
        ordered = [replace(distinct(support, ordered=True), ordered=True) for support in supports]
        users = UserBatch(supports=ordered, vectors_BD=torch.zeros(len(ordered), 1))
        scores_BV, ties_BV = expert.score(users), position.score(users)
        largest_B1 = np.abs(scores_BV).max(axis=1, keepdims=True, initial=0)
        smallest_B1 = np.where(largest_B1 > 0, largest_B1 * np.float32(1e-5), 1)
        return break_ties(
            (scores_BV + smallest_B1 * ties_BV).astype(np.float32), fitted(self.share_V, self.name)
        )
