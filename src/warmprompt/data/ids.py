"""Ids of users or items as small numbers while a source is being read."""

from __future__ import annotations

import polars as pl

from warmprompt.errors import BadInputError

# No attribute can have this name.
CODE = "#code"
_WRITTEN_AS_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"


class IdIndex:
    """Numbers ids in order of first appearance, so that millions of rows hold four bytes each.

    Args:
        name: "user" or "item".
        typed: Whether text and integers are told apart by the source; otherwise text ids become
            integers when every one of them is written as one.
    """

    def __init__(self, name: str, *, typed: bool) -> None:
        self.name = name
        self._typed = typed
        self._codes: dict[str | int, int] = {}
        self._dtype: pl.DataType | None = None

    def require(self, dtype: pl.DataType) -> None:
        """Raise BadInputError where a column of this type cannot hold ids."""
        if not dtype.is_integer() and dtype not in (pl.String, pl.Null):
            raise BadInputError(
                field=f"{self.name} ids", value=dtype, remedy="Give ids that are all text or all integers."
            )

    def codes(self, ids: pl.Series) -> pl.Series:
        """Return the code of each id (Int32), numbering those not seen before.

        Raises:
            BadInputError: The source mixes text and integer ids.
        """
        if not len(ids):
            return pl.Series(self.name, [], dtype=pl.Int32)
        if ids.dtype.is_integer():
            if ids.dtype == pl.UInt64 and ids.max() > 2**63 - 1:  # type: ignore[operator]
                raise BadInputError(
                    field=f"{self.name} ids",
                    value=ids.max(),
                    remedy="Write ids of more than 63 bits as text.",
                )
            ids = ids.cast(pl.Int64)
        self.require(ids.dtype)
        if self._dtype is not None and ids.dtype != self._dtype:
            raise BadInputError(
                field=f"{self.name} ids",
                value=f"{ids.dtype} and {self._dtype}",
                remedy="Give ids that are all text or all integers.",
            )
        self._dtype = ids.dtype
        known = ids.unique(maintain_order=True)
        numbers = [self._codes.setdefault(each, len(self._codes)) for each in known.to_list()]
        return ids.replace_strict(known, pl.Series(numbers, dtype=pl.Int32), return_dtype=pl.Int32).alias(
            self.name
        )

    def knows(self, ids: pl.Series) -> pl.Series:
        """Tell which ids were seen before."""
        return pl.Series([each in self._codes for each in ids.to_list()], dtype=pl.Boolean)

    def table(self) -> pl.DataFrame:
        """Return columns `CODE` and `name`: every id seen, in its final type."""
        ids = pl.Series(self.name, list(self._codes), dtype=self._dtype or pl.String)
        if not self._typed and ids.dtype == pl.String and ids.str.contains(_WRITTEN_AS_INTEGER).all():
            ids = ids.cast(pl.Int64)
        return pl.DataFrame([pl.Series(CODE, range(len(ids)), dtype=pl.Int32), ids])
