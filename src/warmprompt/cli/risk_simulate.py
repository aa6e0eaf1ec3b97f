"""`warmprompt risk simulate`: a settlement day, drawn or of own payments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmprompt.cli.risk_screen import (
    JSON,
    print_json,
    print_notes,
    print_pairs,
    print_written,
    require_suffix,
    shown_number,
)
from warmprompt.errors import BadInputError
from warmprompt.files import write_atomic

if TYPE_CHECKING:
    from warmprompt.risk.settlement import Banks, DayPayments

_SAMPLES = 96


class _Offsetting(StrEnum):
    none = "none"
    bilateral = "bilateral"
    multilateral = "multilateral"
    both = "both"


class _Order(StrEnum):
    fifo = "fifo"
    priority = "priority"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Day:
    """What is settled; `title` says where it comes from."""

    nodes: tuple[str, ...]
    payments: DayPayments
    banks: Banks
    open_s: float
    close_s: float
    title: str
    decimals: int
    notes: tuple[str, ...] = ()


def simulate_command(
    banks: Annotated[
        int, typer.Option("--banks", max=10_000, help="Banks of the synthetic network, at least 54.")
    ] = 200,
    payments: Annotated[
        str,
        typer.Option(
            "--payments",
            help="How many payments to draw; or a table with time, payer, payee, amount_minor, or messages: "
            "an XML file, a folder, a 'glob'.",
        ),
    ] = "20000",
    balances: Annotated[
        Path | None,
        typer.Option(
            "--balances",
            help="With own payments: table of bank, opening_minor (or opening); if any cap_minor, "
            "reserve_minor.",
        ),
    ] = None,
    liquidity: Annotated[
        float,
        typer.Option(
            "--liquidity",
            help="Opening balances where no table gives them: multiples of what a usual day, or the own day, "
            "needs for nothing to wait.",
        ),
    ] = 1.0,
    order: Annotated[_Order, typer.Option("--order", help="Which payment goes first.")] = _Order.fifo,
    offsetting: Annotated[
        _Offsetting, typer.Option("--offsetting", help="What is done against gridlock every 15 minutes.")
    ] = _Offsetting.none,
    outage: Annotated[
        str | None, typer.Option("--outage", help="BANK@START+LENGTH in seconds, such as B001@36000+7200.")
    ] = None,
    currency: Annotated[str, typer.Option("--currency", help="ISO 4217 code of own payments.")] = "USD",
    seed: Annotated[int, typer.Option("--seed", help="The only source of chance.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file, a row per bank.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="PNG file: queues and liquidity over the day.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Simulate one day of real-time gross settlement, of own payments or synthetic ones."""
    require_suffix("--out", out, ".csv")
    require_suffix("--plot", plot, ".png")
    from warmprompt.cli.risk_files import day_csv, read_outage
    from warmprompt.risk.settlement import Rules, simulate_day

    if not 0 <= liquidity < float("inf"):
        raise BadInputError(field="--liquidity", value=liquidity, remedy="Give a number of at least 0.")
    if payments.isdecimal():
        if balances is not None:
            remedy = "Give --payments a file, or leave balances out: those of drawn banks are drawn."
            raise BadInputError(field="--balances", value=balances, remedy=remedy)
        day = _drawn_day(banks, int(payments), liquidity, seed)
    else:
        day = _own_day(payments, balances, liquidity, currency)
    actions = () if outage is None else read_outage(outage, day.nodes)
    rules = Rules(
        open_s=day.open_s,
        close_s=day.close_s,
        order=order.value,
        bypass=True,
        offsetting=offsetting.value,
        sample_s=None if plot is None else (day.close_s - day.open_s) / _SAMPLES,
    )
    result = simulate_day(day.payments, day.banks, rules, actions)
    if out is not None:
        write_atomic(out, day_csv(day.nodes, result))
    if plot is not None:
        from warmprompt.risk.plots import plot_day

        plot_day(result, day.nodes, plot, title=day.title, decimals=day.decimals)
    figures: dict[str, float] = {
        "banks": len(day.nodes),
        "payments": len(day.payments),
        "settled": int(result.is_settled.sum()),
        "value due, minor units": int(day.payments.amount_minor.sum()),
        "value unsettled, minor units": result.unsettled_minor,
        "delay indicator": result.delay_indicator,
        "settled by offsetting": int((result.how > 1).sum()),
        "opening balances, minor units": int(day.banks.opening_minor.sum()),
    }
    if as_json:
        more = {"seed": seed, "notes": list(day.notes)}
        print_json({re.sub(r",? ", "_", name): value for name, value in figures.items()} | more)
        return
    print_pairs(day.title, {name: shown_number(value) for name, value in figures.items()})
    print_notes(day.notes)
    print_written(out, plot)


def _drawn_day(banks: int, payments: int, liquidity: float, seed: int) -> _Day:
    from warmprompt.risk.settlement import banks_table
    from warmprompt.risk.study import BankWorldSettings, draw_day, make_bank_world

    settings = BankWorldSettings(num_banks=banks, payments_per_day=payments, liquidity=liquidity)
    world = make_bank_world(settings, seed=seed)
    return _Day(
        nodes=world.nodes,
        payments=draw_day(world, seed=seed),
        banks=banks_table(opening_minor=world.opening_minor),
        open_s=0.0,
        close_s=settings.day_s,
        title=f"one synthetic day, seed {seed}",
        decimals=2,
    )


def _own_day(payments: str, balances: Path | None, liquidity: float, currency: str) -> _Day:
    import numpy as np
    import polars as pl

    from warmprompt.cli.risk_files import read_day, read_table
    from warmprompt.risk.network.payments import decimals_of
    from warmprompt.risk.settlement import banks_table, liquidity_bounds, opening_balances

    table = None if balances is None else read_table(balances, "--balances")
    known = [] if table is None or "bank" not in table.columns else table["bank"].cast(pl.String).to_list()
    own = read_day(payments, currency, [name.strip() for name in known if name and name.strip()])
    if table is None:
        _, upper = liquidity_bounds(own.payments)
        banks = banks_table(opening_minor=np.rint(liquidity * upper).astype(np.int64))
        notes: tuple[str, ...] = (
            f"no --balances: banks open with {liquidity:g} times what they need for nothing to wait",
        )
    else:
        banks = opening_balances(table, own.nodes, f"--balances {balances}", currency=currency)
        notes = ()
    return _Day(
        nodes=own.nodes,
        payments=own.payments,
        banks=banks,
        open_s=own.open_s,
        close_s=own.close_s,
        title=f"{payments}, {currency}",
        decimals=decimals_of(currency),
        notes=notes,
    )
