"""Numbers of a page against the cells they come from, and what a page says of what is missing."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
from matplotlib.image import imread

from warmprompt.errors import IntegrityError
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.significance import holm
from warmprompt.evidence.cells import save_cell
from warmprompt.evidence.describing import described
from warmprompt.evidence.jobs import missing_jobs, read_only, wanted_cells
from warmprompt.evidence.measured_table import read_cells
from warmprompt.evidence.pages import _choice_text, _percent, write_pages
from warmprompt.evidence.plan import ModelSpec, read_plan
from warmprompt.evidence.plots import plot_metrics_over_k
from warmprompt.evidence.statistics import (
    Gain,
    _corrected,
    baseline_candidates,
    chosen_at,
    further_gains,
    headline_gains,
    is_blend,
    mean_gains,
    rows,
)
from warmprompt.evidence.worker import do_job
from warmprompt.files import finite


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture
def plan(raw, root):
    """Return a plan of six models whose cells are there, but for the shuffled one's second seed."""
    raw["product"], raw["blend"] = "ease", "ease-ials"
    raw["lists"]["simple"] = ["toppop", "itemknn", "userknn", "ease-ials"]
    plan = read_plan(raw)
    for job in missing_jobs(plan, root / "cells"):
        if (job.spec.name, job.cells[0].seed) != ("shuffled", 1):
            do_job(job, root)
    return plan


@pytest.fixture
def measured(plan, root):
    return read_cells(plan, plan.tables[0], root / "cells")


def mean_of(measured, model, k, metric, seeds=(0, 1)):
    users: dict = {}
    for seed in seeds:
        for user, values in measured.per_user[model, seed, k].items():
            users.setdefault(user, []).append(values[METRICS.index(metric)])
    return np.mean([np.mean(values) for values in users.values()])


def test_rows_are_means_over_users(measured):
    for row in rows(measured, num_resamples=50):
        seeds = (0,) if row.model == "shuffled" else (0, 1)
        assert row.value == pytest.approx(mean_of(measured, row.model, row.k, row.metric, seeds))
        assert row.low <= row.value <= row.high


def test_validation_users_choose_the_best_baseline(plan, measured):
    gains = headline_gains(plan, measured, num_resamples=200)
    assert {one.role for one in gains} == {"best", "blend"}
    assert len(gains) == 2 * 3 * 3
    for one in gains:
        if one.role == "blend":
            assert one.other == "ease-ials"
            continue
        column = METRICS.index(one.metric)
        values = {
            model: np.mean(
                [
                    np.mean(
                        [users[column] for users in measured.cells[model, seed].validation[one.k].values()]
                    )
                    for seed in (0, 1)
                ]
            )
            for model in ("toppop", "itemknn", "userknn")
        }
        assert values[one.other] == max(values.values())


def test_product_rows_are_never_the_baseline(plan, measured):
    """The row compared, and any row without a baseline's name: the product adapted, linear or not adapted."""
    assert "ease" not in baseline_candidates(plan, measured)
    assert "itemknn" in baseline_candidates(plan, measured)
    linear = [
        replace(spec, baseline=None, linear=True) if spec.name == "itemknn" else spec
        for spec in measured.table.models
    ]
    table = replace(measured.table, models=tuple(linear))
    assert "itemknn" not in baseline_candidates(plan, replace(measured, table=table))


def test_gains_are_differences_of_means(plan, measured):
    for one in headline_gains(plan, measured, num_resamples=200):
        ours = mean_of(measured, "ease", one.k, one.metric)
        theirs = mean_of(measured, one.other, one.k, one.metric)
        assert one.value == pytest.approx(ours - theirs)
        assert one.percent == pytest.approx(100 * (ours - theirs) / theirs)
        assert one.low <= one.value <= one.high
        assert one.percent_low <= one.percent <= one.percent_high
        assert (one.low > 0) == (one.percent_low > 0)


def test_holm_counts_each_hypothesis_once(plan, measured):
    gains = headline_gains(plan, measured, num_resamples=200)
    # Without events every model here is popularity: nothing to test.
    same = [one for one in gains if one.k == 0]
    assert all((one.value, one.p_holm) == (0, 1) for one in same)
    distinct = {(one.k, one.metric, one.other_value, one.value, one.low, one.high): one for one in gains}
    rest = [one for one in distinct.values() if one.value or one.low or one.high]
    assert 6 < len(rest) < 12
    expected = holm(np.array([one.p for one in rest]))
    assert [one.p_holm for one in rest] == pytest.approx(list(expected))
    twice = _corrected([*rest, *(replace(one, role="other") for one in rest)])
    assert [one.p_holm for one in twice] == pytest.approx([*expected, *expected])


def test_smaller_k_chooses_without_validation_users(plan, measured):
    known = {position: value for position, value in measured.on_validation.items() if position[1] != 5}
    short = replace(measured, on_validation=known)
    assert [chosen_at(plan, measured, k) for k in (0, 2, 5)] == [0, 2, 5]
    assert [chosen_at(plan, short, k) for k in (0, 2, 5)] == [0, 2, 2]
    best = {
        (one.k, one.metric): one.other
        for one in headline_gains(plan, short, num_resamples=20)
        if one.role == "best"
    }
    assert all(best[5, metric] == best[2, metric] for metric in METRICS)
    empty = replace(measured, on_validation={})
    assert {one.role for one in headline_gains(plan, empty, num_resamples=20)} == {"blend"}


def test_comparisons_use_the_common_seeds(plan, measured):
    gains = further_gains(plan, measured, num_resamples=200)
    assert {(one.other, one.seeds) for one in gains} == {("shuffled", (0,))}
    at_five = {one.metric: one for one in gains if one.k == 5}
    # Planted tastes: another user's events mislead.
    assert at_five["NDCG@10"].low > 0
    nothing = [one for one in gains if one.k == 0]
    assert all(one.value == 0 and one.p == 1 for one in nothing)


def test_mean_gain_averages_ndcg_over_k(plan, measured):
    gains = headline_gains(plan, measured, num_resamples=50)
    # Of this table's K, 0 does not count, 2 is none of 1, 3, 5, 10.
    (percent,) = [one.percent for one in gains if (one.role, one.metric, one.k) == ("best", "NDCG@10", 5)]
    (best, blend) = mean_gains(plan, measured, gains, num_resamples=200)
    assert (best.role, best.ks, blend.role) == ("best", (5,), "blend")
    assert best.percent == pytest.approx(percent)


def test_repeated_baselines_count_once_as_tuned(plan, measured):
    again = ModelSpec(name="itemknn, searched", baseline="itemknn", settings={"shrinkage": 1.0})
    cells = measured.cells | {("itemknn, searched", seed): measured.cells["itemknn", seed] for seed in (0, 1)}
    table = replace(measured.table, models=(*measured.table.models, again))
    assert baseline_candidates(plan, replace(measured, table=table, cells=cells)) == baseline_candidates(
        plan, measured
    )
    assert "among toppop, itemknn, userknn" in _choice_text(plan, measured)
    bare = replace(measured.table, models=tuple(s for s in measured.table.models if s.name == "ease-ials"))
    assert _choice_text(plan, replace(measured, table=bare)) == ""
    alone = replace(table, models=tuple(spec for spec in table.models if spec.name != "itemknn"))
    found = baseline_candidates(plan, replace(measured, table=alone, cells=cells))
    assert "itemknn, searched" in found


def test_mean_gain_of_one_k_keeps_its_interval(plan, measured):
    gains = headline_gains(plan, measured, num_resamples=4000)
    (one,) = [one for one in gains if (one.role, one.metric, one.k) == ("best", "NDCG@10", 5)]
    (best, _) = mean_gains(plan, measured, gains, num_resamples=4000)
    assert best.low < best.percent < best.high
    width = one.percent_high - one.percent_low
    assert (best.low, best.high) == pytest.approx((one.percent_low, one.percent_high), abs=0.1 * width)


def test_infinite_gains_are_stored_as_null(plan, measured):
    (one, *_) = headline_gains(plan, measured, num_resamples=50)
    infinite = replace(one, percent=float("inf"), percent_high=float("inf"))
    kept = json.loads(json.dumps(finite(asdict(infinite)), allow_nan=False))
    assert kept["percent"] is None
    assert mean_gains(plan, measured, [replace(infinite, k=1, metric="NDCG@10")]) == ()


def test_pages_show_models_gaps_and_commands(plan, root, tmp_path):
    lines = write_pages(plan, root, tmp_path)
    page = (tmp_path / "planted-random.md").read_text()
    assert lines == [f"wrote {tmp_path}/planted-random.md: 11 cells, 1 missing"]
    assert "**Not measured yet:** shuffled: seed 1" in page
    assert "| shuffled (seed 0) |" in page
    for words in ("## NDCG@10", "## Cost", "## Settings", "## Counts", "num_neighbours", "make evidence"):
        assert words in page
    for picture in ("", "-gain", "-time"):
        image = (tmp_path / f"planted-random{picture}.png").read_bytes()
        assert image.startswith(b"\x89PNG")
        assert f"(planted-random{picture}.png)" in page
    kept = json.loads((tmp_path / "planted-random.json").read_text())
    assert {row["model"] for row in kept["rows"]} == {
        "toppop", "itemknn", "userknn", "ease-ials", "ease", "shuffled"
    }  # fmt: skip
    assert "[planted-random](planted-random.md)" in (tmp_path / "index.md").read_text()


def test_page_list_names_rows_with_changed_settings(raw, plan, root, tmp_path):
    write_pages(plan, root, tmp_path)
    assert "settings: " not in (tmp_path / "index.md").read_text()
    raw["models"].append({"name": "itemknn", "baseline": "itemknn", "settings": {"shrinkage": 99.0}})
    raw["tables"][0]["models"] = ["toppop", "itemknn", "userknn", "ease", "ials", "shuffled"]
    (line,) = write_pages(read_plan(raw), root / "nothing", tmp_path)
    assert line.startswith("no page")
    listing = (tmp_path / "index.md").read_text()
    assert "cells missing; other settings: `itemknn`; new: `ials`; gone: `ease-ials` |" in listing


def test_pages_of_more_cells_are_kept(plan, root, tmp_path):
    write_pages(plan, root, tmp_path)
    before = (tmp_path / "planted-random.md").read_bytes()
    shutil.copytree(root, tmp_path / "less")
    ((_, _, wanted),) = wanted_cells(plan, read_only(["seed=0", "model=ease"]))
    wanted.file(tmp_path / "less" / "cells").unlink()
    (line,) = write_pages(plan, tmp_path / "less", tmp_path)
    assert line.startswith("kept ")
    assert "made of 11 cells, here are 10" in line
    assert (tmp_path / "planted-random.md").read_bytes() == before
    (line,) = write_pages(plan, tmp_path / "less", tmp_path, replace_fuller=True)
    assert "10 cells, 2 missing" in line


def test_pages_without_product_or_cells(raw, plan, root, tmp_path):
    raw["product"] = "ials"
    raw["tables"].append({**raw["tables"][0], "protocol": "next"})
    lines = write_pages(read_plan(raw), root, tmp_path)
    assert lines[1] == "no page planted-next: all 12 cells are missing"
    page = (tmp_path / "planted-random.md").read_text()
    assert "no cell here yet" in page
    assert "(planted-random-gain.png)" not in page
    assert "| planted-next | not measured yet |" in (tmp_path / "index.md").read_text()


def test_a_table_may_compare_another_row(raw, plan, root, tmp_path):
    raw["tables"][0]["product"] = "itemknn"
    write_pages(read_plan(raw), root, tmp_path)
    kept = json.loads((tmp_path / "planted-random.json").read_text())
    mean = {
        (row["model"], row["k"], row["metric"]): row["value"] for row in kept["rows"] if row["seed"] is None
    }
    assert kept["headline"]
    for gain in kept["headline"]:
        assert gain["product_value"] == pytest.approx(mean["itemknn", gain["k"], gain["metric"]], rel=1e-12)
    assert "## itemknn against the best baseline" in (tmp_path / "planted-random.md").read_text()


def test_models_of_a_seed_share_users(plan, root, tmp_path):
    shutil.copytree(root, tmp_path / "copy")
    measured = read_cells(plan, plan.tables[0], tmp_path / "copy" / "cells")
    ((_, _, wanted),) = wanted_cells(plan, read_only(["seed=0", "model=ease"]))
    other = replace(measured.cells["ease", 0], users_hash="other")
    save_cell(tmp_path / "copy" / "cells", wanted, other)
    with pytest.raises(IntegrityError, match="toppop and ease, seed 0"):
        read_cells(plan, plan.tables[0], tmp_path / "copy" / "cells")


def test_settings_are_described_in_words():
    blend = {"label": "blend", "num_draws": 60, "members": {"ease": {"l2": 15000.0}, "toppop": {}}}
    assert described({"baseline": "blend", "settings": blend}) == "num_draws 60, ease (l2 15000) + toppop"
    product = {"product": {"learner": {"name": "maml"}, "train": {"seed": 3}}, "adapted": False}
    assert described(product | {"shuffle": "supports"}) == (
        "learner.name maml; prompts left at the learned start; supports of another user"
    )


def test_blends_are_no_single_baseline(raw):
    raw["blend"], raw["tables"][0]["models"] = (
        "blend",
        ["ease", "ease-ials", "blend", "blend-tfidf"],
    )
    plan = read_plan(raw)
    blends = [spec.name for spec in plan.tables[0].models if is_blend(plan, spec)]
    assert blends == ["blend", "blend-tfidf"]


def test_one_k_is_drawn_by_model(raw, tmp_path):
    raw["product"], raw["blend"] = "ease", "toppop"
    raw["tables"][0] |= {"models": ["ease", "toppop"], "seeds": [0]}
    pictures = []
    for ks in ([1], [1, 3]):
        raw["tables"][0]["ks"] = ks
        plan = read_plan(raw)
        for job in missing_jobs(plan, tmp_path / "cells"):
            do_job(job, tmp_path)
        one = read_cells(plan, plan.tables[0], tmp_path / "cells")
        plot_metrics_over_k(one, rows(one, num_resamples=50), "ease", tmp_path / "one.png")
        pictures.append(imread(tmp_path / "one.png"))
    # Two lines of models need less height than an axis of values.
    assert pictures[0].shape[0] < 0.6 * pictures[1].shape[0]
    assert pictures[0].std() > 0


def test_gains_over_near_zero_are_dashes():
    gain = Gain(
        role="blend", other="blend", k=1, metric="MRR", product_value=0.25, other_value=0.1, value=0.15,
        low=0.1, high=0.2, percent=150.0, percent_low=140.0, percent_high=160.0, p=0.01, p_holm=0.02,
        num_users=9, seeds=(0,),
    )  # fmt: skip
    assert _percent(gain) == "+150.0 %"
    assert _percent(gain, interval=True) == "+150.0 [+140.0, +160.0]"
    for nothing in (0.0, 0.004):
        assert _percent(replace(gain, other_value=nothing, percent=float("inf")), interval=True) == "-"
