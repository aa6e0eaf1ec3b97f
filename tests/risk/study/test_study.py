"""The study as a whole: bounds, pairing, determinism, nulls, and what is reported."""

import json
from dataclasses import replace

import numpy as np
import pytest

from warmprompt.errors import BadInputError
from warmprompt.risk.plots import plot_cascade, plot_losses, plot_network
from warmprompt.risk.study import StudySettings, run_study, study_json, study_report, summarise_study
from warmprompt.risk.study.plan import NEVER, review_time
from warmprompt.risk.study.report import seconds
from warmprompt.risk.study.watch import measure_latency

PNG = b"\x89PNG\r\n"


def runs_of(study, part, name):
    return [run for run in study.runs if (run.part, run.name) == (part, name)]


def test_delay_zero_is_the_oracle_and_never_is_no_action(outage_study):
    for zero, oracle in zip(
        runs_of(outage_study, "delay", "0 s"), runs_of(outage_study, "bound", "oracle"), strict=True
    ):
        assert zero.loss == oracle.loss
    none = {run.scenario: run.loss for run in runs_of(outage_study, "bound", "no action")}
    late = [run for run in outage_study.runs if run.acted_s == NEVER]
    assert len(late) > len(none)
    assert all(run.loss == none[run.scenario] for run in late)


def test_a_policy_loses_what_the_same_delay_loses(outage_study):
    by_delay = {
        (run.scenario, run.acted_s): run.loss for run in outage_study.runs if run.part in {"delay", "bound"}
    }
    # The policy's own threshold again, and every run acted on at a delay of the curve.
    for run in runs_of(outage_study, "policy", "1 s"):
        again = [one for one in runs_of(outage_study, "threshold", "0.5") if one.scenario == run.scenario]
        assert again[0].loss == run.loss
        assert again[0].acted_s == run.acted_s
    for run in outage_study.runs:
        if run.part != "wrong alarm" and (run.scenario, run.acted_s) in by_delay:
            assert by_delay[run.scenario, run.acted_s] == run.loss


def test_delays_add_up(outage_study):
    seen = {(row.scenario, row.watcher): row for row in outage_study.seen}
    for latency, name in ((0.275, "275 ms"), (1.0, "1 s"), (60.0, "1 min")):
        for run in runs_of(outage_study, "policy", name):
            row = seen[run.scenario, "few-shot"]
            if run.acted_s < NEVER:
                assert run.acted_s == pytest.approx(row.signal_s + row.accumulation_s + latency)
    assert any(np.isfinite(row.accumulation_s) for row in outage_study.seen)


def test_rarer_wrong_alarms_come_later(outage_study):
    for rare, often in zip(
        runs_of(outage_study, "threshold", "0.5"), runs_of(outage_study, "threshold", "2"), strict=True
    ):
        assert often.acted_s <= rare.acted_s


def test_the_same_seed_is_the_same_study(outage_study):
    again = run_study(outage_study.settings, seed=5)
    assert again.runs == outage_study.runs
    assert again.seen == outage_study.seen


def test_stress_fails_and_an_outage_does_not(outage_study, stress_study):
    assert all(run.loss.failure == 0 for run in outage_study.runs)
    failed = [run for run in stress_study.runs if run.part != "wrong alarm"]
    assert any(run.loss.failure > 0 for run in failed)
    assert all(run.loss.spillover == run.loss.others + run.loss.failure for run in failed)


def test_the_summary_is_the_mean_of_paired_runs(outage_study):
    summary = summarise_study(outage_study)
    none = np.array([run.loss.spillover for run in runs_of(outage_study, "bound", "no action")])
    policy = np.array([run.loss.spillover for run in runs_of(outage_study, "policy", "hourly")])
    line = summary.line("policy", "hourly")
    assert line.saved.mean == pytest.approx((none - policy).mean())
    assert line.saved.low <= line.saved.mean <= line.saved.high
    assert summary.line("bound", "oracle").beyond_oracle.mean == 0
    contrast = next(each for each in summary.contrasts if (each.earlier, each.later) == ("1 s", "hourly"))
    assert contrast.cost.mean == pytest.approx(policy.mean() - summary.line("policy", "1 s").spillover.mean)


def test_report_and_json_hold_the_same_numbers(outage_study):
    summary = summarise_study(outage_study)
    written = json.loads(study_json(outage_study, summary))
    assert len(written["runs"]) == len(outage_study.runs)
    assert written["summary"]["num_scenarios"] == 3
    page = study_report(outage_study, summary)
    assert f"{summary.line('policy', 'hourly').spillover.mean:.3f} %" in page
    assert "no statement about the real Fedwire" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.275, "275 ms"),
        (1.0, "1 s"),
        (90.0, "90 s"),
        (1_800.0, "30 min"),
        (14_400.0, "4 h"),
        (NEVER, "never"),
    ],
)
def test_times_read_well(value, text):
    assert seconds(value) == text


def test_reviews_come_on_the_hour_at_the_close_and_next_morning():
    settings = StudySettings()
    assert review_time("at once", 5_000.0, settings) == 5_000.0
    assert review_time("hour", 5_000.0, settings) == 7_200.0
    assert review_time("close", 5_000.0, settings) == 79_200.0
    assert review_time("morning", 5_000.0, settings) == 86_400.0 + 39_600.0
    with pytest.raises(BadInputError, match="Choose one of"):
        review_time("yearly", 1.0, settings)


@pytest.mark.parametrize("changed", [{"num_scenarios": 1}, {"num_history": 1}, {"decision_s": -1.0}])
def test_settings_without_a_meaning_are_refused(changed):
    with pytest.raises(BadInputError):
        StudySettings(**changed)


def test_alarms_too_rare_for_the_clean_days_are_refused(outage_study):
    with pytest.raises(BadInputError, match="alarms_per_day"):
        run_study(replace(outage_study.settings, alarms_per_day=1e-4), seed=1)


def test_latency_is_measured():
    found = measure_latency(num_payments=200)
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_pictures_are_written(outage_study, world, tmp_path):
    from warmprompt.risk.network.graph import network_from_matrix

    plot_losses({"Outage": summarise_study(outage_study)}, tmp_path / "losses.png")
    plot_network(network_from_matrix(world.value_NN, nodes=world.nodes), tmp_path / "network.png")
    plot_cascade([1, 0, 2, 1], [5.0, 0, 2, 1], tmp_path / "cascade.png", title="By hand", unit="unpaid")
    for name in ("losses", "network", "cascade"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="at least one"):
        plot_losses({}, tmp_path / "x.png")
    with pytest.raises(BadInputError, match="in which a bank fails"):
        plot_cascade([0, 0], [0, 0], tmp_path / "x.png", title="", unit="")
    assert list(tmp_path.iterdir()) == []
