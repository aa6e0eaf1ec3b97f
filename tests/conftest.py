"""What holds for every test: fixed examples, no network, and real data only where it is."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run; no deadline, since a busy machine is no defect.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """Refuse connections to other machines, except for tests that may fetch a language model."""
    if request.node.get_closest_marker("backbone"):
        return
    connect = socket.socket.connect

    def connect_here(self, address):
        if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a test wants to reach {address[0]}; tests run without a network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@pytest.fixture
def data_folder() -> Path:
    """Return the folder of real data sets that WARMPROMPT_DATA names, or skip the test."""
    named = os.environ.get("WARMPROMPT_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("WARMPROMPT_DATA names no folder of data sets")
    return Path(named)
