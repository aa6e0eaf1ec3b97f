"""Makes the worlds of this folder importable under pytest's importlib mode."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def worlds() -> ModuleType:
    """Return the module of small data sets."""
    spec = importlib.util.spec_from_file_location("meta_worlds", Path(__file__).with_name("worlds.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
