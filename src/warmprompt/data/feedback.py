"""What feedback columns mean: ratings on a scale, yes or no, strengths, types of events.

- `rating`: how much something was liked, on a scale of at most 20 values. The lowest quarter pushes away.
- `label`: 1 where something happened, 0 where an item was only shown; a 0 is no event.
- `weight`: a count or an amount, above 0. It never pushes away (see `strength`); a 0 is no event.
- `event`: the type of the event, in words; each type has a weight, and types without one are no events.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from warmprompt.data.strength import unit_of
from warmprompt.errors import BadInputError

if TYPE_CHECKING:
    from warmprompt.data.readers.source import Repeats

PUSHING_SHARE = 0.25
"""Ratings in this lowest part of the scale push away."""
MAX_LEVELS = 20
_YES = ("1", "true", "yes", "y", "t")
_NO = ("0", "false", "no", "n", "f")
# Ratings crowd at what people chose to watch and like, the upper half; counts crowd at one and thin out.
_LOW_PART, _UPPER_SHARE = 0.2, 0.1
_HEAP_RATIO, _HEAP_SHARE, _TOP_SHARE, _GAP = 3.0, 0.1, 0.02, 1.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Feedback:
    """Events after their feedback was understood.

    Attributes:
        events: Columns user, item and, where known, rating, weight and time_s.
        scale: Lowest and highest possible rating, or None without ratings.
        no_events: Rows that are no events, by what they hold.
        notes: What people should know, with the remedy.
    """

    events: pl.DataFrame
    scale: tuple[float, float] | None
    no_events: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def as_label(column: str) -> pl.Expr:
    """Return True and False for the usual words of yes and no, null for anything else."""
    word = pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase().str.replace(r"\.0+$", "")
    return pl.when(word.is_in([*_YES, *_NO])).then(word.is_in(_YES))


def is_not_rated(column: str, values: tuple[str, ...]) -> pl.Expr:
    """Tell where a rating is one of the values that say "not rated", as a number or as a word."""
    text = pl.col(column).cast(pl.String).str.strip_chars()
    numbers = [number for value in values if (number := _number(value)) is not None]
    found = text.str.to_lowercase().is_in([value.strip().lower() for value in values])
    return (found | text.cast(pl.Float64, strict=False).is_in(numbers)).fill_null(value=False)


def refuse_words(ratings: pl.Series) -> None:
    """Refuse a rating column that mostly holds no numbers, and say what it may be.

    Raises:
        BadInputError: More than half of what is given are words.
    """
    texts = ratings.cast(pl.String).str.strip_chars()
    texts = texts.filter(texts.is_not_null() & (texts != ""))
    words = texts.filter(texts.cast(pl.Float64, strict=False).is_null())
    if not len(texts) or len(words) <= len(texts) / 2:
        return
    kinds = words.value_counts(sort=True).to_series().to_list()
    if set(map(str.lower, kinds)) <= {*_YES, *_NO}:
        remedy = "They say yes or no; map the column as label: a no is no event."
    elif words.str.contains(r"^-?\d+,\d+$").all():
        remedy = "Write numbers with a point: 4.5."
    elif len(kinds) <= MAX_LEVELS and not words.str.contains(r"\d").all():
        weights = ",".join(f"{kind}={index}" for index, kind in enumerate(kinds[:5], start=1))
        remedy = (
            f"If they are types of events, use --map event=COLUMN --event-weights {weights} "
            "with weights of your own."
        )
    else:
        remedy = "Give numbers."
    raise BadInputError(
        field="ratings", value=", ".join(kinds[:5]), remedy=f"They are words, not numbers. {remedy}"
    )


def refuse_unknown_types(found: Mapping[str, int], weights: Mapping[str, float] | None) -> None:
    """Refuse types of events without any weights, and weights of types that do not occur.

    Args:
        found: Rows per type.
        weights: As in `FeedbackOptions`.

    Raises:
        BadInputError: No weights, or one of them belongs to no row.
    """
    common = sorted(found, key=lambda kind: -found[kind])
    if weights is None:
        example = ",".join(f"{kind}={index}" for index, kind in enumerate(common[:5], start=1))
        raise BadInputError(
            field="types of events",
            value=", ".join(common[:10]),
            remedy=f"Say how much each one counts, with numbers of your own: --event-weights {example}.",
        )
    if strange := [kind for kind in weights if kind not in found]:
        raise BadInputError(
            field="--event-weights",
            value=", ".join(strange),
            remedy=f"No row has that type; there are {', '.join(common[:10])}.",
        )


def settle_ratings(events: pl.DataFrame, given: tuple[float, float] | None) -> Feedback:
    """Decide what the ratings are: a scale, yes or no, or nothing.

    Args:
        events: Perhaps with a column `rating`.
        given: The scale, where it is known; it is believed.

    Raises:
        BadInputError: The values are no scale; the remedy shows how to insist.
    """
    if "rating" not in events.columns:
        return Feedback(events=events, scale=None)
    counts = events["rating"].drop_nulls().value_counts().sort("rating")
    values, sizes = counts["rating"].to_list(), counts["count"].to_list()
    if not values:
        return Feedback(events=events.drop("rating"), scale=None)
    if given is not None:
        return Feedback(events=events, scale=given)
    if values == [0.0, 1.0]:
        note = (
            "ratings are 0 and 1 alone: read as yes or no, where 0 is no event; "
            "if 0 means disliked, add --rating-scale 0,1"
        )
        kept = events.filter(pl.col("rating").is_null() | (pl.col("rating") == 1)).drop("rating")
        return Feedback(events=kept, scale=None, no_events={"rating 0": sizes[0]}, notes=(note,))
    if len(values) == 1:
        note = f"every rating is {values[0]:g}: it tells nothing about liking"
        return Feedback(events=events, scale=(values[0], values[0]), notes=(note,))
    _refuse_no_scale(values, sizes)
    return Feedback(events=events, scale=(values[0], values[-1]), notes=_heaps(values, sizes))


def settle_repeats(events: pl.DataFrame, *, repeats: Repeats | None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Keep one event per user and item, the last one, and perhaps how many there were as its weight.

    Args:
        events: In the order in which a later event replaces an earlier one.
        repeats: As in `FeedbackOptions`.

    Returns:
        The events, and what people should know.
    """
    keys = ["user", "item"]
    weighted = "weight" in events.columns
    if (repeats or ("count" if weighted else "last")) == "count":
        count = pl.col("weight").sum() if weighted else pl.len()
        known = pl.col("weight").count() if weighted else pl.len()
        events = events.with_columns(
            pl.when(known.over(keys) > 0).then(count.over(keys)).cast(pl.Float32).alias("weight")
        )
    once = events.unique(keys, keep="last", maintain_order=True)
    dropped = events.height - once.height
    notes = []
    if dropped and "weight" in once.columns and repeats != "last":
        notes.append(f"{dropped:,} repeats of a user with an item are kept as a strength")
    if dropped and "weight" not in once.columns and not repeats:
        notes.append(
            f"{dropped:,} repeats of a user with an item: the last one stays; "
            "--repeats count keeps how many there were as a strength"
        )
    if "weight" in once.columns and once["weight"].n_unique() == 1:
        notes.append(f"every weight is {once['weight'][0] or 1:g}: all events count the same")
        once = once.drop("weight")
    return once, tuple(notes)


def weight_unit(events: pl.DataFrame) -> float | None:
    """Return the weight of an ordinary event, None without weights."""
    return (
        unit_of(events["weight"].fill_null(float("nan")).to_numpy()) if "weight" in events.columns else None
    )


def num_pushing(events: pl.DataFrame, scale: tuple[float, float] | None) -> int:
    """Return how many events push away: those rated in the lowest quarter of the scale."""
    if scale is None or "rating" not in events.columns or not scale[0] < scale[1]:
        return 0
    return int((events["rating"] < scale[0] + PUSHING_SHARE * (scale[1] - scale[0])).sum())


def _refuse_no_scale(values: list[float], sizes: list[int]) -> None:
    low, high, num = values[0], values[-1], sum(sizes)
    middle = (low + high) / 2
    upper = sum(size for value, size in zip(values, sizes, strict=True) if value > middle) / num
    lower = sum(
        size for value, size in zip(values, sizes, strict=True) if value <= low + _LOW_PART * (high - low)
    )
    if len(values) > MAX_LEVELS:
        why = f"{len(values):,} different values from {low:g} to {high:g}"
    elif len(values) > 2 and lower >= num / 2 and upper <= _UPPER_SHARE:
        why = f"{low:g} to {high:g}, {lower / num:.0%} of them in the lowest fifth, as counts are"
    else:
        return
    remedies = [
        "They are no rating scale. If they are counts or amounts, map the column as weight",
        f"if they are a scale, add --rating-scale {low:g},{high:g}",
    ]
    # Among many values gaps mean nothing; a heap does.
    if heaps := _heaps(values, sizes, least_share=_HEAP_SHARE):
        remedies.append(heaps[0])
    raise BadInputError(field="ratings", value=why, remedy="; ".join(remedies) + ".")


def _heaps(values: list[float], sizes: list[int], *, least_share: float = 0.0) -> tuple[str, ...]:
    """Tell of values at an end of the scale that may stand for "not rated", and are that share of all."""
    num = sum(sizes)
    steps = sorted(after - before for before, after in itertools.pairwise(values))
    usual = steps[len(steps) // 2]
    found = []
    neighbours = max(sizes[1:3])
    heap = sizes[0] >= _HEAP_RATIO * neighbours and sizes[0] >= _HEAP_SHARE * num
    gap = len(values) > 2 and values[1] - values[0] > _GAP * usual
    alone = len(values) > 2 and values[0] < 0 < values[1]
    if values[0] <= 0 and (heap or gap or alone):
        found.append((values[0], sizes[0]))
    if len(values) > 2 and values[-1] - values[-2] > 2 * _GAP * usual and sizes[-1] >= _TOP_SHARE * num:
        found.append((values[-1], sizes[-1]))
    return tuple(
        f"{size / num:.0%} of ratings are {value:g}, apart from the others; if that means not rated, "
        f"add --not-rated {value:g}"
        for value, size in found
        if size >= least_share * num
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
