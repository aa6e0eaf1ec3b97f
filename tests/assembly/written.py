"""A small world in which users write what they like, and a run that is trained on it in a few seconds."""

import numpy as np
import polars as pl
from tests.assembly.small import small_settings

from warmprompt.data.dataset import Dataset
from warmprompt.training.run import train_run

NUM_TASTES, PER_TASTE, NUM_COMMON = 3, 8, 6


def note(taste):
    """Return what a user of a taste writes with every event."""
    return f"just right for somebody of kind {taste}"


def items_of_taste(taste):
    """Return the items that users of a taste choose; the first six items everybody has."""
    first = NUM_COMMON + taste * PER_TASTE
    return list(range(first, first + PER_TASTE))


def written_world(*, texts=True):
    """Return 150 users, each with all common items and four items of one taste."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(150):
        taste = user % NUM_TASTES
        own = rng.permutation(items_of_taste(taste))[:4].tolist()
        rows += [(user, item, note(taste)) for item in (*range(NUM_COMMON), *own)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "text"], orient="row")
    return Dataset.from_frames(frame if texts else frame.drop("text"))


def train_written(folder, **world):
    """Return a run whose only counted expert reads texts."""
    settings = small_settings("backbone.user_text=tiny-encoder", "experts.use=user_text")
    return train_run(settings, folder, dataset=written_world(**world))
