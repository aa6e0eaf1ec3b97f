"""The slow reference simulator, found beside the tests."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference():
    """Return the module `reference`: the same rules, written for reading only."""
    spec = importlib.util.spec_from_file_location(
        "settlement_reference", Path(__file__).with_name("reference.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
