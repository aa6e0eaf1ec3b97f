"""The threshold cascade: a bank whose losses on failed debtors exceed its capital fails too.

N is banks, B shocks. Exposures: rows lend to columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from warmprompt.risk.contagion.checks import (
    Bools,
    Counts,
    Doubles,
    checked_banks,
    checked_capital,
    checked_matrix,
    lost_on_default,
)

# A loss that exceeds the capital by no more than this share of it equals it, but for rounding.
_SLACK = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Cascade:
    """Who fails in which round.

    Attributes:
        failed_N: Banks that failed, the first ones included.
        round_N: 0 for the banks that failed first and those without capital, r for those that failed in
            round r, -1 for the others.
        losses_N: What each bank loses on failed debtors, not capped at its capital.
        num_rounds: Rounds in which somebody failed, the first failures not counted.
    """

    failed_N: Bools
    round_N: Counts
    losses_N: Doubles
    num_rounds: int


def furfine_cascade(
    exposures: Any, capital: ArrayLike, failed: Iterable[int], *, loss_given_default: float | ArrayLike = 1.0
) -> Cascade:
    """Let some banks fail and follow the failures round by round.

    In each round every bank loses `loss_given_default` of what it lent to banks that have failed so
    far, and fails if its total loss is greater than its capital; a loss equal to it is survived.

    Args:
        exposures: (N, N), sparse or dense; `exposures[i, j]` is what bank i lent to bank j.
        capital: (N,); a bank with none, or less than none, has failed when the cascade begins.
        failed: Indexes of the banks that fail first; may be none.
        loss_given_default: Share of a claim on a failed bank that is lost, in [0, 1]: one, or one per failed
            bank, (N,).

    Raises:
        BadInputError: An exposure is negative, a number NaN or infinite, a bank lends to itself, or a share
            is none.
        MismatchError: Another number of capitals or losses than banks.
        UnknownNameError: A failed bank is not there.

    Source: Furfine 2003, section 3.
    """
    exposures_NN = checked_matrix(exposures, "exposures")
    num_banks = exposures_NN.shape[0]
    capital_N = checked_capital(capital, num_banks)
    first_N = checked_banks(failed, num_banks, "failed")
    losses_NN = lost_on_default(exposures_NN, loss_given_default)
    round_NB, losses_NB = cascade_together(losses_NN, capital_N, first_N[:, None])
    round_N = round_NB[:, 0]
    return Cascade(
        failed_N=round_N >= 0,
        round_N=round_N,
        losses_N=losses_NB[:, 0],
        num_rounds=max(0, int(round_N.max(initial=0))),
    )


def cascade_together(
    losses_NN: csr_array, capital_N: Doubles, first_NB: Bools
) -> tuple[NDArray[np.int64], Doubles]:
    """Return (rounds, losses), each (N, B); `losses_NN` is what each bank loses if a debtor fails.

    Banks without capital fail in round 0 of every case, besides those of `first_NB`.
    """
    newly_NB = first_NB | (capital_N <= 0)[:, None]
    round_NB = np.where(newly_NB, 0, -1).astype(np.int64)
    total_NB = np.zeros(first_NB.shape)
    survived_N1 = capital_N[:, None] * (1 + _SLACK)
    number = 0
    while newly_NB.any():
        number += 1
        # All failures at once, not added round by round: a sum must not depend on when its parts came.
        total_NB = losses_NN @ (round_NB >= 0).astype(np.float64)
        newly_NB = (round_NB < 0) & (total_NB > survived_N1)
        round_NB[newly_NB] = number
    return round_NB, total_NB
