"""The search: resumed equals uninterrupted, nothing twice, halving stops the worse, planted optimum found."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from warmprompt.baselines.tuning import Search, best_of, search_settings
from warmprompt.errors import BadInputError, IntegrityError, MismatchError, NotFiniteError

SPACE = {"x": tuple(range(10)), "y": tuple(range(10))}


def _factory(settings, budget):
    return settings, budget


def _objective(model):
    settings, budget = model
    return budget * (10.0 - (settings["x"] - 7) ** 2 - (settings["y"] - 2) ** 2)


def _plain(trials):
    return [(trial.number, trial.settings, trial.values, trial.stopped) for trial in trials]


def test_a_killed_and_resumed_search_is_the_uninterrupted_one(tmp_path):
    rows = tmp_path / "rows.jsonl"
    whole = search_settings(SPACE, _factory, _objective, Search(seed=3))
    lines = []

    def killed(model):
        if len(lines) == 11:
            raise KeyboardInterrupt
        return _objective(model)

    with pytest.raises(KeyboardInterrupt):
        search_settings(SPACE, _factory, killed, Search(seed=3), rows=rows, progress=lines.append)
    assert len(rows.read_text().splitlines()) == 11
    resumed = search_settings(SPACE, _factory, _objective, Search(seed=3), rows=rows)
    assert _plain(resumed) == _plain(whole)
    assert [json.loads(line)["number"] for line in rows.read_text().splitlines()] == list(range(20))


def test_a_finished_search_evaluates_nothing_again(tmp_path):
    rows = tmp_path / "rows.jsonl"
    first = search_settings(SPACE, _factory, _objective, rows=rows)
    calls = []
    again = search_settings(SPACE, _factory, lambda model: calls.append(model) or 0.0, rows=rows)
    assert _plain(again) == _plain(first)
    assert calls == []


def test_no_settings_are_tried_twice_and_a_small_grid_is_tried_whole():
    space = {"x": (1, 2, 3), "y": (0.1, 0.2)}
    trials = search_settings(space, _factory, lambda model: model[0]["x"] - model[0]["y"])
    assert len(trials) == 6
    assert {(trial.settings["x"], trial.settings["y"]) for trial in trials} == {
        (x, y) for x in (1, 2, 3) for y in (0.1, 0.2)
    }
    assert best_of(trials).settings == {"x": 3, "y": 0.1}


def test_the_sampler_learns_where_the_good_values_are():
    trials = search_settings(SPACE, _factory, _objective, Search(num_trials=40, seed=1))
    early, late = (np.median([trial.values[-1] for trial in part]) for part in (trials[:10], trials[30:]))
    assert late > early + 10  # half of all settings reach -12, the peak is 10
    assert best_of(trials).values[-1] >= 9


def test_halving_lets_the_best_third_climb():
    spent = []

    def objective(model):
        spent.append(model[1])
        return _objective(model)

    trials = search_settings(SPACE, _factory, objective, Search(num_trials=30, rungs=(0.25, 1.0)))
    climbed = [trial for trial in trials if not trial.stopped]
    assert spent.count(0.25) == 30
    assert spent.count(1.0) == len(climbed) < 20
    for number, trial in enumerate(trials):
        earlier = [other.values[0] for other in trials[:number]]
        better = sum(value > trial.values[0] for value in earlier)
        assert trial.stopped == (better >= max(1, (number + 1) / 3))
    assert best_of(trials).values == pytest.approx(
        (0.25 * best_of(trials).values[1], best_of(trials).values[1])
    )


def test_another_seed_tries_something_else():
    one, other = (
        [trial.settings for trial in search_settings(SPACE, _factory, _objective, Search(seed=s))]
        for s in (0, 1)
    )
    assert one != other


def test_the_earliest_of_equals_is_the_best():
    trials = search_settings(SPACE, _factory, lambda _: 1.0)
    assert best_of(trials).number == 0
    assert all(one.number + 1 == two.number for one, two in pairwise(trials))


def test_an_objective_that_is_not_finite_names_the_settings():
    with pytest.raises(NotFiniteError, match="'x'"):
        search_settings(SPACE, _factory, lambda _: float("nan"))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", IntegrityError),
        ('{"number": 0}', IntegrityError),
        ('{"number": 0, "settings": {"z": 1}, "values": [1], "stopped": false, "seconds": 1}', MismatchError),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, error):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(text + "\n")
    with pytest.raises(error, match="line 1"):
        search_settings(SPACE, _factory, _objective, rows=rows)


@pytest.mark.parametrize(
    "wrong", [{"num_trials": 19}, {"rungs": (0.5, 0.2)}, {"rungs": (0.5,)}, {"reduction": 1.0}]
)
def test_a_search_out_of_range_is_refused(wrong):
    with pytest.raises(BadInputError, match=next(iter(wrong))):
        Search(**wrong)


def test_an_empty_space_and_unfinished_trials_are_refused():
    with pytest.raises(BadInputError, match="space"):
        search_settings({}, _factory, _objective)
    with pytest.raises(BadInputError, match="finished"):
        best_of([])
