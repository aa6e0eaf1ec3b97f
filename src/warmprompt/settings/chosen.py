"""Settings found on validation users, per learner and data set: what holds where nobody says otherwise.

They stand between the tree's own defaults and the settings file. `docs/LOG.md` and docs/results tell how they
were found. Data sets that are not named take what suits their learner.
"""

from __future__ import annotations

from collections.abc import Mapping

Chosen = Mapping[str, object]

_BY_HAND: Chosen = {
    "inner.num_steps": 2,
    "inner.rate": 0.8,
    "model.reach": 0.005,
    "train.max_query": 10,
    "train.prompt_epochs": 2,
    "train.batch_size": 32,
}

# A dozen events per user: vectors of 128 factors from weakly regularised factors, and a slow outer rate.
_SPARSE: Chosen = {
    "model.num_factors": 128,
    "model.factor_regularization": 10.0,
    "model.factor_alpha": 20.0,
    "train.batch_size": 256,
    "train.tangent_lr": 0.002,
    "model.alike_share": 0.1,
    "model.memory_kappa": 2.0,
}

LEARNERS: Mapping[str, Chosen] = dict.fromkeys(
    ("reptile", "fomaml", "maml", "meta-sgd", "multitask", "closed-form"), _BY_HAND
)
"""Learner to settings by dotted name; the tree's own defaults are those of the default learner."""

# A hundred events per user, and items with hundreds.
_DENSE: Chosen = {
    "model.num_factors": 128,
    "model.factor_regularization": 100.0,
    "train.batch_size": 256,
    "train.patience": 5,
    "model.words_weight": 0.0,
    "model.posterior_weight": None,
}

DATA: Mapping[tuple[str, str], Chosen] = {
    ("learned-target", "ml-1m"): _DENSE,
    # Found for the default learner; nothing else was tried for this one there.
    ("multitask", "ml-1m"): _DENSE,
    ("learned-target", "ml-100k"): {"model.words_weight": 0.0},
    ("learned-target", "amazon-beauty-2014"): _SPARSE,
    ("learned-target", "amazon-video-games-2018"): _SPARSE,
}
"""(learner, data set) to settings, over those of the learner."""


def chosen_settings(*, learner: object, data: object) -> dict[str, object]:
    """Return the settings chosen for a learner on a data set, by dotted name."""
    return {**LEARNERS.get(str(learner), {}), **DATA.get((str(learner), str(data)), {})}
