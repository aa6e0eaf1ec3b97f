"""A small data set in a home of its own, and plans that ask for little."""

from __future__ import annotations

import shutil

import pytest

from warmprompt.evidence.plan import read_plan


@pytest.fixture(scope="session")
def data_name(planted_folder, text_home):
    """Return the name of a planted world in the data home."""
    folder = planted_folder[0]
    shutil.copytree(folder, text_home / "data" / "planted")
    return "planted"


@pytest.fixture
def raw(data_name):
    """Return a plan of one table: two baselines and a shuffled one, two seeds."""
    return {
        "product": "ease",
        "blend": "itemknn",
        "compare": ["shuffled"],
        "lists": {"simple": ["toppop", "itemknn"]},
        "models": [{"name": "shuffled", "baseline": "ease", "shuffle": "supports"}],
        "tables": [
            {
                "dataset": data_name,
                "seeds": [0, 1],
                "ks": [0, 2, 5],
                "models": ["@simple", "ease", "shuffled"],
            }
        ],
    }


@pytest.fixture
def plan(raw):
    return read_plan(raw)


@pytest.fixture
def tiny_product(tiny_settings):
    """Return assignments that make the product small enough to train in a test."""
    return (
        "backbone.name=tiny",
        "backbone.num_layers=2",
        "backbone.item_text=tiny-encoder",
        "backbone.user_text=tiny-encoder",
        "model.num_factors=8",
        "model.wordings=1",
        "train.tangent_epochs=2",
        "train.prompt_epochs=1",
        "train.max_support=10",
        "train.threads=1",
    )
