"""Figures of a network, as the literature on payment systems defines them, computed exactly.

All are of the network given. Published figures are usually those of the giant strongly connected
component; take it first with `giant_component`. N is participants, E links.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.sparse.csgraph import connected_components
from scipy.special import zeta

from warmprompt.errors import BadInputError
from warmprompt.risk.network.graph import PaymentNetwork, subnetwork

DEFAULT_TAIL = 10
_BLOCK_TARGETS = 1024


@dataclass(frozen=True, kw_only=True)
class NetworkStatistics:
    """What a network looks like.

    Attributes:
        num_nodes: N.
        num_links: E.
        mean_degree: E / N, links going out (or coming in) per participant.
        connectivity: E / (N (N - 1)).
        reciprocity: Share of links whose opposite is a link too.
        clustering: Mean over participants of the share of pairs of its neighbours that are linked, where
            links count in either direction; 0 for whoever has fewer than two neighbours.
        path_length: Mean number of links on a shortest directed path, over ordered pairs with a path.
        reachable_share: Share of ordered pairs with a path; 1 in a strongly connected network.
        diameter: The longest of these shortest paths.
        out_exponent: Exponent of the power law fitted to out-degrees of `tail` and more; NaN without any.
        in_exponent: The same of in-degrees.
        median_out_degree: Half of the participants pay at most so many.
        max_out_degree: Most payees of one payer.
        max_in_degree: Most payers of one payee.
        core_nodes: Participants on the largest links that together carry `core_share` of the value.
        core_links: How many such links there are.
    """

    num_nodes: int
    num_links: int
    mean_degree: float
    connectivity: float
    reciprocity: float
    clustering: float
    path_length: float
    reachable_share: float
    diameter: int
    out_exponent: float
    in_exponent: float
    median_out_degree: float
    max_out_degree: int
    max_in_degree: int
    core_nodes: int
    core_links: int


def statistics(
    network: PaymentNetwork, *, tail: int = DEFAULT_TAIL, core_share: float = 0.75
) -> NetworkStatistics:
    """Return all figures of a network, exactly; seconds at 5,000 participants and 77,000 links.

    Args:
        network: At least one link.
        tail: Smallest degree that the power laws are fitted to.
        core_share: Share of the value that the core carries, 0 to 1.

    Raises:
        BadInputError: There is no link, or `core_share` is no share.
    """
    if not network.num_links:
        raise BadInputError(field="network", value="no link", remedy="Give a network with at least one link.")
    matrix, size = network.matrix, network.num_nodes
    out_degrees = np.diff(matrix.indptr)
    in_degrees = np.bincount(matrix.indices, minlength=size)
    mean_length, reachable, diameter = path_lengths(matrix)
    nodes, links = value_core(network, share=core_share)
    return NetworkStatistics(
        num_nodes=size,
        num_links=network.num_links,
        mean_degree=network.num_links / size,
        connectivity=network.num_links / max(size * (size - 1), 1),
        reciprocity=reciprocity(matrix),
        clustering=float(clustering(matrix).mean()),
        path_length=mean_length,
        reachable_share=reachable,
        diameter=diameter,
        out_exponent=power_law_exponent(out_degrees, tail=tail),
        in_exponent=power_law_exponent(in_degrees, tail=tail),
        median_out_degree=float(np.median(out_degrees)),
        max_out_degree=int(out_degrees.max()),
        max_in_degree=int(in_degrees.max()),
        core_nodes=len(nodes),
        core_links=len(links),
    )


def giant_component(network: PaymentNetwork) -> PaymentNetwork:
    """Return the largest part in which everybody reaches everybody along links (GSCC), order kept."""
    _, labels = connected_components(network.matrix, directed=True, connection="strong")
    inside = labels == np.bincount(labels).argmax()
    return subnetwork(network, [network.nodes[index] for index in np.flatnonzero(inside)])


def reciprocity(matrix: sparse.csr_array) -> float:
    """Return the share of links whose opposite is a link too, 0 to 1; NaN without links."""
    links = _pattern(matrix)
    return float(links.multiply(links.T).nnz / links.nnz) if links.nnz else float("nan")


def clustering(matrix: sparse.csr_array) -> np.ndarray:
    """Return each participant's clustering coefficient, shape (N,).

    C_i = 2 t_i / (k_i (k_i - 1)): t_i pairs of neighbours are linked, out of k_i neighbours, links
    counted in either direction; 0 where k_i < 2 (Watts & Strogatz 1998).

    Every triangle is found once, from its member of the lowest degree: with links turned from lower to
    higher degree no row is long, though the hubs have thousands of neighbours (Chiba & Nishizeki 1985).
    """
    links = _pattern(matrix)
    neighbours = ((links + links.T) > 0).tocoo()
    size = matrix.shape[0]
    degrees = np.bincount(neighbours.coords[0], minlength=size)
    rank = np.empty(size, dtype=np.int64)
    rank[np.argsort(degrees, kind="stable")] = np.arange(size)
    lower, higher = rank[neighbours.coords[0]], rank[neighbours.coords[1]]
    upward = lower < higher
    ones = np.ones(int(upward.sum()), dtype=np.int64)
    climb = sparse.coo_array((ones, (lower[upward], higher[upward])), shape=(size, size)).tocsr()
    # Of a triangle a < b < c the first product is at (a, c), the second at (a, b).
    via_middle = (climb @ climb).multiply(climb).tocsr()
    via_top = (climb @ climb.T).multiply(climb).tocsr()
    triangles = via_middle.sum(axis=1) + via_middle.sum(axis=0) + via_top.sum(axis=0)
    pairs = degrees * (degrees - 1) / 2
    shares: np.ndarray = np.divide(np.asarray(triangles)[rank], pairs, out=np.zeros(size), where=pairs > 0)
    return shares


def path_lengths(matrix: sparse.csr_array) -> tuple[float, float, int]:
    """Return mean length, share and maximum of shortest directed paths over ordered pairs, exactly.

    Breadth-first search from everybody at once: who can be reached within l links is a row of bits, and
    one more link is the union of the payees' rows. Targets go in blocks, so memory stays at
    E x 1024 / 8 bytes. Mean length is NaN if nobody reaches anybody.
    """
    size = matrix.shape[0]
    payers = np.flatnonzero(np.diff(matrix.indptr))
    starts = matrix.indptr[payers]
    num_pairs, sum_lengths, diameter = 0, 0, 0
    for first in range(0, size, _BLOCK_TARGETS):
        reach = _own_bits(size, first, min(_BLOCK_TARGETS, size - first))
        seen, length = int(np.bitwise_count(reach).sum()), 0
        while len(payers):
            grown = np.bitwise_or.reduceat(reach[matrix.indices], starts, axis=0)
            reach[payers] |= grown
            length, reached = length + 1, int(np.bitwise_count(reach).sum())
            if reached == seen:
                break
            sum_lengths += length * (reached - seen)
            num_pairs += reached - seen
            diameter, seen = max(diameter, length), reached
    mean = sum_lengths / num_pairs if num_pairs else float("nan")
    return mean, num_pairs / max(size * (size - 1), 1), diameter


def power_law_exponent(degrees: np.ndarray, *, tail: int = DEFAULT_TAIL) -> float:
    """Return the exponent g of p(k) = k^-g / zeta(g, tail) most likely for the degrees of `tail` and more.

    NaN if there are none, or if all are `tail` (no finite exponent is best).

    Source: Clauset, Shalizi & Newman 2009, equation 3.5.
    """
    kept = degrees[degrees >= tail]
    if not len(kept) or (kept == tail).all():
        return float("nan")
    mean_log = float(np.log(kept).mean())
    found = minimize_scalar(
        lambda exponent: np.log(zeta(exponent, tail)) + exponent * mean_log,
        bounds=(1.001, 50.0),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(found.x)


def value_core(network: PaymentNetwork, *, share: float = 0.75) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the fewest largest links that carry `share` of all value, and who is on them.

    Returns:
        Participants, in the network's order, and links as places in `network.edges()`, largest first
        (of equals the first in order).

    Raises:
        BadInputError: `share` is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise BadInputError(field="share", value=share, remedy="Give a share above 0 and at most 1.")
    payers, payees, amounts = network.edges()
    largest = np.argsort(-amounts, kind="stable")
    carried = np.cumsum(amounts[largest])
    wanted = share * carried[-1] if len(carried) else 0
    num_links = min(int(np.searchsorted(carried, wanted)) + 1, len(largest))
    links = largest[:num_links]
    inside = np.unique(np.concatenate([payers[links], payees[links]]))
    return tuple(network.nodes[index] for index in inside), links


def _pattern(matrix: sparse.csr_array) -> sparse.csr_array:
    """Return the matrix with every amount replaced by 1, in a type that counts without wrapping round."""
    ones = np.ones(matrix.nnz, dtype=np.int64)
    return sparse.csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)


def _own_bits(size: int, first: int, width: int) -> np.ndarray:
    """Return N rows of `width` bits: row `first + t` has bit t, for everybody reaches themselves."""
    reach = np.zeros((size, -(-width // 64)), dtype=np.uint64)
    targets = np.arange(width)
    reach[first + targets, targets // 64] = np.uint64(1) << (targets % 64).astype(np.uint64)
    return reach
