"""Sentences about tested users, for what a text is worth to somebody without history.

A sentence names up to three genres that the user's events outside the query hold more often than the
catalogue does, in phrasings that training may use ("known") or in frames and words that it never meets
("unseen"). Controls: "unseen-shuffled" gives every user another user's sentence, "genres" gives the names of
the genres alone, as the data set spells them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from warmprompt.data.dataset import Dataset
from warmprompt.data.phrasing import Frames
from warmprompt.data.verbalise import describe_tastes, favourite_genres, genre_table
from warmprompt.evaluation.cases import Case
from warmprompt.rng import derive

SENTENCES = ("", "known", "unseen", "unseen-shuffled", "genres")
_NUM_GENRES = 3


def with_sentences(
    dataset: Dataset, cases: Mapping[int, Sequence[Case]], kind: str, *, seed: int
) -> dict[int, tuple[Case, ...]]:
    """Return the cases with a sentence in `support.about`; None where no genre is overrepresented.

    Args:
        dataset: Tells the users' events and the items' genres.
        cases: Per K.
        kind: One of `SENTENCES` but "".
        seed: Derives the wordings.
    """
    table = genre_table(dataset)
    position = {user: index for index, user in enumerate(dataset.user_ids)}
    frames: Frames = "training" if kind == "known" else "heldout"

    def sentence(case: Case) -> str | None:
        user = case.support.user
        items = dataset.interactions.items[dataset.interactions.events_of(position[user])]
        genres = favourite_genres(items[~np.isin(items, case.held_out)], table, top=_NUM_GENRES)
        if not genres:
            return None
        if kind == "genres":
            return ", ".join(sorted(genres))
        return describe_tastes(genres, rng=derive(seed, "about", frames, str(user)), frames=frames)

    found = {}
    for k, of_k in cases.items():
        texts = [sentence(case) for case in of_k]
        if kind == "unseen-shuffled":
            texts = [*texts[1:], *texts[:1]]
        found[k] = tuple(
            replace(case, support=replace(case.support, about=text))
            for case, text in zip(of_k, texts, strict=True)
        )
    return found
