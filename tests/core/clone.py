"""A folder like a clone after `make demo`, and a reader who types commands in it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
# Nothing but curl's manners is added to a command: silent, and an HTTP error is an error.
_MANNERS = (
    'curl() { command curl --silent --show-error --fail-with-body --retry 3 --retry-connrefused "$@"; }\n'
)
_PRELOADED = Path(__file__).with_name("preloaded.py")
_PATIENCE_S = 600


@dataclass
class Clone:
    """A folder that looks like a clone after `make demo`, and the shell in it.

    Attributes:
        folder: Working directory of the commands.
        variables: Environment of the commands.
        preloaded: Address of the process that runs `warmprompt` and `python` with what it has imported.
        server: What serves now.
        lock: Held while it has the port that pages name.
    """

    folder: Path
    variables: dict[str, str]
    preloaded: Path
    server: subprocess.Popen[str] | None = None
    lock: IO[str] | None = None

    def run(self, command: str, *, code: int = 0, in_new_process: bool = False) -> str:
        """Run a command as bash reads it and return what it printed; its exit code must be this one."""
        forked = "" if in_new_process else _forked(self.folder / ".venv", self.preloaded)
        done = subprocess.run(
            ["bash", "-c", _MANNERS + forked + command], cwd=self.folder, env=self.variables,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"$ {command}\nexit code {done.returncode}\n{done.stdout[-4000:]}"
        return done.stdout

    def serve(self, command: str) -> str:
        """Start a command that serves, in the place of one that does; return the address."""
        self.stop()
        if "--port 0" not in command:
            self.lock = _port_8000()
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
            with suppress(ProcessLookupError):
                os.killpg(self.server.pid, signal.SIGINT)
            self.server.wait(timeout=_PATIENCE_S)
            self.server = None
        if self.lock is not None:
            self.lock.close()
            self.lock = None


def _port_8000() -> IO[str]:
    """Wait until no other test process serves at the port that pages name; closing the file frees it."""
    lock = (Path(tempfile.gettempdir()) / "warmprompt-port-8000.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


@contextmanager
def preloaded(environment: Path, address: Path, variables: dict[str, str]) -> Iterator[None]:
    """Have a process that runs commands with what it has imported, and end it with all that it runs."""
    command = [environment / "bin" / "python", "-P", _PRELOADED, "serve", address]
    process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + _PATIENCE_S
        while not address.exists():
            assert process.poll() is None, "the preloaded process ended"
            assert time.monotonic() < until, "the preloaded process is not ready"
            time.sleep(0.05)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=_PATIENCE_S)


def _forked(environment: Path, address: Path) -> str:
    """Return functions of bash that have programs run by the preloaded process; `exec` starts a new one."""
    ask = f"{environment}/bin/python -IS {_PRELOADED} run {address}"
    programs = {"warmprompt": "warmprompt", ".venv/bin/warmprompt": "warmprompt", "python": "python"}
    return "".join(f'{name}() {{ {ask} {program} "$@"; }}\n' for name, program in programs.items())


def link_clone(folder: Path, environment: Path) -> Path:
    """Make a folder that looks like a clone whose `.venv` is this environment; return it."""
    folder.mkdir()
    (folder / ".venv").symlink_to(environment)
    for name in ("Makefile", "constraints.txt", "pyproject.toml", "src", "examples"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks")
    return folder


def reader_variables(environment: Path, home: Path) -> dict[str, str]:
    """Return a reader's environment variables: a home of its own, the environment's programs first."""
    cached = Path.home() / ".cache" / "warmprompt" / "models"
    if cached.is_dir():
        (home / "models").symlink_to(cached)  # fetched and checked before; a download less
    ours = ("WARMPROMPT_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "WARMPROMPT_HOME": str(home),
        "COLUMNS": "110",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "no_proxy": "127.0.0.1,localhost",
    }
