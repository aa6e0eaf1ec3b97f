"""A run as a ranker and in tables: the same numbers as in use, trained on nobody it is tested on."""

import json
from dataclasses import replace

import numpy as np
import pytest

from warmprompt import Event, load
from warmprompt.assembly.evaluating import evaluate_run
from warmprompt.assembly.ranker import PromptRanker
from warmprompt.backbone.forward import count_forwards
from warmprompt.data.dataset import take_users
from warmprompt.data.splits import split_users
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError, MismatchError, UnknownNameError
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.runs.format import load_trained
from warmprompt.settings import EvaluateSettings
from warmprompt.training.run import train_run
from warmprompt.training.start import users_hash
from warmprompt.types import Ranker

pytestmark = pytest.mark.usefixtures("text_home")


@pytest.fixture(scope="module")
def data(planted_folder):
    return open_dataset(planted_folder[0])


@pytest.fixture(scope="module")
def run(trained_folder, tmp_path_factory):
    """Return a copy of the trained run that evaluation may train other seeds into."""
    import shutil

    return shutil.copytree(trained_folder, tmp_path_factory.mktemp("copy") / "run")


@pytest.fixture(scope="module")
def brief(tiny_settings, data, tmp_path_factory, text_home):
    """Return a ranker of a run that takes a fourth of the time to train anew for other users."""
    model = replace(tiny_settings.model, new_item_passes=0)
    settings = replace(tiny_settings, model=model, train=replace(tiny_settings.train, tangent_epochs=2))
    folder = tmp_path_factory.mktemp("brief") / "run"
    train_run(settings, folder)
    return PromptRanker(folder=folder, settings=settings, dataset=data)


@pytest.fixture(scope="module")
def ranker(run, tiny_settings, data):
    return PromptRanker(folder=run, settings=tiny_settings, dataset=data)


def task_of(data, seed, **changes):
    return build_task(data, ProtocolSettings(**({"ks": (0, 5)} | changes)), seed=seed)


def test_it_fulfils_the_protocol_and_wants_fitting_first(ranker, data):
    task = task_of(data, 0)
    assert isinstance(ranker.fit(task.training, task.validation, seed=0), Ranker)
    with pytest.raises(BadInputError, match="Call fit first"):
        ranker.score([])


def test_scores_are_those_of_the_model_in_use(ranker, run, data):
    task = task_of(data, 0)
    supports = [case.support for case in task.cases[5]][:3]
    scores_BV = ranker.fit(task.training, task.validation, seed=0).score(supports)
    model = load(run)
    for support, scores_V in zip(supports, scores_BV, strict=True):
        events = [
            Event(item=model.items[item], rating=float(rating))
            for item, rating in zip(support.items_K, support.ratings_K, strict=True)
        ]
        ranking = model.rank(model.adapt(events), 60)
        places = [model.items.index(item) for item in ranking.items]
        # A batch of three sums in another order than one user alone.
        assert scores_V[places] == pytest.approx(ranking.scores, abs=2e-3)


def test_attributes_are_read_and_events_ignored_when_not_adapted(ranker, data):
    task = task_of(data, 0, attributes=True)
    supports = [case.support for case in task.cases[5]][:4]
    plain = replace(ranker, adapted=False).fit(task.training, task.validation, seed=0)
    # Other experts score by events whether or not prompts adapt to them; here prompts alone are meant.
    counted = plain.engine.trained.experts.experts
    plain = replace(plain, engine=replace(plain.engine, mixture=plain.engine.mixture.without(*counted)))
    without_events = [replace(one, items_K=one.items_K[:0], ratings_K=one.ratings_K[:0]) for one in supports]
    np.testing.assert_allclose(plain.score(supports), plain.score(without_events), atol=1e-5)
    nothing = [replace(one, attributes={}) for one in without_events]
    assert np.abs(plain.score(supports) - plain.score(nothing)).max() > 1e-4


def test_batches_larger_than_a_pass_keep_their_order(ranker, data):
    task = task_of(data, 0)
    fitted = ranker.fit(task.training, task.validation, seed=0)
    supports = [case.support for case in task.cases[5]] * 4  # 24 users make 96 rows, two passes
    scores_BV = fitted.score(supports)
    np.testing.assert_allclose(scores_BV[:24], scores_BV[72:], atol=2e-3)
    assert fitted.score([]).shape == (0, 60)
    assert fitted.num_parameters == sum(v.numel() for v in load_trained(ranker.folder).params.values())


def test_another_seed_is_trained_on_its_own_users_and_kept(data, brief):
    run = brief.folder
    evaluate_run(run, EvaluateSettings(k=(1,), seeds=(0, 1), baselines=()))
    split = split_users(data.num_users, seed=1)
    views = take_users(data, split.train), take_users(data, split.validation)
    other = load_trained(run / "seed-1")
    assert other.manifest["identity"]["users"] == users_hash(*views)
    assert other.manifest["split_seed"] == 1
    assert load_trained(run).manifest["split_seed"] == 0
    before = (run / "seed-1" / "manifest.json").stat().st_mtime_ns
    brief.fit(*views, seed=1)
    assert (run / "seed-1" / "manifest.json").stat().st_mtime_ns == before


def test_a_protocol_with_other_training_events_gets_a_model_of_its_own(data, brief):
    task = task_of(data, 0, protocol="cold-item")
    updates = []
    fitted = replace(brief, progress=updates.append).fit(task.training, task.validation, seed=0)
    wanted = users_hash(task.training, task.validation)
    assert fitted.engine.trained.manifest["identity"]["users"] == wanted
    assert (brief.folder / f"seed-0-{wanted[:12]}" / "manifest.json").is_file()
    assert "no model has been trained on these users" in updates[0]
    # The new items are cold to it: they have no learned part.
    assert float(fitted.engine.trained.data.warm_V.sum()) == 60 - task.counts.num_new_items


def test_results_hold_both_rows_and_are_written_with_report_and_picture(run, tmp_path):
    out = tmp_path / "new" / "results.json"
    results = evaluate_run(run, EvaluateSettings(k=(0, 5), baselines=("toppop",)), out=out)
    models = {row.model for row in results.rows}
    assert models == {"warmprompt", "warmprompt, not adapted", "toppop"}
    values = {(r.model, r.k): r.value for r in results.rows if r.metric == "NDCG@10" and r.seed is None}
    assert values["warmprompt", 0] == values["warmprompt, not adapted", 0]
    assert values["warmprompt", 5] > values["warmprompt, not adapted", 5]
    assert {row.baseline for row in results.differences} == {"warmprompt, not adapted", "toppop"}
    assert {row.baseline for row in results.differences if row.best} == {"toppop"}
    assert {row.model for row in results.rows if row.is_product} == {"warmprompt", "warmprompt, not adapted"}
    trained_s = load_trained(run).manifest["train_s"]
    assert next(cost.fit_s for cost in results.costs if cost.model == "warmprompt") == trained_s
    assert json.loads(out.read_text())["rows"]
    report = out.with_name("report.md").read_text()
    assert "| warmprompt, not adapted |" in report
    assert "## Experts" in report
    assert "\nuser_vector " in report
    assert out.with_name("metrics.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.parent.iterdir()) == ["metrics.png", "report.md", "results.json"]


def test_a_row_of_exact_prompts_is_added_where_it_is_asked_for(run):
    results = evaluate_run(run, EvaluateSettings(k=(0, 5), baselines=(), exact=True))
    values = {(r.model, r.k): r.value for r in results.rows if r.metric == "NDCG@10" and r.seed is None}
    assert {model for model, _ in values} == {
        "warmprompt",
        "warmprompt, exact",
        "warmprompt, not adapted",
    }
    assert values["warmprompt, exact", 0] == pytest.approx(values["warmprompt", 0], abs=0.02)
    assert values["warmprompt, exact", 5] > values["warmprompt, not adapted", 5]
    # Without baselines there is no best one, however high the product's own other rows are.
    assert not [row for row in results.differences if row.best]


def test_other_data_than_the_run_was_trained_on_is_refused(run, data):
    with pytest.raises(MismatchError, match="train again"):
        evaluate_run(run, EvaluateSettings(k=(1,)), dataset=replace(data, content_hash="0" * 64))


def test_a_run_on_other_users_of_the_same_data_is_refused(run, data, ranker):
    split = split_users(data.num_users, seed=5)
    views = take_users(data, split.train), take_users(data, split.validation)
    wrong = replace(ranker, settings=replace(ranker.settings, train=replace(ranker.settings.train, seed=5)))
    with pytest.raises(MismatchError, match="other users"):
        wrong.fit(*views, seed=5)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"baselines": ("topop",)}, UnknownNameError),
        ({"k": (1, 1)}, BadInputError),
        ({"seeds": (0, 0)}, BadInputError),
        ({"candidates": "query-only"}, BadInputError),
    ],
)
def test_wrong_options_are_refused_before_anything_is_opened(run, options, error):
    updates = []
    with pytest.raises(error):
        evaluate_run(run, EvaluateSettings(**options), progress=updates.append)
    assert updates == []


def test_a_folder_is_no_place_for_rows(run, tmp_path):
    with pytest.raises(BadInputError, match="--out"):
        evaluate_run(run, EvaluateSettings(k=(1,)), out=tmp_path)


def test_a_run_made_for_another_backbone_is_refused(run, tmp_path):
    import shutil

    copy = shutil.copytree(run, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["backbone"]["weights_hash"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MismatchError, match="weights_hash of backbone tiny"):
        load(copy)


def test_how_prompts_move_behind_a_text_is_measured_once_for_all_users_and_passes(ranker, data):
    task = task_of(data, 0, attributes=True)
    fitted = replace(ranker, exact=True).fit(task.training, task.validation, seed=0)
    supports = [case.support for case in task.cases[5]] * 4  # two passes of the same texts
    texts = {tuple(sorted(support.attributes.items())) for support in supports}
    with count_forwards(fitted.engine.backbone) as sizes:
        fitted.score(supports)
        fitted.score(supports[:3])
    assert sizes.count(1) == len(texts)


def test_a_linear_ranker_runs_no_language_model_and_ranks_much_as_the_exact_one_does(ranker, data):
    task = task_of(data, 0, attributes=True)
    exact = replace(ranker, exact=True).fit(task.training, task.validation, seed=0)
    linear = replace(exact, exact=False)
    supports = [case.support for case in task.cases[5]]
    with count_forwards(exact.engine.backbone) as sizes:
        found = linear.score(supports)
    assert sizes == []
    wanted = exact.score(supports)
    # By chance they would not agree at all; one step of the prompt arrives near where the linear answer is.
    agree = [np.corrcoef(one, other)[0, 1] for one, other in zip(found, wanted, strict=True)]
    assert np.median(agree) > 0.9
