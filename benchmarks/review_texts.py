"""Reviews as users wrote them, in the order of time, split by users: what `review_prompts.py` measures on."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from warmprompt.rng import derive

MIN_TOKENS = 4


@dataclass(frozen=True, kw_only=True)
class Writers:
    """Users, each the token lists of one's reviews, oldest first, cut to `max_tokens`.

    Attributes:
        training, validation, test: Disjoint users, in random order.
        counts: What was read and what was left out, for the page.
    """

    training: list[list[list[int]]]
    validation: list[list[list[int]]]
    test: list[list[list[int]]]
    counts: dict[str, int]


def read_writers(
    path: Path, tokens: Callable[[str], list[int]], *, max_tokens: int, min_reviews: int, seed: int
) -> Writers:
    """Return the writers of a file of Amazon reviews (JSON lines, gzip).

    Left out and counted: reviews of fewer than `MIN_TOKENS` tokens, reviews that repeat the first
    `max_tokens` tokens of an earlier one of the same user, and users with fewer than `min_reviews` left.
    Reviews of one day keep the order of the file.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows.sort(key=lambda row: row["unixReviewTime"])
    counts = Counter(reviews=len(rows))
    own: dict[str, list[list[int]]] = {}
    for row in rows:
        ids = tokens(row.get("reviewText", "").strip())[:max_tokens]
        reviews = own.setdefault(row["reviewerID"], [])
        if len(ids) < MIN_TOKENS:
            counts["short"] += 1
        elif ids in reviews:
            counts["repeated"] += 1
        else:
            reviews.append(ids)
    kept = sorted(user for user, reviews in own.items() if len(reviews) >= min_reviews)
    order = [kept[index] for index in derive(seed, "writers").permutation(len(kept))]
    cuts = [round(share * len(order)) for share in (0.7, 0.8)]
    parts = [order[: cuts[0]], order[cuts[0] : cuts[1]], order[cuts[1] :]]
    counts |= {"users": len(own), "users kept": len(kept)}
    training, validation, test = ([own[user] for user in part] for part in parts)
    return Writers(training=training, validation=validation, test=test, counts=dict(counts))
