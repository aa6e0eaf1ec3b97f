"""Whether the ids of two tables are the same: the share of events that join, and why others do not."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from warmprompt.errors import BadInputError

_MOSTLY = 0.5
_LOOSER: tuple[tuple[str, Callable[[pl.Series], pl.Series]], ...] = (
    ("white space", lambda ids: ids.str.strip_chars()),
    ("capital letters", lambda ids: ids.str.strip_chars().str.to_lowercase()),
    (
        "leading zeros",
        lambda ids: ids.str.strip_chars().str.to_lowercase().str.replace(r"^0+([0-9a-z])", "${1}"),
    ),
    ("a decimal part", lambda ids: ids.str.strip_chars().str.replace(r"\.0*$", "")),
    ("signs", lambda ids: ids.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]", "")),
    ("letters around a number", lambda ids: ids.str.extract(r"(\d+)\D*$")),
)


def refuse_strangers(
    name: str, ids_of_events: pl.Series, ids_described: pl.Series, *, share: float, least: float
) -> None:
    """Refuse tables of which too few events join.

    Args:
        name: "user" or "item".
        ids_of_events: Ids of events that the other file does not describe, as written.
        ids_described: Ids of the other file, as written.
        share: Of the events that join.
        least: The lowest share that is taken, 0 to 1.

    Raises:
        BadInputError: Fewer join; shows how both files write ids.
    """
    if share >= least or not len(ids_described):
        return
    ours, theirs, why = _alike(ids_of_events, ids_described)
    raise BadInputError(
        field=f"{name} ids",
        value=f"{share:.1%} of events join",
        remedy=f"Events have {ours!r} where the {name}s' file has {theirs!r}. {why} Write ids the same way "
        "in both files, or allow a lower share with --min-joined.",
    )


def _alike(ours: pl.Series, theirs: pl.Series) -> tuple[str, str, str]:
    """Return an id of each file, of the same thing where a looser reading finds one, and what differs."""
    for what, looser in _LOOSER:
        loose_ours, loose_theirs = looser(ours), looser(theirs)
        shared = loose_ours.is_in(loose_theirs.drop_nulls().implode()).fill_null(value=False)
        if shared.sum() >= _MOSTLY * min(len(ours), len(theirs)):
            index = int(shared.arg_max() or 0)
            other = int((loose_theirs == loose_ours[index]).fill_null(value=False).arg_max() or 0)
            return ours[index], theirs[other], f"They differ in {what}."
    return ours[0], theirs[0], "No looser spelling makes them equal; perhaps the file describes others."
