"""Users and items: their ids, and the rows that describe them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from warmprompt.data.event_rows import blank
from warmprompt.data.ids import CODE, IdIndex
from warmprompt.data.readers.source import LINE, Frames, RejectLog

_SAMPLE = 10_000


@dataclass(kw_only=True, eq=False)
class Side:
    """Ids of users or items, and the rows that describe them: column `CODE` and attributes.

    `strangers` are ids that no event has, of rows that were left out; some of them.
    """

    table: str
    ids: IdIndex
    rows: pl.DataFrame | None
    num_repeated: int = 0
    num_left_out: int = 0
    strangers: pl.Series

    def with_whole_ids(self, events: pl.Series) -> pl.Series:
        """Make ids that are whole numbers written as floats whole numbers, in the rows and in `events`."""
        described = [] if self.rows is None else [self.rows[CODE]]
        code = self.ids.whole_numbers([events.unique(), *described])
        if code is None:
            return events
        if self.rows is not None:
            rows = self.rows.with_columns(code.gather(self.rows[CODE]).alias(CODE))
            self.rows = rows.unique(CODE, keep="first", maintain_order=True)
            self.num_repeated += rows.height - self.rows.height
        return code.gather(events).alias(events.name)

    def table_of(self, codes: pl.Series) -> pl.DataFrame:
        """Return `CODE`, id and attributes of these ids, sorted by id."""
        table = self.ids.table(codes)
        if self.rows is not None:
            table = table.join(self.rows, on=CODE, how="left", maintain_order="left")
        return table.sort(self.ids.name)


def read_side(frames: Frames | None, ids: IdIndex, log: RejectLog, *, rated_only: bool) -> Side:
    """Read the rows that describe users or items."""
    rows, left_out, strangers = [], 0, pl.Series([], dtype=pl.String)
    for raw in frames(log) if frames else ():
        ids.require(raw.schema[ids.name])
        log.reject(f"{ids.name} id is empty", raw.filter(blank(ids.name))[LINE].to_list())
        good = raw.filter(~blank(ids.name))
        log.accept(good.height)
        if rated_only:
            known = ids.knows(good[ids.name])
            strangers = strangers.append(good.filter(~known)[ids.name].cast(pl.String)).head(_SAMPLE)
            left_out, good = left_out + int((~known).sum()), good.filter(known)
        codes = ids.codes(good[ids.name], log.table).alias(CODE)
        rows.append(good.drop(LINE, ids.name).insert_column(0, codes))
    side = Side(table=log.table, ids=ids, rows=None, num_left_out=left_out, strangers=strangers)
    if rows:
        table = pl.concat(_as_attributes(rows, lists=ids.name == "item"), how="diagonal")
        side.rows = table.unique(CODE, keep="first", maintain_order=True)
        side.num_repeated = table.height - side.rows.height
    return side


def _as_attributes(frames: list[pl.DataFrame], *, lists: bool) -> list[pl.DataFrame]:
    """Give attributes one type in all frames: text, or lists of text where any frame has lists.

    What is not known is null, whichever way the source writes it. Without `lists`, lists become
    text, joined by commas.
    """
    plural = {name for frame in frames for name, dtype in frame.schema.items() if dtype == pl.List}

    def shaped(name: str, dtype: pl.DataType) -> pl.Expr:
        if dtype == pl.List:
            texts = pl.col(name).cast(pl.List(pl.String))
            return texts if lists else texts.list.join(", ")
        text = pl.col(name).cast(pl.String).replace("", None)
        return pl.when(text.is_not_null()).then(pl.concat_list(text)) if lists and name in plural else text

    return [
        frame.select(CODE, *(shaped(name, dtype) for name, dtype in frame.schema.items() if name != CODE))
        for frame in frames
    ]
