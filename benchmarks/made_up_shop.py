"""Write the events of a made-up shop of any size, with tastes that can be found.

    python benchmarks/made_up_shop.py FOLDER --users 200000 --items 1000000 --events 10000000

Items belong to categories, whose words their titles share; within a category a few items are popular. A user
likes three categories and now and then takes what is popular anywhere. Events are in order of time. Writes
`events.parquet` (user, item, time) and `items.parquet` (item, title). Equal arguments write equal bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

ITEMS_PER_CATEGORY, TASTES, ANYWHERE = 200, 3, 0.15
# Popularity falls with rank by this power; users' numbers of events spread by this one.
FALL, SPREAD = 0.8, 0.7
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
START_S, SPAN_S = 1_600_000_000, 3 * 365 * 86_400


def main() -> None:
    """Write both tables."""
    given = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    given.add_argument("folder", type=Path)
    for name, number in (("users", 200_000), ("items", 1_000_000), ("events", 10_000_000), ("seed", 0)):
        given.add_argument(f"--{name}", type=int, default=number)
    asked = given.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(asked.seed)
    category_V = np.sort(rng.integers(0, max(1, asked.items // ITEMS_PER_CATEGORY), asked.items))
    items(category_V, rng).write_parquet(asked.folder / "items.parquet")
    events(category_V, asked.users, asked.events, rng).write_parquet(asked.folder / "events.parquet")


def items(category_V: NDArray[np.int64], rng: np.random.Generator) -> pl.DataFrame:
    """Return a title of three words per item: two of the category's, and one of its own."""
    words = np.array([a + e + b + o for a in CONSONANTS for e in VOWELS for b in CONSONANTS for o in VOWELS])
    own = rng.choice(words, (category_V.max() + 1, 2))
    title = [" ".join(pair) for pair in zip(own[category_V, 0], own[category_V, 1], strict=True)]
    ids = np.arange(len(category_V))
    return pl.DataFrame({"item": ids, "title": title, "word": rng.choice(words, len(ids))}).select(
        "item", (pl.col("title") + " " + pl.col("word") + " " + pl.col("item").cast(pl.String)).alias("title")
    )


def events(
    category_V: NDArray[np.int64], num_users: int, num_events: int, rng: np.random.Generator
) -> pl.DataFrame:
    """Return distinct (user, item) pairs with times, user by user; somewhat fewer than asked for."""
    share_U = rng.lognormal(0, SPREAD, num_users)
    length_U = np.maximum(2, num_events * share_U / share_U.sum()).astype(np.int64)
    user_N = np.repeat(np.arange(num_users), length_U)
    tastes_UT = rng.integers(0, category_V.max() + 1, (num_users, TASTES))
    taste_N = tastes_UT[user_N, rng.choice(TASTES, len(user_N), p=[0.6, 0.3, 0.1])]
    first_C = np.searchsorted(category_V, np.arange(category_V.max() + 2))
    size_N = np.maximum(1, first_C[taste_N + 1] - first_C[taste_N])
    item_N = first_C[taste_N] + by_rank(size_N, rng)
    anywhere_N = rng.random(len(user_N)) < ANYWHERE
    shuffled_V = rng.permutation(len(category_V))
    item_N[anywhere_N] = shuffled_V[by_rank(np.full(anywhere_N.sum(), len(category_V)), rng)]
    time_N = START_S + (SPAN_S * rng.random(len(user_N))).astype(np.int64)
    table = pl.DataFrame({"user": user_N, "item": np.minimum(item_N, len(category_V) - 1), "time": time_N})
    return table.unique(("user", "item"), keep="first", maintain_order=True).sort("user", "time")


def by_rank(size_N: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a rank below each size, low ones more often: a power law by its inverse."""
    uniform_N = rng.random(len(size_N))
    rank_N = ((size_N.astype(float) ** (1 - FALL) - 1) * uniform_N + 1) ** (1 / (1 - FALL)) - 1
    return np.minimum(rank_N.astype(np.int64), size_N - 1)


if __name__ == "__main__":
    main()
