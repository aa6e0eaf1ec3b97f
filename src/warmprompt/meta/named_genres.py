"""A second head for texts that name a genre in known words: a dictionary beside the sentence encoder.

A sentence encoder reads wordings that nobody wrote down before, but what a known word says it knows less
well than a dictionary does. Were both read by one head, the encoder's features would leave to the dictionary
what unknown words then lack. So a text in which the dictionary finds a genre is read by a head of its own,
over the encoder's features and the genres; any other text is read as if there were no dictionary.

B is texts, T text features, G genres, X = T + G, D factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from warmprompt.data.dataset import Dataset
from warmprompt.data.genre_words import GenreWords
from warmprompt.meta.initial import ridge_of_texts, where_users_lead
from warmprompt.meta.model import Constants, Params

HEAD = "prior.text_head"
# A genre counts as much as encoder's features of this length, whose own is 1 at most.
_GENRE_SCALE = 3.0
# The ridge draws predictions towards nobody in particular: this gives back what ranks best (docs/LOG.md).
_GAIN = 1.4


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
    parts = (features_BT * ~any_B1, features_BT * any_B1, _GENRE_SCALE * named_BG)
    return torch.cat(parts, dim=1).to(features_BT)


def read_named_genres(
    params: Params,
    constants: Constants,
    training: Dataset,
    *,
    texts: Sequence[tuple[int, str]],
    features: Mapping[str, Tensor],
    genres: GenreWords,
) -> dict[str, Tensor]:
    """Return the text head with rows for texts that name a genre; empty where no text names any.

    The rows are the ridge regression, as `initial.read_prior`'s, of where users' histories lead on features
    and genres of those of their texts that name one. What other texts are read as stays bit for bit.

    Args:
        params: Trained.
        constants: Of the item side.
        training: Events of training users.
        texts: (user index, text) pairs.
        features: (T,) of every text.
        genres: The dictionary.
    """
    named_MG = genres.named_in([text for _, text in texts])
    kept = [pair for pair, named_G in zip(texts, named_MG, strict=True) if named_G.any()]
    if not kept:
        return {}
    head_TD = params[HEAD].detach()
    own_texts = [text for _, text in kept]
    inputs_MX = widen(torch.stack([features[text].cpu() for text in own_texts]), own_texts, genres)
    own_XD = ridge_of_texts(
        inputs_MX[:, len(head_TD) :],
        torch.tensor([user for user, _ in kept]),
        _GAIN * where_users_lead(params, constants, training),
    )
    return {HEAD: torch.cat([head_TD, own_XD.to(head_TD)])}
