"""What the commands of `warmprompt risk` share: arguments, output and refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.errors import BadInputError


class Layout(StrEnum):
    """How a table holds a network: a row per link, or a matrix with a row per payer."""

    edges = "edges"
    adjacency = "adjacency"


class Rows(StrEnum):
    """What the first bank of a link, or the row of a matrix, does: owe the other bank, or lend to it."""

    owe = "owe"
    lend = "lend"


class Duplicates(StrEnum):
    """What becomes of a link that comes twice."""

    refuse = "refuse"
    sum = "sum"


JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LAYOUT = Annotated[
    Layout,
    typer.Option("--layout", help="CSV: a row per link, or a matrix of payees by column and payers by row."),
]
ROWS = Annotated[
    Rows | None,
    typer.Option(
        "--rows",
        help="What a table's row does: owe (pay) the other bank, or lend to it. owe if left out, lend where "
        "columns are lender and borrower.",
    ),
]
DUPLICATES = Annotated[
    Duplicates, typer.Option("--duplicates", help="A link that comes twice in a table: refuse it, or sum.")
]


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


def print_notes(notes: Sequence[str]) -> None:
    """Print what a reader should know about the input, a line each."""
    for note in notes:
        results_console().print(f"note: {note}", soft_wrap=True, markup=False)


def shown_number(value: float) -> str:
    """Return a number with commas, and at most four decimals."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}".rstrip("0").rstrip(".")


def print_json(results: Mapping[str, object]) -> None:
    """Print results as JSON; what is not a number is null."""
    finite = {name: None if value != value else value for name, value in results.items()}  # noqa: PLR0124  NaN
    typer.echo(json.dumps(finite, indent=1))


def print_written(*paths: Path | None) -> None:
    """Print which files were written."""
    written = [str(path) for path in paths if path is not None]
    if written:
        results_console().print(f"wrote {', '.join(written)}")
