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


def checked_vector(
    values: ArrayLike, num_banks: int, field: str, *, lowest: float = 0.0, highest: float = np.inf
) -> Doubles:
    """Return one number per bank, (N,), each finite and within [lowest, highest].

    Raises:
        BadInputError: Not numbers, below `lowest`, above `highest`, NaN or infinite.
        MismatchError: Another number of entries than banks.
    """
    values_N = _numbers(values, field)
    if values_N.shape != (num_banks,):
        remedy = f"Give one number for each of the {num_banks} banks."
        raise MismatchError(field=field, value=values_N.shape, remedy=remedy)
    wrong = np.flatnonzero(~(np.isfinite(values_N) & (values_N >= lowest) & (values_N <= highest)))
    if wrong.size:
        if np.isfinite(highest):
            limit = f" from {lowest:g} to {highest:g}"
        else:
            limit = f" of at least {lowest:g}" if np.isfinite(lowest) else ""
        raise BadInputError(
            field=f"{field}[{wrong[0]}]",
            value=float(values_N[wrong[0]]),
            remedy=f"Give a finite number{limit}.",
        )
    return values_N


def checked_share(value: object, field: str, *, above_zero: bool = False) -> float:
    """Return a number in [0, 1], or in (0, 1].

    Raises:
        BadInputError: It is none.
    """
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not 0 <= float(value) <= 1 or (above_zero and value == 0):  # type: ignore[arg-type]
        remedy = f"Give a share {'above 0 and at most 1' if above_zero else 'from 0 to 1'}."
        raise BadInputError(field=field, value=value, remedy=remedy)
    return float(value)  # type: ignore[arg-type]


def checked_banks(banks: Iterable[object], num_banks: int, field: str) -> Bools:
    """Return which banks are named, (N,); naming one twice changes nothing.

    Raises:
        BadInputError: No list of banks.
        UnknownNameError: There is no such bank.
    """
    if isinstance(banks, str) or not isinstance(banks, Iterable):
        raise BadInputError(field=field, value=banks, remedy="Give a list of banks, by their indices.")
    named_N = np.zeros(num_banks, dtype=bool)
    for bank in banks:
        if not isinstance(bank, int | np.integer) or isinstance(bank, bool) or not 0 <= bank < num_banks:
            remedy = f"Name banks by whole numbers below {num_banks}."
            raise UnknownNameError(field=field, value=bank, remedy=remedy)
        named_N[bank] = True
    return named_N


def checked_capital(capital: ArrayLike, num_banks: int) -> Doubles:
    """Return each bank's capital, (N,); at or below 0 where a bank has failed before anything happens.

    Raises:
        BadInputError: NaN or infinite.
        MismatchError: Another number of entries than banks.
    """
    return checked_vector(capital, num_banks, "capital", lowest=-np.inf)


def checked_rates(rates: float | ArrayLike, field: str, num_banks: int | None = None) -> float | Doubles:
    """Return a share in [0, 1] for all banks, or one per bank, (N,).

    Args:
        rates: A number, or one per bank.
        field: Its name in errors.
        num_banks: How many entries a vector must have; None takes any.

    Raises:
        BadInputError: Not numbers, or outside [0, 1].
        MismatchError: Another number of entries than banks.
    """
    if np.isscalar(rates):
        return checked_share(rates, field)
    rates_N = _numbers(rates, field)
    if rates_N.ndim == 0:
        return checked_share(float(rates_N), field)
    return checked_vector(rates_N, rates_N.size if num_banks is None else num_banks, field, highest=1.0)


def lost_on_default(exposures_NN: csr_array, loss_given_default: float | ArrayLike) -> csr_array:
    """Return what each lender loses if a debtor fails, (N, N).

    Args:
        exposures_NN: Rows lend to columns.
        loss_given_default: Share of a claim on a failed bank that is lost: one, or one per failed bank, (N,).

    Raises:
        BadInputError: Not numbers, or outside [0, 1].
        MismatchError: Another number of entries than banks.
    """
    rates = checked_rates(loss_given_default, "loss_given_default", exposures_NN.shape[0])
    if isinstance(rates, float):
        return exposures_NN * rates
    data = exposures_NN.data * rates[exposures_NN.indices]
    return csr_array((data, exposures_NN.indices, exposures_NN.indptr), shape=exposures_NN.shape)


def _numbers(values: ArrayLike, field: str) -> Doubles:
    """Return a new float64 array, so that the caller's may change afterwards."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError
        return np.array(array, dtype=np.float64)
    except (TypeError, ValueError):
        odd = _first_odd(values)
        if odd is None:
            raise BadInputError(field=field, value=type(values).__name__, remedy="Give numbers.") from None
        remedy = f"Give numbers; entry {odd} is none."
        raise BadInputError(field=field, value=values[odd], remedy=remedy) from None  # type: ignore[index]


def _first_odd(values: object) -> int | None:
    """Return where a list first has something that is no number, or None if there is no such place."""
    if not isinstance(values, list | tuple):
        return None
    return next(
        (index for index, value in enumerate(values) if isinstance(value, str) or value is None), None
    )
