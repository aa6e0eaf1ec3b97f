"""A trained run of the tiny model, opened, and the same model with all its layers."""

import pytest

NOW_S = 1_700_000_000


@pytest.fixture(scope="session")
def model(trained_folder):
    """Return the run in use, with a clock that stands still."""
    from warmprompt import load

    return load(trained_folder, clock=lambda: NOW_S)


@pytest.fixture(scope="session")
def lm(model):
    """Return the run's language model with its head."""
    from warmprompt.generation.lm import open_language_model

    return open_language_model(model.engine)


@pytest.fixture(scope="session")
def facts(model, planted_folder):
    """Return the planted catalogue's facts, genres among them."""
    from warmprompt.generation.facts import catalogue_facts

    return catalogue_facts(model, planted_folder[1].dataset)
