"""A trained run, opened."""

import pytest

NOW_S = 1_700_000_000


@pytest.fixture(scope="session")
def model(trained_folder):
    """Return the run in use, with a clock that stands still."""
    from warmprompt import load

    return load(trained_folder, clock=lambda: NOW_S)
