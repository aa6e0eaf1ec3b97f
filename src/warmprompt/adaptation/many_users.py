"""Rankings for any number of users: whatever tells of them in, a DataFrame out, chunk by chunk.

users (Dataset, frame, mapping, list of Known) -> UserToRank, one by one -> frames of rankings
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from warmprompt.adaptation.events import MAX_EVENTS, Known, unknown_item
from warmprompt.adaptation.rankings import Ranking
from warmprompt.adaptation.selection import check_count
from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError, UserError
from warmprompt.types import Event, Floats, ItemId, UserId

if TYPE_CHECKING:
    from warmprompt.adaptation.personaliser import Personaliser
    from warmprompt.data.histories import History

UnknownItems = Literal["refuse", "skip"]
Rank = Callable[[Sequence[Known], int], Sequence[Ranking]]
"""Ranks for some users, so many items each."""

CHUNK = 1024
MAX_CELLS = 1 << 24
"""Scores in memory at once, 64 MB for each expert: beyond that a batch costs more time than it saves."""
_POSITION = re.compile(r"^user (\d+), ")


@dataclass(frozen=True, kw_only=True)
class EventContext:
    """What is needed of a model to read users' events.

    Attributes:
        items: In index order.
        index: Item id to position.
        rating_scale: (lowest, highest), or None where the model was trained without ratings.
        now_s: Seconds since 1970; nothing can have happened later.
    """

    items: tuple[ItemId, ...]
    index: Mapping[ItemId, int]
    rating_scale: tuple[float, float] | None
    now_s: int


@dataclass(frozen=True, kw_only=True)
class UserOptions:
    """How users are given; see `Personaliser.recommend`."""

    columns: Mapping[str, str] | None = None
    unknown_items: UnknownItems = "refuse"
    attributes: bool = False


def catalogue_of(model: Personaliser) -> EventContext:
    """Return what reading users' events needs of a model."""
    return EventContext(
        items=model.items, index=model.index, rating_scale=model.rating_scale, now_s=int(model.clock())
    )


@dataclass(frozen=True, kw_only=True)
class UserToRank:
    """One user.

    Attributes:
        user: The user's id.
        known: Inputs of the user; at most the latest `MAX_EVENTS` events.
        older: Items of earlier events; they are left out of the ranking as the others are.
    """

    user: UserId
    known: Known
    older: tuple[ItemId, ...] = ()


def ranked_frames(
    users: Iterable[UserToRank], n: int, rank: Rank, *, items: Sequence[ItemId]
) -> Iterator[pl.DataFrame]:
    """Yield a frame per chunk of users: `user_id`, `item_id`, `title`, `score` and `rank`, 1 the best.

    Args:
        users: In the order of the rows.
        n: Places for each.
        rank: Does the ranking.
        items: The catalogue; it tells the type of ids.

    Raises:
        UserError: As `rank`; the field names the user.
    """
    for chunk, rankings in ranked_users(users, n, rank):
        yield _frame([one.user for one in chunk], rankings, items=items)


def ranked_users(
    users: Iterable[UserToRank], n: int, rank: Rank
) -> Iterator[tuple[list[UserToRank], list[Ranking]]]:
    """Yield users and their rankings, chunk by chunk; arguments and errors as `ranked_frames`."""
    rest = iter(users)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk, _ranked(chunk, n, rank)


def recommended(
    model: Personaliser,
    users: Any,
    n: int,
    *,
    exact: bool | None,
    selection: Mapping[str, Any],
    options: UserOptions,
) -> pl.DataFrame:
    """Return the rankings of all users in one frame; arguments and errors as `Personaliser.recommend`."""
    check_count(n)
    rank = partial(model.rank_many, exact=exact, **selection)
    with tempfile.TemporaryDirectory(prefix="warmprompt-") as scratch:
        found = users_to_rank(users, catalogue_of(model), options=options, scratch=Path(scratch))
        frames = list(ranked_frames(found, int(n), rank, items=model.items))
    return pl.concat(frames or [_frame([], [], items=model.items)])


def users_to_rank(
    users: Any, catalogue: EventContext, *, options: UserOptions, scratch: Path
) -> Iterator[UserToRank]:
    """Return users one by one from whatever tells of them; errors as `Personaliser.recommend`.

    Args:
        users: A data set, a frame, a mapping or a list.
        catalogue: Of the model.
        options: How they are given.
        scratch: An empty folder, there as long as users are taken.
    """
    if options.unknown_items not in ("refuse", "skip"):
        raise BadInputError(
            field="unknown_items", value=options.unknown_items, remedy="Give 'refuse' or 'skip'."
        )
    is_list = isinstance(users, Sequence) and not isinstance(users, str | bytes)
    is_frame = not (isinstance(users, Dataset | Mapping) or is_list)
    if options.attributes and not isinstance(users, Dataset):
        raise BadInputError(field="attributes", value=True, remedy="Give a Dataset, or tell them with Known.")
    if options.columns is not None and not is_frame:
        raise BadInputError(
            field="columns", value=dict(options.columns), remedy="Leave it out: users are no frame."
        )
    if is_frame:
        return _of_frame(users, catalogue, options, scratch)
    if isinstance(users, Dataset):
        found = _of_dataset(users, attributes=options.attributes)
    else:
        given = users.items() if isinstance(users, Mapping) else enumerate(users)
        found = (latest(plain_value(user), _as_known(one, user)) for user, one in given)
    return found if options.unknown_items == "refuse" else _known_alone(found, catalogue)


def pass_size(num_items: int, *, most: int) -> int:
    """Return how many users are scored in one pass: what fits `MAX_CELLS`, `most` at most, 1 at least."""
    return min(most, max(1, MAX_CELLS // num_items))


def for_each_user(users: Sequence[Known], check: Callable[[Known], Known]) -> list[Known]:
    """Return users after a check; an error's field begins with the user's position."""
    checked = []
    for position, known in enumerate(users):
        try:
            checked.append(check(known))
        except UserError as error:
            field = f"user {position}, {error.field}"
            raise type(error)(field=field, value=error.value, remedy=error.remedy) from None
    return checked


def of_histories(histories: Iterable[History], items: Sequence[ItemId]) -> Iterator[UserToRank]:
    """Yield users whose events were read from a table."""
    for one in histories:
        indices = one.items_K.tolist()
        ratings, weights = (_given(values, len(indices)) for values in (one.ratings_K, one.weights_K))
        texts = one.texts_K or (None,) * len(indices)
        events = [
            Event(item=items[position], rating=rating, weight=weight, text=text)
            for position, rating, weight, text in zip(indices, ratings, weights, texts, strict=True)
        ]
        yield latest(one.user, Known(events=events))


def plain_value(value: Any) -> Any:
    """Return what a NumPy scalar holds, any other value as it is."""
    return value.item() if isinstance(value, np.generic) else value


def _of_frame(
    users: Any, catalogue: EventContext, options: UserOptions, scratch: Path
) -> Iterator[UserToRank]:
    # Imported here: one user's ranking needs no reader of tables.
    from warmprompt.data.histories import read_histories
    from warmprompt.data.readers.frames import FrameOptions, frames_source

    frame_options = FrameOptions(rating_scale=catalogue.rating_scale)
    source = frames_source(users, columns=options.columns, options=frame_options)
    found = read_histories(source, catalogue.items, now_s=catalogue.now_s, scratch=scratch)
    if found.num_unknown and options.unknown_items == "refuse":
        raise unknown_item(found.unknown_items[0], catalogue.index, field="item of an event")
    _tell(found.num_unknown, found.unknown_items)
    return of_histories(found, catalogue.items)


def _of_dataset(dataset: Dataset, *, attributes: bool) -> Iterator[UserToRank]:
    events = dataset.interactions
    for user, user_id in enumerate(dataset.user_ids):
        rows = events.events_of(user)
        num = rows.stop - rows.start
        times = [None] * num if events.times_s is None else events.times_s[rows].tolist()
        ratings, weights = (
            _given(None if values is None else values[rows], num)
            for values in (events.ratings, events.weights)
        )
        texts = dataset.texts_at(rows) or (None,) * num
        own = [
            Event(item=dataset.item_ids[item], rating=rating, time_s=time_s, weight=weight, text=text)
            for item, rating, time_s, weight, text in zip(
                events.items[rows].tolist(), ratings, times, weights, texts, strict=True
            )
        ]
        given = dataset.users.row(user, named=True) if attributes and dataset.users.width else {}
        known = Known(events=own, attributes={name: text for name, text in given.items() if text is not None})
        yield latest(user_id, known)


def _given(values: Floats | None, num: int) -> list[float | None]:
    """Return values with None where nothing is given."""
    if values is None:
        return [None] * num
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 - NaN


def _as_known(given: Any, user: object) -> Known:
    """Return what a mapping or a list tells of one user: a `Known`, or events or ids of items."""
    if isinstance(given, Known):
        return given
    if isinstance(given, str | bytes | Mapping | Event) or not hasattr(given, "__iter__"):
        raise BadInputError(
            field=f"user {user!r}", value=given, remedy="Give a Known, or a list of events or of item ids."
        )
    return Known(events=[one if isinstance(one, Event) else Event(item=plain_value(one)) for one in given])


def latest(user: UserId, known: Known) -> UserToRank:
    """Return a user with the latest events that can be adapted to; items of older ones are kept aside."""
    older = tuple(event.item for event in known.events[:-MAX_EVENTS])
    if not older:
        return UserToRank(user=user, known=known)
    return UserToRank(user=user, known=replace(known, events=known.events[-MAX_EVENTS:]), older=older)


def _known_alone(users: Iterable[UserToRank], catalogue: EventContext) -> Iterator[UserToRank]:
    """Yield users without the events whose items the model does not know, and tell of those at the end."""
    num_unknown, some = 0, dict[str, None]()
    for one in users:
        kept = [event for event in one.known.events if event.item in catalogue.index]
        lost = [event.item for event in one.known.events if event.item not in catalogue.index]
        num_unknown += len(lost)
        some |= dict.fromkeys(map(str, lost[:5]))
        older = tuple(item for item in one.older if item in catalogue.index)
        yield replace(one, known=replace(one.known, events=kept), older=older)
    _tell(num_unknown, list(some)[:5])


def _tell(num_unknown: int, some: Sequence[str]) -> None:
    if num_unknown:
        warnings.warn(
            f"{num_unknown:,} events are left out: the model does not know their items, such as "
            f"{', '.join(some)}",
            stacklevel=4,
        )


def _ranked(chunk: Sequence[UserToRank], n: int, rank: Rank) -> list[Ranking]:
    """Return a ranking per user; one with older events is asked for more items, and loses those items."""
    usual = [row for row, one in enumerate(chunk) if not one.older]
    try:
        found = dict(zip(usual, rank([chunk[row].known for row in usual], n), strict=True))
    except UserError as error:
        raise _of_user(error, [chunk[row].user for row in usual]) from None
    for row, one in enumerate(chunk):
        if one.older:
            try:
                (longer,) = rank([one.known], n + len(one.older))
            except UserError as error:
                raise _of_user(error, [one.user]) from None
            kept = [each for each in longer if each.item not in set(one.older)][:n]
            items, titles, scores = zip(*kept, strict=True) if kept else ((), (), ())
            found[row] = Ranking(items=items, titles=titles, scores=scores)
    return [found[row] for row in range(len(chunk))]


def _of_user(error: UserError, users: Sequence[UserId]) -> UserError:
    """Return the error with the user's id for the position in the chunk."""
    field = _POSITION.sub(lambda position: f"user {users[int(position[1])]!r}, ", error.field)
    return type(error)(field=field, value=error.value, remedy=error.remedy)


def _frame(users: Sequence[UserId], rankings: Sequence[Ranking], *, items: Sequence[ItemId]) -> pl.DataFrame:
    lengths = [len(one) for one in rankings]
    try:
        ids = pl.Series(users, dtype=pl.Int64 if users and isinstance(users[0], int) else pl.String)
    except (TypeError, OverflowError):
        raise BadInputError(
            field="users", value="ids of several types", remedy="Give ids that are all text or all integers."
        ) from None
    return pl.DataFrame(
        {
            "user_id": ids.gather(np.repeat(np.arange(len(users)), lengths)),
            "item_id": pl.Series(
                [item for one in rankings for item in one.items],
                dtype=pl.Int64 if isinstance(items[0], int) else pl.String,
            ),
            "title": pl.Series([title for one in rankings for title in one.titles], dtype=pl.String),
            "score": pl.Series([score for one in rankings for score in one.scores], dtype=pl.Float64),
            "rank": pl.Series([rank for num in lengths for rank in range(1, num + 1)], dtype=pl.Int32),
        }
    )
