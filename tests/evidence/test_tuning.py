"""The search on validation users."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.splits import split_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.runner import score_cases
from warmprompt.evaluation.validating import mean_ndcg_on
from warmprompt.evidence.jobs import missing_jobs
from warmprompt.evidence.measured_table import read_cells
from warmprompt.evidence.plan import read_plan
from warmprompt.evidence.sections import settings_section
from warmprompt.evidence.tuning import tune_baseline, tuning_page
from warmprompt.evidence.worker import do_job


def test_objective_is_mean_validation_ndcg(data_name):
    data = open_dataset(ensure_dataset(data_name))
    task = build_task(data, ProtocolSettings(users="validation", ks=(1, 5)), seed=0)
    ranker = baseline("ease", l2=20.0)().fit(task.training, task.validation, seed=0)
    column = METRICS.index("NDCG@10")
    values = [
        np.mean([users[column] for users in score_cases(ranker, task, cases, label="x").values()])
        for cases in task.cases.values()
    ]
    assert mean_ndcg_on(baseline("ease", l2=20.0), task) == pytest.approx(np.mean(values))
    assert {case.support.user for case in task.cases[1]} <= set(task.validation.user_ids)


def test_searches_resume_from_their_trials(data_name, tmp_path):
    lines = []
    best = tune_baseline(data_name, "ease", tmp_path, progress=lines.append)
    file = tmp_path / "planted" / "ease.jsonl"
    trials = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(trials) == len(lines) - 1 == 20
    assert lines[-1].startswith("planted ease: 20 trials on ")
    spent = sum(trial["cpu_s"] for trial in trials)
    assert lines[-1].endswith(f"validation users under `random`, {spent:.1f} s of processor time in all")
    assert best.values[-1] == max(trial["values"][-1] for trial in trials)
    lines.clear()
    assert tune_baseline(data_name, "ease", tmp_path, progress=lines.append) == best
    assert len(lines) == 1
    page = tuning_page(tmp_path)
    assert f"| planted | ease | random | 20 | 26 | l2 {best.settings['l2']:g} |" in page
    assert f"{best.values[-1]:.4f}" in page


@pytest.mark.parametrize("protocol", ["", "next10"])
def test_a_search_reads_no_event_of_a_tested_user(data_name, tmp_path, monkeypatch, protocol):
    plain = tune_baseline(data_name, "itemknn", tmp_path / "plain", protocol=protocol)
    data = open_dataset(ensure_dataset(data_name))
    events = data.interactions
    items = events.items.copy()
    for user in split_dataset(data, seed=0).test:
        own = events.events_of(user)
        items[own] = (items[own] + 7) % data.num_items
    other = replace(data, interactions=replace(events, items=items))
    assert (items != events.items).any()
    monkeypatch.setattr("warmprompt.evidence.tuning.open_dataset", lambda _: other)
    again = tune_baseline(data_name, "itemknn", tmp_path / "other", protocol=protocol)
    assert again.values == plain.values
    assert again.settings == plain.settings


@pytest.mark.parametrize("protocol", ["next", "next10"])
def test_a_protocol_is_searched_on_its_own_episodes(data_name, tmp_path, protocol):
    best = tune_baseline(data_name, "markov", tmp_path, protocol=protocol)
    assert (tmp_path / "planted" / protocol / "markov.jsonl").is_file()
    data = open_dataset(ensure_dataset(data_name))
    settings = ProtocolSettings(users="validation", protocol=protocol, ks=(1, 3, 5, 10))
    task = build_task(data, settings, seed=0)
    assert best.values[-1] == pytest.approx(mean_ndcg_on(baseline("markov", **best.settings), task))
    assert f"| planted | markov | {protocol} | " in tuning_page(tmp_path)


def test_rows_of_a_page_say_what_their_settings_were_searched_on(raw, data_name, tmp_path, monkeypatch):
    found = {data_name: {"next": {"itemknn": {"num_neighbours": 20, "shrinkage": 5}}}}
    monkeypatch.setattr("warmprompt.baselines.tuned.TUNED_IN_TIME", found)
    raw["tables"] = [{**raw["tables"][0], "protocol": name, "seeds": [0]} for name in ("random", "next")]
    plan = read_plan(raw)
    jobs = missing_jobs(plan, tmp_path / "cells")
    # One fit serves both protocols, but for the row whose settings differ.
    names = [job.spec.name for job in jobs]
    assert sorted(names) == ["ease", "itemknn", "itemknn", "shuffled", "toppop"]
    for job in jobs:
        do_job(job, tmp_path)
    pages = [settings_section(read_cells(plan, table, tmp_path / "cells")) for table in plan.tables]
    assert "Searched on" not in pages[0]
    assert "num_neighbours 20, shrinkage 5" in pages[1]
    assert "episodes of `next` itself: itemknn. Searched on other episodes, or left" in pages[1]
    assert "defaults: ease, shuffled." in pages[1] or "defaults: ease and shuffled." in pages[1]


def test_empty_searches_and_untunable_baselines(data_name, tmp_path):
    assert tuning_page(tmp_path) == ""
    with pytest.raises(BadInputError, match="nothing to tune"):
        tune_baseline(data_name, "toppop", tmp_path)
    with pytest.raises(UnknownNameError, match="Choose one of next, gap10, next10, temporal"):
        tune_baseline(data_name, "ease", tmp_path, protocol="nxt")
