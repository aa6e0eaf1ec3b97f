"""Makes the worlds of this folder importable under importlib mode, and the default backbone usable."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from warmprompt.backbone.fetch import get_backbone, is_cached
from warmprompt.errors import FetchError


@pytest.fixture(scope="session")
def worlds() -> ModuleType:
    """Return the module of small data sets."""
    spec = importlib.util.spec_from_file_location("meta_worlds", Path(__file__).with_name("worlds.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def smollm2() -> str:
    """Return the name of the default backbone once it lies in the cache, or skip the test."""
    name = "smollm2-135m"
    if not is_cached(name):
        try:
            get_backbone(name)
        except FetchError as error:
            pytest.skip(f"{name} is not in the cache and cannot be fetched: {error}")
    return name
