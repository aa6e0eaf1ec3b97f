"""What every format's rows pass through: words for nothing mean nothing, HTML entities become characters.

Many programs write a word where a value is missing: NULL, NA, nan, None. As an id such a word would
make one person out of everybody without an id, so those rows are rejects. In any other column the
word means that nothing was given. White space around texts and values is dropped; ids stay as they are.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from html.entities import html5

import polars as pl

from warmprompt.data.readers.source import LINE, Frames, RejectLog, Source

IDS = ("user", "item")
NULL_VALUES = (
    *("NULL", "null", "Null", "NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "NAN", "Nan", "-nan", "-NaN"),
    *("None", "none", "NONE", "nil", "NIL", "\\N", "(null)", "<null>", "undefined"),
)
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_ENTITIES = "HTML entities decoded in texts"
_WORDS = "words for nothing taken as not given"


def cleaned(source: Source, null_values: Iterable[str] = NULL_VALUES) -> Source:
    """Return the source with its rows cleaned.

    Args:
        source: What a reader returned.
        null_values: Words that stand for nothing; an empty text always does.
    """
    words = tuple(null_values)
    return replace(
        source,
        events=cleaned_rows(source.events, words, texts=False),
        items=None if source.items is None else cleaned_rows(source.items, words, texts=True),
        users=None if source.users is None else cleaned_rows(source.users, words, texts=True),
    )


def with_ids_alone(frames: Frames, null_values: Iterable[str]) -> Frames:
    """Return the rows whose ids are no words for nothing; the others go to the log."""
    words = tuple(null_values)

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in frames(log):
            yield _with_ids(frame, words, log)

    return start


def cleaned_rows(frames: Frames, words: tuple[str, ...], *, texts: bool) -> Frames:
    """Return the rows of one table cleaned, `texts` where every column but ids is text for people."""

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in with_ids_alone(frames, words)(log):
            columns = [name for name in frame.columns if name not in (LINE, *IDS)]
            yield frame.with_columns(
                _given(frame[name], words, log, texts=texts or name == "text")
                for name in columns
                if frame.schema[name] in (pl.String, pl.List(pl.String))
            )

    return start


def _with_ids(frame: pl.DataFrame, words: tuple[str, ...], log: RejectLog) -> pl.DataFrame:
    """Leave out the rows whose id is a word for nothing, and count them by word."""
    for name in IDS:
        if frame.schema.get(name) != pl.String:
            continue
        bare = frame[name].str.strip_chars()
        is_word = bare.is_in(words).fill_null(value=False)
        if not is_word.any():
            continue
        for (word,), rows in frame.filter(is_word).group_by(bare.filter(is_word), maintain_order=True):
            log.reject(
                f"{name} id is {word}, a word for nothing (--null-values changes the list)",
                rows[LINE].to_list(),
            )
        frame = frame.filter(~is_word)
    return frame


def _given(values: pl.Series, words: tuple[str, ...], log: RejectLog, *, texts: bool) -> pl.Series:
    """Return a column, null (or a shorter list) where a word means nothing; texts also decoded."""
    if values.dtype == pl.List(pl.String):
        values = values.list.drop_nulls()
        flat = values.explode(empty_as_null=False, keep_nulls=False)
        kept = _given(flat, words, log, texts=texts)
        if kept.equals(flat, null_equal=True):
            return values
        rest = iter(kept)
        lists = [
            None if size is None else [text for text in itertools.islice(rest, size) if text]
            for size in values.list.len()
        ]
        return pl.Series(values.name, lists, dtype=values.dtype)
    bare = (_decoded(values, log) if texts else values).str.strip_chars()
    is_word = bare.is_in(words).fill_null(value=False)
    log.tell(_WORDS, int(is_word.sum()))
    return pl.select(pl.when(~is_word).then(bare)).to_series().alias(values.name)


def _decoded(values: pl.Series, log: RejectLog) -> pl.Series:
    has = values.str.contains(_ENTITY.pattern).fill_null(value=False)
    if not has.any():
        return values
    written = values.filter(has)
    texts = pl.Series([_ENTITY.sub(_character, text) for text in written], dtype=pl.String)
    log.tell(_ENTITIES, int((texts != written).sum()))
    return values.clone().scatter(has.arg_true(), texts)


def _character(entity: re.Match[str]) -> str:
    name = entity[1]
    if name.startswith("#"):
        return html.unescape(entity[0])
    # Only whole names: html.unescape would also read "&notit;" as "¬it;".
    return html5.get(f"{name};", entity[0])
