"""Open a trained run for use."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from warmprompt.adaptation.engine import Engine, make_engine
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.text_cache import TextCache
from warmprompt.adaptation.titles import title_index
from warmprompt.backbone.threads import use_threads
from warmprompt.meta.learner import Learner
from warmprompt.runs.format import Trained, load_trained
from warmprompt.runs.models import settings_of


def open_run(folder: Path | str, *, clock: Callable[[], float] = time.time) -> Personaliser:
    """Load a trained run; its language model is loaded when something first needs it.

    Args:
        folder: That `train_run` wrote.
        clock: Returns the present, seconds since 1970; events cannot be later.

    Raises:
        UnknownNameError: There is no run, or its training has not finished.
        IntegrityError: A file is damaged.
        MismatchError: The backbone is not the one that the run was trained with.
    """
    trained = load_trained(Path(folder))
    device = settings_of(trained).backbone.device
    if device != "cpu":
        trained = load_trained(Path(folder), device=device)
    return open_trained(trained, clock=clock)


def open_trained(trained: Trained, *, clock: Callable[[], float] = time.time) -> Personaliser:
    """Return a trained model for use; arguments and errors as `open_run`."""
    use_threads(settings_of(trained).train.threads)
    return make_personaliser(open_engine(trained), clock=clock)


def open_engine(trained: Trained, *, learner: Learner | None = None) -> Engine:
    """Make a trained model ready to adapt and to score.

    Args:
        trained: From `load_trained`, on the device that its settings name.
        learner: None adapts as the run's own learner does.

    Raises:
        MismatchError: A frozen model is not the one that the run was trained with.
    """
    return make_engine(trained, learner=learner)


# The words that hashes of models were made from before: states stored with them stay valid.
_HASHED_AS = {"learned-target": "target", "closed-form": "ridge", "unadapted": "nothing"}


def make_personaliser(engine: Engine, *, clock: Callable[[], float] = time.time) -> Personaliser:
    """Return a personaliser over an engine whose run lies on the disk."""
    trained = engine.trained
    kind = _HASHED_AS.get(engine.learner.name, "gradient")
    parts = (*sorted(trained.manifest["files"].items()), engine.models.weights_hash, kind)
    return Personaliser(
        engine=engine,
        model_hash=hashlib.sha256(repr(parts).encode()).hexdigest(),
        index={item: index for index, item in enumerate(trained.item_ids)},
        lookup=title_index(trained.titles, trained.data.log_popularity_V.cpu().numpy()),
        texts=TextCache(),
        clock=clock,
    )
