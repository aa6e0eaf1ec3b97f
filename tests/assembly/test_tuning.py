"""Baselines tuned for a table on a data set of one's own: on whom, within what, and what the table says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from warmprompt.assembly import tuning as tuning_module
from warmprompt.assembly.evaluating import evaluate_run
from warmprompt.assembly.tuning import choose_settings, default_budget_s, fair_baselines
from warmprompt.baselines import TUNED, baseline
from warmprompt.data.splits import split_users
from warmprompt.data.tables import open_dataset
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.report import baselines_caption, render_markdown
from warmprompt.evaluation.results import Tuning, load_results
from warmprompt.evaluation.validating import mean_ndcg_on
from warmprompt.runs.format import load_trained
from warmprompt.settings import EvaluateSettings

pytestmark = pytest.mark.usefixtures("text_home")
NEXT = ProtocolSettings(protocol="next10", ks=(0, 2, 5))


@pytest.fixture(scope="module")
def data(planted_folder):
    return open_dataset(planted_folder[0])


@pytest.fixture
def run(trained_folder, tmp_path):
    return shutil.copytree(trained_folder, tmp_path / "run")


def tuning_of(budget_s):
    return Tuning(budget_s=budget_s, seed=0, ks=NEXT.ks, num_users=0)


def with_other_tested_users(data):
    """Return the data with the items of every tested user's events changed, and all else as it was."""
    items = data.interactions.items.copy()
    for user in split_users(data.num_users, seed=0).test:
        rows = data.interactions.events_of(int(user))
        items[rows] = (items[rows] + 7) % data.num_items
    return replace(data, interactions=replace(data.interactions, items=items))


@pytest.fixture
def three_trials(monkeypatch):
    """Stop every search after three trials per baseline, however fast the machine is."""
    monkeypatch.setattr("warmprompt.baselines.budget.num_wanted", lambda space, search: 3)


@pytest.mark.usefixtures("three_trials")
def test_a_search_does_not_see_tested_users(data, tmp_path):
    names = ["ease", "ials"]
    one = choose_settings(names, data, NEXT, tuning_of(1000), folder=tmp_path / "one")
    two = choose_settings(
        names, with_other_tested_users(data), NEXT, tuning_of(1000), folder=tmp_path / "two"
    )
    # Every trial's value to the last bit, and what was chosen.
    assert values_in(tmp_path / "one") == values_in(tmp_path / "two")
    assert len(values_in(tmp_path / "one")) == 2 * 3
    assert one.settings == two.settings


def values_in(folder):
    lines = [line for file in sorted(folder.glob("*/*.jsonl")) for line in file.read_text().splitlines()]
    return [(json.loads(line)["settings"], json.loads(line)["values"]) for line in lines]


@pytest.mark.usefixtures("three_trials")
def test_the_objective_is_the_protocol_that_is_measured_on_its_validation_users(data):
    chosen = choose_settings(["ease"], data, NEXT, tuning_of(1000))
    (row,) = chosen.rows
    task = build_task(data, replace(NEXT, users="validation", ks=(2, 5)), seed=0)
    assert row.value == pytest.approx(mean_ndcg_on(baseline("ease", **row.settings), task))
    assert row.default_value == pytest.approx(mean_ndcg_on(baseline("ease"), task))
    assert row.value >= row.default_value
    # K = 0 is popularity for all of them, and is left out where there is more.
    assert chosen.tuning.ks == (2, 5)
    assert chosen.tuning.num_users == len(task.cases[2])
    assert chosen.settings == {"ease": row.settings}


@pytest.mark.usefixtures("three_trials")
def test_a_blend_takes_what_its_members_found(data):
    chosen = choose_settings(["ease-ials"], data, NEXT, tuning_of(1000))
    found = {row.baseline: row.settings for row in chosen.rows}
    assert set(found) == {"ease", "ials"}
    assert chosen.settings == {"ease-ials": {"members": found}}


@pytest.mark.usefixtures("three_trials")
def test_the_table_says_what_was_searched_and_a_second_one_does_not_pay_again(run, monkeypatch):
    options = EvaluateSettings(k=(0, 5), baselines=("toppop", "ease"), tune_budget=100.0)
    results = evaluate_run(run, options, out=run / "results.json")
    (row,) = results.baselines
    assert (row.baseline, row.source, row.num_trials) == ("ease", "searched", 3)
    assert results.tuning.budget_s == 100
    assert load_results(run / "results.json").baselines == results.baselines
    assert load_results(run / "results.json").tuning == results.tuning
    said = baselines_caption(results)
    assert "tuned on the 12 validation users of split 0, protocol random: 3 trials" in said
    assert "budget of 100 s" in said
    page = render_markdown(results)
    assert said in page
    assert f"| ease | l2 {row.settings['l2']:g} | searched | 3 |" in page
    monkeypatch.setattr(tuning_module, "mean_ndcg_on", None)
    again = evaluate_run(run, options)
    assert again.baselines == results.baselines
    # Another protocol is another search.
    with pytest.raises(TypeError):
        evaluate_run(run, replace(options, protocol="next10"))


@pytest.mark.usefixtures("three_trials")
def test_the_row_of_a_tuned_baseline_is_measured_with_what_was_found(run, data):
    options = EvaluateSettings(k=(5,), baselines=("ease",), tune_budget=100.0)
    results = evaluate_run(run, options)
    task = build_task(data, ProtocolSettings(ks=(5,)), seed=0)
    wanted = mean_ndcg_on(baseline("ease", **results.baselines[0].settings), task)
    (row,) = [one for one in results.rows if (one.model, one.metric, one.seed) == ("ease", "NDCG@10", None)]
    assert row.value == pytest.approx(wanted)


def test_without_a_budget_the_table_says_untuned(run, data):
    results = evaluate_run(run, EvaluateSettings(k=(5,), baselines=("ease", "userknn"), tune_budget=0.0))
    assert {row.source for row in results.baselines} == {"defaults"}
    assert baselines_caption(results).startswith("Baselines have untuned defaults")
    assert "untuned defaults" in render_markdown(results)
    assert not (run / "tuning").exists()


def test_recorded_settings_are_taken_by_the_data_sets_name_and_said_to_be(data, run):
    known = replace(data, name="ml-100k")
    manifest = load_trained(run).manifest
    assert default_budget_s(known, manifest) == 0
    # None of its settings was searched on episodes of this protocol.
    assert default_budget_s(known, manifest, "gap10") > 0
    chosen = choose_settings(["ease", "multvae", "set-encoder"], known, NEXT, tuning_of(0))
    assert chosen.settings["ease"] == TUNED["ml-100k"]["ease"]
    assert {row.baseline: row.source for row in chosen.rows} == {
        "ease": "recorded",
        "multvae": "recorded",
        "set-encoder": "defaults",
    }


def test_the_budget_is_what_training_took_and_ten_minutes_at_most(data, run):
    manifest = load_trained(run).manifest
    assert 0 < default_budget_s(data, manifest) == manifest["train_cpu_s"]
    assert default_budget_s(data, {**manifest, "train_cpu_s": 5000.0}) == 600
    # A run from before processor time was kept.
    assert default_budget_s(data, {"train_s": 12.5}) == 12.5


def test_validation_users_without_events_enough_leave_the_defaults(data):
    updates = []
    chosen = choose_settings(
        ["ease"], data, replace(NEXT, ks=(900,)), replace(tuning_of(5), ks=(900,)), progress=updates.append
    )
    assert [row.source for row in chosen.rows] == ["defaults"]
    assert updates == ["no validation user has enough events: the baselines keep their defaults"]


def test_ease_is_compared_with_where_its_fit_fits_into_half_of_memory():
    assert fair_baselines(5000, 2 * 10**9) == ("toppop", "itemknn", "userknn", "ease", "ials", "blend")
    assert fair_baselines(5001, 2 * 10**9) == ("toppop", "itemknn", "userknn", "ials")
    assert np.isin(fair_baselines(5_000_000), ("toppop", "itemknn", "userknn", "ials")).all()
