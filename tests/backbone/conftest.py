"""Real models for the tests marked `backbone`."""

import pytest

from warmprompt.backbone.fetch import cache_home, get_backbone, is_cached
from warmprompt.errors import FetchError


@pytest.fixture
def cached_home(tmp_path):
    """Return a function that gives a cache folder with a known model in it, or skips the test.

    The folder is fresh but for the model, so that the tests leave the real cache as it is.
    """

    def home_with(name):
        if not is_cached(name):
            try:
                get_backbone(name)
            except FetchError as error:
                pytest.skip(f"{name} is not in the cache and cannot be fetched: {error}")
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / name).symlink_to(cache_home() / "models" / name)
        return tmp_path

    return home_with
