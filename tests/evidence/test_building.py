"""Cells: measured once, by what decides them, and the same as an evaluation in one go measures."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.errors import IntegrityError, MismatchError
from warmprompt.evaluation.protocols import ProtocolSettings
from warmprompt.evaluation.runner import EvaluationPlan, evaluate
from warmprompt.evidence.cells import is_there, load_cell
from warmprompt.evidence.jobs import (
    EvaluationJob,
    expected_s,
    job_from_json,
    job_to_json,
    measured_times,
    missing_jobs,
    read_only,
    training_view,
    wanted_cells,
)
from warmprompt.evidence.models import controlled
from warmprompt.evidence.plan import read_plan
from warmprompt.evidence.scheduler import Pace, last_line, run_jobs, start_process
from warmprompt.evidence.worker import do_job
from warmprompt.types import Support

PACE = Pace(jobs=1, limit_minutes=None, times={})


class Here:
    """A job done in this process, as `start` gives one."""

    def __init__(self, job, log, root):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("begun\n")
        do_job(job, root)

    def poll(self):
        return 0

    def terminate(self):
        pass

    def wait(self):
        return 0


@pytest.fixture
def build(tmp_path):
    """Return a function that does the missing jobs in this process and returns the outcome and the steps."""

    def run(plan, *only, pace=PACE):
        steps = []
        jobs = missing_jobs(plan, tmp_path / "cells", read_only(only))
        outcome = run_jobs(
            jobs, tmp_path, pace, start=lambda job, log: Here(job, log, tmp_path), progress=steps.append
        )
        return outcome, steps

    return run


def test_second_build_measures_missing_cells_only(plan, build, tmp_path):
    outcome, steps = build(plan, "seed=0", "model=toppop,ease")
    assert (outcome.done, outcome.left, outcome.failed) == (2, 0, ())
    assert [step.done for step in steps] == [1, 2]
    first = sorted((tmp_path / "cells").rglob("*.json"))
    stamps = [file.stat().st_mtime_ns for file in first]
    outcome, _ = build(plan)
    assert outcome.done == 2 * 4 - 2
    assert [file.stat().st_mtime_ns for file in first] == stamps
    assert missing_jobs(plan, tmp_path / "cells") == []


def test_cells_equal_a_single_evaluation(plan, build, tmp_path, data_name):
    build(plan, "model=ease,itemknn")
    data = open_dataset(ensure_dataset(data_name))
    direct = evaluate(
        {"ease": baseline("ease"), "itemknn": baseline("itemknn")},
        data,
        ProtocolSettings(ks=(0, 2, 5)),
        EvaluationPlan(seeds=(0, 1), num_resamples=10, num_timed=1),
    )
    for _, spec, wanted in wanted_cells(plan, read_only(["model=ease,itemknn"])):
        cell = load_cell(tmp_path / "cells", wanted)
        for k, users in cell.tested.items():
            expected = direct.per_user[spec.name, wanted.seed, k]
            assert list(users) == list(expected)
            np.testing.assert_array_equal(list(users.values()), list(expected.values()))
        (counts,) = [one for one in direct.counts if one.seed == wanted.seed]
        assert cell.counts == counts
        assert cell.cost.num_parameters >= 0
        assert cell.cost.peak_memory_mb > 0
        assert not set(cell.tested[0]) & set(cell.validation[0])


def test_keys_change_with_what_decides_numbers(raw):
    def keys(**change):
        changed = {**raw, "tables": [{**raw["tables"][0], **change}]}
        return {wanted.key for _, _, wanted in wanted_cells(read_plan(changed))}

    plain = keys()
    # The shuffled one differs from ease by its shuffle, seeds differ by their number.
    assert len(plain) == 2 * 4
    assert keys() == plain
    assert not keys(protocol="next") & plain
    assert not keys(ks=[0]) & plain
    assert not keys(attributes=True) & plain
    assert not keys(max_training_users=50) & plain
    raw["models"][0]["settings"] = {"l2": 3.0}
    assert len(keys() & plain) == 6


def test_equal_training_data_shares_a_fit(raw, tmp_path):
    table = raw["tables"][0]
    raw["tables"] = [{**table, "protocol": name} for name in ("random", "next", "temporal")]
    raw["tables"] += [
        {**table, "protocol": "cold-item", "reading": reading} for reading in ("new-only", "mixed")
    ]
    jobs = missing_jobs(read_plan(raw), tmp_path, read_only(["seed=0", "model=ease"]))
    assert [(job.view, len(job.cells)) for job in jobs] == [("users", 2), ("temporal", 1), ("cold-item", 2)]
    assert training_view(ProtocolSettings(max_training_users=7)) == "users-7"


def test_a_cell_of_two_tables_is_measured_once(raw, tmp_path):
    raw["tables"].append({**raw["tables"][0], "name": "again"})
    (job,) = missing_jobs(read_plan(raw), tmp_path, read_only(["seed=0", "model=ease"]))
    assert len(job.cells) == 1


def test_a_job_travels_as_json(plan, tmp_path):
    for job in missing_jobs(plan, tmp_path):
        again = job_from_json(json.loads(json.dumps(job_to_json(job))))
        assert again == job
        assert [one.key for one in again.cells] == [one.key for one in job.cells]


def test_a_process_of_its_own_does_a_job(plan, tmp_path):
    jobs = missing_jobs(plan, tmp_path / "cells", read_only(["seed=0", "model=toppop"]))
    outcome = run_jobs(
        jobs,
        tmp_path,
        PACE,
        start=lambda job, log: start_process(job, log, root=tmp_path, threads=1),
        progress=lambda _: None,
    )
    assert (outcome.done, outcome.failed) == (1, ())
    assert load_cell(tmp_path / "cells", jobs[0].cells[0]).threads == 1


def test_failed_jobs_are_reported_others_continue(plan, tmp_path):
    good, bad = missing_jobs(plan, tmp_path / "cells", read_only(["seed=0", "model=toppop,itemknn"]))
    broken = EvaluationJob(
        spec=bad.spec, view=bad.view, cells=tuple(replace(one, content_hash="x") for one in bad.cells)
    )

    def start(job, log):
        if job is good:
            return Here(job, log, tmp_path)
        return start_process(job, log, root=tmp_path, threads=1)

    outcome = run_jobs([broken, good], tmp_path, PACE, start=start, progress=lambda _: None)
    assert (outcome.done, outcome.left) == (1, 1)
    ((name, why, log),) = outcome.failed
    assert name == "planted, seed 0, itemknn"
    assert "Build again; it has changed" in why
    assert last_line(log) == why
    with pytest.raises(MismatchError, match="data set"):
        do_job(broken, tmp_path)


def test_no_job_starts_late_or_shares_a_fit(raw, tmp_path):
    running = []

    class Slow:
        def __init__(self, job):
            assert job.fit not in {one.job.fit for one in running}
            self.job, self.until = job, time.monotonic() + 0.5
            running.append(self)

        def poll(self):
            if time.monotonic() < self.until:
                return None
            if self in running:
                running.remove(self)
            return 0

        def terminate(self):
            pass

        def wait(self):
            return 0

    raw["models"] = [{"name": "plain", "adapted": False}, {"name": "ours"}]
    raw["tables"][0] |= {"models": ["ours", "plain", "ease"], "seeds": [0], "compare": []}
    jobs = missing_jobs(read_plan(raw), tmp_path / "cells")
    assert jobs[0].fit == jobs[1].fit != jobs[2].fit
    most = []
    pace = Pace(jobs=3, limit_minutes=None, times={})
    run_jobs(
        jobs,
        tmp_path,
        pace,
        start=lambda job, _: Slow(job),
        progress=lambda step: most.append(len(step.running)),
    )
    assert max(most) == 2
    pace = Pace(jobs=1, limit_minutes=0.0, times={})
    outcome = run_jobs(jobs, tmp_path, pace, start=lambda job, _: Slow(job), progress=lambda _: None)
    assert (outcome.done, outcome.left) == (0, 3)


def test_what_has_been_timed_tells_how_long_the_rest_takes(plan, build, tmp_path):
    build(plan, "seed=0", "model=ease")
    times = measured_times(plan, tmp_path / "cells")
    jobs = missing_jobs(plan, tmp_path / "cells", read_only(["seed=1"]))
    known = {job.spec.name: expected_s(job, times) for job in jobs}
    assert known["ease"] == pytest.approx(sum(times["planted", "ease"]))
    assert known["toppop"] is None


def test_damage_is_reported(plan, build, tmp_path):
    build(plan, "seed=0", "model=ease")
    ((_, _, wanted),) = wanted_cells(plan, read_only(["seed=0", "model=ease"]))
    file = wanted.file(tmp_path / "cells")
    file.with_suffix(".parquet").write_bytes(b"PAR1")
    with pytest.raises(IntegrityError, match="Delete it"):
        load_cell(tmp_path / "cells", wanted)
    file.unlink()
    assert not is_there(tmp_path / "cells", wanted)


def test_product_rows_share_one_training(raw, tiny_product, build, tmp_path):
    # Experts of events may hide what the user vector adds after two epochs.
    light = ("experts.use=",)
    raw["settings"] = {"*": (*tiny_product, *light)}
    raw["models"] = [
        {"name": "ours"},
        {"name": "ours, not adapted", "adapted": False},
        {"name": "ours, linear", "linear": True},
        {"name": "ours, no ratings", "without": "ratings"},
    ]
    rows = [entry["name"] for entry in raw["models"]]
    raw["tables"][0] |= {"models": rows, "seeds": [1], "compare": []}
    outcome, _ = build(read_plan(raw))
    assert (outcome.done, outcome.failed) == (4, ())
    # Without ratings it is trained anew; the others share one training.
    runs = list((tmp_path / "fits" / "planted").iterdir())
    assert len(runs) == 2
    assert all((run / "manifest.json").is_file() for run in runs)
    cells = {
        spec.name: load_cell(tmp_path / "cells", wanted) for _, spec, wanted in wanted_cells(read_plan(raw))
    }
    ours, plain, linear, _ = (cells[name] for name in rows)
    # The second one opens what the first has trained, and is charged for it all the same.
    assert ours.cost.fit_s == plain.cost.fit_s > 0
    assert ours.users_hash == plain.users_hash
    assert any(
        (one != other).any()
        for one, other in zip(ours.tested[5].values(), plain.tested[5].values(), strict=True)
    )
    assert linear.users_hash == ours.users_hash
    assert any(
        (one != other).any()
        for one, other in zip(linear.tested[5].values(), plain.tested[5].values(), strict=True)
    )


def test_new_item_features_share_one_training(raw, tiny_product, build, tmp_path):
    raw["settings"] = {"*": tiny_product}
    raw["models"] = [{"name": "ours"}, {"name": "by random numbers", "new_items": "random"}]
    rows = [entry["name"] for entry in raw["models"]]
    raw["tables"] = [
        raw["tables"][0] | {"models": rows, "seeds": [1], "compare": [], "ks": [5], "protocol": "cold-item",
                             "reading": reading}
        for reading in ("new-only", "mixed")
    ]  # fmt: skip
    outcome, _ = build(read_plan(raw))
    assert (outcome.done, outcome.failed) == (4, ())
    assert len(list((tmp_path / "fits" / "planted").iterdir())) == 1
    found = {
        (spec.name, table.protocol.reading): load_cell(tmp_path / "cells", wanted)
        for table, spec, wanted in wanted_cells(read_plan(raw))
    }
    ours, other = (found[name, "new-only"].tested[5] for name in rows)
    assert list(ours) == list(other)
    assert any((ours[user] != other[user]).any() for user in ours)


def test_ratings_that_are_hidden_are_hidden_from_training_and_supports(data_name):
    planted = open_dataset(ensure_dataset(data_name))

    class Echo:
        name, num_parameters, seen = "echo", 0, None

        def fit(self, training, validation, *, seed):
            self.seen = (training.interactions.ratings, validation.interactions.ratings)
            return self

        def score(self, supports):
            return np.array([one.ratings_K for one in supports])

    fitted = controlled(Echo(), "ratings").fit(planted, planted, seed=0)
    assert planted.interactions.ratings is not None
    assert fitted.inner.seen == (None, None)
    one = Support(user=0, items_K=np.zeros(2, dtype=np.int32), ratings_K=np.ones(2, dtype=np.float32))
    assert np.isnan(fitted.score([one])).all()


def test_hidden_texts_are_hidden_from_supports_only(raw, data_name, tmp_path):
    class Echo:
        name, num_parameters = "echo", 0

        def score(self, supports):
            return np.array([[len(one.attributes), one.about is None, len(one.items_K)] for one in supports])

    one = Support(
        user=0,
        items_K=np.zeros(2, dtype=np.int32),
        ratings_K=np.ones(2, dtype=np.float32),
        attributes={"age": "25"},
        about="I like dramas.",
    )
    assert controlled(Echo(), "text").score([one]).tolist() == [[0, 1, 2]]
    raw["models"] = [{"name": "ours"}, {"name": "ours, no text", "without": "text"}]
    raw["tables"][0] |= {"models": ["ours", "ours, no text"], "seeds": [0], "compare": []}
    with_text, without = missing_jobs(read_plan(raw), tmp_path)
    assert with_text.cells[0].key != without.cells[0].key
    assert with_text.fit == without.fit


def test_a_shuffled_support_is_another_users():
    class Echo:
        name, num_parameters = "echo", 0

        def score(self, supports):
            return np.array([[one.items_K[0], float(one.attributes["n"])] for one in supports])

    supports = [
        Support(
            user=n,
            items_K=np.array([n], dtype=np.int32),
            ratings_K=np.zeros(1, dtype=np.float32),
            attributes={"n": str(n)},
        )
        for n in range(3)
    ]
    assert controlled(Echo(), "supports").score(supports).tolist() == [[1, 0], [2, 1], [0, 2]]
    assert controlled(Echo(), "attributes").score(supports).tolist() == [[0, 1], [1, 2], [2, 0]]
