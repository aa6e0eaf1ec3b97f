"""Names of the baselines, how to build them, and where their settings are searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np

from warmprompt.baselines.blend import Blend
from warmprompt.baselines.content import ContentKNN, TfidfKNN
from warmprompt.baselines.ease import EASE
from warmprompt.baselines.expert import ExpertRanker
from warmprompt.baselines.hybrid import Hybrid
from warmprompt.baselines.ials import IALS
from warmprompt.baselines.lora import LoRA
from warmprompt.baselines.markov import MarkovChain
from warmprompt.baselines.melu import MeLU
from warmprompt.baselines.multvae import MultVAE
from warmprompt.baselines.neighbours import ItemKNN, UserKNN
from warmprompt.baselines.popular import TopPop, TopPopDemographic, TopPopRecent
from warmprompt.baselines.sasrec import SASRec
from warmprompt.baselines.set_encoder import SetEncoder
from warmprompt.baselines.text_ease import TextEASE
from warmprompt.data.episodes import Order
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.types import Ranker

Settings = Mapping[str, Any]

MEMBERS = {
    "ease-ials": ("ease", "ials"),
    "blend": ("userknn", "itemknn", "ease", "ials", "toppop"),
    "blend-tfidf": ("userknn", "itemknn", "ease", "ials", "toppop", "content-tfidf"),
    "blend-in-time": (
        *("toppop", "position-popularity", "transitions", "ordered-ridge", "session-knn"),
        *("userknn-in-time", "itemknn-in-time", "ease-in-time"),
    ),
}
"""The members of the blends, in the order of their weights."""

_EXPERTS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "position-popularity": (
        "position_popularity",
        {"pseudo_events": 300, "ahead": 0.9, "half_life_days": 0},
    ),
    "transitions": ("transitions", {"shrinkage": 30, "ahead": 0.9, "decay": 0.7, "half_life_days": 0}),
    "ordered-ridge": ("ordered_ridge", {"l2": 200, "ahead": 0.9, "decay": 0.8, "half_life_days": 0}),
    "session-knn": ("session_neighbours", {"num_neighbours": 100, "decay": 0.85, "half_life_days": 0}),
}
"""Experts of order that are baselines, and their settings."""


def _blend(label: str, members: Mapping[str, Settings] | None = None, num_draws: int = 60) -> Blend:
    """Build a blend; `members` gives settings to members by name, the others keep their defaults."""
    given = members or {}
    for name in given:
        if name not in MEMBERS[label]:
            raise UnknownNameError(
                field=f"{label} member", value=name, remedy=f"Choose one of {', '.join(MEMBERS[label])}."
            )
    built = tuple(baseline(name, **given.get(name, {})) for name in MEMBERS[label])
    order: Order = "time" if label.endswith("in-time") else "random"
    return Blend(members=built, label=label, num_draws=num_draws, order=order)


def _of_expert(name: str, **settings: float) -> ExpertRanker:
    expert, defaults = _EXPERTS[name]
    return ExpertRanker(name=name, expert_name=expert, settings={**defaults, **settings})


BASELINES: Mapping[str, Callable[..., Ranker]] = {
    "toppop": TopPop,
    "toppop-recent": TopPopRecent,
    "toppop-demographic": TopPopDemographic,
    "itemknn": ItemKNN,
    "userknn": UserKNN,
    "ease": EASE,
    "ease-text": TextEASE,
    "ials": IALS,
    "ease-ials": partial(_blend, "ease-ials"),
    "blend": partial(_blend, "blend"),
    "blend-tfidf": partial(_blend, "blend-tfidf"),
    "position-popularity": partial(_of_expert, "position-popularity"),
    "transitions": partial(_of_expert, "transitions"),
    "ordered-ridge": partial(_of_expert, "ordered-ridge"),
    "session-knn": partial(_of_expert, "session-knn"),
    "userknn-in-time": partial(UserKNN, decay=0.8),
    "itemknn-in-time": partial(ItemKNN, decay=0.8),
    "ease-in-time": partial(EASE, decay=0.8),
    "blend-in-time": partial(_blend, "blend-in-time"),
    "content-tfidf": TfidfKNN,
    "content-vectors": ContentKNN,
    "markov": MarkovChain,
    "multvae": MultVAE,
    "lightfm": Hybrid,
    "sasrec": SASRec,
    "melu": MeLU,
    "set-encoder": SetEncoder,
    "lora": LoRA,
}

_DECAYS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
_HALF_LIVES = (0, 30, 60, 120, 240, 480)

_SPACES: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "toppop": {},
    "toppop-recent": {"days": (7, 14, 21, 30, 45, 60, 90, 120, 180), "first": (0, 10, 20, 50)},
    "toppop-demographic": {
        "smoothing": (30, 100, 300, 1000, 3000, 10_000),
        "weight": (0.3, 0.5, 0.7, 1.0),
        "joint": (0, 300, 1000, 3000, 10_000, 30_000, 100_000),
    },
    "itemknn": {
        "num_neighbours": (20, 50, 100, 200, 500, 2000),
        "shrinkage": (0, 5, 10, 20, 50, 100, 200),
    },
    "userknn": {
        "num_neighbours": (10, 15, 25, 50, 100, 200),
        "damping": (0.0, 0.25, 0.5),
        "sharpness": (0.5, 1.0, 2.0, 4.0),
    },
    "ease": {
        "l2": (
            *(10, 20, 50, 100, 150, 200, 250, 300, 400, 500, 600, 800),
            *(1000, 1500, 2000, 2500, 3000, 4000, 5000, 6000, 8000, 10_000, 15_000, 20_000, 30_000, 50_000),
        )
    },
    "ease-text": {
        "l2": (10, 30, 100, 200, 300, 500, 1000, 3000),
        "text_l2": (0.3, 1.0, 3.0, 10.0, 30.0),
        "tie": (10, 30, 100, 300, 1000, 3000),
    },
    "ials": {
        "num_factors": (4, 8, 16, 32, 64, 128, 256, 512),
        "regularization": (3, 10, 20, 30, 60, 100, 200, 300),
        "alpha": (1.5, 2, 3, 5, 10, 20, 40, 80),
    },
    # The blends search their weights inside `fit`, on validation users; their members are tuned alone.
    "ease-ials": {},
    "blend": {},
    "blend-tfidf": {},
    "position-popularity": {
        "pseudo_events": (30, 100, 300, 1000, 3000),
        "ahead": (0.3, 0.5, 0.7, 0.8, 0.9, 1.0),
        "half_life_days": _HALF_LIVES,
    },
    "transitions": {
        "shrinkage": (3, 10, 30, 100, 300),
        "ahead": (0.3, 0.5, 0.7, 0.8, 0.9, 1.0),
        "decay": _DECAYS,
        "half_life_days": _HALF_LIVES,
    },
    "ordered-ridge": {
        "l2": (10, 30, 100, 200, 300, 1000, 3000),
        "ahead": (0.3, 0.5, 0.7, 0.8, 0.9, 1.0),
        "decay": _DECAYS,
        "half_life_days": _HALF_LIVES,
    },
    "session-knn": {
        "num_neighbours": (25, 50, 100, 200, 400),
        "decay": _DECAYS,
        "half_life_days": _HALF_LIVES,
    },
    "blend-in-time": {},
    "content-tfidf": {
        "sharpness": (0.5, 1.0, 2.0, 4.0),
        "popularity": (0.0, 0.03, 0.1, 0.3, 1.0, 3.0),
        "max_words": (1, 2),
    },
    "content-vectors": {
        "sharpness": (0.5, 1.0, 2.0, 4.0, 8.0),
        "popularity": (0.0, 0.03, 0.1, 0.3, 1.0, 3.0),
    },
    "markov": {
        "smoothing": (1, 3, 10, 30, 100, 300, 1000),
        "window": (1, 2, 3, 5, 10),
    },
    "multvae": {
        "num_hidden": (200, 300, 600),
        "num_latent": (50, 100, 200),
        "beta": (0.0, 0.1, 0.2, 0.5),
        "dropout": (0.5, 0.7, 0.8, 0.9, 0.95),
        "rate": (3e-4, 1e-3, 3e-3),
    },
    "lightfm": {
        "width": (16, 32, 64, 128),
        "own_l2": (1.0, 3.0, 10.0, 30.0, 100.0),
        "rate": (3e-3, 1e-2, 3e-2),
    },
    "sasrec": {
        "width": (32, 64, 128),
        "num_blocks": (1, 2),
        "dropout": (0.1, 0.2, 0.4),
        "rate": (5e-4, 1e-3, 2e-3),
        "num_negatives": (256, 512, 1024),
        "from_start": (0.0, 0.5, 1.0),
    },
    "melu": {
        "width": (16, 32, 64),
        "layer_width": (32, 64),
        "num_steps": (0, 1, 3, 5),
        "inner_rate": (0.01, 0.03, 0.1, 0.3),
        "rate": (1e-3, 3e-3, 1e-2),
    },
    "set-encoder": {
        "num_factors": (16, 32, 64, 128, 256),
        "regularization": (10, 30, 60, 100, 200),
        "alpha": (3, 5, 10, 20, 40),
        "rate": (3e-4, 1e-3, 3e-3),
        "vector_rate": (1e-4, 3e-4, 1e-3),
        "dropout": (0.1, 0.3, 0.5),
        "use_ratings": (0, 1),
    },
    "lora": {
        "rank": (4, 8, 16),
        "rate": (3e-4, 1e-3, 3e-3),
        "vector_rate": (1e-4, 3e-4, 1e-3),
        "dropout": (0.0, 0.1, 0.3),
        "item_vectors": (0, 1),
        "num_factors": (32, 64, 128),
        "regularization": (30, 60, 100, 200),
        "alpha": (3, 5, 10, 20),
    },
}
SEARCH_SPACES: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    **_SPACES,
    **{f"{name}-in-time": {**_SPACES[name], "decay": _DECAYS} for name in ("itemknn", "userknn", "ease")},
}
"""Values tried per setting, in rising order; every combination is a possible trial.

`tuning.tune` draws trials from these by TPE. The defaults of the first six are the best of smaller full
grids on the 94 validation users of MovieLens-100K, split seed 0, protocol `random`, by mean NDCG@10 over
K = 1, 3, 5, 10, 20 (`toppop-demographic`: at K = 0, with attributes). The defaults of the others are
starting points. Settings found on other data are in `tuned.TUNED`.
"""

_COSTS = ("num_epochs", "num_iterations", "num_models", "num_draws")
"""Settings that buy accuracy with time: they may be given, and are not searched."""


_EXTRAS = {"content-vectors": ("vectors_VX",), "lora": ("backbone", "num_layers")}
"""Further settings that may be given."""


def baseline(name: str, **settings: Any) -> Callable[[], Ranker]:
    """Return a factory of the named baseline; settings left out keep their defaults.

    All settings are numbers, but for `vectors_VX` of content-vectors (one text vector per item), `members`
    of the blends (member name to its settings) and `backbone` of lora (a model's name).

    Raises:
        UnknownNameError: No baseline of that name, or no such setting.
        BadInputError: A setting of the wrong type.
    """
    if name not in BASELINES:
        near = get_close_matches(str(name), BASELINES, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise UnknownNameError(
            field="baseline", value=name, remedy=f"{hint}Choose one of {', '.join(BASELINES)}."
        )
    known = _known(name)
    for setting, value in settings.items():
        if setting not in known:
            shown = ", ".join(known) or "nothing; it has no settings"
            raise UnknownNameError(field=f"{name} setting", value=setting, remedy=f"Choose one of {shown}.")
        _check_type(name, setting, value)
    return partial(BASELINES[name], **settings)


def at_budget(name: str, share: float, **settings: Any) -> Callable[[], Ranker]:
    """Return a factory like `baseline` that trains for this share of its epochs, at least 1.

    For successive halving: baselines without epochs are the same at every share.

    Raises:
        UnknownNameError, BadInputError: As `baseline`.
    """
    build = baseline(name, **settings)
    epochs = getattr(build(), "num_epochs", None)
    if epochs is None:
        return build
    return baseline(name, **{**settings, "num_epochs": max(1, round(share * epochs))})


def _known(name: str) -> tuple[str, ...]:
    if name in MEMBERS:
        return ("members", "num_draws")
    built = BASELINES[name]
    own = {field.name for field in fields(built)} if isinstance(built, type) else set()
    costs = (setting for setting in _COSTS if setting in own)
    return (*SEARCH_SPACES[name], *costs, *_EXTRAS.get(name, ()))


def _check_type(name: str, setting: str, value: object) -> None:
    field = f"{name} {setting}"
    if setting == "vectors_VX":
        if not isinstance(value, np.ndarray):
            raise BadInputError(field=field, value=value, remedy="Give an array, one row per item.")
    elif setting == "members":
        if not isinstance(value, Mapping):
            raise BadInputError(field=field, value=value, remedy="Give settings by the member's name.")
    elif setting == "backbone":
        if not isinstance(value, str):
            raise BadInputError(field=field, value=value, remedy="Name a language model.")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInputError(field=field, value=value, remedy="Give a number.")
