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
from warmprompt.evidence.gathering import (
    Gain,
    _corrected,
    candidates,
    chosen_at,
    further,
    gather,
    headline,
    is_blend,
    mean_gains,
    rows,
)
from warmprompt.evidence.jobs import missing_jobs, read_only, wanted_cells
from warmprompt.evidence.pages import _choice_text, _percent, write_pages
from warmprompt.evidence.plan import ModelSpec, read_plan
from warmprompt.evidence.plots import plot_metrics_over_k
from warmprompt.evidence.work import do_job
from warmprompt.files import finite


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture
def plan(told, root):
    """Return a plan of six models whose cells are there, but for the shuffled one's second seed."""
    told["product"], told["blend"] = "ease", "ease-ials"
    told["lists"]["simple"] = ["toppop", "itemknn", "userknn", "ease-ials"]
    plan = read_plan(told)
    for job in missing_jobs(plan, root / "cells"):
        if (job.spec.name, job.cells[0].seed) != ("shuffled", 1):
            do_job(job, root)
    return plan


@pytest.fixture
def gathered(plan, root):
    return gather(plan, plan.tables[0], root / "cells")


def mean_of(gathered, model, k, metric, seeds=(0, 1)):
    users: dict = {}
    for seed in seeds:
        for user, values in gathered.per_user[model, seed, k].items():
            users.setdefault(user, []).append(values[METRICS.index(metric)])
    return np.mean([np.mean(values) for values in users.values()])


def test_rows_are_means_over_users_with_seeds_averaged_within_the_user(gathered):
    for row in rows(gathered, num_resamples=50):
        seeds = (0,) if row.model == "shuffled" else (0, 1)
        assert row.value == pytest.approx(mean_of(gathered, row.model, row.k, row.metric, seeds))
        assert row.low <= row.value <= row.high


def test_the_best_baseline_is_the_best_on_validation_users_and_not_the_blend(plan, gathered):
    gains = headline(plan, gathered, num_resamples=200)
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
                        [users[column] for users in gathered.cells[model, seed].validation[one.k].values()]
                    )
                    for seed in (0, 1)
                ]
            )
            for model in ("toppop", "itemknn", "userknn")
        }
        assert values[one.other] == max(values.values())


def test_no_row_of_the_product_is_the_best_baseline(plan, gathered):
    """The row compared, and any row without a baseline's name: the product adapted, linear or not adapted."""
    assert "ease" not in candidates(plan, gathered)
    assert "itemknn" in candidates(plan, gathered)
    linear = [
        replace(spec, baseline=None, linear=True) if spec.name == "itemknn" else spec
        for spec in gathered.table.models
    ]
    table = replace(gathered.table, models=tuple(linear))
    assert "itemknn" not in candidates(plan, replace(gathered, table=table))


def test_a_gain_is_the_difference_of_the_means_and_its_percentage(plan, gathered):
    for one in headline(plan, gathered, num_resamples=200):
        ours = mean_of(gathered, "ease", one.k, one.metric)
        theirs = mean_of(gathered, one.other, one.k, one.metric)
        assert one.value == pytest.approx(ours - theirs)
        assert one.percent == pytest.approx(100 * (ours - theirs) / theirs)
        assert one.low <= one.value <= one.high
        assert one.percent_low <= one.percent <= one.percent_high
        assert (one.low > 0) == (one.percent_low > 0)


def test_holm_corrects_over_all_hypotheses_of_the_headline_each_once(plan, gathered):
    gains = headline(plan, gathered, num_resamples=200)
    # Without events every model here is popularity: nothing to test.
    same = [one for one in gains if one.k == 0]
    assert all((one.value, one.p_holm) == (0, 1) for one in same)
    told = {(one.k, one.metric, one.other_value, one.value, one.low, one.high): one for one in gains}
    rest = [one for one in told.values() if one.value or one.low or one.high]
    assert 6 < len(rest) < 12
    expected = holm(np.array([one.p for one in rest]))
    assert [one.p_holm for one in rest] == pytest.approx(list(expected))
    twice = _corrected([*rest, *(replace(one, role="other") for one in rest)])
    assert [one.p_holm for one in twice] == pytest.approx([*expected, *expected])


def test_where_validation_users_do_not_carry_a_k_the_next_smaller_chooses(plan, gathered):
    known = {place: value for place, value in gathered.on_validation.items() if place[1] != 5}
    short = replace(gathered, on_validation=known)
    assert [chosen_at(plan, gathered, k) for k in (0, 2, 5)] == [0, 2, 5]
    assert [chosen_at(plan, short, k) for k in (0, 2, 5)] == [0, 2, 2]
    best = {
        (one.k, one.metric): one.other
        for one in headline(plan, short, num_resamples=20)
        if one.role == "best"
    }
    assert all(best[5, metric] == best[2, metric] for metric in METRICS)
    empty = replace(gathered, on_validation={})
    assert {one.role for one in headline(plan, empty, num_resamples=20)} == {"blend"}


def test_rows_with_other_seeds_are_compared_on_the_seeds_in_common(plan, gathered):
    gains = further(plan, gathered, num_resamples=200)
    assert {(one.other, one.seeds) for one in gains} == {("shuffled", (0,))}
    at_five = {one.metric: one for one in gains if one.k == 5}
    # Planted tastes: another user's events mislead.
    assert at_five["NDCG@10"].low > 0
    nothing = [one for one in gains if one.k == 0]
    assert all(one.value == 0 and one.p == 1 for one in nothing)


def test_the_mean_gain_is_that_of_ndcg_over_one_to_ten(plan, gathered):
    gains = headline(plan, gathered, num_resamples=50)
    # Of this table's K, 0 does not count, 2 is none of 1, 3, 5, 10.
    (percent,) = [one.percent for one in gains if (one.role, one.metric, one.k) == ("best", "NDCG@10", 5)]
    (best, blend) = mean_gains(plan, gathered, gains, num_resamples=200)
    assert (best.role, best.ks, blend.role) == ("best", (5,), "blend")
    assert best.percent == pytest.approx(percent)


def test_a_baseline_shown_again_with_other_settings_is_chosen_as_tuned_or_not_at_all(plan, gathered):
    again = ModelSpec(name="itemknn, searched", baseline="itemknn", settings={"shrinkage": 1.0})
    cells = gathered.cells | {("itemknn, searched", seed): gathered.cells["itemknn", seed] for seed in (0, 1)}
    table = replace(gathered.table, models=(*gathered.table.models, again))
    assert candidates(plan, replace(gathered, table=table, cells=cells)) == candidates(plan, gathered)
    assert "among toppop, itemknn, userknn" in _choice_text(plan, gathered)
    bare = replace(gathered.table, models=tuple(s for s in gathered.table.models if s.name == "ease-ials"))
    assert _choice_text(plan, replace(gathered, table=bare)) == ""
    alone = replace(table, models=tuple(spec for spec in table.models if spec.name != "itemknn"))
    found = candidates(plan, replace(gathered, table=alone, cells=cells))
    assert "itemknn, searched" in found


def test_the_interval_of_the_mean_gain_is_that_of_a_single_k_where_there_is_but_one(plan, gathered):
    gains = headline(plan, gathered, num_resamples=4000)
    (one,) = [one for one in gains if (one.role, one.metric, one.k) == ("best", "NDCG@10", 5)]
    (best, _) = mean_gains(plan, gathered, gains, num_resamples=4000)
    assert best.low < best.percent < best.high
    width = one.percent_high - one.percent_low
    assert (best.low, best.high) == pytest.approx((one.percent_low, one.percent_high), abs=0.1 * width)


def test_a_gain_over_nothing_is_infinite_and_kept_as_null(plan, gathered):
    (one, *_) = headline(plan, gathered, num_resamples=50)
    infinite = replace(one, percent=float("inf"), percent_high=float("inf"))
    kept = json.loads(json.dumps(finite(asdict(infinite)), allow_nan=False))
    assert kept["percent"] is None
    assert mean_gains(plan, gathered, [replace(infinite, k=1, metric="NDCG@10")]) == ()


def test_a_page_shows_every_model_what_is_missing_and_how_to_rerun_it(plan, root, tmp_path):
    told = write_pages(plan, root, tmp_path)
    page = (tmp_path / "planted-random.md").read_text()
    assert told == [f"wrote {tmp_path}/planted-random.md: 11 cells, 1 missing"]
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


def test_the_list_of_pages_names_the_rows_that_the_plan_would_now_measure_otherwise(
    told, plan, root, tmp_path
):
    write_pages(plan, root, tmp_path)
    assert "settings: " not in (tmp_path / "index.md").read_text()
    told["models"].append({"name": "itemknn", "baseline": "itemknn", "settings": {"shrinkage": 99.0}})
    told["tables"][0]["models"] = ["toppop", "itemknn", "userknn", "ease", "ials", "shuffled"]
    (line,) = write_pages(read_plan(told), root / "nothing", tmp_path)
    assert line.startswith("no page")
    listing = (tmp_path / "index.md").read_text()
    assert "cells missing; other settings: `itemknn`; new: `ials`; gone: `ease-ials` |" in listing


def test_a_page_made_of_more_cells_is_kept_unless_told_otherwise(plan, root, tmp_path):
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


def test_a_page_without_the_product_and_one_without_cells(told, plan, root, tmp_path):
    told["product"] = "ials"
    told["tables"].append({**told["tables"][0], "protocol": "next"})
    lines = write_pages(read_plan(told), root, tmp_path)
    assert lines[1] == "no page planted-next: all 12 cells are missing"
    page = (tmp_path / "planted-random.md").read_text()
    assert "no cell here yet" in page
    assert "(planted-random-gain.png)" not in page
    assert "| planted-next | not measured yet |" in (tmp_path / "index.md").read_text()


def test_a_table_may_compare_a_row_of_its_own(told, plan, root, tmp_path):
    told["tables"][0]["product"] = "itemknn"
    write_pages(read_plan(told), root, tmp_path)
    kept = json.loads((tmp_path / "planted-random.json").read_text())
    mean = {
        (row["model"], row["k"], row["metric"]): row["value"] for row in kept["rows"] if row["seed"] is None
    }
    assert kept["headline"]
    for gain in kept["headline"]:
        assert gain["product_value"] == pytest.approx(mean["itemknn", gain["k"], gain["metric"]], rel=1e-12)
    assert "## itemknn against the best baseline" in (tmp_path / "planted-random.md").read_text()


def test_models_of_one_seed_must_have_met_the_same_users(plan, root, tmp_path):
    shutil.copytree(root, tmp_path / "copy")
    gathered = gather(plan, plan.tables[0], tmp_path / "copy" / "cells")
    ((_, _, wanted),) = wanted_cells(plan, read_only(["seed=0", "model=ease"]))
    other = replace(gathered.cells["ease", 0], users_hash="other")
    save_cell(tmp_path / "copy" / "cells", wanted, other)
    with pytest.raises(IntegrityError, match="toppop and ease, seed 0"):
        gather(plan, plan.tables[0], tmp_path / "copy" / "cells")


def test_settings_are_told_in_words():
    blend = {"label": "blend", "num_draws": 60, "members": {"ease": {"l2": 15000.0}, "toppop": {}}}
    assert described({"baseline": "blend", "settings": blend}) == "num_draws 60, ease (l2 15000) + toppop"
    product = {"product": {"learner": {"name": "maml"}, "train": {"seed": 3}}, "adapted": False}
    assert described(product | {"shuffle": "supports"}) == (
        "learner.name maml; prompts left at the learned start; supports of another user"
    )


def test_a_blend_of_many_is_not_the_best_single_baseline(told):
    told["blend"], told["tables"][0]["models"] = "blend", ["ease", "ease-ials", "blend", "blend-tfidf"]
    plan = read_plan(told)
    blends = [spec.name for spec in plan.tables[0].models if is_blend(plan, spec)]
    assert blends == ["blend", "blend-tfidf"]


def test_a_table_of_one_k_is_drawn_as_a_line_per_model(told, tmp_path):
    told["product"], told["blend"] = "ease", "toppop"
    told["tables"][0] |= {"models": ["ease", "toppop"], "seeds": [0]}
    pictures = []
    for ks in ([1], [1, 3]):
        told["tables"][0]["ks"] = ks
        plan = read_plan(told)
        for job in missing_jobs(plan, tmp_path / "cells"):
            do_job(job, tmp_path)
        one = gather(plan, plan.tables[0], tmp_path / "cells")
        plot_metrics_over_k(one, rows(one, num_resamples=50), "ease", tmp_path / "one.png")
        pictures.append(imread(tmp_path / "one.png"))
    # Two lines of models need less height than an axis of values.
    assert pictures[0].shape[0] < 0.6 * pictures[1].shape[0]
    assert pictures[0].std() > 0


def test_a_gain_over_next_to_nothing_is_a_dash():
    gain = Gain(
        role="blend", other="blend", k=1, metric="MRR", product_value=0.25, other_value=0.1, value=0.15,
        low=0.1, high=0.2, percent=150.0, percent_low=140.0, percent_high=160.0, p=0.01, p_holm=0.02,
        num_users=9, seeds=(0,),
    )  # fmt: skip
    assert _percent(gain) == "+150.0 %"
    assert _percent(gain, interval=True) == "+150.0 [+140.0, +160.0]"
    for nothing in (0.0, 0.004):
        assert _percent(replace(gain, other_value=nothing, percent=float("inf")), interval=True) == "-"
