"""Texts that name a genre in known words: a dictionary beside the sentence encoder.

A sentence encoder reads wordings that nobody wrote down before, but what a known word says it knows less
well than a dictionary does. Were both read by one head, the encoder's features would leave to the dictionary
what unknown words then lack. So a text in which the dictionary finds a genre is read by both, each in its
own share; any other text is read as if there were no dictionary.

B is texts, T text features, G genres, D factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from warmprompt.data.dataset import Dataset
from warmprompt.data.genre_words import GenreWords
from warmprompt.meta.initial import ridge_of_texts, where_users_lead
from warmprompt.meta.model import CatalogueData, Params

HEAD = "prior.text_head"
# Genres are few and say the same of many: shrunk more than features are. How much of the prior they are.
_RIDGE = 10.0
_SHARE = 0.7


def widen(features_BT: Tensor, texts: Sequence[str], genres: GenreWords | None) -> Tensor:
    """Return the inputs of the text head: with a dictionary (B, 2 T + G), without one the features.

    The first T columns are zeros where a genre is named, all others where none is.

    Args:
        features_BT: The encoder's, row by row.
        texts: As they were read.
        genres: The model's dictionary.
    """
    if genres is None:
        return features_BT
    named_BG = torch.from_numpy(genres.named_in(texts)).to(features_BT.device)
    any_B1 = named_BG.any(dim=1, keepdim=True)
    parts = (features_BT * ~any_B1, features_BT * any_B1, named_BG)
    return torch.cat(parts, dim=1).to(features_BT)


def read_named_genres(
    params: Params,
    data: CatalogueData,
    training: Dataset,
    *,
    texts: Sequence[tuple[int, str]],
    genres: GenreWords,
) -> Tensor | None:
    """Return where each genre leads, (G, D); None where no text names any.

    It is the ridge regression, as `initial.read_prior`'s, of where users' histories lead on the genres that
    their texts name.

    Args:
        params: Trained.
        data: Of the items.
        training: Events of training users.
        texts: (user index, text) pairs.
        genres: The dictionary.
    """
    named_MG = genres.named_in([text for _, text in texts])
    rows = np.flatnonzero(named_MG.any(axis=1))
    if not len(rows):
        return None
    users_M = torch.tensor([texts[row][0] for row in rows.tolist()])
    inputs_MG = torch.from_numpy(named_MG[rows]).float()
    return ridge_of_texts(inputs_MG, users_M, where_users_lead(params, data, training), weight=_RIDGE)


def both_heads(head_TD: Tensor, genres_GD: Tensor, *, gain: float) -> Tensor:
    """Return the text head over what `widen` returns, (2 T + G, D).

    Args:
        head_TD: Over the encoder's features.
        genres_GD: Where each genre leads.
        gain: Of what is read where a genre is named; ridge regressions fall short of what ranks best.
    """
    parts = (head_TD, gain * (1 - _SHARE) * head_TD, gain * _SHARE * genres_GD.to(head_TD))
    return torch.cat(parts)
