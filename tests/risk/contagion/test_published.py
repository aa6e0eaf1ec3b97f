"""Published examples and another program's results, where WARMPROMPT_DATA names a folder that has them."""

import json

import numpy as np
import polars as pl
import pytest

from warmprompt.risk.contagion import (
    DefaultCosts,
    clear_by_fictitious_default,
    clear_by_fixed_point,
    clear_by_linear_programme,
    debtrank_impacts,
    least_clearing,
    linear_debtrank,
    obligations,
)

pytestmark = pytest.mark.data

EISENBERG_NOE = ["finnetvalu_a1", "cran_systemicrisk_en", "en_nonunique"]
ROGERS_VERAART = ["rv2013_ex3_3", "rv2013_s5_1_ring6"]


@pytest.fixture
def clearing_folder(data_folder):
    folder = data_folder / "clearing"
    if not folder.is_dir():
        pytest.skip("WARMPROMPT_DATA holds no clearing")
    return folder


@pytest.fixture
def cases(clearing_folder):
    return json.loads((clearing_folder / "clearing_cases.json").read_text())


def costs_of(case):
    return DefaultCosts(alpha=case.get("alpha", 1), beta=case.get("beta", 1))


@pytest.mark.parametrize("name", EISENBERG_NOE + ROGERS_VERAART)
def test_every_solver_pays_what_was_published(cases, name):
    case = cases[name]
    network = obligations(case["L"], to_outside=case.get("el"))
    paid = pytest.approx(case["p"], abs=1e-9)
    for solver in (clear_by_fixed_point, clear_by_fictitious_default):
        assert solver(network, case["e"], costs=costs_of(case)).payments_N == paid
    if name in EISENBERG_NOE:
        assert clear_by_linear_programme(network, case["e"]).payments_N == paid


def test_every_case_is_tested(cases):
    assert {name for name in cases if name[0] != "_"} == {
        *EISENBERG_NOE,
        *ROGERS_VERAART,
        "neva_cycle_linear_dr",
    }


def test_the_least_fixed_point(cases):
    case = cases["rv2013_ex3_3"]
    least = least_clearing(obligations(case["L"]), case["e"], costs=costs_of(case))
    assert least.payments_N == pytest.approx(case["least_fixed_point"], abs=1e-9)


def test_levels_of_default(cases):
    case = cases["rv2013_s5_1_ring6"]
    cleared = clear_by_fictitious_default(obligations(case["L"]), case["e"], costs=costs_of(case))
    levels = [
        np.flatnonzero(cleared.round_N == number).tolist() for number in range(1, cleared.num_rounds + 1)
    ]
    assert levels == case["default_levels"]


def test_sequence_of_the_fictitious_defaults(cases):
    case = cases["finnetvalu_a1"]
    # The sequence starts with full payment; one wave of default ends it.
    network = obligations(case["L"])
    assert network.owed_N == pytest.approx(case["sequence"][0], abs=1e-9)
    assert clear_by_fictitious_default(network, case["e"]).num_rounds == len(case["sequence"]) - 1


def test_defaults(cases):
    case = cases["cran_systemicrisk_en"]
    cleared = clear_by_fixed_point(obligations(case["L"], to_outside=case["el"]), case["e"])
    assert cleared.defaulted_N.astype(int).tolist() == case["defaults"]


def test_debtrank_on_a_cycle(cases):
    case = cases["neva_cycle_linear_dr"]
    # The program's own example: capital 1, half of it lent to the next bank. It stops at a tolerance
    # of 1e-3, after ten rounds, and the results were noted to six digits.
    exposures = [[0, 0.5, 0], [0, 0, 0.5], [0.5, 0, 0]]
    result = linear_debtrank(exposures, [1, 1, 1], case["equity_shock"], stop_after=10)
    assert 1 - result.stress_N == pytest.approx(case["equity_final"], abs=5e-7)


def test_debtrank_of_125_banks(clearing_folder):
    exposures, banks, expected = (
        pl.read_csv(clearing_folder / f"nrm_{name}.csv", infer_schema_length=None)
        for name in ("md_exposures", "sim_data", "debtrank_single")
    )
    assert exposures[:, 0].to_list() == banks["bank"].to_list() == expected["scenario"].to_list()
    matrix = exposures[:, 1:].to_numpy().astype(float)
    assert np.count_nonzero(matrix) == 249
    capital, weights = banks["buffer"].to_numpy(), banks["weights"].to_numpy()
    for bank in range(125):
        shock = np.eye(125)[bank]
        result = linear_debtrank(matrix, capital, shock)
        row = expected.row(bank, named=True)
        assert weights @ shock / weights.sum() == pytest.approx(row["original_stress"], abs=1e-6)
        assert result.index(weights) == pytest.approx(row["additional_stress"], abs=1e-6)
        assert capital @ shock == pytest.approx(row["original_losses"], abs=1e-6)
        assert result.losses_N.sum() - capital @ shock == pytest.approx(row["additional_losses"], abs=1e-6)
        assert result.defaulted_N.sum() - 1 == row["additional_defaults"]


def test_debtrank_of_125_banks_all_at_once(clearing_folder):
    exposures, banks, expected = (
        pl.read_csv(clearing_folder / f"nrm_{name}.csv", infer_schema_length=None)
        for name in ("md_exposures", "sim_data", "debtrank_single")
    )
    matrix = exposures[:, 1:].to_numpy().astype(float)
    impacts = debtrank_impacts(matrix, banks["buffer"].to_numpy(), weights=banks["weights"].to_numpy())
    assert impacts.impact_N == pytest.approx(expected["additional_stress"].to_numpy(), abs=1e-6)
    assert impacts.failures_N.tolist() == expected["additional_defaults"].to_list()
