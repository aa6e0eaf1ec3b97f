"""An environment with the core alone, and a folder like a clone in which a reader types commands.

Run by `make test-core`, which names the environment; other test runs leave this folder out.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from tests.core.files import write_reader_files

ROOT = Path(__file__).parents[2]
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
# A command of the reader may define curl's manners only: silent, and an HTTP error is an error.
_MANNERS = (
    'curl() { command curl --silent --show-error --fail-with-body --retry 3 --retry-connrefused "$@"; }\n'
)
_PATIENCE_S = 600


@dataclass
class Clone:
    """A folder that looks like a clone after `make demo`, and the shell in it.

    Attributes:
        folder: Working directory of the commands.
        variables: Environment of the commands.
        server: What serves now.
    """

    folder: Path
    variables: dict[str, str]
    server: subprocess.Popen[str] | None = None
    log: list[str] = field(default_factory=list)

    def run(self, command: str, *, code: int = 0) -> str:
        """Run a command as bash reads it and return what it printed; its exit code must be this one."""
        done = subprocess.run(
            ["bash", "-c", _MANNERS + command], cwd=self.folder, env=self.variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"$ {command}\nexit code {done.returncode}\n{done.stdout[-4000:]}"
        return done.stdout

    def serve(self, command: str) -> str:
        """Start a command that serves, in the place of one that does; return the address."""
        self.stop()
        said = self.folder / "serve.log"
        with said.open("w") as log:
            self.server = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.variables, text=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + _PATIENCE_S
        while "serving at http" not in said.read_text():
            assert self.server.poll() is None, f"$ {command}\n{said.read_text()}"
            assert time.monotonic() < until, f"$ {command}\nis not ready\n{said.read_text()}"
            time.sleep(0.05)
        return said.read_text().split("serving at ")[1].split()[0]

    def stop(self) -> None:
        """Interrupt what serves, as Ctrl-C does, and wait for its end."""
        if self.server is not None:
            os.killpg(self.server.pid, signal.SIGINT)
            self.server.wait(timeout=60)
            self.server = None


@pytest.fixture(scope="session")
def environment() -> Path:
    """Return the folder of the environment that holds the core alone."""
    folder = Path(ENVIRONMENT or "").resolve()
    assert (folder / "bin" / "warmprompt").is_file(), f"WARMPROMPT_CORE={ENVIRONMENT}: no warmprompt there"
    return folder


@pytest.fixture(scope="session")
def variables(environment, tmp_path_factory) -> dict[str, str]:
    """Return the environment variables of a reader: a home of its own, the environment's programs first."""
    home = tmp_path_factory.mktemp("home")
    cached = Path.home() / ".cache" / "warmprompt" / "models"
    if cached.is_dir():
        (home / "models").symlink_to(cached)  # fetched and checked before; a download less
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("WARMPROMPT_", "PYTHON"))
    }
    return kept | {
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "WARMPROMPT_HOME": str(home),
        "COLUMNS": "110",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "no_proxy": "127.0.0.1,localhost",
    }


@pytest.fixture(scope="session")
def new_clone(environment, variables, tmp_path_factory):
    """Return a function that makes a clone; `cheap` trains the smallest model."""

    def make(*, cheap: bool = True) -> Clone:
        folder = tmp_path_factory.mktemp("clone")
        (folder / ".venv").symlink_to(environment)
        for name in ("Makefile", "constraints.txt", "pyproject.toml", "src", "examples"):
            (folder / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "benchmarks", folder / "benchmarks")
        return Clone(folder=folder, variables=variables | (CHEAP if cheap else {}))

    return make


@pytest.fixture(scope="session")
def demo_run(new_clone) -> Path:
    """Return a run in the place of the demo's: its data set, fetched as it is there, the smallest model."""
    clone = new_clone()
    clone.run("warmprompt train --data ml-100k --out runs/demo")
    return clone.folder / "runs" / "demo"


@pytest.fixture
def clone(new_clone, demo_run):
    """Yield a clone after `make demo` that holds the reader's own files, too."""
    clone = new_clone()
    shutil.copytree(demo_run, clone.folder / "runs" / "demo")
    write_reader_files(clone.folder)
    yield clone
    clone.stop()


@pytest.fixture
def ask(clone):
    """Return a function that asks the clone's server."""

    def ask(method: str, address: str, **more) -> dict:
        answer = httpx.request(method, address, timeout=60, trust_env=False, **more)
        assert answer.is_success, answer.text
        return answer.json()

    return ask
