"""A service over the tiny trained run and a fresh SQLite store, asked in this process."""

from dataclasses import replace

import pytest
from tests.risk.profile.conftest import (  # noqa: F401 - the small made-up world and its profiler
    context,
    entities,
    episodes_of,
    model,
    profiler,
    world,
)
from tests.service.talking import make_service

from warmprompt.risk.profile import save_profiler
from warmprompt.service.entities import load_risk
from warmprompt.service.model.served_model import make_model
from warmprompt.service.service import ModelSource, Service
from warmprompt.service.settings import BatchLimits, RequestLimits, ServiceSettings
from warmprompt.store.opening import open_store

NOW_S = 1_700_000_000


@pytest.fixture(scope="session")
def personaliser(trained_folder):
    """Return the run in use, with a fixed clock."""
    from warmprompt import load

    return load(trained_folder, clock=lambda: NOW_S)


@pytest.fixture(scope="session")
def tiny_model(personaliser):
    """Return the run in service; snapshots never change, so tests share it."""
    return make_model(personaliser, room=8, largest_batch=8)


@pytest.fixture
def store(tmp_path):
    # A busy machine is no defect.
    with open_store(f"sqlite:///{tmp_path / 'users.db'}", busy_s=120) as opened:
        yield opened


@pytest.fixture
def settings():
    """No limits on the rate, a patient budget: a busy machine is no defect."""
    return ServiceSettings(
        budget_s=30.0,
        batch=BatchLimits(largest=8, window_s=0.003, queue=64),
        limits=RequestLimits(per_s=0),
        backfill=False,
    )


@pytest.fixture
def service(store, tiny_model, settings):
    return make_service(store, tiny_model, settings)


@pytest.fixture
def with_settings(store, tiny_model, settings):
    """Return a function that makes a service with some settings changed."""
    return lambda **changes: make_service(store, tiny_model, replace(settings, **changes))


@pytest.fixture(scope="session")
def risk_folder(profiler, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("risk") / "profiler"
    save_profiler(profiler, folder)
    return folder


@pytest.fixture(scope="session")
def risk(risk_folder, profiler):  # noqa: F811
    return load_risk(risk_folder, backbone=profiler.model.backbone)


@pytest.fixture
def watching(store, tiny_model, settings, risk):
    """Return a function that makes a service of entities over the same store, as after a restart."""

    def make(**changes):
        source = ModelSource(name="tiny", open=lambda: tiny_model.personaliser)
        changed = replace(settings, **changes)
        return Service(store, source, tiny_model, settings=changed, keys_needed=False, risk=risk)

    return make
