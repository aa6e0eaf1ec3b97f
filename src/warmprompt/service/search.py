"""Looking items up by what a person types."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from rapidfuzz import fuzz, process

from warmprompt.service.model.live import Model

_ALIKE = 60.0
_YEAR = re.compile(r"\s*\(\d{4}\)\s*$")


def found_items(model: Model, words: str, n: int) -> dict[str, Any]:
    """Return items whose title holds the words, then those with a similar title; the most popular first.

    Items without a title are found by their id.

    Args:
        model: In service.
        words: What was typed; nothing but white space lists the most popular items.
        n: Items at most.
    """
    wanted = " ".join(words.lower().split())
    titles = model.personaliser.lookup.keys if wanted else ()
    popularity_V = model.personaliser.engine.popularity_V.cpu().numpy()
    order = np.argsort(-popularity_V, kind="stable").tolist()
    if not wanted:
        return _told(model, order[:n])
    trained = model.personaliser.engine.trained
    named = zip(trained.item_ids, trained.titles, strict=True)
    whole = [(title or str(item)).lower() for item, title in named]
    holding = [item for item in order if wanted in whole[item]]
    holding.sort(key=lambda item: not whole[item].startswith(wanted))
    bare = _YEAR.sub("", wanted)
    near = process.extract(bare, titles, scorer=fuzz.WRatio, limit=n, score_cutoff=_ALIKE)
    return _told(model, list(dict.fromkeys([*holding, *(item for _, _, item in near)]))[:n])


def _told(model: Model, items: list[int]) -> dict[str, Any]:
    popularity_V = model.personaliser.engine.popularity_V
    ids, titles = model.personaliser.items, model.personaliser.engine.trained.titles
    return {
        "items": [
            {
                "item": ids[item],
                "title": titles[item],
                "popularity": round(float(popularity_V[item]), 6),
                "added": item >= model.num_trained,
            }
            for item in items
        ],
        "total": len(ids),
        "rating_scale": model.personaliser.rating_scale,
    }
