"""What sharing a batch costs: one process against two shards, and the reading that each shard repeats.

    python benchmarks/shards.py RUN OUT.json [--users 60000] [--apart]

Made-up users of ten events each are ranked by `warmprompt recommend --shard`: by one process, then by two
that run together, each with one thread. On a machine that others use, wall time says little: the ratio of
processor times is what two free cores would gain. Where no core is free, --apart runs the two shards one
after the other, so that they do not slow one another down. One shard of a hundred shows what starting and
reading cost, which does not shrink with the number of shards. Blocks are compared byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from commits import commit

import warmprompt
from warmprompt.evaluation.machine import describe_machine

EVENTS = 10
ONE_THREAD = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def main() -> None:
    """Measure everything and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--users", type=int, default=60_000)
    parser.add_argument("--apart", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="warmprompt-shards-") as scratch:
        folder = Path(scratch)
        make_events(given.run, folder / "events", given.users)
        one = shards(given.run, folder, "one", ["1/1"])
        both = [["1/2"], ["2/2"]] if given.apart else [["1/2", "2/2"]]
        two = [each for which in both for each in shards(given.run, folder, "two", which)]
        hundredth = shards(given.run, folder, "hundred", ["1/100"])
        same = blocks(folder / "one") == blocks(folder / "two")
    found = {
        "machine": describe_machine(),
        "commit": commit(),
        "users": given.users,
        "apart": given.apart,
        "events": given.users * EVENTS,
        "one": one,
        "two": two,
        "one_of_a_hundred": hundredth,
        "same_bytes": same,
        "gain_in_processor_time": one[0]["cpu_s"] / max(each["cpu_s"] for each in two),
        "gain_in_wall_time": one[0]["wall_s"] / max(each["wall_s"] for each in two),
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def make_events(run: Path, folder: Path, num_users: int) -> None:
    """Write made-up users' events in four files, popular items more often."""
    items = warmprompt.load(run).items
    rng = np.random.default_rng(0)
    p = 1 / np.arange(1, len(items) + 1)
    rows = rng.choice(len(items), size=num_users * EVENTS, p=p / p.sum())
    owners = np.repeat(np.arange(num_users), EVENTS)
    folder.mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(rows)), 4)):
        ids = pl.Series([items[row] for row in rows[part].tolist()])
        pl.DataFrame({"user_id": owners[part], "item_id": ids}).write_parquet(folder / f"{number}.parquet")


def shards(run: Path, folder: Path, name: str, which: list[str]) -> list[dict[str, float]]:
    """Run shards together; return the wall and processor time of each."""
    command = [sys.executable, "-m", "warmprompt", "recommend", str(run), "--users", str(folder / "events")]
    command += ["--out", str(folder / name), "--shard"]
    begun_s = time.monotonic()
    env = {**os.environ, **ONE_THREAD}
    started = {
        subprocess.Popen([*command, one], env=env, stdout=subprocess.DEVNULL).pid: one for one in which
    }
    found = []
    for _ in which:
        pid, status, usage = os.wait4(-1, 0)
        if status:
            raise SystemExit(f"shard {started[pid]} ended with {status}")
        found.append(
            {
                "wall_s": time.monotonic() - begun_s,
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "peak_mb": usage.ru_maxrss / 1024,
            }
        )
    return found


def blocks(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every block."""
    return {path.name: path.read_bytes() for path in folder.glob("block-*.parquet")}


if __name__ == "__main__":
    main()
