"""Names of the baselines, how to build them, and where their settings are searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from warmprompt.baselines.ease import EASE
from warmprompt.baselines.ials import IALS
from warmprompt.baselines.neighbours import ItemKNN, UserKNN
from warmprompt.baselines.popular import TopPop, TopPopDemographic
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.types import Ranker

BASELINES: Mapping[str, Callable[..., Ranker]] = {
    "toppop": TopPop,
    "toppop-demographic": TopPopDemographic,
    "itemknn": ItemKNN,
    "userknn": UserKNN,
    "ease": EASE,
    "ials": IALS,
}

SEARCH_SPACES: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "toppop": {},
    "toppop-demographic": {
        "smoothing": (30, 100, 300, 1000, 3000, 10_000),
        "weight": (0.3, 0.5, 0.7, 1.0),
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
            *(1000, 1500, 2000, 2500, 3000, 4000, 5000, 6000, 8000, 10_000),
        )
    },
    "ials": {
        "num_factors": (4, 8, 16, 32, 64),
        "regularization": (3, 10, 30, 100),
        "alpha": (1.5, 2, 3, 5, 10),
    },
}
"""Values tried per setting; every combination is one trial.

The defaults are each grid's best on the 94 validation users of MovieLens-100K, split seed 0, protocol
`random`, by mean NDCG@10 over K = 1, 3, 5, 10, 20 (`toppop-demographic`: at K = 0, with attributes):

    toppop-demographic   24 trials   .076 (popularity alone .067)
    itemknn              42 trials   .109
    userknn              72 trials   .110
    ease                 22 trials   .109
    ials                100 trials   .112

With so few users, differences of .002 between neighbours in a grid are noise. Other data wants its own
search.
"""


def baseline(name: str, **settings: Any) -> Callable[[], Ranker]:
    """Return a factory of the named baseline; settings left out keep their defaults.

    Raises:
        UnknownNameError: No baseline of that name, or no such setting.
    """
    if name not in BASELINES:
        near = get_close_matches(str(name), BASELINES, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise UnknownNameError(
            field="baseline", value=name, remedy=f"{hint}Choose one of {', '.join(BASELINES)}."
        )
    known = (*SEARCH_SPACES[name], *(("num_iterations",) if name == "ials" else ()))
    for setting, value in settings.items():
        if setting not in known:
            shown = ", ".join(known) or "nothing; it has no settings"
            raise UnknownNameError(field=f"{name} setting", value=setting, remedy=f"Choose one of {shown}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadInputError(field=f"{name} {setting}", value=value, remedy="Give a number.")
    return partial(BASELINES[name], **settings)
