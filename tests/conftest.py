"""What holds for every test: fixed examples, no network, and real data only where it is."""

import fcntl
import os
import pickle
import shutil
import socket
from pathlib import Path

import pytest
from coverage import Coverage
from hypothesis import settings

# The same examples in every run; no deadline, since a busy machine is no defect.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")


# Where the tests of the packages that pyproject.toml measures lie, below tests/; those of the tests/ folder
# itself belong to them. The tracer would slow the other tests without a use.
MEASURED = ("baselines", "data", "evaluation", "experts", "scoring", "store", "risk")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Measure coverage in the tests of the measured packages alone, which have to reach it by themselves."""
    measuring = Coverage.current()
    folders = item.path.relative_to(Path(__file__).parent).parts[:-1]
    if measuring is None or not folders or folders[0] in MEASURED:
        return (yield)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()


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


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Return a function from (name, make) to a folder that one test process makes for all."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made_once(name, make):
        folder = root / name
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                part = root / f"{name}.part"
                shutil.rmtree(part, ignore_errors=True)
                make(part)
                part.rename(folder)
        return folder

    return made_once


@pytest.fixture(scope="session")
def computed_once(made_once):
    """Return a function from (name, compute) to a value that one test process computes for all."""

    def computed_once(name, compute):
        def make(folder):
            folder.mkdir()
            (folder / "value.pickle").write_bytes(pickle.dumps(compute()))

        return pickle.loads((made_once(name, make) / "value.pickle").read_bytes())

    return computed_once


@pytest.fixture(scope="session")
def planted_folder(made_once):
    """Return (folder, world): a small planted world, and the folder where it is stored as a data set."""
    import polars as pl

    from warmprompt.data.synthetic import planted_world
    from warmprompt.data.tables import Manifest, Tables, write_tables

    world = planted_world(num_users=120, num_items=60, num_tastes=4, seed=0)
    data = world.dataset
    events = data.interactions
    lengths = (events.offsets[1:] - events.offsets[:-1]).tolist()
    interactions = pl.DataFrame(
        {
            "user": [user for user, n in zip(data.user_ids, lengths, strict=True) for _ in range(n)],
            "item": [data.item_ids[item] for item in events.items],
            "order": pl.Series([index for n in lengths for index in range(n)], dtype=pl.Int32),
            "rating": events.ratings,
            "time_s": events.times_s,
        }
    )
    tables = Tables(
        interactions=interactions,
        items=data.items.insert_column(0, pl.Series("item", data.item_ids)),
        users=data.users.insert_column(0, pl.Series("user", data.user_ids)),
    )
    manifest = Manifest(
        name="planted",
        source_format="synthetic",
        source_files=(),
        num_users=data.num_users,
        num_items=data.num_items,
        num_events=len(events),
        num_rows_read={},
        num_duplicates=0,
        num_repeated_ids={},
        num_unrated_left_out=0,
        rejects=(),
        rating_scale=(1.0, 5.0),
        content_hash="",
        file_hashes={},
        imported_at_s=1,
    )
    return made_once("planted", lambda folder: write_tables(folder, tables, manifest)), world


@pytest.fixture(scope="session")
def tiny_settings(planted_folder):
    """Return settings that train a random tiny model on the planted world in about two seconds."""
    from warmprompt.settings import load_settings

    return load_settings(
        assignments=[
            f"data.name={planted_folder[0]}",
            "backbone.name=tiny",
            "backbone.num_layers=2",
            "backbone.item_text=tiny-encoder",
            "backbone.user_text=tiny-encoder",
            "model.num_factors=8",
            "model.wordings=1",
            "train.tangent_epochs=20",
            "train.prompt_epochs=1",
            "train.max_support=10",
            "train.batch_size=32",
            "inner.num_steps=2",
            "experts.use=user_neighbours,tfidf",
            "train.preset=default",
            "train.threads=1",
        ]
    )


@pytest.fixture(scope="session")
def text_home(tmp_path_factory):
    """Keep the tests' text vectors out of the caller's cache."""
    import os

    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("WARMPROMPT_HOME")
    os.environ["WARMPROMPT_HOME"] = str(home)
    yield home
    if before is None:
        del os.environ["WARMPROMPT_HOME"]
    else:
        os.environ["WARMPROMPT_HOME"] = before


@pytest.fixture(scope="session")
def trained_folder(tiny_settings, made_once, text_home):
    """Return the folder of a finished run of `tiny_settings`; nobody writes to it."""
    from warmprompt.training.run import train_run

    return made_once("tiny", lambda folder: train_run(tiny_settings, folder))
