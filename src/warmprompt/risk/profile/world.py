"""Card payments made up after the Fraud Detection Handbook's published description, with known answers.

Own code from the book's text (Le Borgne, Siblini, Lebichot & Bontempi 2022, chapter 3, section 2):
customers and terminals lie in a square; a customer pays at terminals within a radius, a Poisson number
of times a day, around noon, with normal amounts around an own mean. Three scenarios of fraud are laid on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmprompt.errors import BadInputError
from warmprompt.risk.profile.payments import DAY_S, Doubles, Longs, Payments, make_payments
from warmprompt.rng import derive

SQUARE = 100.0


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """Sizes of a world; rates of compromise per day, which the book gives for 5,000 customers.

    Attributes:
        num_customers: Customers.
        num_terminals: Terminals.
        num_days: Days of payments.
        radius: How far customers go, in a square of side 100.
        amount_limit: Scenario 1: every payment above it is fraud.
        terminals_per_day: Scenario 2: terminals compromised each day, for 28 days.
        customers_per_day: Scenario 3: customers compromised each day, for 14 days.
        first_s: Midnight of the first day, seconds since 1970.
    """

    num_customers: int = 500
    num_terminals: int = 1000
    num_days: int = 120
    radius: float = 5.0
    amount_limit: float = 220.0
    terminals_per_day: float = 0.2
    customers_per_day: float = 0.3
    first_s: int = 1_522_540_800


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Payments and what is behind them.

    Attributes:
        payments: The table.
        scenario_N: 0 genuine, else the scenario that made the payment fraudulent.
        mean_amount_C: Each customer's mean amount.
        per_day_C: Each customer's mean payments per day.
    """

    payments: Payments
    scenario_N: NDArray[np.int8]
    mean_amount_C: Doubles
    per_day_C: Doubles


def make_world(settings: WorldSettings | None = None, *, seed: int) -> World:
    """Return a world; the same for equal settings and seed.

    Raises:
        BadInputError: A size below 1, or no customer has a terminal within the radius.
    """
    settings = settings or WorldSettings()
    for name in ("num_customers", "num_terminals", "num_days"):
        if getattr(settings, name) < 1:
            raise BadInputError(field=name, value=getattr(settings, name), remedy="Give at least 1.")
    rng = derive(seed, "world", "places")
    customer_C2 = rng.uniform(0, SQUARE, size=(settings.num_customers, 2))
    terminal_T2 = rng.uniform(0, SQUARE, size=(settings.num_terminals, 2))
    mean_amount_C = rng.uniform(5, 100, size=settings.num_customers)
    per_day_C = rng.uniform(0, 4, size=settings.num_customers)
    parts = []
    for customer in range(settings.num_customers):
        near = np.flatnonzero(np.linalg.norm(terminal_T2 - customer_C2[customer], axis=1) < settings.radius)
        if len(near):
            parts.append(
                _payments_of(
                    customer, near, float(mean_amount_C[customer]), float(per_day_C[customer]), settings, seed
                )
            )
    table = np.concatenate(parts) if parts else np.empty((0, 4))
    if not len(table):
        raise BadInputError(field="radius", value=settings.radius, remedy="Enlarge it: nobody pays anywhere.")
    table = table[np.argsort(table[:, 0], kind="stable")]
    time_N, customer_N, terminal_N = (table[:, column].astype(np.int64) for column in range(3))
    amount_N, scenario_N = _lay_fraud(time_N, customer_N, terminal_N, table[:, 3], settings, seed)
    payments = make_payments(
        time_N=time_N,
        customer_N=customer_N,
        terminal_N=terminal_N,
        amount_N=amount_N,
        fraud_N=scenario_N > 0,
    )
    return World(payments=payments, scenario_N=scenario_N, mean_amount_C=mean_amount_C, per_day_C=per_day_C)


def _payments_of(
    customer: int, near: Longs, mean: float, per_day: float, settings: WorldSettings, seed: int
) -> Doubles:
    """Return (time, customer, terminal, amount) rows of one customer."""
    rng = derive(seed, "world", "payments", customer)
    day = np.repeat(np.arange(settings.num_days), rng.poisson(per_day, size=settings.num_days))
    second = np.rint(rng.normal(DAY_S / 2, 20_000, size=len(day)))
    inside = (second > 0) & (second < DAY_S)
    day, second = day[inside], second[inside]
    amount = rng.normal(mean, mean / 2, size=len(day))
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean, size=len(day)), amount)
    time = settings.first_s + day * DAY_S + second
    terminal = near[rng.integers(len(near), size=len(day))]
    return np.stack([time, np.full(len(day), customer), terminal, np.round(amount, 2)], axis=1)


def _lay_fraud(
    time_N: Longs,
    customer_N: Longs,
    terminal_N: Longs,
    amount_N: Doubles,
    settings: WorldSettings,
    seed: int,
) -> tuple[Doubles, NDArray[np.int8]]:
    """Return amounts and scenarios; a later scenario overrides an earlier one, as in the book."""
    rng = derive(seed, "world", "fraud")
    day_N = (time_N - settings.first_s) // DAY_S
    amounts = amount_N.copy()
    scenario_N = np.where(amount_N > settings.amount_limit, 1, 0).astype(np.int8)
    for day in range(settings.num_days):
        hit = rng.integers(settings.num_terminals, size=rng.poisson(settings.terminals_per_day))
        scenario_N[np.isin(terminal_N, hit) & (day_N >= day) & (day_N < day + 28)] = 2
    for day in range(settings.num_days):
        hit = rng.integers(settings.num_customers, size=rng.poisson(settings.customers_per_day))
        rows = np.flatnonzero(np.isin(customer_N, hit) & (day_N >= day) & (day_N < day + 14))
        taken = rng.choice(rows, size=len(rows) // 3, replace=False)
        amounts[taken] = np.round(amounts[taken] * 5, 2)
        scenario_N[taken] = 3
    return amounts, scenario_N
