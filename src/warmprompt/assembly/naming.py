"""After training, the text head learns what a text means that names a genre in known words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from warmprompt.data.dataset import Dataset
from warmprompt.data.genre_words import genre_words
from warmprompt.data.verbalise import genre_table
from warmprompt.meta.checkpoint import Trained
from warmprompt.meta.named_genres import read_named_genres
from warmprompt.meta.texts import TextPool


def learn_named_genres(
    trained: Trained, training: Dataset, *, texts: TextPool, features: Mapping[str, Tensor]
) -> Trained:
    """Return the model with a dictionary of genres; the same model where no user's text names one.

    Args:
        trained: After training; its text head reads by the encoder alone.
        training: Its users.
        texts: What is told of them.
        features: Text features of every such text.
    """
    genres = genre_words(genre_table(training))
    head = read_named_genres(
        trained.params,
        trained.constants,
        training,
        texts=[(user, text) for user, own in enumerate(texts.texts) for text in own],
        features=features,
        genres=genres,
    )
    return replace(trained, params={**trained.params, **head}, genres=genres) if head else trained
