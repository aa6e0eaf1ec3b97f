"""Time a full settlement day, beside a plain Python simulator with the same rules, and write the page.

    python benchmarks/settlement.py --out docs/results/settlement.md

The reference is the one of the tests (tests/risk/settlement/reference.py), on a smaller day that both run.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from commits import commit
from scipy.sparse import coo_array

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic
from warmprompt.risk.settlement import (
    Banks,
    DayPayments,
    Rules,
    banks_table,
    block,
    liquidity_bounds,
    outage,
    payment_day,
    simulate_day,
)

ROOT = Path(__file__).resolve().parent.parent
CASES = {
    "FIFO": Rules(),
    "FIFO, no series": Rules(sample_s=None),
    "priority, overtaking": Rules(order="priority", bypass=True),
    "FIFO, both offsettings every 15 min": Rules(offsetting="both"),
    "FIFO, cycles of 60 s": Rules(cycle_s=60),
}


def main() -> None:
    """Read the options, time all cases, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, default=836_000)
    parser.add_argument("--banks", type=int, default=5000)
    parser.add_argument("--links", type=int, default=76_614)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/settlement.md")
    chosen = parser.parse_args()

    links = scale_free(chosen.banks, chosen.links, chosen.seed)
    generated, making_s = timed(lambda: payment_day(links, num_payments=chosen.payments, seed=chosen.seed))
    first_s, loading_s = first_calls()
    banks = funded(generated, 0.3)
    scope = (
        f"{chosen.payments:,} payments among {chosen.banks:,} banks over {links.nnz:,} random scale-free "
        "links; opening balances 30 % of the way from the lower to the upper bound of liquidity; "
        f"seed {chosen.seed}; one thread. Seconds: median of {chosen.repeats} runs, lowest and highest in "
        "brackets, with the checks of arguments and, unless said otherwise, series of 88 samples. "
        "Where other jobs share the machine, seconds include waiting for them; processor time does not."
    )
    machine = ", ".join(f"{key} {value}" for key, value in describe_machine().items())
    load = f"{os.getloadavg()[0]:.1f}"
    costs = (
        f"Apart from that: compiling, once for an installation, {first_s:.1f} s; the first call of any later "
        f"process {loading_s:.1f} s; making the day {making_s:.2f} s."
    )
    lines = [
        "# A settlement day in seconds",
        "",
        "How long does it take to simulate a settlement day of Fedwire's size? About a second of one",
        "thread under most rules, and a few seconds where all balances are added up at every event.",
        "",
        scope,
        "",
        f"Machine: {machine}; load average {load} at the start. Commit {commit()}.",
        "Made by `python benchmarks/settlement.py`.",
        "",
        costs,
        "",
        "| rules | seconds | of processor time | settled | value never settled | delay indicator |",
        "|---|---|---|---|---|---|",
    ]
    for name, rules in CASES.items():
        lines.append(row(name, lambda rules=rules: simulate_day(generated, banks, rules), chosen.repeats))
        tell(lines[-1])
    actions = disturbance(generated)
    lines.append(
        row(
            "FIFO, largest sender down for 4 h, then shunned",
            lambda: simulate_day(generated, banks, Rules(), actions),
            chosen.repeats,
        )
    )
    lines.append(
        row(
            "FIFO, all balances added up at every event",
            lambda: simulate_day(generated, banks, Rules(), check=True),
            1,
        )
    )
    lines += ["", *against_reference(chosen.seed), ""]
    write_atomic(chosen.out, "\n".join(lines).encode())
    tell(*lines)


def first_calls() -> tuple[float, float]:
    """Return the seconds of the first call in a process without and with compiled code on disk."""
    code = (
        "import time, numpy as np\n"
        "from warmprompt.risk.settlement import *\n"
        "day = payment_day(np.array([[0, 1], [1, 0]]), num_payments=9, seed=0)\n"
        "start = time.perf_counter()\n"
        "simulate_day(day, banks_table(opening_minor=[9, 9]))\n"
        "print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-c", code]
        runs = [subprocess.run(command, env=environment, capture_output=True, check=True) for _ in range(2)]
    return float(runs[0].stdout), float(runs[1].stdout)


def scale_free(num_banks: int, num_links: int, seed: int) -> coo_array:
    """Return about `num_links` random links between banks of Pareto sizes, weighted by both sizes."""
    rng = np.random.default_rng(seed)
    size = rng.pareto(1.1, num_banks) + 0.1
    ends = rng.choice(num_banks, size=(2, 6 * num_links), p=size / size.sum())
    keys = np.unique(ends[0] * num_banks + ends[1])
    keys = keys[keys // num_banks != keys % num_banks]
    keys = np.sort(rng.permutation(keys)[:num_links])
    sender, receiver = keys // num_banks, keys % num_banks
    return coo_array((size[sender] * size[receiver], (sender, receiver)), shape=(num_banks, num_banks))


def funded(payments: DayPayments, share: float) -> Banks:
    """Return banks with this share of the way from the lower to the upper bound of liquidity."""
    lower, upper = liquidity_bounds(payments)
    return banks_table(opening_minor=lower + (share * (upper - lower)).astype(np.int64))


def disturbance(payments: DayPayments) -> list[Any]:
    """Return a 4 h outage of the largest sender at half of the day, and a stop towards it an hour later."""
    largest = int(np.bincount(payments.sender, payments.amount_minor.astype(float)).argmax())
    noon = 39_600.0
    return [
        *outage(bank=largest, start_s=noon, end_s=noon + 4 * 3600),
        block(time_s=noon + 3600, bank=-1, other=largest),
    ]


def row(name: str, run: Callable[[], Any], repeats: int) -> str:
    """Return one line of the table."""
    found, seconds, busy_s = spread(run, repeats)
    never = found.unsettled_minor / (found.unsettled_minor + found.settled_minor)
    return (
        f"| {name} | {np.median(seconds):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f}) | {busy_s:.2f} "
        f"| {found.is_settled.mean():.2%} | {never:.2%} | {found.delay_indicator:.4f} |"
    )


def against_reference(seed: int) -> list[str]:
    """Return lines on a smaller day that the plain Python simulator runs too, with equal results."""
    path = ROOT / "tests/risk/settlement/reference.py"
    spec = importlib.util.spec_from_file_location("settlement_reference", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    # The reference keeps whole balances per bank and adds them up at every event: few banks.
    payments = payment_day(scale_free(100, 1500, seed), num_payments=20_000, seed=seed)
    banks, rules = funded(payments, 0.3), Rules()
    slow, _, slow_s = spread(lambda: reference.Day(payments, banks, rules, []).run(), 1)
    fast, _, fast_s = spread(lambda: simulate_day(payments, banks, rules), 5)
    if not np.array_equal(fast.settle_s, slow.settle_s, equal_nan=True):
        raise AssertionError("the compiled day and the reference differ")
    checked, _, checked_s = spread(lambda: simulate_day(payments, banks, rules, check=True), 5)
    text = (
        "Reference, in the same run, processor time: a day of 20,000 payments among 100 banks, FIFO, in "
        f"plain Python (which adds up all balances at every event) {slow_s:.2f} s = "
        f"{slow_s / 20_000 * 1e6:.0f} us a "
        f"payment; here {fast_s:.3f} s = {fast_s / 20_000 * 1e6:.1f} us a payment, and with all balances "
        f"added up at every event ({checked.num_checks:,} times) {checked_s:.3f} s. "
        "Every payment settles at the same time in both."
    )
    return [text]


def spread(run: Callable[[], Any], repeats: int) -> tuple[Any, list[float], float]:
    """Return the last result, the seconds of each run, and the median seconds of processor time."""
    seconds, busy = [], []
    for _ in range(repeats):
        busy_start = time.process_time()
        found, took_s = timed(run)
        seconds.append(took_s)
        busy.append(time.process_time() - busy_start)
    return found, sorted(seconds), float(np.median(busy))


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result and the seconds of one call."""
    start = time.perf_counter()
    found = run()
    return found, time.perf_counter() - start


def tell(*lines: str) -> None:
    """Show progress."""
    sys.stderr.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
