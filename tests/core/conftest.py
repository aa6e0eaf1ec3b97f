"""An environment with the core alone, and a folder like a clone in which a reader types commands.

Run by `make test-core`, which names the environment; other test runs leave this folder out.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.core.clone import Clone, link_clone, preloaded, reader_variables
from tests.core.files import shorten_dataset, write_reader_files

ENVIRONMENT = os.environ.get("WARMPROMPT_CORE")
collect_ignore_glob = [] if ENVIRONMENT else ["test_*.py"]

# What makes training a matter of seconds; everything else is as the reader has it.
CHEAP = {
    "WARMPROMPT_BACKBONE__NAME": "tiny",
    "WARMPROMPT_BACKBONE__NUM_LAYERS": "2",
    "WARMPROMPT_BACKBONE__ITEM_TEXT": "tiny-encoder",
    "WARMPROMPT_BACKBONE__USER_TEXT": "tiny-encoder",
    "WARMPROMPT_MODEL__NUM_FACTORS": "8",
    "WARMPROMPT_MODEL__WORDINGS": "1",
    "WARMPROMPT_MODEL__NEW_ITEM_PASSES": "0",
    "WARMPROMPT_TRAIN__TANGENT_EPOCHS": "2",
    "WARMPROMPT_TRAIN__MAX_SUPPORT": "10",
}
# Of 943: what pages do with the data set takes a quarter of the time, and it has every title that they name.
NUM_DEMO_USERS = 240
IMPORT_SHOP = (
    "warmprompt data import events.csv --name shop --map user=customer,item=sku,time=bought_at "
    "--time-unit iso --items products.jsonl --items-map 'item=sku,title=name,brand=brand,genres=tags'"
)


@pytest.fixture(scope="session")
def environment() -> Path:
    """Return the folder of the environment that holds the core alone."""
    folder = Path(ENVIRONMENT or "").resolve()
    assert (folder / "bin" / "warmprompt").is_file(), f"WARMPROMPT_CORE={ENVIRONMENT}: no warmprompt there"
    return folder


@pytest.fixture(scope="session")
def variables(environment, tmp_path_factory) -> dict[str, str]:
    """Return a reader's environment variables; data sets and caches are this session's."""
    return reader_variables(environment, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def forking(environment, variables, tmp_path_factory):
    """Yield the address of a process that runs commands with what it has imported."""
    address = tmp_path_factory.mktemp("preloaded") / "socket"
    with preloaded(environment, address, variables):
        yield address


@pytest.fixture(scope="session")
def new_clone(environment, variables, forking, tmp_path_factory):
    """Return a function that makes a clone; `cheap` trains the smallest model."""

    def make(*, cheap: bool = True) -> Clone:
        folder = link_clone(tmp_path_factory.mktemp("clone") / "warmprompt", environment)
        return Clone(folder=folder, variables=variables | (CHEAP if cheap else {}), preloaded=forking)

    return make


@pytest.fixture(scope="session")
def demo_run(new_clone, variables, made_once) -> Path:
    """Return a run in the place of the demo's: its data set, fetched and shortened, the smallest model."""
    dataset = Path(variables["WARMPROMPT_HOME"]) / "data" / "ml-100k"

    def make(folder):
        clone = new_clone()
        clone.run("warmprompt data get ml-100k")
        shorten_dataset(dataset, num_users=NUM_DEMO_USERS)
        clone.run("warmprompt train --data ml-100k --out runs/demo")
        shutil.copytree(clone.folder / "runs" / "demo", folder / "run")
        shutil.copytree(dataset, folder / "ml-100k")

    made = made_once("demo", make)
    if not dataset.exists():
        shutil.copytree(made / "ml-100k", dataset)
    return made / "run"


@pytest.fixture(scope="session")
def reader_files(made_once) -> Path:
    """Return a folder with the files that readers bring."""

    def make(folder):
        folder.mkdir()
        write_reader_files(folder)

    return made_once("reader", make)


@pytest.fixture(scope="session")
def shop_data(new_clone, reader_files) -> None:
    """Import the reader's events as the data set `shop`."""
    clone = new_clone()
    shutil.copytree(reader_files, clone.folder, dirs_exist_ok=True)
    clone.run(IMPORT_SHOP)


@pytest.fixture
def clone(new_clone, demo_run, shop_data, reader_files, tmp_path):
    """Yield a clone after `make demo` with the reader's files, whose data sets are its own to change."""
    clone = new_clone()
    shutil.copytree(demo_run, clone.folder / "runs" / "demo")
    shutil.copytree(reader_files, clone.folder, dirs_exist_ok=True)
    home = tmp_path / "home"
    shutil.copytree(clone.variables["WARMPROMPT_HOME"], home, symlinks=True)
    clone.variables["WARMPROMPT_HOME"] = str(home)
    yield clone
    clone.stop()
