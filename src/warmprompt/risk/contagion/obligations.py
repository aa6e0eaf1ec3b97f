"""Who owes whom: the part of a clearing problem that stays while assets change. N is banks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from warmprompt.errors import BadInputError
from warmprompt.risk.contagion.checks import Counts, Doubles, checked_matrix, checked_rates, checked_vector

# A bank that lacks no more than this share of its obligations pays them in full. In a closed group
# without outside assets one bank always has exactly what it owes; rounding must not tip it.
SLACK = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Obligations:
    """Nominal obligations, prepared for clearing.

    Attributes:
        owed_N: What each bank owes in total, inside and outside, in the unit of the input.
        outside_N: The part of it owed to parties that are no banks here.
        claims_NN: Row i holds what each other bank owes bank i (the transposed liabilities).
        cover_NN: `claims_NN` with row i divided by `owed_N[i]`: the share of bank i's own obligations
            that each debtor's full payment covers. Rows of banks that owe nothing are 0.
    """

    owed_N: Doubles
    outside_N: Doubles
    claims_NN: csr_array
    cover_NN: csr_array

    @property
    def num_banks(self) -> int:
        """How many banks there are."""
        return len(self.owed_N)

    def assets(self, assets: ArrayLike) -> Doubles:
        """Return outside assets, checked, (N,).

        Raises:
            BadInputError: Negative, NaN or infinite.
            MismatchError: Another number of entries than banks.
        """
        return checked_vector(assets, self.num_banks, "assets")

    def cash_cover(self, assets_N: Doubles) -> Doubles:
        """Return the share of each bank's obligations that its outside assets cover, (N,), at most 1.

        More than all makes no difference to what is paid. It is 1 where nothing is owed.
        """
        cover_N = np.ones(self.num_banks)
        poor_N = assets_N < self.owed_N
        np.divide(assets_N, self.owed_N, out=cover_N, where=poor_N)
        return cover_N


@dataclass(frozen=True, kw_only=True, eq=False)
class DefaultCosts:
    """What a defaulting bank still realises of its assets; 1 and 1 is the case without costs.

    Attributes:
        alpha: Share of the outside assets that is recovered, in [0, 1]: one for all banks, or (N,).
        beta: Share of the payments received from banks that is recovered, in [0, 1]: one, or (N,).

    Source: Rogers & Veraart 2013, section 2.
    """

    alpha: float | Doubles = 1.0
    beta: float | Doubles = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", checked_rates(self.alpha, "alpha"))
        object.__setattr__(self, "beta", checked_rates(self.beta, "beta"))

    def check_length(self, num_banks: int) -> None:
        """Refuse rates of another number of banks.

        Raises:
            MismatchError: They are.
        """
        checked_rates(self.alpha, "alpha", num_banks)
        checked_rates(self.beta, "beta", num_banks)

    def recovered(self, cash: Doubles, received: Doubles, banks_D: Counts | None = None) -> Doubles:
        """Return what banks in default realise, in the unit and shape of the two: (N,), (N, B), or (D,).

        Args:
            cash: Outside assets.
            received: What other banks pay.
            banks_D: Which banks the rows are; all when left out.
        """
        alpha, beta = (_rows(rate, cash.ndim, banks_D) for rate in (self.alpha, self.beta))
        return np.asarray(alpha * cash + beta * received)

    def beta_of(self, banks_D: Counts) -> float | Doubles:
        """Return the recovery of payments received: one for all, or that of some banks, (D,)."""
        return _rows(self.beta, 1, banks_D)


def _rows(rate: float | Doubles, num_axes: int, banks_D: Counts | None) -> float | Doubles:
    if isinstance(rate, float):
        return rate
    rows = rate if banks_D is None else rate[banks_D]
    return rows if num_axes == 1 else rows[:, None]


NO_COSTS = DefaultCosts()


def obligations(liabilities: Any, *, to_outside: ArrayLike | None = None) -> Obligations:
    """Prepare obligations for clearing.

    Cycles are allowed. Obligations to outside rank equally with those to banks.

    Args:
        liabilities: (N, N), sparse or dense; `liabilities[i, j]` is what bank i owes bank j.
        to_outside: (N,), what each bank owes to parties outside; 0 when left out.

    Raises:
        BadInputError: Not square, an amount is negative, NaN or infinite, or a bank owes itself.
        MismatchError: `to_outside` has another number of entries than there are banks.
    """
    liabilities_NN = checked_matrix(liabilities, "liabilities")
    num_banks = liabilities_NN.shape[0]
    outside_N = np.zeros(num_banks)
    if to_outside is not None:
        outside_N = checked_vector(to_outside, num_banks, "to_outside")
    owed_N = np.asarray(liabilities_NN.sum(axis=1)).ravel() + outside_N
    claims_NN = liabilities_NN.T.tocsr()
    inverse_N = np.zeros(num_banks)
    with np.errstate(over="ignore"):
        np.divide(1, owed_N, out=inverse_N, where=owed_N > 0)
        shares = claims_NN.data * np.repeat(inverse_N, np.diff(claims_NN.indptr))
    if not (np.isfinite(inverse_N).all() and np.isfinite(shares).all()):
        smallest = float(owed_N[owed_N > 0].min())
        remedy = "Amounts lie too far apart for double precision; drop the smallest."
        raise BadInputError(field="liabilities", value=smallest, remedy=remedy)
    cover_NN = csr_array((shares, claims_NN.indices, claims_NN.indptr), shape=claims_NN.shape)
    return Obligations(owed_N=owed_N, outside_N=outside_N, claims_NN=claims_NN, cover_NN=cover_NN)
