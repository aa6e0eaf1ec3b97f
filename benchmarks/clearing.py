"""Time the clearing of 5,000 banks and 120,000 obligations by three solvers that must agree.

    python benchmarks/clearing.py [--repeats 100] [--impacts] [--out docs/results/clearing.md]

The networks are drawn (seeded): heavy-tailed banks, links and amounts in proportion to both ends' sizes.
Each level of distress clears the same obligations with other assets. Only the clearing is timed, from
checked input to accounts; preparing the obligations, once per network, is timed on its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from commits import commit
from scipy.sparse import csr_array

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic
from warmprompt.risk.contagion import (
    Clearing,
    DefaultCosts,
    Obligations,
    clear_by_fictitious_default,
    clear_by_fixed_point,
    clear_by_linear_programme,
    clearing_impacts,
    debtrank_impacts,
    furfine_impacts,
    obligations,
)
from warmprompt.rng import derive

NUM_BANKS, NUM_LINKS = 5_000, 120_000
# Share of the assets a bank would need to be sound that it has, drawn uniformly per bank.
LEVELS = {"calm": (0.9, 1.3), "stress": (0.5, 1.2), "crisis": (0.0, 0.5)}
OUTSIDE = 0.05


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Times of repeated runs, in ms, and the last result."""

    wall_ms: list[float]
    cpu_ms: list[float]
    result: Clearing


MEASURED = ("src/warmprompt/risk/contagion", "benchmarks/clearing.py")


def main() -> None:
    """Read the options, run every level, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100, help="of the fixed point, at least 50")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--impacts", action="store_true", help="also time all single-bank shocks (minutes)")
    parser.add_argument("--out", type=Path, default=Path("docs/results/clearing.md"))
    chosen = parser.parse_args()
    liabilities, outside = draw_network(chosen.seed)
    prepare_ms = []
    for _ in range(chosen.repeats):
        start = time.perf_counter()
        network = obligations(liabilities, to_outside=outside)
        prepare_ms.append((time.perf_counter() - start) * 1e3)
    rows = []
    for level in LEVELS:
        rows.append(compare(network, draw_assets(network, level, chosen.seed), level, chosen.repeats))
        print(rows[-1], flush=True)
    calm = draw_assets(network, "calm", chosen.seed)
    impacts = time_impacts(liabilities, network, calm) if chosen.impacts else []
    page = report(rows, impacts, statistics.median(prepare_ms), chosen.repeats, chosen.seed)
    write_atomic(chosen.out, page.encode())


def draw_network(seed: int) -> tuple[csr_array, np.ndarray]:
    """Return (liabilities, to_outside) with exactly NUM_LINKS distinct links."""
    rng = derive(seed, "benchmark", "clearing", "network")
    size = np.minimum((1 - rng.random(NUM_BANKS)) ** (-1 / 1.15), 500.0)
    share = size / size.sum()
    pairs = np.zeros(0, dtype=np.int64)
    while len(pairs) < NUM_LINKS:
        debtor, creditor = (rng.choice(NUM_BANKS, size=NUM_LINKS, p=share) for _ in range(2))
        drawn = (debtor * NUM_BANKS + creditor)[debtor != creditor]
        pairs = np.unique(np.concatenate([pairs, drawn]))
    debtor, creditor = np.divmod(rng.permutation(pairs)[:NUM_LINKS], NUM_BANKS)
    amount = np.sqrt(size[debtor] * size[creditor]) * rng.lognormal(0, 1.5, NUM_LINKS)
    liabilities = csr_array((amount, (debtor, creditor)), shape=(NUM_BANKS, NUM_BANKS))
    return liabilities, OUTSIDE * np.asarray(liabilities.sum(axis=1)).ravel()


def draw_assets(network: Obligations, level: str, seed: int) -> np.ndarray:
    """Return assets: a random share of what each bank owes net of its claims, and of 5 % of the gross."""
    rng = derive(seed, "benchmark", "clearing", "assets", level)
    claims = np.asarray(network.claims_NN.sum(axis=1)).ravel()
    sound = np.maximum(0.0, network.owed_N - claims) + 0.05 * network.owed_N
    return sound * rng.uniform(*LEVELS[level], network.num_banks)


def timed(solve: Callable[[], Clearing], repeats: int) -> Timed:
    """Run `solve` so many times, after one run that is not counted when there are several."""
    if repeats > 1:
        solve()
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        result = solve()
        cpu.append((time.process_time() - start_cpu) * 1e3)
        wall.append((time.perf_counter() - start) * 1e3)
    return Timed(wall_ms=wall, cpu_ms=cpu, result=result)


def compare(network: Obligations, assets: np.ndarray, level: str, repeats: int) -> str:
    """Return one row of the table: times of the three solvers and their largest difference."""
    fixed = timed(lambda: clear_by_fixed_point(network, assets), repeats)
    fictitious = timed(lambda: clear_by_fictitious_default(network, assets), 1)
    programme = timed(lambda: clear_by_linear_programme(network, assets), 1)
    costs = DefaultCosts(alpha=0.8, beta=0.8)
    with_costs = timed(lambda: clear_by_fixed_point(network, assets, costs=costs), repeats)
    apart = [difference(network, fixed.result, other.result) for other in (fictitious, programme)]
    cells = [
        level,
        str(fixed.result.num_defaults),
        str(fixed.result.iterations),
        f"**{statistics.median(fixed.wall_ms):.1f}** ({np.quantile(fixed.wall_ms, 0.95):.1f})",
        f"{statistics.median(fixed.cpu_ms):.1f}",
        f"{statistics.median(with_costs.wall_ms):.1f} / {statistics.median(with_costs.cpu_ms):.1f}",
        f"{fictitious.wall_ms[0]:,.0f} / {fictitious.cpu_ms[0]:,.0f} ({fictitious.result.num_rounds} rounds)",
        f"{programme.wall_ms[0]:,.0f} / {programme.cpu_ms[0]:,.0f}",
        f"{apart[0]:.1e}",
        f"{apart[1]:.1e}",
        f"{fixed.result.residual:.1e}",
    ]
    return "| " + " | ".join(cells) + " |"


def difference(network: Obligations, one: Clearing, other: Clearing) -> float:
    """Return the largest difference of payments, as a share of each bank's own obligations."""
    owing = network.owed_N > 0
    return float((np.abs(one.payments_N - other.payments_N)[owing] / network.owed_N[owing]).max())


def time_impacts(liabilities: csr_array, network: Obligations, assets: np.ndarray) -> list[str]:
    """Return rows of the second table: all single-bank shocks by each model."""
    exposures = liabilities.T.tocsr()
    capital = 0.1 * np.asarray(exposures.sum(axis=1)).ravel() + 1.0
    models: dict[str, Callable[[], object]] = {
        "clearing, all outside assets lost": lambda: clearing_impacts(network, assets),
        "threshold cascade, loss given default 0.4": lambda: furfine_impacts(
            exposures, capital, loss_given_default=0.4
        ),
        "linear DebtRank": lambda: debtrank_impacts(exposures, capital),
    }
    rows = []
    for name, run in models.items():
        start, start_cpu = time.perf_counter(), time.process_time()
        run()
        cpu_s, wall_s = time.process_time() - start_cpu, time.perf_counter() - start
        rows.append(f"| {name} | {wall_s:.1f} | {cpu_s:.1f} |")
        print(rows[-1], flush=True)
    return rows


def report(rows: list[str], impacts: list[str], prepare_ms: float, repeats: int, seed: int) -> str:
    """Return the page."""
    machine = ", ".join(f"{key} {value}" for key, value in describe_machine().items())
    head = [
        "level", "defaults", "sweeps", "fixed point, wall ms (p95)", "CPU ms", "with costs, wall / CPU ms",
        "fictitious default, wall / CPU ms", "LP (HiGHS), wall / CPU ms", "to fictitious default",
        "to LP", "residual",
    ]  # fmt: skip
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    lines = [
        "# Clearing: speed and agreement of the solvers",
        "",
        "How fast is clearing of a network of Fedwire's size, and do independent solvers agree? It takes",
        "milliseconds, and fictitious default and a linear programme give the same payments up to",
        "rounding.",
        "",
        f"{NUM_BANKS:,} banks, {NUM_LINKS:,} obligations, drawn with seed {seed}; simulated, no real system.",
        f"Fixed point: median of {repeats} runs after one that is not counted; the references ran once, in",
        "the same process. Differences are the largest over all banks, as a share of a bank's own",
        "obligations. Costs: recovery rates 0.8 and 0.8. One thread.",
        "",
        f"Machine: {machine}. Commit {commit(*MEASURED)}. Load average at the end (1, 5, 15 min): {loads}.",
        "Where the load exceeds the cores, wall time includes waiting for other programs; CPU time does not.",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
        *rows,
        "",
        f"Preparing the obligations, once per network: {prepare_ms:.1f} ms wall (median of {repeats}).",
        "",
        *(shocks(impacts) if impacts else []),
        "Made by `python benchmarks/clearing.py`.",
        "",
    ]
    return "\n".join(lines)


def shocks(impacts: list[str]) -> list[str]:
    """Return the section on impacts."""
    return [
        "## All single-bank shocks",
        "",
        f"{NUM_BANKS:,} shocks each, one run; capital is 10 % of a bank's claims, and 1.",
        "",
        "| model | wall s | CPU s |",
        "|---|---|---|",
        *impacts,
        "",
    ]


if __name__ == "__main__":
    main()
