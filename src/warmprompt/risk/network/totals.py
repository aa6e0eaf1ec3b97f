"""Networks from totals: what each bank owes and is owed in all, but not to whom. N is banks.

Two ends of what the totals allow: maximum entropy spreads every debt over all banks as evenly as
possible, minimum density uses as few links as it can. Truth lies between; both are assumptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.network.graph import PaymentNetwork, network_from_matrix
from warmprompt.rng import derive

Doubles = NDArray[np.float64]
Method = Literal["maximum-entropy", "minimum-density"]
METHODS: tuple[Method, ...] = ("maximum-entropy", "minimum-density")

# Sums of debts and claims that differ by no more than this share differ by rounding.
_SAME = 1e-9
# A remainder below this share of the total is rounding.
_NOTHING = 1e-13
_MOST_SWEEPS = 200_000


def network_from_totals(
    nodes: Sequence[str],
    debts: ArrayLike,
    claims: ArrayLike,
    *,
    method: Method = "minimum-density",
    seed: int = 0,
    currency: str | None = None,
) -> PaymentNetwork:
    """Return a network, rows owe columns, with these totals.

    Args:
        nodes: Names of the banks.
        debts: What each owes all others together (N,).
        claims: What each is owed by all others together (N,).
        method: "maximum-entropy" or "minimum-density".
        seed: Of the second; the first has no chance.
        currency: ISO 4217 code of the amounts.

    Raises:
        BadInputError: As `maximum_entropy`, or another method.
        MismatchError: Not one of each per bank.
    """
    if method not in METHODS:
        raise BadInputError(field="method", value=method, remedy=f"Name one of {', '.join(METHODS)}.")
    _checked(debts, claims, nodes)
    if method == "maximum-entropy":
        return network_from_matrix(maximum_entropy(debts, claims), nodes=nodes, currency=currency)
    return network_from_matrix(minimum_density(debts, claims, seed=seed), nodes=nodes, currency=currency)


def maximum_entropy(debts: ArrayLike, claims: ArrayLike, *, tolerance: float = 1e-12) -> Doubles:
    """Return the (N, N) matrix of greatest entropy with these row and column sums and an empty diagonal.

    It has the form x_ij = u_i v_j for i != j. Scaling rows and columns in turn (RAS, iterative proportional
    fitting) finds u and v: u_i = debts_i / (sum(v) - v_i), v_j = claims_j / (sum(u) - u_j).

    Args:
        debts: Row sums (N,).
        claims: Column sums (N,).
        tolerance: Largest miss of a row sum, as a share of the total.

    Raises:
        BadInputError: An amount is negative, NaN or infinite; the sums differ; a bank owes and is owed more
            than all others can take; or the scaling does not reach the tolerance.
        MismatchError: Not as many debts as claims.

    Source: Upper & Worms 2004, section 3; Bacharach 1965 for convergence.
    """
    debts_N, claims_N = _checked(debts, claims)
    rows_N, columns_N = np.zeros(len(debts_N)), claims_N / max(claims_N.sum(), 1e-300)
    total = debts_N.sum()
    missed = 0.0
    for _ in range(_MOST_SWEEPS):
        rows_N = _ratio(debts_N, columns_N.sum() - columns_N)
        columns_N = _ratio(claims_N, rows_N.sum() - rows_N)
        sums_N = rows_N * (columns_N.sum() - columns_N)
        missed = float(np.abs(sums_N - debts_N).max(initial=0.0))
        if missed <= tolerance * total:
            matrix_NN = np.outer(rows_N, columns_N)
            np.fill_diagonal(matrix_NN, 0.0)
            return matrix_NN
    remedy = f"Allow more: row sums still miss by {missed / total:.1e} of the total."
    raise BadInputError(field="tolerance", value=tolerance, remedy=remedy)


def minimum_density(debts: ArrayLike, claims: ArrayLike, *, seed: int = 0) -> csr_array:
    """Return an (N, N) matrix with these row and column sums, an empty diagonal and few links.

    Link after link, a debtor is drawn, and a creditor in proportion to max(debt / claim, claim / debt) of
    what is left, so that small banks rely on large ones. The link takes all that the smaller of the
    two leaves, hence ends a row or a column: R debtors and C creditors get at most R + C - 1 links.
    Fewer are possible only where some debts add up to exactly some claims. Where a bank would be left with
    debts and claims that only itself could match, a link takes less, and one more may be needed.

    Args:
        debts: Row sums (N,).
        claims: Column sums (N,).
        seed: The only source of chance.

    Raises:
        BadInputError: As `maximum_entropy`.
        MismatchError: Not as many debts as claims.

    Source: Anand, Craig & von Peter 2015, for the aim and the weights; their search is another one.
    """
    debts_N, claims_N = _checked(debts, claims)
    rng = derive(seed, "risk", "minimum-density")
    total = left = float(debts_N.sum())
    links: list[tuple[int, int, float]] = []
    while left > _NOTHING * total:
        debtor, creditor = _drawn(debts_N, claims_N, left, rng)
        slack_N = left - debts_N - claims_N
        slack_N[[debtor, creditor]] = np.inf
        slack = max(0.0, float(slack_N.min(initial=np.inf)))
        amount = min(debts_N[debtor], claims_N[creditor], slack if slack > _NOTHING * total else np.inf)
        links.append((debtor, creditor, amount))
        for side_N, bank in ((debts_N, debtor), (claims_N, creditor)):
            side_N[bank] -= amount
            side_N[bank] *= side_N[bank] > _NOTHING * total
        left = float(debts_N.sum())
    rows, columns, amounts = zip(*links, strict=True) if links else ((), (), ())
    size = len(debts_N)
    return coo_array((np.array(amounts, dtype=float), (rows, columns)), shape=(size, size)).tocsr()


def _drawn(debts_N: Doubles, claims_N: Doubles, left: float, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a debtor and a creditor; a bank that all others together just match is in every link."""
    tight = int(np.argmax(debts_N + claims_N))
    if debts_N[tight] + claims_N[tight] >= left * (1 - _SAME):
        if debts_N[tight] > 0:
            others_N = np.where(np.arange(len(claims_N)) == tight, 0.0, claims_N)
            return tight, int(np.argmax(others_N))
        return int(np.argmax(debts_N)), tight
    debtor = int(rng.choice(np.flatnonzero(debts_N)))
    ratio_N = np.zeros(len(claims_N))
    np.divide(debts_N[debtor], claims_N, out=ratio_N, where=claims_N > 0)
    weight_N = np.maximum(ratio_N, claims_N / debts_N[debtor])
    weight_N[debtor] = 0.0
    return debtor, int(rng.choice(len(weight_N), p=weight_N / weight_N.sum()))


def _ratio(amounts_N: Doubles, others_N: Doubles) -> Doubles:
    ratio_N = np.zeros(len(amounts_N))
    np.divide(amounts_N, others_N, out=ratio_N, where=(amounts_N > 0) & (others_N > 0))
    return ratio_N


def _checked(
    debts: ArrayLike, claims: ArrayLike, nodes: Sequence[str] | None = None
) -> tuple[Doubles, Doubles]:
    """Return both totals as new arrays, the claims scaled so that their sum is that of the debts."""
    sides = {"debts": np.array(debts, dtype=np.float64), "claims": np.array(claims, dtype=np.float64)}
    num_banks = len(nodes) if nodes is not None else sides["debts"].size
    called = nodes if nodes is not None else [f"bank {index}" for index in range(num_banks)]
    for name, side_N in sides.items():
        if side_N.shape != (num_banks,):
            remedy = f"Give one number for each of the {num_banks} banks."
            raise MismatchError(field=name, value=side_N.shape, remedy=remedy)
        wrong = np.flatnonzero(~(np.isfinite(side_N) & (side_N >= 0)))
        if wrong.size:
            remedy = "Give a finite amount of at least 0."
            raise BadInputError(field=f"{name} of {called[wrong[0]]}", value=side_N[wrong[0]], remedy=remedy)
    debts_N, claims_N = sides.values()
    total, other = float(debts_N.sum()), float(claims_N.sum())
    if abs(total - other) > _SAME * max(total, other):
        remedy = "Both must have the same sum: scale one, or add a row for all banks outside the table."
        raise BadInputError(field="sum of debts, of claims", value=f"{total:g}, {other:g}", remedy=remedy)
    claims_N *= total / other if other > 0 else 1.0
    both_N = debts_N + claims_N
    if (both_N > total * (1 + _SAME)).any():
        bank = int(np.argmax(both_N))
        remedy = f"They may be {total:g} together, what all owe: more could only be owed to itself."
        raise BadInputError(field=f"debts and claims of {called[bank]}", value=both_N[bank], remedy=remedy)
    return debts_N, claims_N
