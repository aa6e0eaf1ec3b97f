"""Open a trained run for use."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from warmprompt.adaptation.engine import Engine, make_engine
from warmprompt.adaptation.opening import make_personaliser
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.assembly.building import open_backbone, open_encoder
from warmprompt.assembly.training import settings_of
from warmprompt.backbone.threads import use_threads
from warmprompt.meta.checkpoint import Trained, load_trained
from warmprompt.meta.learner import Learner


def open_run(folder: Path | str, *, clock: Callable[[], float] = time.time) -> Personaliser:
    """Load a trained run and its backbone.

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
    """Return a trained model for use, its backbone loaded; arguments and errors as `open_run`."""
    use_threads(settings_of(trained).train.threads)
    return make_personaliser(open_engine(trained), clock=clock)


def open_engine(trained: Trained, *, learner: Learner | None = None) -> Engine:
    """Load the frozen models that a run was trained with, and put all together.

    Args:
        trained: From `load_trained`, on the device that its settings name.
        learner: None adapts as the run's own learner does.

    Raises:
        MismatchError: A frozen model is not the one that the run was trained with.
    """
    settings = settings_of(trained)
    return make_engine(trained, open_backbone(settings), encoder=open_encoder(settings), learner=learner)
