"""Figures of a network against networkx, the powerlaw library and small networks counted by hand."""

import networkx as nx
import numpy as np
import powerlaw
import pytest
from scipy.sparse.csgraph import shortest_path
from scipy.special import zeta

from warmprompt.errors import BadInputError
from warmprompt.risk.network.graph import network_from_edges, network_from_matrix
from warmprompt.risk.network.statistics import (
    clustering,
    giant_component,
    path_lengths,
    power_law_exponent,
    reciprocity,
    statistics,
    value_core,
)
from warmprompt.rng import derive


def random_network(seed, *, size=60, density=0.06):
    rng = derive(seed, "test")
    present = rng.random((size, size)) < density
    np.fill_diagonal(present, val=False)
    return network_from_matrix(present * rng.integers(1, 1000, (size, size)))


def as_networkx(network):
    return nx.from_scipy_sparse_array(network.matrix, create_using=nx.DiGraph)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("density", [0.01, 0.05, 0.4])
def test_figures_match_networkx(seed, density):
    network = random_network(seed, density=density)
    graph = as_networkx(network)
    lengths = [
        length
        for source, reached in nx.all_pairs_shortest_path_length(graph)
        for target, length in reached.items()
        if source != target
    ]
    figures = statistics(network)
    assert figures.reciprocity == pytest.approx(nx.overall_reciprocity(graph), abs=1e-12)
    assert figures.clustering == pytest.approx(nx.average_clustering(graph.to_undirected()), abs=1e-12)
    assert figures.path_length == pytest.approx(np.mean(lengths), abs=1e-12)
    assert figures.reachable_share == pytest.approx(len(lengths) / (60 * 59), abs=1e-12)
    assert figures.diameter == max(lengths)
    assert figures.connectivity == pytest.approx(nx.density(graph), abs=1e-12)
    assert figures.mean_degree == pytest.approx(graph.number_of_edges() / 60, abs=1e-12)
    assert figures.max_out_degree == max(degree for _, degree in graph.out_degree)
    assert figures.max_in_degree == max(degree for _, degree in graph.in_degree)
    assert figures.median_out_degree == np.median([degree for _, degree in graph.out_degree])


def test_clustering_matches_networkx_bank_by_bank_with_hubs():
    # A few hubs linked to everybody: the case that the ordering by degree is for.
    rng = derive(0, "hubs")
    matrix = (rng.random((200, 200)) < 0.02).astype(float)
    matrix[:3] = matrix[:, :3] = 1
    np.fill_diagonal(matrix, 0)
    network = network_from_matrix(matrix)
    expected = nx.clustering(as_networkx(network).to_undirected())
    assert clustering(network.matrix) == pytest.approx([expected[index] for index in range(200)], abs=1e-12)


def test_paths_across_more_targets_than_one_block_match_scipy():
    # 1,100 banks in a ring with shortcuts: two blocks of targets.
    size = 1100
    payers = [*range(size), *range(0, size, 7)]
    payees = [
        *((index + 1) % size for index in range(size)),
        *((7 * index + 50) % size for index in range(158)),
    ]
    network = network_from_edges(list(map(str, payers)), list(map(str, payees)), [1] * len(payers))
    mean, reachable, diameter = path_lengths(network.matrix)
    lengths = shortest_path(network.matrix, unweighted=True)
    assert mean == pytest.approx(lengths.sum() / (size * (size - 1)), abs=1e-9)
    assert (reachable, diameter) == (1.0, lengths.max())


def test_a_network_where_nobody_reaches_anybody_has_no_path_length():
    network = network_from_edges([], [], [], nodes=["A", "B"])
    mean, reachable, diameter = path_lengths(network.matrix)
    assert np.isnan(mean)
    assert (reachable, diameter) == (0.0, 0)
    assert np.isnan(reciprocity(network.matrix))
    with pytest.raises(BadInputError, match="at least one link"):
        statistics(network)


@pytest.mark.parametrize("seed", range(4))
def test_giant_component_is_networkx_largest_strongly_connected_one(seed):
    network = random_network(seed, density=0.03)
    largest = max(nx.strongly_connected_components(as_networkx(network)), key=len)
    giant = giant_component(network)
    assert giant.nodes == tuple(str(index) for index in sorted(largest))
    assert statistics(giant).reachable_share == 1.0
    assert giant.amount(*_a_link(giant)) == network.amount(*_a_link(giant))


def _a_link(network):
    payers, payees, _ = network.edges()
    return network.nodes[payers[0]], network.nodes[payees[0]]


@pytest.mark.parametrize("exponent", [2.11, 2.15, 2.6])
def test_exponent_matches_the_powerlaw_library_and_the_planted_one(exponent):
    # Draws from the zeta distribution itself, by its inverse: k >= 10 with p(k) ~ k^-exponent.
    support = np.arange(10, 2_000_000)
    p_k = support**-exponent / zeta(exponent, 10)
    draws = derive(7, "zeta").random(20_000)
    degrees = support[np.minimum(np.searchsorted(np.cumsum(p_k), draws), len(support) - 1)]
    ours = power_law_exponent(np.concatenate([degrees, np.ones(500, dtype=int)]), tail=10)
    fit = powerlaw.Fit(degrees, discrete=True, xmin=10, estimate_discrete=False, verbose=False)
    assert ours == pytest.approx(fit.power_law.alpha, abs=2e-4)  # the library's optimiser stops there
    # Four standard errors, (exponent - 1) / sqrt(draws).
    assert ours == pytest.approx(exponent, abs=4 * (exponent - 1) / 20_000**0.5)


def test_there_is_no_exponent_without_a_tail():
    assert np.isnan(power_law_exponent(np.array([1, 2, 9])))
    assert np.isnan(power_law_exponent(np.array([10, 10, 10])))


def test_the_core_is_the_fewest_largest_links_that_carry_the_share():
    # 50 + 30 of 100 carry 75 %, 50 alone do not; A, B and C are on them.
    network = network_from_edges(["A", "B", "C", "D"], ["B", "C", "A", "A"], [50, 30, 15, 5])
    nodes, links = value_core(network, share=0.75)
    assert nodes == ("A", "B", "C")
    assert network.edges()[2][links].tolist() == [50, 30]
    assert len(value_core(network, share=0.5)[1]) == 1  # 50 of 100 is exactly half
    assert len(value_core(network, share=0.51)[1]) == 2
    assert len(value_core(network, share=1.0)[1]) == 4


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(share):
    with pytest.raises(BadInputError, match="share"):
        value_core(random_network(0), share=share)
