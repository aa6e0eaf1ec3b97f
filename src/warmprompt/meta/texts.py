"""User texts for training: each user in a few wordings, and often in none.

Ranking has to work with and without a text, and to understand wordings it has not seen. So a
training user has a small pool of texts, who they are and what they like, each in a random wording, and an
episode draws one of them or the empty text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warmprompt.data.dataset import Dataset
from warmprompt.data.verbalise import (
    GenreTable,
    describe_attributes,
    describe_tastes,
    favourite_genres,
    genre_table,
)
from warmprompt.rng import derive

P_NO_TEXT = 0.4


@dataclass(frozen=True, kw_only=True)
class TextPool:
    """Texts per user of a data set, in its order; a user without attributes or genres has none."""

    texts: tuple[tuple[str, ...], ...]

    def unique(self) -> list[str]:
        """Return every text once, the empty one first."""
        return ["", *sorted({text for pool in self.texts for text in pool} - {""})]


def write_texts(dataset: Dataset, *, wordings: int, seed: int) -> TextPool:
    """Write every user's pool: `wordings` sentences of each kind that the data allow.

    A sentence about tastes names the one to three favourite genres of a random half of the user's
    events, so that it tells something about the user, not the answer to the episode.

    Args:
        dataset: Users with attributes, items with genres; either may be absent.
        wordings: Sentences per kind.
        seed: Of halves and wordings.
    """
    table = genre_table(dataset)
    attributes = [
        {key: str(value) for key, value in row.items() if value is not None}
        for row in (dataset.users.iter_rows(named=True) if dataset.users.width else [{}] * dataset.num_users)
    ]
    return TextPool(
        texts=tuple(
            _pool(dataset, table, user, attributes[user], wordings=wordings, seed=seed)
            for user in range(dataset.num_users)
        )
    )


def draw_text(pool: Sequence[str], *, seed: int, round_index: int, user: str) -> str:
    """Return one text of a user's pool, or none with probability `P_NO_TEXT`."""
    rng = derive(seed, "text", round_index, user)
    if not pool or rng.random() < P_NO_TEXT:
        return ""
    return pool[int(rng.integers(len(pool)))]


def _pool(
    dataset: Dataset,
    table: GenreTable,
    user: int,
    attributes: dict[str, str],
    *,
    wordings: int,
    seed: int,
) -> tuple[str, ...]:
    rng = derive(seed, "texts", str(dataset.user_ids[user]))
    items = dataset.interactions.items[dataset.interactions.events_of(user)]
    found = []
    for _ in range(wordings):
        who = describe_attributes(attributes, rng=rng) if attributes else ""
        half = rng.permutation(items)[: max(1, len(items) // 2)]
        genres = favourite_genres(half, table, top=int(rng.integers(1, 4))) if len(items) else ()
        likes = describe_tastes(genres, rng=rng) if genres else ""
        found += [who, likes]
        if who and likes and rng.random() < 0.5:
            found.append(f"{who} {likes}" if who.endswith((".", "!", "?")) else f"{who}. {likes}")
    return tuple(text for text in dict.fromkeys(found) if text)
