"""How much sooner two workers end the outer loop than one process.

    python benchmarks/workers.py OUT.json [--data ml-1m] [--preset dense] [--epochs 24]

Trains the first stages of a data set once by each number of workers, one thread each, with a small random
language model: the outer loop's first stage never calls it. Processor time is the first worker's, whose share
is the largest; on a machine that others use too, it says more than the clock. Needs an imported data set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from commits import commit

from warmprompt.evaluation.machine import describe_machine
from warmprompt.runs.format import STAGES_FILE, unpack

SETTINGS = (
    "backbone.name=tiny",
    "backbone.num_layers=2",
    "backbone.item_text=tiny-encoder",
    "backbone.user_text=tiny-encoder",
    "model.num_factors=32",  # the most of the small model
    "model.wordings=1",
    "train.threads=1",
)


def seconds_of(data: str, preset: str, epochs: int, num_workers: int) -> tuple[float, float]:
    """Return the seconds of the outer loop by the clock and of the first worker's processor."""
    with tempfile.TemporaryDirectory() as folder:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_workers), "-m"]
        command = ["warmprompt", "train", "--data", data, "--preset", preset, "--until", "meta_learning"]
        command += ["--tangent-epochs", str(epochs), "--out", f"{folder}/run"]
        command += [part for setting in SETTINGS for part in ("--set", setting)]
        subprocess.run(
            [sys.executable, *launcher, *command], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        wall_s, cpu_s = unpack(Path(folder, "run", STAGES_FILE), "cpu")[1]["seconds"]["meta_learning"]
    return wall_s, cpu_s


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="ml-1m")
    parser.add_argument("--preset", default="dense")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2, help="Takes of each number of workers, in turn.")
    given = parser.parse_args()
    taken = {number: [] for number in (1, 2)}
    for _ in range(given.rounds):
        for number, takes in taken.items():
            takes.append(seconds_of(given.data, given.preset, given.epochs, number))
    best = {number: [min(column) for column in zip(*takes, strict=True)] for number, takes in taken.items()}
    result = {
        "data": given.data,
        "preset": given.preset,
        "epochs": given.epochs,
        "settings": list(SETTINGS),
        "commit": commit(),
        "machine": describe_machine(),
        "load_average": os.getloadavg(),
        "seconds": {str(n): [{"wall_s": w, "cpu_s": c} for w, c in takes] for n, takes in taken.items()},
        "gain": {"wall": best[1][0] / best[2][0], "cpu": best[1][1] / best[2][1]},
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["gain"]))


if __name__ == "__main__":
    main()
