"""What the commands of `warmprompt risk` share: arguments, output and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.errors import BadInputError


class Layout(StrEnum):
    """How a table holds a network: a row per link, or a matrix with a row per payer."""

    edges = "edges"
    adjacency = "adjacency"


class Duplicates(StrEnum):
    """What becomes of a link that comes twice."""

    refuse = "refuse"
    sum = "sum"


def require_suffix(option: str, path: Path | None, suffix: str) -> None:
    """Refuse a file of another kind before anything takes time.

    Raises:
        BadInputError: The name ends otherwise.
    """
    if path is not None and path.suffix.lower() != suffix:
        raise BadInputError(field=option, value=path, remedy=f"Name a {suffix} file.")


def print_pairs(title: str, pairs: Mapping[str, str]) -> None:
    """Print names and values, values to the right."""
    table = Table("", "", title=title, title_justify="left", show_header=False, show_edge=False)
    table.columns[1].justify = "right"
    for name, value in pairs.items():
        table.add_row(name, value)
    results_console().print(table)


def print_written(*paths: Path | None) -> None:
    """Print which files were written."""
    written = [str(path) for path in paths if path is not None]
    if written:
        results_console().print(f"wrote {', '.join(written)}")
