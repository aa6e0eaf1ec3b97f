"""Synthetic worlds with planted tastes: small, deterministic, and the right answer is known.

Every item belongs to one taste, which its title and genre spell out. Every user loves one taste or
two: events fall mostly inside them, ratings are 4 or 5 inside and 1 or 2 outside, and popular
items are met more often than others. A user's occupation gives the first taste away with a stated
probability.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset
from warmprompt.data.tables import Tables, content_hash, dataset_from_tables
from warmprompt.errors import BadInputError
from warmprompt.rng import derive
from warmprompt.types import short_repr

# One taste a row: genre, the words of its titles, and the occupation that goes with it.
TASTES = (
    ("science fiction", ("Star", "Galaxy", "Robot", "Orbit"), "engineer"),
    ("romance", ("Kiss", "Wedding", "Heart", "Letter"), "artist"),
    ("horror", ("Ghost", "Crypt", "Scream", "Vampire"), "writer"),
    ("western", ("Cowboy", "Saloon", "Desert", "Sheriff"), "farmer"),
    ("comedy", ("Laugh", "Clown", "Prank", "Party"), "student"),
    ("war", ("Battle", "Soldier", "Trench", "General"), "lawyer"),
    ("documentary", ("Planet", "History", "Nature", "Archive"), "scientist"),
    ("musical", ("Dance", "Opera", "Melody", "Broadway"), "educator"),
)
_ITEMS = ("North", "South", "River", "Island", "Winter", "Summer", "Harbor", "Valley", "Tower", "Garden")
_START_S = 1_000_000_000
_STEP_S = 3_600


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """How clear the plant is.

    Attributes:
        share_two_tastes: Share of users who love two tastes, 0 to 1.
        p_inside: Probability that an event falls inside the loved tastes.
        p_occupation: Probability that the occupation is the one of the first taste; otherwise it
            is one of the others, evenly.
        share_without_attributes: Share of users whose attributes are unknown.
        popularity_skew: Exponent s of the weights 1 / rank^s; 0 makes all items equally popular.
        min_events, max_events: Bounds of a user's number of events, both included.
    """

    share_two_tastes: float = 0.3
    p_inside: float = 0.85
    p_occupation: float = 0.8
    share_without_attributes: float = 0.0
    popularity_skew: float = 0.7
    min_events: int = 12
    max_events: int = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class PlantedWorld:
    """A data set and the truth behind it. N is users, V items.

    Attributes:
        dataset: What a model may see.
        user_tastes: The tastes of each user, as rows of `TASTES`, the first one first.
        item_tastes: The taste of each item, (V,).
        weights: Popularity of each item, (V,), positive, sum 1.
        knobs: How it was made.
    """

    dataset: Dataset
    user_tastes: tuple[tuple[int, ...], ...]
    item_tastes: NDArray[np.int64]
    weights: NDArray[np.float64]
    knobs: Knobs

    __repr__ = short_repr

    def loved(self, user: int) -> NDArray[np.bool_]:
        """Tell which items lie inside the tastes of user index `user`, (V,)."""
        return np.isin(self.item_tastes, self.user_tastes[user])

    def best_ranking(self, user: int, *, without: Collection[int] = ()) -> NDArray[np.int64]:
        """Return item indexes by expected rating (4.5 inside, 1.5 outside), then by popularity.

        Args:
            user: User index.
            without: Item indexes to leave out, such as the support.
        """
        order = np.lexsort((-self.weights, ~self.loved(user)))
        return order[~np.isin(order, list(without))]

    def event_probability(self, user: int) -> NDArray[np.float64]:
        """Return the probability of each item to be the user's first event, (V,), sum 1."""
        return _first_event(self.loved(user), self.weights, self.knobs.p_inside)


def planted_world(
    *, num_users: int, num_items: int, num_tastes: int, seed: int, knobs: Knobs | None = None
) -> PlantedWorld:
    """Make a world; the same arguments give the same world.

    A user's events depend on the seed and the user alone, so more users leave the others as they are.

    Args:
        num_users: N, at least 1.
        num_items: V; items are dealt to the tastes in turn.
        num_tastes: 2 to 8.
        seed: Derives every random choice.
        knobs: How clear the plant is; the defaults otherwise.

    Raises:
        BadInputError: A number is out of range, or a history is longer than there are items.
    """
    knobs = knobs or Knobs()
    _check(num_users, num_items, num_tastes, knobs)
    item_tastes = np.arange(num_items) % num_tastes
    ranks = derive(seed, "popularity").permutation(num_items) + 1
    weights = ranks.astype(np.float64) ** -knobs.popularity_skew
    weights /= weights.sum()
    people = [_person(user, num_tastes, seed, knobs) for user in range(num_users)]
    histories = [
        _history(np.isin(item_tastes, tastes), weights, derive(seed, "events", user), knobs)
        for user, (tastes, _) in enumerate(people)
    ]
    tables = _tables(item_tastes, people, histories)
    dataset = dataset_from_tables(
        tables, name=f"planted-{seed}", hashed=content_hash(tables), rating_scale=(1.0, 5.0)
    )
    return PlantedWorld(
        dataset=dataset,
        user_tastes=tuple(tastes for tastes, _ in people),
        item_tastes=item_tastes,
        weights=weights,
        knobs=knobs,
    )


_Person = tuple[tuple[int, ...], str | None]
_History = tuple[NDArray[np.int64], NDArray[np.int64]]


def _check(num_users: int, num_items: int, num_tastes: int, knobs: Knobs) -> None:
    for name in ("share_two_tastes", "p_inside", "p_occupation", "share_without_attributes"):
        if not 0 <= getattr(knobs, name) <= 1:
            raise BadInputError(field=name, value=getattr(knobs, name), remedy="Give a number from 0 to 1.")
    if not 2 <= num_tastes <= len(TASTES):
        raise BadInputError(field="num_tastes", value=num_tastes, remedy=f"Give 2 to {len(TASTES)}.")
    if num_users < 1:
        raise BadInputError(field="num_users", value=num_users, remedy="Give at least 1.")
    if not 1 <= knobs.min_events <= knobs.max_events <= num_items:
        bounds = (knobs.min_events, knobs.max_events, num_items)
        raise BadInputError(
            field="min_events, max_events, num_items",
            value=bounds,
            remedy="Give them in rising order, 1 or more.",
        )


def _person(user: int, num_tastes: int, seed: int, knobs: Knobs) -> _Person:
    """Draw a user's tastes and occupation."""
    rng = derive(seed, "person", user)
    tastes = [int(taste) for taste in rng.permutation(num_tastes)[:2]]
    if rng.random() >= knobs.share_two_tastes:
        tastes = tastes[:1]
    spoken = tastes[0]
    if rng.random() >= knobs.p_occupation:
        spoken = int(rng.choice([taste for taste in range(num_tastes) if taste != tastes[0]]))
    known = rng.random() >= knobs.share_without_attributes
    return tuple(tastes), TASTES[spoken][2] if known else None


def _history(
    loved: NDArray[np.bool_], weights: NDArray[np.float64], rng: np.random.Generator, knobs: Knobs
) -> _History:
    """Draw distinct items and their ratings, in time order."""
    left = weights.copy()
    items = []
    for _ in range(int(rng.integers(knobs.min_events, knobs.max_events + 1))):
        items.append(int(rng.choice(len(left), p=_first_event(loved, left, knobs.p_inside))))
        left[items[-1]] = 0
    selected = np.array(items)
    return selected, np.where(loved[selected], 4, 1) + rng.integers(0, 2, len(selected))


def _first_event(
    loved: NDArray[np.bool_], weights: NDArray[np.float64], p_inside: float
) -> NDArray[np.float64]:
    """Split the probability between inside and outside; an exhausted side passes its share on."""
    inside, outside = np.where(loved, weights, 0), np.where(loved, 0, weights)
    if not inside.sum() or not outside.sum():
        return np.asarray(weights / weights.sum())
    return np.asarray(p_inside * inside / inside.sum() + (1 - p_inside) * outside / outside.sum())


def _tables(item_tastes: NDArray[np.int64], people: list[_Person], histories: list[_History]) -> Tables:
    user_ids = [f"u{user:05d}" for user in range(len(people))]
    item_ids = [f"i{item:05d}" for item in range(len(item_tastes))]
    rows = [
        (user_ids[user], item_ids[item], order, float(rating), _START_S + user + order * _STEP_S)
        for user, (items, ratings) in enumerate(histories)
        for order, (item, rating) in enumerate(zip(items, ratings, strict=True))
    ]
    titles = [_title(item, int(taste), max(item_tastes) + 1) for item, taste in enumerate(item_tastes)]
    schema = {
        "user": pl.String,
        "item": pl.String,
        "order": pl.Int32,
        "rating": pl.Float32,
        "time_s": pl.Int64,
    }
    return Tables(
        interactions=pl.DataFrame(rows, schema=schema, orient="row"),
        items=pl.DataFrame(
            {"item": item_ids, "title": titles, "genres": [[TASTES[taste][0]] for taste in item_tastes]}
        ),
        users=pl.DataFrame(
            {"user": user_ids, "occupation": [occupation for _, occupation in people]},
            schema={"user": pl.String, "occupation": pl.String},
        ),
    )


def _title(item: int, taste: int, num_tastes: int) -> str:
    """Return a title of two words of the world and one of the taste, with a year."""
    turn = item // num_tastes
    words = TASTES[taste][1]
    index = _ITEMS[turn // len(words) % len(_ITEMS)]
    round_number = turn // (len(words) * len(_ITEMS))
    suffix = f" {round_number + 1}" if round_number else ""
    return f"{words[turn % len(words)]} {index}{suffix} ({1960 + turn % 50})"
