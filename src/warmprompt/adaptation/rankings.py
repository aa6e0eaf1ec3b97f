"""One user's ranking, and the forms in which it leaves: rows, DataFrames, a table in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from typing import Any, NamedTuple

import polars as pl

from warmprompt.errors import BadInputError
from warmprompt.types import ItemId

_SHOWN = 5
_MAX_TEXT = 40


class RankedItem(NamedTuple):
    """An item at its rank.

    Attributes:
        item: Its id.
        title: Its title, "" if none.
        score: Its score; only differences between items of one user mean something.
    """

    item: ItemId
    title: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The best items for a user, best first; equal scores are ordered as the catalogue is.

    Iterating yields items with their titles and scores: `for item, title, score in ranking`.

    Attributes:
        items: Item ids.
        titles: Their titles.
        scores: Their scores; only differences between items of one user mean something.
    """

    items: tuple[ItemId, ...]
    titles: tuple[str, ...]
    scores: tuple[float, ...]

    def __len__(self) -> int:
        """Places filled; fewer than asked for where there are fewer candidates."""
        return len(self.items)

    def __iter__(self) -> Iterator[RankedItem]:
        """Yield the items, best first."""
        return map(RankedItem, self.items, self.titles, self.scores)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a dictionary per item with `item_id`, `title`, `score` and `rank`, 1 the best."""
        return [
            {"item_id": one.item, "title": one.title, "score": one.score, "rank": rank}
            for rank, one in enumerate(self, start=1)
        ]

    def to_polars(self) -> pl.DataFrame:
        """Return a row per item with the columns of `to_dicts`."""
        id_type = pl.Int64 if self.items and isinstance(self.items[0], int) else pl.String
        return pl.DataFrame(
            {
                "item_id": pl.Series(self.items, dtype=id_type),
                "title": pl.Series(self.titles, dtype=pl.String),
                "score": pl.Series(self.scores, dtype=pl.Float64),
                "rank": pl.Series(range(1, len(self) + 1), dtype=pl.Int32),
            }
        )

    def to_pandas(self) -> Any:
        """Return the same as a pandas DataFrame.

        Raises:
            BadInputError: pandas is not installed.
        """
        if find_spec("pandas") is None:
            raise BadInputError(
                field="to_pandas",
                value="pandas is not installed",
                remedy="Install it with `pip install pandas`, or use to_polars.",
            )
        return self.to_polars().to_pandas()

    def __repr__(self) -> str:
        """Return one line: how many items, and the best of them by title."""
        names = [_cut(one.title or str(one.item)) for one in self][:_SHOWN]
        more = ", ..." if len(self) > _SHOWN else ""
        return f"Ranking({len(self)} items: {', '.join(names)}{more})" if names else "Ranking(no items)"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        rows = "".join(
            f"<tr><td>{rank}</td><td>{escape(one.title or str(one.item))}</td><td>{one.score:.3f}</td></tr>"
            for rank, one in enumerate(self, start=1)
        )
        head = "<thead><tr><th></th><th>title</th><th>score</th></tr></thead>"
        return f"<table>{head}<tbody>{rows}</tbody></table>"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
