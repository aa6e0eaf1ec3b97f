"""After training, the text head learns what a text means that names a genre in known words.

M is texts, B those of a batch, T text features, X inputs of the head, V items, D factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from warmprompt.data.episodes import batch_supports
from warmprompt.data.genre_words import GenreWords, genre_words
from warmprompt.data.verbalise import genre_table
from warmprompt.meta.learners import learner_of
from warmprompt.meta.model import make_catalogue, score_catalogue
from warmprompt.meta.named_genres import HEAD, both_heads, read_named_genres, widen
from warmprompt.meta.predict import adapt_linearly
from warmprompt.meta.tasks import TrainingInputs
from warmprompt.meta.texts import TextPool
from warmprompt.runs.format import Trained
from warmprompt.scoring.ranking import ndcg_per_user, ranks
from warmprompt.scoring.validation import draw_validation_episodes
from warmprompt.types import Ints, Support

_GAINS = (1.0, 1.2, 1.4, 0.8, 0.6)
_MAX_USERS = 2000
_BATCH = 1024
_NOBODY = Support(user="", items_K=np.zeros(0, np.int32), ratings_K=np.zeros(0, np.float32))


def learn_named_genres(trained: Trained, material: TrainingInputs, *, seed: int) -> Trained:
    """Return the model with a dictionary of genres, or as it is.

    The gain of what is read where a genre is named, or no dictionary at all, is what ranks best for
    validation users without history: NDCG@10, averaged over those of a user's texts that name a genre.

    Args:
        trained: After training; its text head reads by the encoder alone.
        material: What it was trained on.
        seed: The run's seed.
    """
    genres = genre_words(genre_table(material.training))
    genres_GD = read_named_genres(
        trained.params, trained.data, material.training, texts=_pairs(material.texts), genres=genres
    )
    if genres_GD is None:
        return trained
    judged = _Judged.of(material, genres, seed=seed)
    head_TD = trained.params[HEAD]
    # Read as any other text, whatever is named: what the dictionary has to be better than.
    plain_XD = torch.cat([head_TD, head_TD, torch.zeros_like(genres_GD).to(head_TD)])
    heads_XD = [plain_XD, *(both_heads(head_TD, genres_GD, gain=gain) for gain in _GAINS)]
    best = int(np.argmax([_ndcg(trained, head_XD, judged) for head_XD in heads_XD]))
    if best == 0:
        return trained
    return replace(trained, params={**trained.params, HEAD: heads_XD[best]}, genres=genres)


def _pairs(pool: TextPool) -> list[tuple[int, str]]:
    return [(user, text) for user, own in enumerate(pool.texts) for text in own]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Judged:
    """Texts of validation users that name a genre, and what those users chose. M is texts, X inputs.

    Attributes:
        inputs_MX: Of the text head.
        users_M: Whose text it is.
        queries: Per text, the items to be found.
        candidates_V: Items that may be ranked.
    """

    inputs_MX: Tensor
    users_M: NDArray[np.int64]
    queries: Sequence[Ints]
    candidates_V: NDArray[np.bool_]

    @classmethod
    def of(cls, material: TrainingInputs, genres: GenreWords, *, seed: int) -> _Judged:
        """Draw each validation user's query, the same for all of the user's texts."""
        validation, features = material.validation, material.features
        episodes = draw_validation_episodes(
            material.training, validation, seed=seed, ks=(0,), max_users=_MAX_USERS
        )
        position = {user: index for index, user in enumerate(validation.user_ids)}
        query_of = {
            position[support.user]: query
            for support, query in zip(episodes.supports.get(0, ()), episodes.queries.get(0, ()), strict=True)
        }
        texts = _pairs(material.validation_texts)
        named_MG = genres.named_in([text for _, text in texts])
        kept = [texts[row] for row in np.flatnonzero(named_MG.any(axis=1)) if texts[row][0] in query_of]
        own = [text for _, text in kept]
        width = len(next(iter(features.values())))
        features_MT = torch.stack([features[text] for text in own]) if own else torch.zeros(0, width)
        return cls(
            inputs_MX=widen(features_MT, own, genres),
            users_M=np.array([user for user, _ in kept], dtype=np.int64),
            queries=[query_of[user] for user, _ in kept],
            candidates_V=episodes.candidates_V,
        )


def _ndcg(trained: Trained, head_XD: Tensor, judged: _Judged) -> float:
    """Return NDCG@10 without history, averaged over each user's texts, then over users; 0 without any."""
    if not judged.queries:
        return 0.0
    catalogue = make_catalogue({**trained.params, HEAD: head_XD}, trained.data)
    gains = []
    for begin in range(0, len(judged.queries), _BATCH):
        inputs_BX = judged.inputs_MX[begin : begin + _BATCH]
        nobody = batch_supports([_NOBODY] * len(inputs_BX))
        users_BD = adapt_linearly(
            catalogue, learner_of(trained.learner), features_BT=inputs_BX, events=nobody
        )
        scores_BV = score_catalogue(catalogue, users_BD).cpu().numpy()
        queries = judged.queries[begin : begin + _BATCH]
        gains.append(ndcg_per_user(ranks(scores_BV, queries, candidates=judged.candidates_V)))
    per_user = np.bincount(judged.users_M, weights=np.concatenate(gains))
    counts = np.bincount(judged.users_M)
    return float((per_user[counts > 0] / counts[counts > 0]).mean())
