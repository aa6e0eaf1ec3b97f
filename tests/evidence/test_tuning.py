"""The search on validation users."""

from __future__ import annotations

import json

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.runner import score_cases
from warmprompt.evaluation.validating import mean_ndcg_on
from warmprompt.evidence.tuning import tune_baseline, tuning_page


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
    assert len(trials) == len(lines) == 20
    assert best.values[-1] == max(trial["values"][-1] for trial in trials)
    lines.clear()
    assert tune_baseline(data_name, "ease", tmp_path, progress=lines.append) == best
    assert lines == []
    page = tuning_page(tmp_path)
    assert f"| planted | ease | 20 | 26 | l2 {best.settings['l2']:g} |" in page
    assert f"{best.values[-1]:.4f}" in page


def test_empty_searches_and_untunable_baselines(data_name, tmp_path):
    assert tuning_page(tmp_path) == ""
    with pytest.raises(BadInputError, match="nothing to tune"):
        tune_baseline(data_name, "toppop", tmp_path)
