"""From an engine to a model in use."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from warmprompt.adaptation.engine import Engine
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.text_cache import TextCache
from warmprompt.adaptation.titles import title_index


def make_personaliser(engine: Engine, *, clock: Callable[[], float] = time.time) -> Personaliser:
    """Return a personaliser over an engine whose run lies on the disk."""
    trained = engine.trained
    parts = (*sorted(trained.manifest["files"].items()), engine.backbone.weights_hash, engine.adapts_by)
    return Personaliser(
        engine=engine,
        model_hash=hashlib.sha256(repr(parts).encode()).hexdigest(),
        index={item: place for place, item in enumerate(trained.item_ids)},
        lookup=title_index(trained.titles, trained.constants.log_popularity_V.cpu().numpy()),
        texts=TextCache(),
        clock=clock,
    )
