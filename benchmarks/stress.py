"""Time `warmprompt risk stress` on 5,000 banks and 120,000 obligations, from two files to a report.

    python benchmarks/stress.py [--out docs/results/stress.md]

The network is that of `clearing.py`. Each row is a process of its own, imports included; processor time of
the process and its children. The reference is one clearing of the same network by a linear programme (HiGHS).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from clearing import NUM_BANKS, NUM_LINKS, draw_assets, draw_network
from commits import commit

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic
from warmprompt.risk.contagion import clear_by_linear_programme, obligations
from warmprompt.risk.network.graph import network_from_matrix

MEASURED = ("src/warmprompt/risk", "src/warmprompt/cli", "benchmarks/stress.py")
# Capital as a share of a bank's claims: one lets stress spread without end, with the other it dies out.
CAPITAL = {"thin": 0.3, "thick": 1.5}
MODELS = ("debtrank", "threshold", "eisenberg-noe", "rogers-veraart")


def main() -> None:
    """Read the options, run every model, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/stress.md"))
    chosen = parser.parse_args()
    liabilities, outside = draw_network(chosen.seed)
    network = obligations(liabilities, to_outside=outside)
    start = time.process_time()
    clear_by_linear_programme(network, draw_assets(network, "stress", chosen.seed))
    reference_s = time.process_time() - start
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for level, share in CAPITAL.items():
            edges, balance = write_tables(liabilities, folder, share)
            for model in MODELS:
                cpu_s, wall_s = timed(edges, balance, model, folder / "report.html")
                size = (folder / "report.html").stat().st_size / 1e3
                cells = [
                    level,
                    model,
                    f"**{cpu_s:.1f}**",
                    f"{cpu_s / reference_s:.0f}",
                    f"{wall_s:.1f}",
                    f"{size:,.0f}",
                ]
                rows.append(f"| {' | '.join(cells)} |")
                print(rows[-1], flush=True)
    write_atomic(chosen.out, report(rows, reference_s, chosen.seed).encode())


def write_tables(liabilities: object, folder: Path, share: float) -> tuple[Path, Path]:
    """Write the links and a balance sheet with this capital, and return both."""
    drawn = network_from_matrix(liabilities, nodes=[f"Bank {index:04d}" for index in range(NUM_BANKS)])
    payers, payees, amounts = drawn.edges()
    names = np.array(drawn.nodes)
    edges, balance = folder / "edges.csv", folder / "balance.csv"
    pl.DataFrame({"payer": names[payers], "payee": names[payees], "amount": amounts}).write_csv(edges)
    pl.DataFrame({"bank": names, "capital": share * drawn.incoming + 1}).write_csv(balance)
    return edges, balance


def timed(edges: Path, balance: Path, model: str, out: Path) -> tuple[float, float]:
    """Return processor and wall time of one command, in seconds."""
    command = [sys.executable, "-m", "warmprompt", "risk", "stress", str(edges), "--balance", str(balance)]
    command += ["--shock", "Bank 0283", "--shock", "all=5%", "--model", model, "--out", str(out)]
    command += ["--alpha", "0.8", "--beta", "0.8"] if model == "rogers-veraart" else []
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, time.perf_counter() - start


def report(rows: list[str], reference_s: float, seed: int) -> str:
    """Return the page."""
    machine = ", ".join(f"{key} {value}" for key, value in describe_machine().items())
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    lines = [
        "# Stress tests: time from file to report",
        "",
        "How long does a stress test take, from two CSV files to a report with pictures? On a network of",
        "Fedwire's size every model stays below 20 s of processor time.",
        "",
        f"{NUM_BANKS:,} banks, {NUM_LINKS:,} obligations, drawn with seed {seed}; simulated, no real system.",
        "`Bank 0283` fails, all others lose 5 %. Each row is one run of `warmprompt risk stress`, a process",
        "of its own: imports, reading, the shock, every single failure, the reverse test, three pictures.",
        f"Capital is {CAPITAL['thin']:g} (thin) or {CAPITAL['thick']:g} (thick) of a bank's claims, and 1.",
        "One thread.",
        "",
        f"Reference in the same run: one clearing by HiGHS, {reference_s:.2f} s of processor time.",
        f"Machine: {machine}. Commit {commit(*MEASURED)}.",
        f"Load average at the end (1, 5, 15 min): {loads}. Where it exceeds the cores, wall time includes",
        "waiting for other programs; processor time does not.",
        "",
        "| capital | model | processor s | times the reference | wall s | report, kB |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "Made by `python benchmarks/stress.py`.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
