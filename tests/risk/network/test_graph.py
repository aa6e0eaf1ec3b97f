"""The network itself: what it refuses, what it keeps exactly, what it derives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.risk.network.graph import (
    net_positions,
    netted,
    network_from_edges,
    network_from_matrix,
    subnetwork,
    transposed,
)

LARGEST = 2**63 - 1


@st.composite
def matrices(draw):
    """Square integer matrices without a diagonal; zeros are no links."""
    size = draw(st.integers(2, 7))
    cells = draw(st.lists(st.integers(0, 10**6), min_size=size * size, max_size=size * size))
    matrix = np.array(cells, dtype=np.int64).reshape(size, size)
    np.fill_diagonal(matrix, 0)
    return matrix


def triangle():
    # A pays B 5, B pays C 7, C pays A 2, A pays C 1.
    return network_from_edges(["A", "B", "C", "A"], ["B", "C", "A", "C"], [5, 7, 2, 1])


def test_totals_of_a_network_written_by_hand():
    network = triangle()
    assert network.nodes == ("A", "B", "C")
    assert (network.num_nodes, network.num_links, network.total) == (3, 4, 5 + 7 + 2 + 1)
    assert network.outgoing.tolist() == [5 + 1, 7, 2]
    assert network.incoming.tolist() == [2, 5, 7 + 1]
    assert network.amount("A", "C") == 1
    assert network.amount("C", "B") == 0
    payers, payees, amounts = network.edges()
    assert list(zip(payers, payees, amounts, strict=True)) == [(0, 1, 5), (0, 2, 1), (1, 2, 7), (2, 0, 2)]


def test_whole_amounts_stay_whole_up_to_the_last_unit():
    # 2^53 + 1 is the first whole number that a float cannot hold.
    network = network_from_edges(["A", "B"], ["B", "A"], [2**53 + 1, LARGEST - 2**53 - 1])
    assert network.matrix.dtype == np.int64
    assert network.amount("A", "B") == 2**53 + 1
    assert network.total == LARGEST


@pytest.mark.parametrize("wide", [[2**62, 2**62], [2**63], [2**64 + 1]], ids=["sum", "unsigned", "huge"])
def test_amounts_that_would_wrap_round_are_refused(wide):
    ids = [f"B{number}" for number in range(len(wide) + 1)]
    with pytest.raises(BadInputError, match=r"sum of amounts|at most 9223372036854775807"):
        network_from_edges(ids[:-1], ids[1:], wide)


def test_nothing_in_it_can_be_written_to():
    network = triangle()
    for array in (network.matrix.data, network.matrix.indices, network.matrix.indptr):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9
    with pytest.raises(AttributeError, match="cannot assign"):
        network.nodes = ()


def test_the_callers_arrays_stay_the_callers():
    given_matrix = sparse.csr_array(np.array([[0.0, 2.0], [0.0, 0.0]]))
    network = network_from_matrix(given_matrix)
    given_matrix.data[0] = 99.0
    assert network.amount("0", "1") == 2.0


@pytest.mark.parametrize("amount", [-1, 0, -0.01, float("nan"), float("inf"), float("-inf")])
def test_an_amount_that_is_not_above_zero_and_finite_is_refused_with_its_link(amount):
    with pytest.raises(BadInputError, match="amount of C -> D"):
        network_from_edges(["A", "C"], ["B", "D"], [1, amount])


def test_amounts_that_are_no_numbers_are_refused():
    with pytest.raises(BadInputError, match="whole numbers or floats"):
        network_from_edges(["A"], ["B"], ["5"])


def test_somebody_who_pays_themselves_is_refused():
    with pytest.raises(BadInputError, match="self-loop: 'B'"):
        network_from_edges(["A", "B"], ["B", "B"], [1, 1])
    with pytest.raises(BadInputError, match="self-loop: '1'"):
        network_from_matrix(np.eye(2) * [[0.0], [3.0]])


def test_a_bank_that_is_not_among_the_participants_is_refused_with_its_nearest_name():
    with pytest.raises(UnknownNameError, match=r"'Bnak1'. Did you mean Bank1"):
        network_from_edges(["Bnak1"], ["Bank2"], [1], nodes=["Bank1", "Bank2"])


def test_participants_without_a_link_are_kept_in_the_order_given():
    network = network_from_edges(["A"], ["B"], [1], nodes=["Z", "B", "A"])
    assert network.nodes == ("Z", "B", "A")
    assert network.outgoing.tolist() == [0, 0, 1]


def test_duplicate_links_are_refused_unless_they_shall_be_summed():
    twice = (["A", "B", "A"], ["B", "A", "B"], [5, 1, 6])
    with pytest.raises(BadInputError, match="duplicate link, 1 in all: 'A -> B'"):
        network_from_edges(*twice)
    summed = network_from_edges(*twice, duplicates="sum")
    assert summed.amount("A", "B") == 5 + 6
    assert summed.num_links == 2
    with pytest.raises(BadInputError, match="duplicates: 'last'"):
        network_from_edges(*twice, duplicates="last")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: network_from_edges(["A"], ["B"], [1, 2]), "1, 1, 2"),
        (lambda: network_from_edges([], [], []), "at least one participant"),
        (lambda: network_from_edges([" "], ["B"], [1]), "not empty"),
        (lambda: network_from_edges([], [], [], nodes=["A", "A"]), "comes twice"),
        (lambda: network_from_edges([], [], [], nodes=["A", 7]), "participant id: '7'"),
        (lambda: network_from_matrix(np.zeros((2, 3))), "as many rows as columns"),
        (lambda: network_from_matrix(np.zeros(3)), "as many rows as columns"),
        (lambda: network_from_matrix(np.zeros((2, 2)), nodes=["A"]), "2 names"),
    ],
)
def test_what_makes_no_network_is_refused(build, message):
    with pytest.raises(BadInputError, match=message):
        build()


def test_participants_without_any_link_make_a_network():
    network = network_from_edges([], [], [], nodes=["A", "B"])
    assert (network.num_links, network.total) == (0, 0)


def test_cyclic_obligations_are_a_network_and_net_to_nothing():
    ring = network_from_edges(["A", "B", "C"], ["B", "C", "A"], [4, 4, 4])
    assert net_positions(ring).tolist() == [0, 0, 0]
    assert netted(ring).num_links == 3  # netting is between two, a ring needs three


@given(matrices())
def test_derived_networks_match_their_dense_formulas(matrix):
    network = network_from_matrix(matrix)
    assert np.array_equal(network.matrix.toarray(), matrix)
    assert np.array_equal(transposed(network).matrix.toarray(), matrix.T)
    assert np.array_equal(netted(network).matrix.toarray(), np.maximum(matrix - matrix.T, 0))
    assert np.array_equal(net_positions(netted(network)), matrix.sum(axis=0) - matrix.sum(axis=1))
    chosen = [network.nodes[-1], network.nodes[0]]
    places = [len(matrix) - 1, 0]
    assert np.array_equal(subnetwork(network, chosen).matrix.toarray(), matrix[np.ix_(places, places)])


@given(matrices())
def test_the_order_of_links_does_not_matter(matrix):
    payers, payees = np.nonzero(matrix)
    names = [f"bank {number}" for number in range(len(matrix))]
    amounts = matrix[payers, payees]
    back = slice(None, None, -1)
    one = network_from_edges([names[i] for i in payers], [names[j] for j in payees], amounts, nodes=names)
    other = network_from_edges(
        [names[i] for i in payers[back]], [names[j] for j in payees[back]], amounts[back], nodes=names
    )
    assert all(np.array_equal(*arrays) for arrays in zip(one.edges(), other.edges(), strict=True))


def test_a_part_of_a_network_refuses_strangers():
    with pytest.raises(UnknownNameError, match="participant: 'D'"):
        subnetwork(triangle(), ["A", "D"])
    with pytest.raises(UnknownNameError, match="participant: 'D'"):
        triangle().amount("D", "A")
