"""What an incident costs, as a share of the value that should have moved. P is payments, N banks."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

from warmprompt.errors import BadInputError
from warmprompt.risk.contagion import DefaultCosts, clear_by_fixed_point, linear_debtrank, obligations
from warmprompt.risk.network.graph import netted, network_from_matrix
from warmprompt.risk.settlement import DayPayments, DayResult
from warmprompt.risk.settlement.payments import Doubles

DELAY_UNIT_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class FailureSettings:
    """What happens at the last close if the troubled bank fails ("stress" only). All assumptions.

    Attributes:
        recovery: Share of its assets that a failing bank's creditors get, for claims on banks and on cash.
        hole: What the failing bank owes outside the system, in days of its expected payments.
        buffer: Assets of the others besides their balances, as a share of a day's expected payments.
    """

    recovery: float = 0.7
    hole: float = 0.5
    buffer: float = 0.25

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if not 0 <= self.recovery <= 1:
            raise BadInputError(field="recovery", value=self.recovery, remedy="Give 0 to 1.")
        for name in ("hole", "buffer"):
            if not 0 <= getattr(self, name) < np.inf:
                raise BadInputError(field=name, value=getattr(self, name), remedy="Give at least 0.")


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Parts of the loss, in per cent of the value due over all days.

    A payment that never settles counts whole, one that settles late by its delay in days of 24 hours, at
    most 1. `spillover` is the measure of the study: it leaves out payments that the troubled bank owes,
    which nobody's action brings back, and payments to it, which it cannot use.

    Attributes:
        others: Payments between banks of which neither is the troubled one.
        to_bank: Payments to the troubled bank.
        by_bank: Payments that the troubled bank owes.
        failure: What other banks lose when obligations are cleared after a failure.
        unsettled: The part of the first three that never settled.
        debtrank: Additional stress of the others when the troubled bank fails (a share; in no sum).
        defaults: Other banks that fail with it (in no sum).
    """

    others: float
    to_bank: float
    by_bank: float
    failure: float = 0.0
    unsettled: float = 0.0
    debtrank: float = 0.0
    defaults: float = 0.0

    @property
    def spillover(self) -> float:
        """What other banks suffer: `others` and `failure`."""
        return self.others + self.failure

    @property
    def total(self) -> float:
        """All payments and the failure."""
        return self.others + self.to_bank + self.by_bank + self.failure

    def less(self, clean: Loss) -> Loss:
        """Return what this is more than the same days without incident, part by part."""
        own, base = asdict(self), asdict(clean)
        return Loss(**{name: own[name] - base[name] for name in own})

    def as_row(self) -> dict[str, float]:
        """Return all parts and sums."""
        return {"spillover": self.spillover, "total": self.total, **asdict(self)}


def settlement_loss(result: DayResult, withheld: DayPayments, *, bank: int) -> Loss:
    """Return what was late or never settled; `withheld` never reached the system and never settled.

    Raises:
        BadInputError: There is no payment.
    """
    payments = result.payments
    due = float(payments.amount_minor.sum() + withheld.amount_minor.sum())
    if not due:
        raise BadInputError(field="payments", value="none", remedy="Give at least one payment.")
    late_P = np.minimum(np.where(result.is_settled, result.delay_s / DELAY_UNIT_S, 1.0), 1.0)
    lost_P = payments.amount_minor * late_P * 100 / due
    never = 100 * float(withheld.amount_minor.sum()) / due
    by_P, to_P = payments.sender == bank, payments.receiver == bank
    return Loss(
        others=float(lost_P[~by_P & ~to_P].sum()),
        to_bank=float(lost_P[to_P].sum()),
        by_bank=float(lost_P[by_P].sum()) + never,
        unsettled=float(lost_P[~result.is_settled].sum()) + never,
    )


def failure_loss(
    result: DayResult, withheld: DayPayments, expected_N: Doubles, settings: FailureSettings, *, bank: int
) -> tuple[float, float, int]:
    """Let the bank fail at the last close and clear what is still owed.

    Obligations are what never settled, withheld payments included, netted between each two banks. Outside
    assets are closing balances, and for the others a buffer. Overdrafts at the central bank are owed to
    outside, and so is the failing bank's hole.

    Returns:
        What the other banks do not get of what banks owe them, minor units; DebtRank of the failing bank
        over the same obligations (others' capital: what clearing would leave each if all paid); and how
        many others default.
    """
    owed_NN = still_owed(result, withheld)
    outside_N = np.maximum(-result.closing_minor, 0).astype(np.float64)
    cash_N = np.maximum(result.closing_minor, 0).astype(np.float64)
    assets_N = cash_N + settings.buffer * expected_N
    assets_N[bank] = cash_N[bank]
    outside_N[bank] += settings.hole * expected_N[bank]
    cleared = clear_by_fixed_point(
        obligations(owed_NN, to_outside=outside_N),
        assets_N,
        costs=DefaultCosts(alpha=settings.recovery, beta=settings.recovery),
    )
    claims_N = np.asarray(owed_NN.sum(axis=0)).ravel()
    others = np.arange(len(assets_N)) != bank
    missing = float((claims_N - cleared.received_N)[others].sum())
    debts_N = np.asarray(owed_NN.sum(axis=1)).ravel() + outside_N
    # A lender needs capital above 0; who would be short even if all paid has next to none.
    capital_N = np.maximum(assets_N + claims_N - debts_N, 1e-3 * np.maximum(expected_N, 1.0))
    shock_N = (~others).astype(np.float64)
    weights_N = np.where(others, capital_N, 0.0)
    stressed = linear_debtrank(owed_NN.T.tocsr(), capital_N, shock_N)
    return missing, stressed.index(weights_N), int(cleared.defaulted_N[others].sum())


def still_owed(result: DayResult, withheld: DayPayments) -> csr_array:
    """Return what banks owe one another at the end, netted between each two, (N, N)."""
    payments, num = result.payments, result.payments.num_banks
    never = ~result.is_settled
    rows = np.concatenate([payments.sender[never], withheld.sender])
    columns = np.concatenate([payments.receiver[never], withheld.receiver])
    values = np.concatenate([payments.amount_minor[never], withheld.amount_minor])
    owed = coo_array((values, (rows, columns)), shape=(num, num)).tocsr()
    owed.sum_duplicates()
    return csr_array(netted(network_from_matrix(owed)).matrix, dtype=np.float64)
