"""A trained run, opened."""

import pytest

NOW_S = 1_700_000_000


@pytest.fixture(scope="session")
def model(trained_folder):
    """Return the run in use, with a clock that stands still."""
    from warmprompt import load

    return load(trained_folder, clock=lambda: NOW_S)


@pytest.fixture(scope="session")
def exact_model(model):
    """Return the same run, whose users adapt through the language model."""
    from dataclasses import replace

    return replace(model, engine=replace(model.engine, linear=False))


@pytest.fixture(scope="session")
def user_events(model):
    """Return six events with different ratings."""
    from warmprompt import Event

    return [Event(item=item, rating=float(1 + index % 5)) for index, item in enumerate(model.items[:60:10])]
