"""A directed weighted network of payments or obligations, which nobody can change.

Row i, column j of the matrix is what participant i pays, or owes, to j. Amounts are
whole minor units (int64: cents) for flows, and floats for obligations that come out
of a model. An entry that is there is positive: no link is no entry.
N is participants, E links.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import sparse

from warmprompt.errors import BadInputError, UnknownNameError

Duplicates = Literal["refuse", "sum"]

_LARGEST = 2**63 - 1
_SHOWN = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class PaymentNetwork:
    """Participants and what they pay or owe one another; build it with the functions below.

    Attributes:
        nodes: Participant ids, N different strings.
        matrix: N x N in CSR form, rows pay columns; int64 minor units or float64. Its three arrays are
            read-only, its columns sorted, its diagonal empty and its E entries positive.
        currency: ISO 4217 code of the amounts, or None where the unit is the caller's own.
    """

    nodes: tuple[str, ...]
    matrix: sparse.csr_array
    currency: str | None = None

    @property
    def num_nodes(self) -> int:
        """Participants, also those without a link."""
        return len(self.nodes)

    @property
    def num_links(self) -> int:
        """Pairs (payer, payee) with an amount."""
        return int(self.matrix.nnz)

    @cached_property
    def index(self) -> dict[str, int]:
        """Row and column of each participant id."""
        return {node: position for position, node in enumerate(self.nodes)}

    @property
    def outgoing(self) -> np.ndarray:
        """What each participant pays or owes in all, shape (N,)."""
        return np.asarray(self.matrix.sum(axis=1)).ravel()

    @property
    def incoming(self) -> np.ndarray:
        """What each participant receives or is owed in all, shape (N,)."""
        return np.asarray(self.matrix.sum(axis=0)).ravel()

    @property
    def total(self) -> int | float:
        """Sum of all amounts."""
        total: int | float = self.matrix.data.sum().item()
        return total

    def edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return payers, payees (rows of `nodes`) and amounts, each of shape (E,), ordered by both."""
        payers = np.repeat(np.arange(self.num_nodes), np.diff(self.matrix.indptr))
        return payers, np.asarray(self.matrix.indices), np.asarray(self.matrix.data)

    def amount(self, payer: str, payee: str) -> int | float:
        """Return what `payer` pays or owes `payee`; 0 without a link.

        Raises:
            UnknownNameError: One of the two is no participant.
        """
        value: int | float = self.matrix[self.index_of(payer), self.index_of(payee)].item()
        return value

    def index_of(self, node: str) -> int:
        """Return the row of a participant id.

        Raises:
            UnknownNameError: It is no participant.
        """
        if node not in self.index:
            raise _unknown(node, self.nodes)
        return self.index[node]


def network_from_edges(
    payers: Sequence[str],
    payees: Sequence[str],
    amounts: Sequence[Any] | np.ndarray,
    *,
    nodes: Iterable[str] | None = None,
    duplicates: Duplicates = "refuse",
    currency: str | None = None,
) -> PaymentNetwork:
    """Build a network from one entry per link.

    Args:
        payers: Who pays or owes, E ids.
        payees: Who is paid or owed, E ids.
        amounts: Whole numbers (minor units, kept exactly) or floats, E of them, all positive.
        nodes: The participants and their order, where some may have no link; a link of anybody else is
            refused. None takes the ids of the links, sorted.
        duplicates: What two entries of one payer and payee mean: an error, or one link with their sum.
        currency: ISO 4217 code of the amounts.

    Raises:
        BadInputError: Lengths differ; an id is empty or comes twice among `nodes`; an amount is negative,
            zero, not a finite number, or too large to be summed; somebody pays themselves; a link comes
            twice and may not.
        UnknownNameError: A link names somebody who is not among `nodes`.
    """
    if not len(payers) == len(payees) == len(amounts):
        lengths = f"{len(payers)}, {len(payees)}, {len(amounts)}"
        raise BadInputError(
            field="payers, payees, amounts", value=lengths, remedy="Give one of each per link."
        )
    names = tuple(sorted({*payers, *payees})) if nodes is None else tuple(nodes)
    _check_nodes(names)
    index = {node: position for position, node in enumerate(names)}
    rows, columns = _indices(payers, index), _indices(payees, index)
    values = _checked_amounts(amounts, lambda link: f"amount of {payers[link]} -> {payees[link]}")
    _check_links(rows, columns, names, duplicates)
    matrix = sparse.coo_array((values, (rows, columns)), shape=(len(names), len(names))).tocsr()
    return PaymentNetwork(nodes=names, matrix=canonical_csr(matrix), currency=currency)


def network_from_matrix(
    matrix: Any, *, nodes: Sequence[str] | None = None, currency: str | None = None
) -> PaymentNetwork:
    """Build a network from a dense or sparse N x N matrix, rows paying columns; zeros are no links.

    Without `nodes` the participants are called "0", "1" and so on. The matrix is copied.

    Raises:
        BadInputError: It is not square or not as long as `nodes`, or as in `network_from_edges`.
    """
    given = sparse.coo_array(matrix)
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise BadInputError(field="matrix shape", value=given.shape, remedy="Give as many rows as columns.")
    names = tuple(map(str, range(given.shape[0]))) if nodes is None else tuple(nodes)
    if len(names) != given.shape[0]:
        remedy = f"Give {given.shape[0]} names, one per row."
        raise BadInputError(field="nodes", value=f"{len(names)} names", remedy=remedy)
    _check_nodes(names)
    rows, columns = given.coords
    present = given.data != 0
    rows, columns, kept = rows[present], columns[present], given.data[present]
    values = _checked_amounts(kept, lambda link: f"amount of {names[rows[link]]} -> {names[columns[link]]}")
    _check_links(rows, columns, names, "refuse")
    csr = sparse.coo_array((values, (rows, columns)), shape=given.shape).tocsr()
    return PaymentNetwork(nodes=names, matrix=canonical_csr(csr), currency=currency)


def transposed(network: PaymentNetwork) -> PaymentNetwork:
    """Return the network with every link turned round: who receives now pays."""
    return _like(network, network.matrix.T.tocsr())


def with_nodes(network: PaymentNetwork, nodes: Sequence[str]) -> PaymentNetwork:
    """Return the network with further participants, which have no link, behind its own.

    Raises:
        BadInputError: One of them is there already, or comes twice.
    """
    names = (*network.nodes, *nodes)
    _check_nodes(names)
    matrix = sparse.csr_array(network.matrix, copy=True)
    matrix.resize((len(names), len(names)))
    return PaymentNetwork(nodes=names, matrix=canonical_csr(matrix), currency=network.currency)


def netted(network: PaymentNetwork) -> PaymentNetwork:
    """Return bilateral netting: of each pair only the one who pays more keeps a link, max(A - A', 0).

    Net positions (incoming minus outgoing) stay as they are.
    """
    difference = (network.matrix - network.matrix.T).tocsr()
    difference.data[difference.data < 0] = 0
    difference.eliminate_zeros()
    return _like(network, difference)


def net_positions(network: PaymentNetwork) -> np.ndarray:
    """Return what each participant receives minus what it pays, shape (N,); they sum to zero."""
    return np.asarray(network.incoming - network.outgoing)


def subnetwork(network: PaymentNetwork, nodes: Sequence[str]) -> PaymentNetwork:
    """Return the links among `nodes`, in the order given.

    Raises:
        UnknownNameError: One of them is no participant.
        BadInputError: One comes twice, or there is none.
    """
    selected = tuple(nodes)
    _check_nodes(selected)
    positions = np.array([network.index_of(node) for node in selected], dtype=np.int64)
    matrix = network.matrix[positions][:, positions].tocsr()
    return PaymentNetwork(nodes=selected, matrix=canonical_csr(matrix), currency=network.currency)


def canonical_csr(matrix: sparse.csr_array) -> sparse.csr_array:
    """Return the matrix in canonical CSR form (sorted, summed) with read-only arrays of its own."""
    owned = sparse.csr_array(matrix, copy=True)
    owned.sum_duplicates()
    owned.sort_indices()
    for array in (owned.data, owned.indices, owned.indptr):
        array.setflags(write=False)
    return owned


def _like(network: PaymentNetwork, matrix: sparse.csr_array) -> PaymentNetwork:
    return PaymentNetwork(nodes=network.nodes, matrix=canonical_csr(matrix), currency=network.currency)


def _check_nodes(nodes: Sequence[Any]) -> None:
    if not nodes:
        raise BadInputError(field="nodes", value="none", remedy="Give at least one participant.")
    seen: set[str] = set()
    for node in nodes:
        if not isinstance(node, str) or not node.strip():
            raise BadInputError(field="participant id", value=node, remedy="Give a text that is not empty.")
        if node in seen:
            raise BadInputError(field="participant id", value=node, remedy="It comes twice; name it once.")
        seen.add(node)


def _indices(ids: Sequence[str], index: dict[str, int]) -> np.ndarray:
    try:
        return np.fromiter((index[node] for node in ids), dtype=np.int64, count=len(ids))
    except KeyError as error:
        raise _unknown(error.args[0], index) from None


def _unknown(node: object, nodes: Iterable[str]) -> UnknownNameError:
    near = get_close_matches(str(node), list(nodes), n=_SHOWN)
    remedy = f"Did you mean {', '.join(near)}?" if near else "Name one of the network's participants."
    return UnknownNameError(field="participant", value=node, remedy=remedy)


def _checked_amounts(amounts: Any, called: Any) -> np.ndarray:
    """Return amounts as int64 (whole numbers) or float64, all positive and of a sum that fits."""
    values = np.asarray(amounts)
    if values.size == 0:
        return np.zeros(0, dtype=np.int64 if values.dtype.kind in "iu" else np.float64)
    if values.dtype.kind == "O" and all(isinstance(value, int) for value in values):
        largest = max(values)  # a Python integer of more than 64 bits makes NumPy fall back to objects
        remedy = f"Give minor units of at most {_LARGEST}."
        raise BadInputError(field=called(int(values.argmax())), value=largest, remedy=remedy)
    if values.dtype.kind not in "iuf":
        raise BadInputError(field="amounts", value=values.dtype, remedy="Give whole numbers or floats.")
    bad = ~np.isfinite(values) | ~(values > 0)
    if bad.any():
        first = int(bad.argmax())
        raise BadInputError(
            field=called(first), value=values[first], remedy="Give a finite number above zero, or no link."
        )
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
        total: int | float = float(values.sum())
        fits = bool(np.isfinite(total))
    else:
        # Sums of a column must not wrap round; Python's integers cannot.
        total = sum(values.tolist()) if values.astype(np.float64).sum() > _LARGEST / 2 else 0
        fits = total <= _LARGEST
        values = values.astype(np.int64) if fits else values
    if not fits:
        raise BadInputError(field="sum of amounts", value=total, remedy="Give amounts in a larger unit.")
    return values


def _check_links(rows: np.ndarray, columns: np.ndarray, nodes: Sequence[str], duplicates: Duplicates) -> None:
    loops = rows == columns
    if loops.any():
        node = nodes[rows[loops.argmax()]]
        raise BadInputError(field="self-loop", value=node, remedy="Leave out what somebody pays themselves.")
    if duplicates not in {"refuse", "sum"}:
        raise BadInputError(field="duplicates", value=duplicates, remedy="Say 'refuse' or 'sum'.")
    if duplicates == "sum" or not len(rows):
        return
    keys = np.sort(rows.astype(np.int64) * len(nodes) + columns)
    again = keys[1:][keys[1:] == keys[:-1]]
    if len(again):
        payer, payee = divmod(int(again[0]), len(nodes))
        raise BadInputError(
            field=f"duplicate link, {len(again)} in all",
            value=f"{nodes[payer]} -> {nodes[payee]}",
            remedy="Give each link once, or ask for duplicates to be summed.",
        )
