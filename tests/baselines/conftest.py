"""Makes the small data sets of the evaluation tests available here."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def worlds() -> ModuleType:
    """Return the module of small data sets."""
    path = Path(__file__).parents[1] / "evaluation" / "worlds.py"
    spec = importlib.util.spec_from_file_location("baseline_worlds", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
