"""Made-up shops, from CSV to a trained run: which preset is chosen, what is announced, what it takes.

    python benchmarks/own_data.py --out runs/own-data            # two shops: makes, imports, trains, reports
    python benchmarks/own_data.py --out runs/own-data --import-only   # three shops, imported and not trained

Shops differ in density alone. Each shopper has tastes over twelve departments and a few hidden leanings;
items have a department, a title that names it, hidden properties and a long-tailed popularity. Writes
`own-data.json` under --out. Training uses the defaults, through the command line, as a new user would.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from warmprompt.rng import derive

DEPARTMENTS = (
    *("tea", "coffee", "bread", "cheese", "garden", "pottery"),
    *("books", "toys", "wool", "soap", "lamps", "tools"),
)
KINDS = ("small", "large", "plain", "fine", "daily", "festive", "rustic", "modern")
_START_S = 1_700_000_000


@dataclass(frozen=True, kw_only=True)
class Shop:
    """How large and how dense a made-up shop is; `per_user` is the median number of events."""

    name: str
    num_users: int
    num_items: int
    per_user: float


SHOPS = (
    Shop(name="own-sparse", num_users=2_000, num_items=1_200, per_user=5),
    Shop(name="own-dense", num_users=700, num_items=500, per_user=60),
    Shop(name="own-between", num_users=900, num_items=900, per_user=24),
)


def main() -> None:
    """Read the options; make, import and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--import-only", action="store_true")
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    options = parser.parse_args()
    shops = SHOPS if options.import_only else SHOPS[:2]
    rows = []
    for shop in shops:
        events, items = write_shop(shop, options.out / shop.name)
        columns = ["--map", "user=customer,item=sku,time=time", "--items", str(items)]
        _run("data", "import", str(events), "--name", shop.name, *columns,
             "--items-map", "item=sku,title=title,genres[|]=department", "--overwrite")  # fmt: skip
        if not options.import_only:
            rows.append(train(shop, options.out / f"run-{shop.name}", options.assignments))
            (options.out / "own-data.json").write_text(json.dumps(rows, indent=1) + "\n")
            print(json.dumps(rows[-1], indent=1), flush=True)


def write_shop(shop: Shop, folder: Path) -> tuple[Path, Path]:
    """Write a shop's events.csv and items.csv; the same shop is the same bytes."""
    rng = derive(0, "shop", shop.name)
    folder.mkdir(parents=True, exist_ok=True)
    department_V = rng.integers(0, len(DEPARTMENTS), shop.num_items)
    hidden_VD = rng.normal(size=(shop.num_items, 6))
    level_V = -0.8 * np.log(rng.permutation(shop.num_items) + 1.0)
    items = folder / "items.csv"
    with items.open("w", newline="") as file:
        write = csv.writer(file).writerow
        write(["sku", "title", "department"])
        for item, department in enumerate(department_V):
            kind = KINDS[int(rng.integers(len(KINDS)))]
            write([f"sku-{item}", f"{kind} {DEPARTMENTS[department]} no. {item}", DEPARTMENTS[department]])
    events = folder / "events.csv"
    with events.open("w", newline="") as file:
        write = csv.writer(file).writerow
        write(["customer", "sku", "time"])
        for user in range(shop.num_users):
            tastes = np.log(rng.dirichlet(np.full(len(DEPARTMENTS), 0.4)) + 0.01)
            scores_V = level_V + tastes[department_V] + 0.5 * hidden_VD @ rng.normal(size=6)
            length = min(shop.num_items // 2, max(1, int(shop.per_user * rng.lognormal(0.0, 0.5))))
            # The largest of scores with Gumbel noise are a draw without replacement by softmax.
            for index, item in enumerate(np.argsort(-(scores_V + rng.gumbel(size=shop.num_items)))[:length]):
                write([f"c{user}", f"sku-{item}", _START_S + 86_400 * index + user])
    return events, items


def train(shop: Shop, folder: Path, assignments: list[str]) -> dict[str, Any]:
    """Train with the defaults and return what was announced beside what came out."""
    more = [part for one in assignments for part in ("--set", one)]
    begun_s = time.monotonic()
    printed = _run("train", "--data", shop.name, "--out", str(folder), *more)
    manifest = json.loads((folder / "manifest.json").read_text())
    return {
        "shop": vars(shop),
        "lines": [line for line in printed.splitlines() if re.search(r"preset:|budget:|next:|taken", line)],
        "budget": manifest.get("budget"),
        "command_s": round(time.monotonic() - begun_s, 1),
        **{key: manifest.get(key) for key in ("train_s", "train_cpu_s", "peak_memory_mb")},
    }


def _run(*arguments: str) -> str:
    """Run a command of warmprompt, show what it says, and return it; a failure ends the benchmark."""
    done = subprocess.run(
        [sys.executable, "-m", "warmprompt", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, flush=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    main()
