"""The compiled functions are plain Python too, and mean the same when nothing compiles them."""

import importlib
import os
import sys

import numba
import numpy as np
import pytest

from warmprompt.risk.settlement import (
    Rules,
    banks_table,
    cut_exposure,
    inject,
    limit,
    liquidity_bounds,
    outage,
    payment_day,
    reserve,
    set_cap,
)

MODULES = ("state", "offsetting", "kernel", "simulate")


def interpreted(monkeypatch):
    """Return `simulate_day` of modules loaded anew without the compiler."""
    import warmprompt.risk.settlement as package

    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}")
        monkeypatch.setattr(package, name, getattr(package, name))
    return importlib.import_module(f"{package.__name__}.simulate").simulate_day


@pytest.mark.parametrize(
    "rules",
    [
        Rules(offsetting="both"),
        Rules(order="priority", bypass=True, offsetting="multilateral"),
        Rules(cycle_s=600, offsetting="bilateral"),
    ],
    ids=lambda rules: f"{rules.order}-{rules.offsetting}-{rules.cycle_s}",
)
def test_compiled_and_interpreted_agree(monkeypatch, rules):
    from warmprompt.risk.settlement import simulate_day

    links = np.random.default_rng(0).random((8, 8))
    np.fill_diagonal(links, 0)
    payments = payment_day(links, num_payments=1500, seed=3)
    lower, upper = liquidity_bounds(payments)
    banks = banks_table(opening_minor=(3 * lower + upper) // 4, cap_minor=upper // 20)
    actions = [
        *outage(bank=2, start_s=20_000, end_s=50_000),
        limit(time_s=30_000, bank=-1, other=2, amount_minor=0),
        cut_exposure(time_s=31_000, bank=-1, other=3),
        reserve(time_s=32_000, bank=4, amount_minor=1000),
        set_cap(time_s=33_000, bank=5, amount_minor=1000),
        inject(time_s=40_000, bank=1, amount_minor=10**6),
    ]
    # The compiled one first: numba compiles nothing any more once it is switched off.
    fast = simulate_day(payments, banks, rules, actions, check=True)
    slow = interpreted(monkeypatch)(payments, banks, rules, actions, check=True)
    assert fast.num_checks == slow.num_checks > 500
    for name in ("settle_s", "batch", "how", "closing_minor", "used_minor", "overdraft_minor"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
    np.testing.assert_array_equal(fast.series.values_TNF, slow.series.values_TNF)
    np.testing.assert_array_equal(fast.series.delay_s_TN, slow.series.delay_s_TN)


def test_compiled_code_older_than_any_source_beside_it_is_forgotten(tmp_path):
    from warmprompt.risk.compiling import forget_stale

    cache = tmp_path / "__pycache__"
    cache.mkdir()
    for index, name in enumerate(("a.py", "__pycache__/old.nbi", "b.py", "__pycache__/new.nbi")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (index, index))
    forget_stale(tmp_path)
    assert [path.name for path in cache.iterdir()] == ["new.nbi"]
    forget_stale(tmp_path / "nowhere")
