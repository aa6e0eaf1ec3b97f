"""Options that choose which items are ranked, and titles that name items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from warmprompt.errors import UnknownNameError

if TYPE_CHECKING:
    from warmprompt.adaptation.personaliser import Personaliser
    from warmprompt.adaptation.rankings import Ranking
    from warmprompt.generation.titles import Generated
    from warmprompt.types import ItemId

Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", help="A title not to be ranked; may be repeated.")
]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        help="Rank only items with an attribute: genres=Comedy, or year=1990..1999; may be repeated.",
    ),
]


def selection_options(
    model: Personaliser, exclude: Sequence[str] | None, filters: Sequence[str] | None
) -> dict[str, Any]:
    """Return the keyword arguments of a ranking that the options mean.

    Raises:
        UnknownNameError: A title that means no item, or several.
        BadInputError: A filter that is written otherwise.
    """
    from warmprompt.data.attributes import parsed_filter

    items = [found(model, title, "--exclude") for title in exclude or ()]
    return {"exclude": items or None, "filter": parsed_filter(filters or (), field="--filter") or None}


def found(model: Personaliser, title: str, option: str) -> ItemId:
    """Return the item that a title means.

    Raises:
        UnknownNameError: None or several; names the option.
    """
    try:
        return model.find(title)
    except UnknownNameError as error:
        raise UnknownNameError(field=option, value=error.value, remedy=error.remedy) from None


def ranking_rows(ranking: Ranking | Generated) -> list[dict[str, Any]]:
    """Return the rows of a ranking as JSON values."""
    return [
        {"rank": rank, "item": item, "title": title, "score": score}
        for rank, (item, title, score) in enumerate(
            zip(ranking.items, ranking.titles, ranking.scores, strict=True), start=1
        )
    ]


def table_of(head: str, rows: Sequence[dict[str, Any]]) -> Table:
    """Return the rows as a table."""
    table = Table("", head, "score", show_edge=False)
    table.columns[2].justify = "right"
    for row in rows:
        table.add_row(str(row["rank"]), row["title"] or str(row["item"]), f"{row['score']:.3f}")
    return table
