"""Makes the small data sets of the evaluation tests available here."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from warmprompt.data.synthetic import Knobs, planted_world
from warmprompt.types import Support


@pytest.fixture(scope="session")
def worlds() -> ModuleType:
    """Return the module of small data sets."""
    path = Path(__file__).parents[1] / "evaluation" / "worlds.py"
    spec = importlib.util.spec_from_file_location("baseline_worlds", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def world():
    """Return a world of four tastes, one per user, met four times out of five."""
    knobs = Knobs(share_two_tastes=0.0, p_inside=0.8, min_events=14)
    return planted_world(num_users=300, num_items=60, num_tastes=4, seed=1, knobs=knobs)


@pytest.fixture(scope="session")
def share_inside(world):
    """Return a function from a ranker to the share of planted tastes in the eight best of unseen users.

    A quarter of the items lie inside a taste; popularity alone finds .25 on average.
    """

    def share(ranker):
        items = world.dataset.interactions
        right = []
        for user in range(240, 300):
            history = items.items[items.events_of(user)][:5]
            if np.count_nonzero(world.loved(user)[history]) < 4:
                continue  # a support of other tastes says nothing
            unrated = np.full(len(history), np.nan, dtype=np.float32)
            scores = ranker.score([Support(user="new", items_K=history, ratings_K=unrated)])[0]
            scores[history] = -np.inf
            right.append(world.loved(user)[np.argsort(-scores)[:8]].mean())
        return np.mean(right)

    return share
