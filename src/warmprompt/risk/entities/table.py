"""A table with a row per entity and period: ids as text, features of any kind, labels that may be empty.

Periods are the distinct values of the time column in rising order, and a delay counts these.

N is rows, J numeric features, W features in words, C classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.risk.profile.payments import Doubles, Longs

UNLABELLED = -1
_MOST_CLASSES = 20
_PERIOD_FORMS = (
    re.compile(r"\d+"),
    re.compile(r"\d{4}-?[Qq][1-4]"),
    re.compile(r"\d{4}-(0[1-9]|1[0-2])"),
    re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([T ][\d:.]+)?"),
)


@dataclass(frozen=True, kw_only=True)
class TableSchema:
    """Which columns of a table hold what.

    Attributes:
        entity: Column of ids.
        time: Column of periods: whole numbers, 2016Q1, 2016-03 or 2016-03-31.
        label: Column of classes; empty cells have no label.
        delay: Periods until a label is known, at least 1.
        numeric: Feature columns that are numbers.
        words: Feature columns that are text.
        classes: Labels; from best to worst where they are ordered.
        ordered: Whether the classes have an order.
        trouble: Labels whose probability is reported as the risk.
    """

    entity: str
    time: str
    label: str
    delay: int
    numeric: tuple[str, ...]
    words: tuple[str, ...]
    classes: tuple[str, ...]
    ordered: bool
    trouble: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class EntityTable:
    """Rows by entity, then period.

    Attributes:
        names: Ids of the entities.
        periods: Distinct periods in rising order.
        entity_N: Index into `names`.
        period_N: Index into `periods`.
        numbers_NJ: Numeric features; NaN where empty.
        words_NW: Features in words; empty text where empty.
        label_N: Index of the class; `UNLABELLED` where empty.
    """

    names: tuple[str, ...]
    periods: tuple[str, ...]
    entity_N: Longs
    period_N: Longs
    numbers_NJ: Doubles
    words_NW: NDArray[np.str_]
    label_N: Longs

    def __len__(self) -> int:
        """N."""
        return len(self.entity_N)


def read_frame(path: Path, *, text: Sequence[str]) -> pl.DataFrame:
    """Return a CSV or Parquet file as a data frame.

    Args:
        path: The file.
        text: Columns that a CSV file holds as text, so that 007 stays 007.

    Raises:
        BadInputError: No such file, or another kind of file.
    """
    if not path.is_file():
        raise BadInputError(field="table", value=path, remedy="Name a CSV or Parquet file.")
    try:
        if path.suffix.lower() == ".csv":
            kinds = dict.fromkeys(text, pl.String)
            return pl.read_csv(path, infer_schema_length=None, schema_overrides=kinds)
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        value = f"{path}: {error}"
        raise BadInputError(field="table", value=value, remedy="Give a CSV or Parquet file.") from error


def learn_schema(  # noqa: C901, PLR0913 - one refusal after another
    frame: pl.DataFrame,
    *,
    entity: str,
    time: str,
    label: str,
    features: Sequence[str] = (),
    classes: Sequence[str] = (),
    trouble: Sequence[str] = (),
    delay: int = 1,
) -> TableSchema:
    """Return what the columns of a table hold.

    Args:
        frame: The table.
        entity: Column of ids.
        time: Column of periods.
        label: Column of classes.
        features: Feature columns; empty takes every other column.
        classes: Labels from best to worst; empty takes numbers in rising order, and text without order.
        trouble: Labels that count as trouble; empty takes the last of ordered classes.
        delay: Periods until a label is known.

    Raises:
        BadInputError: A column cannot be used as asked.
        UnknownNameError: A column or label is not there.
    """
    named = (entity, time, label)
    for option, name in zip(("entity", "time", "label"), named, strict=True):
        _require(frame, option, name)
    if delay < 1:
        remedy = "Give at least 1: a label must not be known in its own period."
        raise BadInputError(field="delay", value=delay, remedy=remedy)
    features = tuple(features) or tuple(name for name in frame.columns if name not in named)
    numeric, words = [], []
    for name in features:
        _require(frame, "features", name)
        if name in named:
            remedy = "It is the entity, time or label column; leave it out."
            raise BadInputError(field="features", value=name, remedy=remedy)
        kind = frame.schema[name]
        if frame[name].null_count() == len(frame):
            remedy = "Leave it out of the features."
            raise BadInputError(field=f"column {name}", value="no value", remedy=remedy)
        if kind.is_numeric() or kind == pl.Boolean:
            numeric.append(name)
        elif kind in (pl.String, pl.Categorical, pl.Enum):
            words.append(name)
        else:
            remedy = "Convert it to numbers or text, or leave it out of the features."
            raise BadInputError(field=f"column {name}", value=kind, remedy=remedy)
    if not features:
        raise BadInputError(field="features", value="none", remedy="Give at least one feature column.")
    found, ordered = _classes(frame, label, tuple(classes))
    trouble = tuple(trouble) or (found[-1:] if ordered else ())
    for name in trouble:
        if name not in found:
            raise UnknownNameError(field="trouble", value=name, remedy=f"Labels are {_listed(found)}.")
    if not 0 < len(set(trouble)) < len(found):
        remedy = f"Name some, not all, of the labels {_listed(found)}."
        raise BadInputError(field="trouble", value=_listed(trouble) or "none", remedy=remedy)
    return TableSchema(
        entity=entity,
        time=time,
        label=label,
        delay=delay,
        numeric=tuple(numeric),
        words=tuple(words),
        classes=found,
        ordered=ordered,
        trouble=trouble,
    )


def make_table(frame: pl.DataFrame, schema: TableSchema) -> EntityTable:
    """Return a table's rows as arrays; the label column may be missing.

    Raises:
        BadInputError: An empty table or id, a period of another form, an infinite number, a column of another
            kind, or an entity twice in a period.
        UnknownNameError: A column is missing, or a label is no class.
    """
    if frame.is_empty():
        raise BadInputError(field="table", value="no rows", remedy="Give at least one row.")
    for option, names in {
        "entity": (schema.entity,),
        "time": (schema.time,),
        "features": schema.numeric + schema.words,
    }.items():
        for name in names:
            _require(frame, option, name)
    ids, entity_N = np.unique(np.array(_filled(frame, schema.entity)), return_inverse=True)
    periods, period_N = _periods(_filled(frame, schema.time), f"column {schema.time}")
    order = np.lexsort((period_N, entity_N))
    table = EntityTable(
        names=tuple(ids.tolist()),
        periods=periods,
        entity_N=entity_N[order].astype(np.int64),
        period_N=period_N[order],
        numbers_NJ=_numbers(frame, schema.numeric)[order],
        words_NW=_words(frame, schema.words)[order],
        label_N=_labels(frame, schema)[order],
    )
    twice = np.flatnonzero((np.diff(table.entity_N) == 0) & (np.diff(table.period_N) == 0))
    if len(twice):
        row = int(twice[0])
        raise BadInputError(
            field=f"{schema.entity} {table.names[table.entity_N[row]]}",
            value=f"{table.periods[table.period_N[row]]} twice",
            remedy="Give one row per entity and period.",
        )
    return table


def _require(frame: pl.DataFrame, option: str, name: str) -> None:
    if name not in frame.columns:
        near = _listed(frame.columns[:8]) + (", ..." if len(frame.columns) > 8 else "")
        raise UnknownNameError(field=f"{option} column", value=name, remedy=f"The columns are {near}.")


def _texts(column: pl.Series) -> list[str]:
    """Return values as they would be written; a whole number stored as 3.0 is 3, an empty value is ''."""
    if column.dtype.is_float() and bool((column.drop_nulls().drop_nans() % 1 == 0).all()):
        column = column.fill_nan(None).cast(pl.Int64)
    if column.dtype == pl.Boolean:
        column = column.cast(pl.String)
    return ["" if value is None else str(value).strip() for value in column.to_list()]


def _filled(frame: pl.DataFrame, name: str) -> list[str]:
    values = _texts(frame[name])
    if "" in values:
        field = f"column {name}, row {values.index('') + 1}"
        raise BadInputError(field=field, value="empty", remedy="Fill it or drop the row.")
    return values


def _periods(values: Sequence[str], field: str) -> tuple[tuple[str, ...], Longs]:
    form = next((one for one in _PERIOD_FORMS if one.fullmatch(values[0])), None)
    wrong = values[0] if form is None else next((one for one in values if not form.fullmatch(one)), None)
    if wrong is not None:
        remedy = "Write every period in the same form: 7, 2016Q1, 2016-03 or 2016-03-31."
        raise BadInputError(field=field, value=wrong, remedy=remedy)
    distinct = sorted(set(values), key=int if form is _PERIOD_FORMS[0] else str.upper)
    index = {value: position for position, value in enumerate(distinct)}
    return tuple(distinct), np.array([index[value] for value in values], dtype=np.int64)


def _numbers(frame: pl.DataFrame, names: Sequence[str]) -> Doubles:
    out = np.empty((len(frame), len(names)))
    for position, name in enumerate(names):
        column = frame[name]
        if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
            remedy = "The profiler was trained on numbers there; give numbers."
            raise BadInputError(field=f"column {name}", value=column.dtype, remedy=remedy)
        out[:, position] = column.cast(pl.Float64).to_numpy()
        infinite = np.flatnonzero(np.isinf(out[:, position]))
        if len(infinite):
            field, value = f"column {name}, row {infinite[0] + 1}", out[infinite[0], position]
            raise BadInputError(field=field, value=value, remedy="Give a finite number or an empty cell.")
    return out


def _words(frame: pl.DataFrame, names: Sequence[str]) -> NDArray[np.str_]:
    columns = [np.array(_texts(frame[name]), dtype=np.str_) for name in names]
    return np.stack(columns, axis=1) if columns else np.empty((len(frame), 0), dtype=np.str_)


def _classes(frame: pl.DataFrame, label: str, asked: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    found = sorted(set(_texts(frame[label])) - {""})
    if asked:
        if len(set(asked)) < max(2, len(asked)):
            remedy = "Name at least two different labels."
            raise BadInputError(field="classes", value=_listed(asked), remedy=remedy)
        unknown = [name for name in found if name not in asked]
        if unknown:
            remedy = f"The classes are {_listed(asked)}; add it or correct the rows."
            raise UnknownNameError(field=f"column {label}", value=unknown[0], remedy=remedy)
        return asked, True
    if not 2 <= len(found) <= _MOST_CLASSES:
        remedy = f"Give 2 to {_MOST_CLASSES} classes; put finer values into bins first."
        raise BadInputError(field=f"column {label}", value=f"{len(found)} different labels", remedy=remedy)
    try:
        return tuple(sorted(found, key=float)), True
    except ValueError:
        return tuple(found), found == ["false", "true"]


def _labels(frame: pl.DataFrame, schema: TableSchema) -> Longs:
    if schema.label not in frame.columns:
        return np.full(len(frame), UNLABELLED, dtype=np.int64)
    index = {"": UNLABELLED} | {name: position for position, name in enumerate(schema.classes)}
    values = _texts(frame[schema.label])
    unknown = next((row for row, value in enumerate(values) if value not in index), None)
    if unknown is not None:
        field, remedy = f"column {schema.label}, row {unknown + 1}", f"Labels are {_listed(schema.classes)}."
        raise UnknownNameError(field=field, value=values[unknown], remedy=remedy)
    return np.array([index[value] for value in values], dtype=np.int64)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
