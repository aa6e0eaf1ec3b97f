"""Settings that suit a learner, and presets that suit how dense a data set is.

Both override the tree's own defaults and yield to a settings file, a variable or a flag. They were
found on validation users; docs/results/presets.md and the log have the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Values = Mapping[str, object]
"""Settings by dotted name."""

_BY_GRADIENT: Values = {
    "inner.num_steps": 2,
    "inner.rate": 0.8,
    "model.reach": 0.005,
    "train.max_query": 10,
    "train.prompt_epochs": 2,
    "train.batch_size": 32,
}

LEARNERS: Mapping[str, Values] = dict.fromkeys(
    ("reptile", "fomaml", "maml", "meta-sgd", "multitask", "closed-form"), _BY_GRADIENT
)
"""Learner to settings; the tree's own defaults are those of the default learner."""

PRESETS: Mapping[str, Values] = {
    "default": {},
    # A dozen events per user: vectors of 128 factors from weakly regularised factors, and a slow outer rate.
    "sparse": {
        "model.num_factors": 128,
        "model.factor_regularization": 10.0,
        "model.factor_alpha": 20.0,
        "train.batch_size": 256,
        "train.tangent_lr": 0.002,
        "experts.similar_item_weight": 0.1,
        "experts.kappa": 2.0,
    },
    # Long histories of few people; words of titles say nothing that the events do not.
    "dense-small": {"experts.use": ("most_popular", "user_neighbours")},
    # A hundred events per user, and items with hundreds.
    "dense": {
        "model.num_factors": 128,
        "model.factor_regularization": 100.0,
        "train.batch_size": 256,
        "train.patience": 5,
        "experts.use": ("most_popular", "user_neighbours", "user_posterior"),
    },
}
"""Preset to settings."""

# Where presets were measured: all of them for the default learner, one for training without meta-learning.
_MEASURED: Mapping[str, frozenset[str]] = {
    "learned-target": frozenset(PRESETS),
    "multitask": frozenset({"dense"}),
}

_SHORT_HISTORY = 20.0
"""Median events per user below which a data set is sparse, as the evaluation protocol calls it short."""
_MANY_EVENTS = 500_000
"""Events from which on 128 factors are learned well; between MovieLens-100K and 1M nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class Density:
    """How much a data set holds of each user and item.

    Attributes:
        num_users: Users with an event.
        num_items: Items with an event.
        num_events: Events.
        median_per_user: Median number of events of those users.
    """

    num_users: int
    num_items: int
    num_events: int
    median_per_user: float

    @property
    def per_item(self) -> float:
        """Mean number of events of an item that has any."""
        return self.num_events / max(1, self.num_items)


def preset_for(density: Density, *, learner: str) -> str:
    """Return the name of the preset that suits a data set, by its density alone.

    Sparse below a median of 20 events per user. Otherwise dense from 500,000 events on, and dense-small
    below. A learner with which that preset was not measured keeps the default.
    """
    if density.median_per_user < _SHORT_HISTORY:
        name = "sparse"
    else:
        name = "dense" if density.num_events >= _MANY_EVENTS else "dense-small"
    return as_measured(name, learner=learner)


def as_measured(name: str, *, learner: str) -> str:
    """Return the preset's name where it was measured with the learner, else "default"."""
    return name if name in _MEASURED.get(learner, ()) else "default"
