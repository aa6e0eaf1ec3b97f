"""Each kind of database, new and empty for each test."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from warmprompt.store.opening import open_store

HERE = Path(__file__).parent


def _load(name):
    spec = importlib.util.spec_from_file_location(f"store_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


postgresql = _load("postgresql")
_load("writer")
_load("killing")


def _made_server(*, durable):
    bin_ = postgresql.binaries()
    if bin_ is None and os.environ.get("WARMPROMPT_SKIP_POSTGRESQL"):
        pytest.skip("no PostgreSQL, and WARMPROMPT_SKIP_POSTGRESQL is set")
    if bin_ is None:
        pytest.fail(postgresql.MISSING)
    return postgresql.make_server(bin_, durable=durable)


@pytest.fixture(scope="session")
def server():
    """Return a running PostgreSQL of our own; fast, for what does not depend on it reaching the disk."""
    made = _made_server(durable=False)
    yield made
    postgresql.remove(made)


@pytest.fixture(scope="session")
def own_server():
    """Return a PostgreSQL set up as it is in use; a test may stop it, and starts it again."""
    made = _made_server(durable=True)
    yield made
    postgresql.remove(made)


@pytest.fixture(scope="session")
def shared_database(server):
    """Return the address of a database with our tables."""
    address = server.new_database("shared")
    open_store(address).close()
    return address


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Return the address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/users.db"
    address = request.getfixturevalue("shared_database")
    request.getfixturevalue("server").sql(
        "TRUNCATE warmprompt_users, warmprompt_entries, warmprompt_appends, warmprompt_states, "
        "warmprompt_items, warmprompt_hidden_items, warmprompt_api_keys RESTART IDENTITY; "
        "UPDATE warmprompt_items_version SET version = 0",
        database="shared",
    )
    return address


@pytest.fixture
def store(url):
    """Return a store of each kind, empty."""
    with open_store(url, clock=lambda: 1_700_000_000.9) as opened:
        yield opened
