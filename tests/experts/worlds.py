"""Small training data, users and contexts for tests of experts."""

from dataclasses import replace

import numpy as np
import polars as pl
import torch

from warmprompt.data.synthetic import planted_world
from warmprompt.experts import FitContext, UserBatch
from warmprompt.types import Support

NUM_FACTORS = 3


def small_world(num_users=40, num_items=30):
    """Return events of three tastes, two of three with a text."""
    dataset = planted_world(num_users=num_users, num_items=num_items, num_tastes=3, seed=0).dataset
    texts = [f"note {item % 7}" if row % 3 else None for row, item in enumerate(dataset.interactions.items)]
    events = replace(dataset.interactions, texts=pl.Series(texts, dtype=pl.String))
    return replace(dataset, interactions=events)


def encode(texts):
    """Return a random vector of unit length per text, always the same."""
    found_NX = np.array([np.random.default_rng(list(text.encode())).standard_normal(4) for text in texts])
    return (found_NX / np.linalg.norm(found_NX, axis=1, keepdims=True)).astype(np.float32)


def texts_of(dataset):
    return [f"{'red' if item % 3 else 'blue'} thing of make {item % 7}" for item in range(dataset.num_items)]


def context_of(dataset, **changes):
    """Return what experts are fitted with: a random model, texts, and text vectors of unit length."""
    rng = np.random.default_rng(1)
    text_VX = rng.standard_normal((dataset.num_items, 4)).astype(np.float32)
    given = {
        "texts": texts_of(dataset),
        "text_VX": text_VX / np.linalg.norm(text_VX, axis=1, keepdims=True),
        "catalogue_VD": rng.standard_normal((dataset.num_items, NUM_FACTORS)).astype(np.float32),
        "popularity_V": rng.standard_normal(dataset.num_items).astype(np.float32),
        "user_vectors": lambda training: (
            np.random.default_rng(2).standard_normal((training.num_users, NUM_FACTORS)).astype(np.float32)
        ),
        "num_neighbours": 5,
        "encode": encode,
    }
    return FitContext(**{**given, **changes})


def support_of(*items, ratings=None, ordered=False):
    ratings = [np.nan] * len(items) if ratings is None else ratings
    return Support(
        user="u",
        items_K=np.array(items, dtype=np.int32),
        ratings_K=np.array(ratings, dtype=np.float32),
        ordered=ordered,
        texts_K=tuple(f"note {item % 7}" for item in items) or None,
    )


def batch_of(*supports, least_rating=None):
    """Return users whose vectors depend on their events alone."""
    rows = [
        np.random.default_rng(sorted({int(item) for item in one.items_K})).standard_normal(NUM_FACTORS)
        for one in supports
    ]
    vectors_BD = torch.tensor(np.array(rows).reshape(-1, NUM_FACTORS), dtype=torch.float32)
    return UserBatch(supports=supports, vectors_BD=vectors_BD, least_rating=least_rating, encode=encode)
