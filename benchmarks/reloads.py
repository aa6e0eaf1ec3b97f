"""Memory of a service over hot reloads, each with rankings of users before and after it.

    python benchmarks/reloads.py runs/demo --reloads 50

Prints the resident memory after each reload. It is flat if the second half's median is at most 3 % above that
of the first half, the first five reloads left out: a service keeps the former model while its states are in
use.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psutil

_SETTLING = 5
_MOST = 1.03
_USERS = 20


def memory_over_reloads(run: Path, *, num_reloads: int) -> list[float]:
    """Return the resident MiB of a service after each reload."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "warmprompt", "serve", str(run), "--port", "0", "--rate", "0"]
        command += ["--store", f"sqlite:///{folder}/users.db", "--sentences", "template"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as service:
            try:
                assert service.stdout is not None
                address = service.stdout.readline().removeprefix("serving at ").strip()
                with httpx.Client(base_url=address, timeout=300) as client:
                    return [_reloaded(client, service.pid) for _ in range(num_reloads)]
            finally:
                service.kill()


def _reloaded(client: httpx.Client, pid: int) -> float:
    item = client.get("/v1/items", params={"n": 1}).json()["items"][0]["item"]
    for user in range(_USERS):
        client.post(f"/v1/users/u{user}/events", json={"events": [{"item": item}]}).raise_for_status()
        client.get(f"/v1/users/u{user}/recommendations").raise_for_status()
    client.post("/v1/admin/reload").raise_for_status()
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def main() -> int:
    """Measure and print; the exit code is 1 if memory grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--reloads", type=int, default=50)
    chosen = parser.parse_args()
    memory = memory_over_reloads(chosen.run, num_reloads=chosen.reloads)
    print("MiB after each reload:", ", ".join(f"{one:.0f}" for one in memory))
    settled = memory[_SETTLING:]
    first, second = (
        statistics.median(half) for half in (settled[: len(settled) // 2], settled[len(settled) // 2 :])
    )
    print(f"median of the first half {first:.0f} MiB, of the second {second:.0f}: {second / first:.3f}")
    return 0 if second <= _MOST * first else 1


if __name__ == "__main__":
    sys.exit(main())
