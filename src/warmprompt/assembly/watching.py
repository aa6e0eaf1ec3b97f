"""What long work tells whoever watches it: a line when something begins, and the trainer's progress."""

from __future__ import annotations

from collections.abc import Callable

from warmprompt.meta.trainer import Progress

Watch = Callable[[str | Progress], None]


def ignore(_: str | Progress) -> None:
    """Watch nothing."""
