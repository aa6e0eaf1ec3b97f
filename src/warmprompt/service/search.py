"""Search for items by title."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from warmprompt.adaptation.selection import filter_mask
from warmprompt.data.attributes import Filter
from warmprompt.service.model.served_model import ServedModel

_ALIKE = 60.0
_YEAR = re.compile(r"\s*\(\d{4}\)\s*$")


def found_items(
    model: ServedModel,
    words: str,
    n: int,
    *,
    filter: Filter | None = None,  # noqa: A002 - the usual word
    hidden: bool = False,
) -> dict[str, Any]:
    """Return items whose title contains the words, then those with a similar title; the most popular first.

    Items without a title are found by their id.

    Args:
        model: In service.
        words: The search text; white space alone lists the most popular items.
        n: Items at most.
        filter: Only items with these attributes; see `data.attributes`.
        hidden: Only hidden items. Without it hidden ones are found by words, and not among the most popular.

    Raises:
        UnknownNameError, BadInputError: An invalid filter.
    """
    view = model.personaliser
    passes = np.ones(model.num_items, dtype=np.bool_)
    if filter:
        passes &= filter_mask(filter, view.engine.trained.attributes)
    hidden_indices = [view.index[item] for item in view.hidden]
    if hidden:
        passes &= np.isin(np.arange(model.num_items), hidden_indices)
    elif not words.strip():
        passes[hidden_indices] = False
    found = [item for item in _ordered(model, words, n, passes) if passes[item]]
    return _result(model, found[:n])


def _ordered(model: ServedModel, words: str, n: int, passes: NDArray[np.bool_]) -> list[int]:
    """Return the items that words may mean, best first: enough that `n` of those that pass are among them."""
    wanted = " ".join(words.lower().split())
    popularity_V = model.personaliser.engine.popularity_V.cpu().numpy()
    order: list[int] = np.argsort(-popularity_V, kind="stable").tolist()
    if not wanted:
        return order
    trained = model.personaliser.engine.trained
    named = zip(trained.item_ids, trained.titles, strict=True)
    whole = [(title or str(item)).lower() for item, title in named]
    holding = [item for item in order if wanted in whole[item]]
    holding.sort(key=lambda item: not whole[item].startswith(wanted))
    near = process.extract(
        _YEAR.sub("", wanted),
        model.personaliser.lookup.keys,
        scorer=fuzz.WRatio,
        limit=n if passes.all() else None,
        score_cutoff=_ALIKE,
    )
    return list(dict.fromkeys([*holding, *(item for _, _, item in near)]))


def _result(model: ServedModel, items: list[int]) -> dict[str, Any]:
    popularity_V = model.personaliser.engine.popularity_V
    trained = model.personaliser.engine.trained
    ids, titles, attributes = trained.item_ids, trained.titles, trained.attributes
    return {
        "items": [
            {
                "item": ids[item],
                "title": titles[item],
                "popularity": round(float(popularity_V[item]), 6),
                "added": item >= model.num_trained,
                "hidden": ids[item] in model.personaliser.hidden,
            }
            for item in items
        ],
        "total": len(ids),
        "rating_scale": model.personaliser.rating_scale,
        "attributes": [] if attributes is None else list(attributes.names),
    }
