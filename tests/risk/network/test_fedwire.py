"""The synthetic network: the same for a seed, and of the shape that the published figures state."""

from dataclasses import replace

import numpy as np
import powerlaw
import pytest
from scipy.special import expit

from warmprompt.errors import BadInputError
from warmprompt.risk.network.fedwire import (
    PublishedFigure,
    fedwire_2004,
    fedwire_2004_source,
    fedwire_2004_targets,
    generate_fedwire,
)
from warmprompt.risk.network.statistics import reciprocity, statistics, value_core

SMALL = replace(fedwire_2004(), num_participants=300, num_pairs=2000, total_minor=10**12, core_within=None)


@pytest.fixture(scope="module")
def network():
    return generate_fedwire(11)


@pytest.fixture(scope="module")
def figures(network):
    return statistics(network)


@pytest.mark.parametrize("target", fedwire_2004_targets(), ids=lambda target: target.statistic)
def test_a_seed_that_nothing_was_chosen_on_meets_every_target(figures, target):
    measured = getattr(figures, target.statistic)
    assert abs(measured - target.value) <= target.tolerance, measured


def test_the_targets_are_the_published_ones_and_say_that_they_are_unconfirmed():
    published = {target.statistic: target.value for target in fedwire_2004_targets()}
    assert published == {
        "num_nodes": 5086,
        "num_links": 76614,
        "mean_degree": 15.2,
        "reciprocity": 0.215,
        "clustering": 0.53,
        "path_length": 2.6,
        "out_exponent": 2.11,
        "in_exponent": 2.15,
        "core_nodes": 66,
        "core_links": 181,
    }
    assert "to be confirmed" in fedwire_2004_source()["status"]


def test_a_seed_whose_first_draw_has_too_small_a_core_is_drawn_again():
    # Seed 115 is one: links stay, values move until the core has as many banks as the target allows.
    model = fedwire_2004()
    target = next(one for one in fedwire_2004_targets() if one.statistic == "core_nodes")
    assert model.core_within == (target.value - target.tolerance, target.value + target.tolerance)
    first = generate_fedwire(115, model=replace(model, core_within=None))
    found = generate_fedwire(115)
    assert len(value_core(first)[0]) < model.core_within[0]
    assert model.core_within[0] <= len(value_core(found)[0]) <= model.core_within[1]
    assert found.nodes == first.nodes
    assert np.array_equal(found.matrix.indices, first.matrix.indices)
    # The same rank-size curve; what hangs outside the giant component takes small values with it.
    assert np.array_equal(np.sort(found.matrix.data)[-1000:], np.sort(first.matrix.data)[-1000:])


def test_a_first_draw_that_fits_is_kept_to_the_bit(network):
    first = generate_fedwire(11, model=replace(fedwire_2004(), core_within=None))
    assert (first.matrix != network.matrix).nnz == 0


def test_a_core_that_no_draw_has_is_an_error():
    with pytest.raises(BadInputError, match="core_within"):
        generate_fedwire(0, model=replace(SMALL, core_within=(2, 2)))


def test_exponents_by_the_powerlaw_library_are_inside_too(network):
    targets = {target.statistic: target for target in fedwire_2004_targets()}
    degrees = {
        "out_exponent": np.diff(network.matrix.indptr),
        "in_exponent": np.bincount(network.matrix.indices),
    }
    for statistic, found in degrees.items():
        fit = powerlaw.Fit(found, discrete=True, xmin=10, estimate_discrete=False, verbose=False)
        assert fit.power_law.alpha == pytest.approx(
            targets[statistic].value, abs=targets[statistic].tolerance
        )


def test_everybody_reaches_everybody_and_amounts_are_whole_and_positive(network, figures):
    assert figures.reachable_share == 1.0
    assert network.matrix.dtype == np.int64
    assert network.matrix.data.min() >= 1
    # What falls outside the giant component hangs on small banks and carries next to nothing.
    model_total = fedwire_2004().total_minor
    assert 0.999 * model_total <= network.total <= model_total


def test_a_seed_is_a_network_and_another_seed_another():
    one, same, other = (generate_fedwire(seed, model=SMALL) for seed in (3, 3, 4))
    assert one.nodes == same.nodes
    assert (one.matrix != same.matrix).nnz == 0
    assert one.nodes != other.nodes or (one.matrix != other.matrix).nnz > 0


def test_pairs_trade_as_often_as_the_formula_says():
    # Every pair pays both ways, so links are twice the pairs; the mean of 16 draws lies within four standard
    # errors of the number asked for, and one more pair for those outside the giant component.
    model = replace(SMALL, two_way_share=1.0, temperature=0.5)
    pairs = []
    for seed in range(16):
        matrix = generate_fedwire(seed, model=model).matrix
        pairs.append(matrix.nnz / 2)
    assert np.mean(pairs) == pytest.approx(model.num_pairs, abs=4 * np.std(pairs) / 16**0.5 + 1)


def test_sizes_decide_who_trades():
    # The largest bank's number of partners by (1), summed by brute force over sizes at the middle of their
    # jitter, which an offset of 10 makes small; the mean of 16 draws lies within four standard errors.
    model = replace(SMALL, two_way_share=1.0, size_offset=10.0)
    sizes = -np.log((np.arange(300) + 0.5 + 10.0) / (300 + 10.0))
    low, high = -20.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        p_pair = expit((sizes[:, None] + sizes[None, :] - middle) / model.temperature)
        low, high = (middle, high) if np.triu(p_pair, 1).sum() > model.num_pairs else (low, middle)
    partners = []
    for seed in range(16):
        network = generate_fedwire(seed, model=model)
        partners.append(np.diff(network.matrix.indptr)[network.index_of("B001")])
    assert np.mean(partners) == pytest.approx(p_pair[0, 1:].sum(), abs=4 * np.std(partners) / 16**0.5)


def test_a_target_is_met_inside_its_tolerance_only():
    figures = statistics(generate_fedwire(0, model=SMALL))
    target = PublishedFigure(statistic="num_links", value=figures.num_links + 5, tolerance=5, reason="test")
    assert target.met_by(figures)
    assert not replace(target, tolerance=4).met_by(figures)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (1.0, 1.0), (0.5, 2 * 0.5 / (1 + 0.5))])
def test_the_share_of_two_way_pairs_sets_the_reciprocity(share, expected):
    # Of M pairs s M pay both ways: 2 s M of (1 + s) M links have an opposite. Tolerance: the few pairs that
    # fall outside the giant component.
    network = generate_fedwire(0, model=replace(SMALL, two_way_share=share))
    assert reciprocity(network.matrix) == pytest.approx(expected, abs=0.02)


def test_values_follow_the_rank_size_curve():
    model = replace(SMALL, two_way_share=1.0)
    network = generate_fedwire(1, model=model)
    amounts = np.sort(network.matrix.data)[::-1].astype(float)
    ratio = amounts[9] / amounts[99]
    expected = ((10 + model.value_offset) / (100 + model.value_offset)) ** -model.value_decay
    assert ratio == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_participants", 1),
        ("num_pairs", 0),
        ("num_pairs", 300 * 299 // 2),
        ("temperature", 0.0),
        ("size_offset", -1.0),
        ("two_way_share", 1.5),
        ("two_way_share", float("nan")),
        ("pair_noise", -1.0),
        ("link_noise", -1.0),
        ("value_offset", -1.0),
        ("value_decay", 0.0),
        ("total_minor", 0),
        ("core_within", (5, 4)),
        ("core_within", (1, 4)),
    ],
)
def test_a_model_that_makes_no_network_is_refused(field, value):
    with pytest.raises(BadInputError, match=f"model {field}"):
        replace(SMALL, **{field: value})
