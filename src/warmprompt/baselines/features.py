"""Attributes of users and items as columns of zeros and ones.

B is users in a batch, V items, A user features, F item features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from warmprompt.types import Floats

_MAX_VALUES = 50
_NUM_BINS = 5
_TEXTS = ("title", "description")


@dataclass(frozen=True, kw_only=True, eq=False)
class UserFeatures:
    """Which attribute values are known, and how numbers are cut.

    Attributes:
        columns: (attribute, cell) to column.
        cuts: Attributes whose values all read as numbers, with the inner borders of their fifths.
    """

    columns: Mapping[tuple[str, str], int]
    cuts: Mapping[str, Floats]

    def encode(self, people: Sequence[Mapping[str, str]]) -> Floats:
        """Return one row per person, (B, A), 1 at the known values and 0 elsewhere."""
        rows_BA = np.zeros((len(people), len(self.columns)), dtype=np.float32)
        for row, person in zip(rows_BA, people, strict=True):
            for attribute, text in person.items():
                column = self.columns.get((attribute, cell(self.cuts, attribute, text)))
                if column is not None:
                    row[column] = 1.0
        return rows_BA


def read_users(users: pl.DataFrame) -> UserFeatures:
    """Return the features of a table of users; attributes with over 50 values (postal codes) are left out.

    Attributes whose values all read as numbers ("24") are cut into fifths of these users.
    """
    cuts: dict[str, Floats] = {}
    found: list[tuple[str, str]] = []
    for attribute in users.columns:
        known = [str(value) for value in users[attribute].to_list() if value is not None]
        if known and all(is_number(text) for text in known):
            inner = np.linspace(0, 1, _NUM_BINS + 1)[1:-1]
            cuts[attribute] = np.quantile([float(text) for text in known], inner).astype(np.float32)
        elif len(set(known)) > _MAX_VALUES:
            continue
        found += [(attribute, value) for value in sorted({cell(cuts, attribute, text) for text in known})]
    return UserFeatures(columns={key: column for column, key in enumerate(found)}, cuts=cuts)


def people_of(users: pl.DataFrame) -> list[dict[str, str]]:
    """Return each user's known attributes as text, as a support carries them."""
    return [
        {name: str(value) for name, value in row.items() if value is not None}
        for row in users.iter_rows(named=True)
    ]


def read_items(items: pl.DataFrame) -> csr_matrix:
    """Return the items' features, (V, F): members of lists (genres), decades of years, few-valued columns.

    Titles, descriptions and columns with over 50 values are left out. There may be no feature at all.
    """
    rows: list[int] = []
    names: list[tuple[str, str]] = []
    for column in items.columns:
        if column in _TEXTS:
            continue
        values = [_cells(column, value) for value in items[column].to_list()]
        is_list = items.schema[column] == pl.List(pl.String)
        if not is_list and len({one for each in values for one in each}) > _MAX_VALUES:
            continue
        for row, each in enumerate(values):
            rows += [row] * len(each)
            names += [(column, one) for one in each]
    indices = {name: index for index, name in enumerate(sorted(set(names)))}
    columns = [indices[name] for name in names]
    shape = (items.height, len(indices))
    matrix = csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
    matrix.data[:] = 1.0
    return matrix


def cell(cuts: Mapping[str, Floats], attribute: str, text: str) -> str:
    """Return a value's cell: itself, or its fifth; "" where a number was expected and is not there."""
    if attribute not in cuts:
        return text
    return str(np.searchsorted(cuts[attribute], float(text))) if is_number(text) else ""


def is_number(text: str) -> bool:
    """Tell whether a text reads as a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _cells(column: str, value: object) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, list):
        return sorted({str(one) for one in value if one})
    text = str(value)
    return [f"{text[:3]}0s"] if column == "year" and len(text) == 4 else [text]
