"""The search for the product's settings: on whom, resumed as uninterrupted, and what it leaves behind."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pytest
from tests.assembly.small import small_settings

from warmprompt.assembly import searching
from warmprompt.assembly.ranker import PromptRanker
from warmprompt.assembly.searching import SEARCHED, tune_settings
from warmprompt.data.splits import split_users
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError, IntegrityError, MismatchError
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.validating import mean_ndcg_on
from warmprompt.settings import from_mapping, load_settings, to_mapping
from warmprompt.training.presets import settled
from warmprompt.training.run import train_run

pytestmark = pytest.mark.usefixtures("text_home")


@pytest.fixture(scope="module")
def data(planted_folder):
    return open_dataset(planted_folder[0])


@pytest.fixture
def settings(planted_folder):
    return small_settings(f"data.name={planted_folder[0]}", "train.tangent_epochs=1")


@pytest.fixture
def judged(monkeypatch):
    """Judge by a formula in place of training, and keep what was asked for."""
    asked = []

    def judge(dataset, task, folder, progress, settings):
        asked.append(settings)
        return 1 / (1 + abs(np.log(settings.train.tangent_lr / 0.003)) + settings.experts.kappa)

    monkeypatch.setattr(searching, "_judge", judge)
    return asked


def changes_of(settings):
    values = to_mapping(settings)
    return {name: values[name.split(".")[0]][name.split(".")[1]] for name in SEARCHED}


def test_a_trial_is_a_training_judged_on_validation_users_and_sees_nobody_else(settings, data, tmp_path):
    """Whatever tested users did, the values are the same to the last bit; and they are what a run has."""
    other = data.interactions.items.copy()
    for user in split_users(data.num_users, seed=0).test:
        rows = data.interactions.events_of(int(user))
        other[rows] = (other[rows] + 7) % data.num_items
    changed = replace(data, interactions=replace(data.interactions, items=other))
    one = tune_settings(settings, tmp_path / "one", num_trials=2, dataset=data)
    two = tune_settings(settings, tmp_path / "two", num_trials=2, dataset=changed)
    assert [trial.value for trial in one.trials] == [trial.value for trial in two.trials]
    assert one.trials[0].changes == changes_of(settings)
    assert one.trials[1].changes != one.trials[0].changes
    train_run(settings, tmp_path / "run", dataset=data)
    task = build_task(data, ProtocolSettings(users="validation", ks=(1, 3, 5, 10)), seed=0)
    ranker = PromptRanker(folder=tmp_path / "run", settings=settings, dataset=data)
    assert one.trials[0].value == pytest.approx(mean_ndcg_on(lambda: ranker, task), abs=1e-6)
    assert {case.support.user for case in task.cases[1]} <= set(task.validation.user_ids)
    assert one.num_users == len(task.cases[1])
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["best.toml", "study.db"]


def test_a_killed_search_goes_on_as_if_it_had_not_been(settings, data, tmp_path, judged, monkeypatch):
    whole = tune_settings(settings, tmp_path / "whole", num_trials=9, dataset=data)
    judge = searching._judge

    def killed(*given):
        if len(judged) == 9 + 4:
            raise KeyboardInterrupt
        return judge(*given)

    monkeypatch.setattr(searching, "_judge", killed)
    with pytest.raises(KeyboardInterrupt):
        tune_settings(settings, tmp_path / "killed", num_trials=9, dataset=data)
    monkeypatch.setattr(searching, "_judge", judge)
    resumed = tune_settings(settings, tmp_path / "killed", num_trials=9, dataset=data)
    assert [(one.changes, one.value) for one in resumed.trials] == [
        (one.changes, one.value) for one in whole.trials
    ]
    assert len(judged) == 9 + 9
    # Finished, it judges nothing again; asked for more, it goes on.
    assert tune_settings(settings, tmp_path / "killed", num_trials=9, dataset=data).trials == resumed.trials
    assert len(tune_settings(settings, tmp_path / "killed", num_trials=11, dataset=data).trials) == 11
    assert len(judged) == 9 + 9 + 2


def test_the_best_settings_are_a_file_that_train_takes(settings, data, tmp_path, judged):
    found = tune_settings(settings, tmp_path / "out", num_trials=12, dataset=data)
    assert found.best.value == max(one.value for one in found.trials) > found.trials[0].value
    assert load_settings(file=found.file) == found.settings
    assert changes_of(found.settings) == found.best.changes
    updates = tomllib.loads(found.file.read_text())
    assert updates["data"]["name"] == settings.data.name
    # All but what was searched is as the search began.
    begun = to_mapping(settings)
    for section, values in to_mapping(found.settings).items():
        for key, value in values.items():
            assert f"{section}.{key}" in SEARCHED or value == begun[section][key]


def test_a_budget_begins_no_trial_after_it(settings, data, tmp_path, judged, monkeypatch):
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(searching.time, "process_time", lambda: float(next(now)))
    # Each trial reads the clock before and after: ten seconds each.
    found = tune_settings(settings, tmp_path / "out", budget_s=25, dataset=data)
    assert [one.cpu_s for one in found.trials] == [10, 10, 10]
    assert len(tune_settings(settings, tmp_path / "out", budget_s=30, dataset=data).trials) == 3
    assert len(tune_settings(settings, tmp_path / "out", budget_s=31, dataset=data).trials) == 4


def test_settings_that_cannot_be_trained_are_kept_as_failed_and_the_first_are_an_error(
    settings, data, tmp_path, monkeypatch
):
    calls = []

    def judge(*given):
        calls.append(given)
        if len(calls) in wrong:
            raise BadInputError(field="model.num_factors", value=128, remedy="Too many.")
        return 0.5

    monkeypatch.setattr(searching, "_judge", judge)
    wrong, updates = {2}, []
    found = tune_settings(settings, tmp_path / "out", num_trials=3, dataset=data, progress=updates.append)
    assert (len(found.trials), found.num_failed) == (2, 1)
    assert [line for line in updates if "cannot be trained: model.num_factors: '128'. Too many." in line]
    calls.clear()
    wrong = {1}
    with pytest.raises(BadInputError, match="Too many"):
        tune_settings(settings, tmp_path / "other", num_trials=3, dataset=data)
    # Mended, the same folder begins with the first settings.
    wrong = set()
    assert tune_settings(settings, tmp_path / "other", num_trials=1, dataset=data).num_failed == 0


def test_values_that_the_search_begins_with_may_lie_outside_of_what_is_tried(
    settings, data, tmp_path, judged
):
    odd = replace(
        settings,
        model=replace(settings.model, num_factors=7),
        experts=replace(settings.experts, kappa=0.5),
        train=replace(settings.train, tangent_lr=0.2),
    )
    found = tune_settings(odd, tmp_path / "out", num_trials=2, dataset=data)
    assert found.trials[0].changes["model.num_factors"] == 7
    assert found.trials[0].changes["train.tangent_lr"] == 0.2


@pytest.mark.parametrize(
    ("changes", "other"),
    [({"train.seed": 1}, "settings"), ({"evaluate.protocol": "next10"}, "protocol")],
)
def test_a_folder_with_another_search_is_refused(settings, data, tmp_path, judged, changes, other):
    tune_settings(settings, tmp_path / "out", num_trials=1, dataset=data)
    values = to_mapping(settings)
    for name, value in changes.items():
        section, _, key = name.partition(".")
        values[section][key] = value
    with pytest.raises(MismatchError, match=f"a search with other {other}"):
        tune_settings(from_mapping(values), tmp_path / "out", num_trials=1, dataset=data)


def test_a_second_search_in_the_same_folder_at_the_same_moment_is_refused(
    settings, data, tmp_path, monkeypatch
):
    refused = []

    def judge(*given):
        with pytest.raises(BadInputError, match="is searching in it") as error:
            tune_settings(settings, tmp_path / "out", num_trials=1, dataset=data)
        refused.append(error)
        return 0.5

    monkeypatch.setattr(searching, "_judge", judge)
    tune_settings(settings, tmp_path / "out", num_trials=1, dataset=data)
    assert len(refused) == 1


def test_a_search_begins_with_the_preset_that_training_would_take(data, planted_folder, tmp_path, judged):
    """Twelve to twenty-four events per user: sparse, by its median of under twenty."""
    auto = load_settings(flags={"data.name": str(planted_folder[0])})
    found = tune_settings(auto, tmp_path / "out", num_trials=1, dataset=data)
    taken = settled(auto, data)
    assert taken.train.preset != "default"
    assert found.trials[0].changes == changes_of(taken)
    # The file holds every value, so that no preset changes them again.
    assert settled(load_settings(file=found.file), data) == found.settings


def test_what_cannot_be_searched_is_refused_before_anything_is_trained(settings, data, tmp_path, judged):
    with pytest.raises(BadInputError, match="protocol: 'temporal'"):
        temporal = replace(settings, evaluate=replace(settings.evaluate, protocol="temporal"))
        tune_settings(temporal, tmp_path / "out", dataset=data)
    for wrong, field in (({"num_trials": 0}, "--trials"), ({"budget_s": 0.0}, "--budget")):
        with pytest.raises(BadInputError, match=field):
            tune_settings(settings, tmp_path / "out", dataset=data, **wrong)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("x")
    with pytest.raises(BadInputError, match="something else than a search"):
        tune_settings(settings, tmp_path / "full", dataset=data)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(IntegrityError, match="study"):
        tune_settings(settings, tmp_path / "broken", dataset=data)
    assert judged == []
