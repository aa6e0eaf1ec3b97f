"""What many users need, computed from measured numbers: docs/results/capacity.md.

    python benchmarks/capacity.py docs/results

Reads speed.json, store.json, service-load-postgresql.json, shards.json and catalogues.json of that folder,
which `speed.py`, `store.py`, `service_load.py`, `shards.py` and `catalogues.py` measured on two cores, and
writes capacity.md there. Every assumption is a field of `Assumptions`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

NUM_FACTORS, TEXT_WIDTH = 64, 384


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What is not measured; see `MEANING` for the words."""

    users: int = 10_000_000
    items: int = 1_000_000
    requests_per_s: int = 10_000
    fresh_share: float = 0.1
    utilisation: float = 0.6
    batch_hours: float = 8.0
    dollars_per_core_hour: float = 0.05
    item_tables: int = 4


MEANING = {
    "users": "users with a log",
    "items": "items that are ranked",
    "requests_per_s": "rankings a second at the peak",
    "fresh_share": "share of rankings that follow a new event; the others are cached",
    "utilisation": "share of a core that is used at the peak, so that queues stay short",
    "batch_hours": "hours in which a batch for all users has to end",
    "dollars_per_core_hour": "price of a core for an hour, in dollars",
    "item_tables": "tables of items times factors in memory: learned, offset, ranked and support vectors",
}


def main() -> None:
    """Write the page."""
    folder = Path(sys.argv[1])
    names = ("speed", "store", "service-load-postgresql", "shards", "catalogues")
    measured = measured_in({name: json.loads((folder / f"{name}.json").read_text()) for name in names})
    (folder / "capacity.md").write_text(page(measured, Assumptions()))


def measured_in(found: dict[str, Any]) -> dict[str, float]:
    """Return the numbers that the page uses, from the files by name."""
    shards, speed = found["shards"], found["speed"]
    # A shard of a hundred has one block of those that there are; two equations give start and user.
    one_block = shards["users"] / max(-(-shards["events"] // 100_000), 1)
    one_s, block_s = shards["one"][0]["cpu_s"], shards["one_of_a_hundred"][0]["cpu_s"]
    user_ms = 1000 * (one_s - block_s) / (shards["users"] - one_block)
    large = found["catalogues"]["rows"][-1]
    cached = next(
        one for one in found["service-load-postgresql"]["phases"] if one["phase"] == "cached rankings"
    )
    return {
        "start_s": one_s - user_ms * shards["users"] / 1000,
        "user_ms": user_ms,
        "large_items": large["items"],
        "large_batch_ms": large["batch_score_ms"] + large["batch_top_ms"],
        "large_alone_ms": large["alone_score_ms"] + large["alone_top_ms"],
        "adapt_ms": speed["large"]["1000000"]["adapt_ms"],
        "process_mb": speed["memory"]["python_and_torch_mb"],
        "user_bytes": found["store"]["size"]["postgresql"]["nothing"]["all"],
        "prompt_bytes": found["store"]["size"]["postgresql"]["half precision, as the service does"]["all"],
        "cached_per_s": cached["per_s"] / 2,
        "linear_ms": speed["linear_batch_ms"],
        "implicit_ms": speed["implicit_recommend_ms"],
        "ease_ms": speed["ease_ms"],
        "step_ms": large["outer_step_ms"],
        "softmax_share": large["outer_step_softmax_ms"] / large["outer_step_ms"],
        "items_share": large["outer_step_items_ms"] / large["outer_step_ms"],
        "score_exponent": found["catalogues"]["exponents"]["batch_score_ms"],
    }


def needed(measured: dict[str, float], given: Assumptions) -> dict[str, float]:
    """Return what is needed; scores are taken to grow in proportion to items beyond what was measured."""
    grown = given.items / measured["large_items"]
    batch_ms = measured["user_ms"] + measured["large_batch_ms"] * grown
    fresh_ms = measured["adapt_ms"] + measured["large_alone_ms"] * grown
    batch_core_s = given.users * batch_ms / 1000
    fresh_cores = given.requests_per_s * given.fresh_share * fresh_ms / 1000
    cached_cores = given.requests_per_s * (1 - given.fresh_share) / measured["cached_per_s"]
    item_gb = given.items * (given.item_tables * NUM_FACTORS + TEXT_WIDTH) * 4 / 1e9
    return {
        "batch_ms": batch_ms,
        "batch_core_hours": batch_core_s / 3600,
        "batch_cores": math.ceil(batch_core_s / 3600 / given.batch_hours),
        "batch_dollars": batch_core_s / 3600 * given.dollars_per_core_hour,
        "fresh_ms": fresh_ms,
        "serving_cores": math.ceil((fresh_cores + cached_cores) / given.utilisation),
        "process_gb": item_gb + measured["process_mb"] / 1000,
        "store_gb": given.users * measured["user_bytes"] / 1e9,
        "prompt_store_gb": given.users * measured["prompt_bytes"] / 1e9,
    }


def page(measured: dict[str, float], given: Assumptions) -> str:
    """Return the page."""
    need = needed(measured, given)
    price = given.dollars_per_core_hour / 3600
    assumed = [(MEANING[one.name], f"{getattr(given, one.name):,}") for one in fields(given)]
    assumed += [
        ("share of the load test's cached rankings that each of its two cores serves", "0.5"),
        (
            "exponent of scores in items; the measured one is in brackets",
            f"1 ({measured['score_exponent']:.2f})",
        ),
        ("experts that score: the two learned ones; neighbours and words cost more", "2"),
    ]
    costs = [
        ("linear response, batches of 32", measured["linear_ms"]),
        ("the same with files read and written (`--shard`)", measured["user_ms"]),
        ("implicit ALS, fold-in and ranking, one by one", measured["implicit_ms"]),
        ("EASE fold-in, scores alone", measured["ease_ms"]),
    ]
    parts = [
        HEAD.format(given=given, need=need),
        rows(("need", "amount", "how"), needs(measured, need, given)),
        "## Assumptions\n",
        rows(("what", "value"), assumed),
        COSTS,
        rows(
            ("by", "ms a user", "processor seconds a million users", "dollars"),
            [(name, f"{ms:.3f}", f"{1000 * ms:,.0f}", f"{1000 * ms * price:.4f}") for name, ms in costs],
        ),
        NEXT.format(measured=measured),
    ]
    return "\n".join(parts)


def needs(
    measured: dict[str, float], need: dict[str, float], given: Assumptions
) -> list[tuple[str, str, str]]:
    """Return what is needed, how much, and how it comes about."""
    large = f"{measured['large_batch_ms']:.1f} ms to score and sort {measured['large_items']:,} items"
    store = f"{measured['user_bytes']:,.0f} bytes a user in PostgreSQL with 10 to 20 events"
    cores = f"{need['batch_cores']} cores for {given.batch_hours:g} hours"
    return [
        (
            "batch, processor time a user",
            f"{need['batch_ms']:.1f} ms",
            f"{measured['user_ms']:.2f} ms to read, adapt and write; {large}",
        ),
        (
            "batch over all users",
            f"{need['batch_core_hours']:,.0f} core hours",
            f"{cores}, {need['batch_dollars']:,.0f} dollars",
        ),
        ("start of each process", f"{measured['start_s']:.1f} s", "processor time, once a shard"),
        (
            "a fresh ranking",
            f"{need['fresh_ms']:.0f} ms",
            f"{measured['adapt_ms']:.1f} ms to adapt, the rest to score and sort alone",
        ),
        (
            "cores to serve",
            f"{need['serving_cores']:,}",
            f"fresh rankings, and cached ones at {measured['cached_per_s']:,.0f} a second and core",
        ),
        (
            "memory of a process",
            f"{need['process_gb']:.1f} GB",
            "item tables, item texts, Python and torch; no catalogue of this size was opened",
        ),
        (
            "database",
            f"{need['store_gb']:,.0f} GB",
            f"{store}; {need['prompt_store_gb']:,.0f} GB if states hold prompts",
        ),
    ]


def rows(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [heads, ["---"] * len(heads), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


HEAD = """# Capacity

What do {given.users:,} users, {given.items:,} items and {given.requests_per_s:,} rankings a second need?
About {need[serving_cores]:,} cores to serve, {need[batch_core_hours]:,.0f} core hours for a batch over all
users, and {need[store_gb]:,.0f} GB of database.

Computed by `python benchmarks/capacity.py docs/results` from numbers measured on two shared cores. No system
of this size has run. Training was measured for one step alone, at the end of this page.
"""
COSTS = """## A million users beside closed forms

The run of `make demo` (1,682 items, ten events a user), processor time of one thread, ranking included.
"""
NEXT = """## What breaks next

- One fresh ranking reads all item vectors from memory: most of its time at a million items. An approximate
  search could save that part. It is not built: other experts score the whole catalogue all the same.
- Every process holds all item tables. They are not memory-mapped, so processes of one machine share none.
- An outer step of 64 users over all of a million items takes {measured[step_ms]:,.0f} ms.
  The vectors of all items are {measured[items_share]:.0%} of it, the softmax of the query
  {measured[softmax_share]:.0%}. So a step is over a sample of the items beyond 100,000
  ([decision 9](../decisions/0009-many-items.md)).
"""


if __name__ == "__main__":
    main()
