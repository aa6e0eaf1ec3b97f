"""From an engine to a model in use."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from warmprompt.adaptation.engine import Engine
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.text_cache import TextCache
from warmprompt.adaptation.titles import title_index

# The words that hashes of models were made from before: states stored with them stay valid.
_HASHED_AS = {"learned-target": "target", "closed-form": "ridge", "unadapted": "nothing"}


def make_personaliser(engine: Engine, *, clock: Callable[[], float] = time.time) -> Personaliser:
    """Return a personaliser over an engine whose run lies on the disk."""
    trained = engine.trained
    kind = _HASHED_AS.get(engine.learner.name, "gradient")
    parts = (*sorted(trained.manifest["files"].items()), engine.backbone.weights_hash, kind)
    return Personaliser(
        engine=engine,
        model_hash=hashlib.sha256(repr(parts).encode()).hexdigest(),
        index={item: place for place, item in enumerate(trained.item_ids)},
        lookup=title_index(trained.titles, trained.constants.log_popularity_V.cpu().numpy()),
        texts=TextCache(),
        clock=clock,
    )
