"""How import, training and ranking grow with a shop: made-up shops of three sizes, from file to rankings.

    python benchmarks/growth.py WORK_FOLDER docs/results [--largest 1000000]

Each shop has ten times the users, items and events of the one before; see `made_up_shop`. What lies in the
work folder is not run again, so an ended benchmark goes on where it was. Processor time and the largest
memory of each process, one thread. Writes growth.json and growth.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from commits import commit

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic

STEPS, EVENTS, USERS = 3, 10, 100_000
SETTINGS = (
    "backbone.item_text=tfidf",
    "model.num_factors=32",
    "train.threads=1",
    "train.sampled_items=20000",
    "train.tangent_epochs=2",
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PARTS = {
    "import_s": "import",
    "start_s": "item vectors, texts and how prompts move the model",
    "meta_learning_s": "outer loop, two epochs",
    "new_items_s": "where new items go",
    "experts_s": "weights of experts",
    "order_s": "experts of order",
    "response_s": "linear and exact adaptation compared",
    "train_s": "training in all",
    "rank_ms": "one user: adapt to ten events and rank, ms",
    "batch_ms": "a user of a batch of 100,000, files read and written, ms",
    "import_mb": "memory of the import, MB",
    "train_mb": "memory of the training, MB",
    "rank_mb": "memory of a process that ranks, MB",
}


def main() -> None:
    """Measure every size and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--largest", type=int, default=1_000_000, help="items of the largest shop")
    given = parser.parse_args()
    sizes = [given.largest // 10**step for step in reversed(range(STEPS))]
    rows = [measured(given.work / str(items), items) for items in sizes]
    found = {
        "rows": rows,
        "exponents": {name: exponent(rows, name) for name in PARTS},
        "settings": list(SETTINGS),
        "commit": commit(),
        "machine": describe_machine(),
    }
    write_atomic(given.out / "growth.json", (json.dumps(found, indent=1) + "\n").encode())
    write_atomic(given.out / "growth.md", page(found).encode())


def measured(folder: Path, items: int) -> dict[str, Any]:
    """Return what one shop costs."""
    folder.mkdir(parents=True, exist_ok=True)
    users, events, run = items // 5, items * 10, folder / "run"
    once(
        folder / "shop.json",
        *(Path(__file__).with_name("made_up_shop.py"), folder / "shop"),
        *("--users", users, "--items", items, "--events", events),
    )
    imported = once(
        folder / "import.json",
        *("-m", "warmprompt", "data", "import", folder / "shop" / "events.parquet", "--overwrite"),
        *("--name", f"shop-{items}", "--map", "user=user,item=item,time=time"),
        *("--items", folder / "shop" / "items.parquet", "--items-map", "item=item,title=title"),
    )
    setting = [word for one in SETTINGS for word in ("--set", one)]
    trained = once(
        folder / "train.json",
        *("-m", "warmprompt", "train", "--data", f"shop-{items}", "--out", run, *setting),
    )
    manifest = json.loads((run / "manifest.json").read_text())
    one = once(folder / "rank.json", __file__, "--rank", run, folder / "rank-ms.json")
    batch = once(
        folder / "batch.json",
        *("-m", "warmprompt", "recommend", run, "--users", batch_file(folder, items, users)),
        *("--shard", "1/1", "--out", folder / "rankings"),
    )
    return {
        "items": items,
        "users": users,
        "events": pl.scan_parquet(folder / "shop" / "events.parquet").select(pl.len()).collect().item(),
        "import_s": imported["cpu_s"],
        **{f"{name}_s": spent["cpu_s"] for name, spent in manifest["stages"].items()},
        "train_s": trained["cpu_s"],
        "rank_ms": json.loads((folder / "rank-ms.json").read_text()),
        "batch_ms": 1000 * batch["cpu_s"] / min(USERS, users),
        "import_mb": imported["peak_mb"],
        "train_mb": trained["peak_mb"],
        "rank_mb": one["peak_mb"],
        "ndcg": manifest["validation"]["ndcg"],
        "experts": list(manifest["experts"]["weights"]),
    }


def batch_file(folder: Path, items: int, users: int) -> Path:
    """Return a file of made-up users with ten events each, items of one part of the catalogue each."""
    path, number = folder / "batch.parquet", min(USERS, users)
    rng = np.random.default_rng(1)
    first_U = rng.integers(0, items - 200, number)
    chosen = first_U[:, None] + rng.permuted(np.tile(np.arange(200), (number, 1)), axis=1)[:, :EVENTS]
    owners = np.repeat(np.arange(number), EVENTS)
    pl.DataFrame({"user_id": owners, "item_id": chosen.ravel()}).write_parquet(path)
    return path


def rank(run: Path, out: Path) -> None:
    """Write the median milliseconds of processor time to adapt to ten events and rank."""
    import warmprompt

    model, rng, spent = warmprompt.load(run), np.random.default_rng(2), []
    for _ in range(21):
        first = int(rng.integers(0, len(model.items) - 200))
        own = [warmprompt.Event(item=model.items[first + place]) for place in rng.permutation(200)[:EVENTS]]
        begun_s = time.process_time()
        model.rank(model.adapt(own), 10)
        spent.append(1000 * (time.process_time() - begun_s))
    write_atomic(out, json.dumps(float(np.median(spent[1:]))).encode())


def once(result: Path, *given: object) -> dict[str, float]:
    """Run a Python command unless its result is there; return processor seconds and peak memory in MB."""
    words = [str(word) for word in given]
    if not result.exists():
        print(" ".join(words), flush=True)
        process = subprocess.Popen([sys.executable, *words], env={**os.environ, **ONE_THREAD})
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"ended with {status}: {' '.join(words)}")
        spent = {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
        write_atomic(result, json.dumps(spent).encode())
    found: dict[str, float] = json.loads(result.read_text())
    return found


def exponent(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Return by which power of the size a number grows, from the two largest shops."""
    before, last = rows[-2:]
    return float(np.log(last[name] / before[name]) / np.log(last["items"] / before["items"]))


def shown(value: float) -> str:
    """Return a number with three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def page(found: dict[str, Any]) -> str:
    """Return the page."""
    rows = found["rows"]
    lines = [
        "# Growth",
        "",
        "Made-up shops from file to rankings: each has ten times the users, items and events of the one",
        "before. Processor seconds of one thread, one run each. The exponent is between the two largest",
        "shops: 1 is in proportion to the size.",
        "",
        "| | " + " | ".join(f"{row['items']:,} items" for row in rows) + " | exponent |",
        "|---" * (len(rows) + 2) + "|",
        "| users | " + " | ".join(f"{row['users']:,}" for row in rows) + " | |",
        "| events | " + " | ".join(f"{row['events']:,}" for row in rows) + " | |",
        *(
            f"| {words} | "
            + " | ".join(shown(row[name]) for row in rows)
            + f" | {found['exponents'][name]:.2f} |"
            for name, words in PARTS.items()
        ),
        "| NDCG@10 on validation users | " + " | ".join(f"{row['ndcg']:.4f}" for row in rows) + " | |",
        "",
        "Experts that are kept: "
        + "; ".join(f"{row['items']:,} items: {', '.join(row['experts']) or 'none'}" for row in rows)
        + ".",
        "",
        f"Settings: {', '.join(found['settings'])}.",
        f"Command: `python benchmarks/growth.py WORK_FOLDER docs/results`, commit {found['commit']},",
        f"{found['machine']}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        rank(*map(Path, sys.argv[2:]))
    else:
        main()
