"""A real PostgreSQL in a folder of the system's temp, which tests start, stop and kill."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

MISSING = (
    "no PostgreSQL found under /usr/lib/postgresql: install it (apt-get install postgresql), "
    "or set WARMPROMPT_SKIP_POSTGRESQL=1 to go without these tests"
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server of our own."""

    bin: Path
    folder: Path
    port: int
    durable: bool

    @property
    def url(self) -> str:
        return f"postgresql://test@127.0.0.1:{self.port}/postgres"

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "test", "-d", database]
        return _run(self.bin / "psql", *where, "-Atc", statement)

    def new_database(self, name: str, *, encoding: str = "UTF8") -> str:
        """Make an empty database and return its address."""
        self.sql(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
        return self.url.removesuffix("postgres") + name

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c max_connections=100"
        options += "" if self.durable else " -c fsync=off"
        self._ctl("-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, *, how: str = "fast") -> None:
        self._ctl("-m", how, "-w", "stop")

    def _ctl(self, *arguments: str) -> None:
        _run(self.bin / "pg_ctl", "-D", str(self.folder / "data"), *arguments, as_owner_of=self.folder)


def binaries() -> Path | None:
    """Return the folder of the newest server installed, None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


def make_server(bin_: Path, *, durable: bool = True) -> Server:
    """Make and start a server; whoever calls stops it and removes its folder."""
    folder = Path(tempfile.mkdtemp(prefix="warmprompt-postgresql-"))
    if os.geteuid() == 0:  # the server refuses to run as root
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(bin=bin_, folder=folder, port=port, durable=durable)
    arguments = [
        "-D",
        str(folder / "data"),
        "-U",
        "test",
        "--auth=trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]
    _run(bin_ / "initdb", *arguments, as_owner_of=folder)
    server.start()
    return server


def remove(server: Server) -> None:
    server.stop(how="immediate")
    shutil.rmtree(server.folder)


def _run(program: Path, *arguments: str, as_owner_of: Path | None = None) -> str:
    user = as_owner_of.stat().st_uid if as_owner_of and os.geteuid() == 0 else None
    group = as_owner_of.stat().st_gid if as_owner_of and os.geteuid() == 0 else None
    with tempfile.TemporaryFile() as out:  # a pipe would stay open in the server
        done = subprocess.run(
            [program, *arguments], stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False, timeout=60,
            user=user, group=group, extra_groups=[] if user is not None else None, cwd="/",
        )  # fmt: skip
        out.seek(0)
        text = out.read().decode()
    if done.returncode:
        raise RuntimeError(f"{program.name} {' '.join(arguments)}: {text}")
    return text.strip()
