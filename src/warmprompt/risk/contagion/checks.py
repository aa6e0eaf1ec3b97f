"""What every amount must be before anything is computed from it.

N is banks. A matrix may be any scipy sparse form or a dense array; entries given twice for the same
pair are added, explicit zeros dropped, and the caller's object is never written to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array, issparse

from warmprompt.errors import BadInputError, MismatchError, UnknownNameError

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]


def checked_matrix(matrix: Any, field: str) -> csr_array:
    """Return amounts between banks as a canonical CSR array of float64, (N, N).

    Raises:
        BadInputError: Not square, not numbers, negative, NaN or infinite, or a bank faces itself.
    """
    if not issparse(matrix):
        matrix = _numbers(matrix, field)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise BadInputError(field=field, value=matrix.shape, remedy="Give a square matrix, one row per bank.")
    if matrix.dtype.kind not in "fiub":
        raise BadInputError(field=field, value=matrix.dtype, remedy="Give numbers.")
    # Entry by entry: a negative amount must not hide behind a larger one for the same pair.
    entries = coo_array(matrix)
    wrong = np.flatnonzero(~(np.isfinite(entries.data) & (entries.data >= 0)))
    if wrong.size:
        row, column = (int(index[wrong[0]]) for index in entries.coords)
        value = float(entries.data[wrong[0]])
        remedy = "Give a finite amount of at least 0."
        raise BadInputError(field=f"{field}[{row}, {column}]", value=value, remedy=remedy)
    amounts_NN = csr_array(matrix, dtype=np.float64, copy=True)
    amounts_NN.sum_duplicates()
    amounts_NN.eliminate_zeros()
    loops = np.flatnonzero(amounts_NN.diagonal())
    if loops.size:
        bank = int(loops[0])
        value = float(amounts_NN[bank, bank])
        raise BadInputError(
            field=f"{field}[{bank}, {bank}]", value=value, remedy="A bank cannot owe itself; remove it."
        )
    with np.errstate(over="ignore"):
        total = amounts_NN.data.sum()
    if not np.isfinite(total):
        raise BadInputError(
            field=field, value=total, remedy="The total overflows; use a larger unit of money."
        )
    return amounts_NN


def checked_vector(values: ArrayLike, num_banks: int, field: str, *, highest: float = np.inf) -> Doubles:
    """Return one number per bank, (N,), each finite and within [0, highest].

    Raises:
        BadInputError: Not numbers, negative, above `highest`, NaN or infinite.
        MismatchError: Another number of entries than banks.
    """
    values_N = _numbers(values, field)
    if values_N.shape != (num_banks,):
        remedy = f"Give one number for each of the {num_banks} banks."
        raise MismatchError(field=field, value=values_N.shape, remedy=remedy)
    wrong = np.flatnonzero(~(np.isfinite(values_N) & (values_N >= 0) & (values_N <= highest)))
    if wrong.size:
        limit = "of at least 0" if np.isinf(highest) else f"from 0 to {highest:g}"
        raise BadInputError(
            field=f"{field}[{wrong[0]}]",
            value=float(values_N[wrong[0]]),
            remedy=f"Give a finite number {limit}.",
        )
    return values_N


def checked_share(value: float, field: str, *, above_zero: bool = False) -> float:
    """Return a number in [0, 1], or in (0, 1].

    Raises:
        BadInputError: It is none.
    """
    if not (0 <= value <= 1) or (above_zero and value == 0):
        remedy = f"Give a share {'above 0 and at most 1' if above_zero else 'from 0 to 1'}."
        raise BadInputError(field=field, value=value, remedy=remedy)
    return float(value)


def checked_banks(banks: Iterable[object], num_banks: int, field: str) -> Bools:
    """Return which banks are named, (N,); naming one twice changes nothing.

    Raises:
        UnknownNameError: There is no such bank.
    """
    named_N = np.zeros(num_banks, dtype=bool)
    for bank in banks:
        if not isinstance(bank, int | np.integer) or isinstance(bank, bool) or not 0 <= bank < num_banks:
            remedy = f"Name banks by whole numbers below {num_banks}."
            raise UnknownNameError(field=field, value=bank, remedy=remedy)
        named_N[bank] = True
    return named_N


def checked_capital(exposures_NN: csr_array, capital: ArrayLike) -> Doubles:
    """Return each bank's capital, (N,), above 0 for every bank that lends.

    Raises:
        BadInputError: Negative, NaN or infinite, or 0 where a loss would have to be divided by it.
        MismatchError: Another number of entries than banks.
    """
    capital_N = checked_vector(capital, exposures_NN.shape[0], "capital")
    wrong = np.flatnonzero((capital_N == 0) & (np.diff(exposures_NN.indptr) > 0))
    if wrong.size:
        remedy = "A bank with exposures needs capital above 0; leave it out or shock it."
        raise BadInputError(field=f"capital[{wrong[0]}]", value=0.0, remedy=remedy)
    return capital_N


def _numbers(values: ArrayLike, field: str) -> Doubles:
    """Return a new float64 array, so that the caller's may change afterwards."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError
        return np.array(array, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInputError(field=field, value=values, remedy="Give numbers.") from None
