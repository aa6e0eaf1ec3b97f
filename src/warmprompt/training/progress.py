"""What long work reports while it runs: a line when something begins, and the trainer's progress."""

from __future__ import annotations

from collections.abc import Callable

from warmprompt.meta.trainer import TrainingProgress

ProgressCallback = Callable[[str | TrainingProgress], None]


def no_progress(_: str | TrainingProgress) -> None:
    """Report nothing."""
