"""What long work reports while it runs: a line when something begins, and the trainer's progress."""

from __future__ import annotations

from collections.abc import Callable

from warmprompt.meta.trainer import Progress

ProgressCallback = Callable[[str | Progress], None]


def ignore(_: str | Progress) -> None:
    """Report nothing."""
