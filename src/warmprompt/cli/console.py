"""Where results are printed."""

from __future__ import annotations

from rich.console import Console

_PAGE = 160


def results_console() -> Console:
    """Return a console on stdout that prints text as it is; a file or pipe is taken for a wide page."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    return (
        console
        if console.is_terminal
        else Console(soft_wrap=True, highlight=False, markup=False, width=_PAGE)
    )
