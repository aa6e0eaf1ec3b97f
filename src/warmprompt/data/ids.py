"""Ids of users or items as small numbers while a source is being read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import polars as pl

from warmprompt.errors import BadInputError

# No attribute can have this name.
CODE = "#code"
_INTEGER = r"^(0|-?[1-9][0-9]*)$"
_WHOLE_FLOAT = r"^(0|-?[1-9][0-9]*)\.0+$"
_INT64_DIGITS = 19


class IdIndex:
    """Numbers ids in order of first appearance, so that millions of rows hold four bytes each.

    Text and integers that have the same spelling get one number, so that tables of different kinds join.

    Args:
        name: "user" or "item".
        typed: Whether the source distinguishes text and integers; otherwise text ids become
            integers when every one of them is written as one.
    """

    def __init__(self, name: str, *, typed: bool) -> None:
        self.name = name
        self._typed = typed
        self._codes: dict[str, int] = {}
        self._kinds: dict[str, Literal["text", "integers"]] = {}

    def require(self, dtype: pl.DataType) -> None:
        """Raise BadInputError where a column of this type cannot hold ids."""
        if not _is_whole(dtype) and dtype not in (pl.String, pl.Null):
            raise BadInputError(
                field=f"{self.name} ids", value=dtype, remedy="Give ids that are all text or all integers."
            )

    def codes(self, ids: pl.Series, table: str = "interactions") -> pl.Series:
        """Return the code of each id (Int32), numbering those not seen before.

        Args:
            ids: Text or integers of any size.
            table: Which table they stand in.

        Raises:
            BadInputError: The table mixes text and integer ids.
        """
        if not len(ids):
            return pl.Series(self.name, [], dtype=pl.Int32)
        self.require(ids.dtype)
        kind: Literal["text", "integers"] = "integers" if _is_whole(ids.dtype) else "text"
        if self._kinds.setdefault(table, kind) != kind:
            raise BadInputError(
                field=f"{self.name} ids",
                value="text and integers",
                remedy="Give ids that are all text or all integers.",
            )
        known = ids.unique(maintain_order=True)
        numbers = [self._codes.setdefault(each, len(self._codes)) for each in known.cast(pl.String)]
        return ids.replace_strict(known, pl.Series(numbers, dtype=pl.Int32), return_dtype=pl.Int32).alias(
            self.name
        )

    def knows(self, ids: pl.Series) -> pl.Series:
        """Tell which ids were seen before, in any table."""
        return pl.Series([each in self._codes for each in ids.cast(pl.String)], dtype=pl.Boolean)

    def written(self) -> pl.Series:
        """Return every id as it is written, in the order of the codes."""
        return pl.Series(self.name, list(self._codes), dtype=pl.String)

    def whole_numbers(self, tables: Iterable[pl.Series]) -> pl.Series | None:
        """Make "24.0" and "24" one id; return the code that replaces each code, None where nothing changes.

        Numbers that a table writes as floats are whole numbers where all ids of that table are.

        Args:
            tables: The codes that each table holds.
        """
        written = self.written()
        floats = []
        for codes in tables:
            own = written.gather(codes)
            as_floats = own.str.contains(_WHOLE_FLOAT)
            if as_floats.any() and (as_floats | own.str.contains(_INTEGER)).all():
                floats.append(codes.filter(as_floats))
        if not floats:
            return None
        changed = pl.concat(floats).unique()
        ours = list(range(len(written)))
        for code, text in zip(changed, written.gather(changed), strict=True):
            whole = text.partition(".")[0]
            ours[code] = self._codes.setdefault(whole, len(self._codes))
        return pl.Series([*ours, *range(len(ours), len(self._codes))], dtype=pl.Int32)

    def table(self, codes: pl.Series | None = None) -> pl.DataFrame:
        """Return columns `CODE` and `name`: these ids, or every one seen, in their final type.

        Integers beyond 64 bits stay text, all ids with them.
        """
        written = self.written()
        codes = pl.Series(range(len(written)), dtype=pl.Int32) if codes is None else codes.cast(pl.Int32)
        ids = written.gather(codes)
        kinds = set(self._kinds.values())
        if kinds == {"text"} and self._typed:
            return pl.DataFrame([codes.alias(CODE), ids])
        if kinds and ids.str.contains(_INTEGER).all():
            short = ids.str.strip_chars_start("-").str.len_chars() <= _INT64_DIGITS
            whole = ids.cast(pl.Int64, strict=False)
            ids = whole if short.all() and not whole.null_count() else ids
        return pl.DataFrame([codes.alias(CODE), ids])


def _is_whole(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)
