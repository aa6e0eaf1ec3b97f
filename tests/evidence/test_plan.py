"""Plans as they are written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.evidence.jobs import Only, filter_plan, read_only, wanted_cells
from warmprompt.evidence.measured_table import read_cells
from warmprompt.evidence.models import describe_model
from warmprompt.evidence.plan import load_plan, read_plan, slug

ROOT = Path(__file__).parents[2]


def test_lists_expand_in_order(plan):
    (table,) = plan.tables
    assert [spec.name for spec in table.models] == ["toppop", "itemknn", "ease", "shuffled"]
    assert table.name == "planted-random"
    assert table.models[3].baseline == "ease"
    assert table.models[3].shuffle == "supports"
    assert table.compare == ("shuffled",)


def test_row_settings_override_shared_ones(raw):
    raw["settings"] = {"*": ["train.threads=1"], "planted": ["train.seed=5"], "other": ["train.seed=6"]}
    raw["models"] = [{"name": "reptile", "set": ["learner.name=reptile"]}]
    raw["tables"][0] |= {"models": ["reptile"], "compare": []}
    (spec,) = read_plan(raw).tables[0].models
    assert spec.assignments == ("train.threads=1", "train.seed=5", "learner.name=reptile")
    about = describe_model(spec, dataset="planted", seed=0)
    assert about["product"]["learner"]["name"] == "reptile"
    assert about["adapted"]


def test_descriptions_follow_settings_not_labels(raw):
    raw["models"] = [
        {"name": "stiff", "baseline": "ease", "settings": {"l2": 9.0}},
        {"name": "ease again", "baseline": "ease"},
    ]
    raw["tables"][0]["models"] = ["ease", "ease again", "stiff", "blend"]
    plain, again, stiff, blend = (
        describe_model(spec, dataset="planted", seed=0) for spec in read_plan(raw).tables[0].models
    )
    assert plain == again != stiff
    assert stiff["settings"] == {"l2": 9.0, "decay": 1.0}
    assert blend["settings"]["members"]["ease"] == plain["settings"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"models": ["@nothing"]}, UnknownNameError, "list"),
        ({"models": ["eases"]}, UnknownNameError, "eases"),
        ({"protocol": "randm"}, UnknownNameError, "randm"),
        ({"seed": [0]}, UnknownNameError, "seed"),
        ({"seeds": [0, 0]}, BadInputError, "each once"),
        ({"dataset": ""}, BadInputError, "dataset"),
        ({"users": "validation"}, UnknownNameError, "users"),
        ({"seeds": 3}, BadInputError, "list of whole numbers"),
        ({"fewer": {"ease": [7]}}, BadInputError, "seeds of the table: 0, 1"),
        ({"fewer": {"userknn": [0]}}, UnknownNameError, "rows of the table"),
        ({"product": "userknn"}, UnknownNameError, "rows of the table"),
        ({"product": ""}, BadInputError, "product"),
        ({"ks": 5}, BadInputError, "ks.*list of whole numbers"),
        ({"seeds": [True]}, BadInputError, "list of whole numbers"),
        ({"models": ["ease", 3]}, BadInputError, "models.*list of texts"),
        ({"models": "ease"}, BadInputError, "models.*list of texts"),
        ({"fewer": ["ease"]}, BadInputError, "fewer.*names and values"),
        ({"max_training_users": "3"}, BadInputError, "max_training_users.*whole number"),
        ({"max_training_users": True}, BadInputError, "max_training_users.*whole number"),
        ({"min_rating": "4"}, BadInputError, "min_rating.*number"),
        ({"attributes": "no"}, BadInputError, "attributes.*true or false"),
        ({"protocol": 7}, BadInputError, "protocol.*name"),
        ({"title": 3}, BadInputError, "title"),
        ({"name": ""}, BadInputError, "name"),
        ({"compare": ["shufled"]}, UnknownNameError, "shufled.*rows of the table"),
        ({"compare": "all"}, BadInputError, "compare.*list of texts"),
    ],
)
def test_wrong_tables_are_refused(raw, change, error, words):
    raw["tables"][0] |= change
    with pytest.raises(error, match=words):
        read_plan(raw)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"product": "eese"}, UnknownNameError, "plan product: 'eese'"),
        ({"blend": "blnd"}, UnknownNameError, "plan blend: 'blnd'"),
        ({"lists": ["simple"]}, BadInputError, "lists.*names and values"),
        ({"lists": {"simple": "toppop"}}, BadInputError, "lists simple.*list of texts"),
        ({"settings": {"*": "train.threads=1"}}, BadInputError, "settings .*list of texts"),
        ({"compare": [1]}, BadInputError, "compare.*list of texts"),
        ({"models": {"name": "ours"}}, BadInputError, r"\[\[models\]\]"),
        ({"tables": {"dataset": "planted"}}, BadInputError, r"\[\[tables\]\]"),
    ],
)
def test_wrong_plans_are_refused(raw, change, error, words):
    with pytest.raises(error, match=words):
        read_plan(raw | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"set": "learner.name=reptile"}, "ours set.*list of texts"),
        ({"adapted": "no"}, "ours adapted.*true or false"),
        ({"linear": 1}, "ours linear.*true or false"),
        ({"settings": ["l2"]}, "ours settings.*names and values"),
    ],
)
def test_wrong_rows_are_refused(raw, change, words):
    raw["models"].append({"name": "ours"} | change)
    raw["tables"][0]["models"].append("ours")
    with pytest.raises(BadInputError, match=words):
        read_plan(raw)


def test_shared_comparisons_may_lack_rows(raw):
    raw["compare"] = ["shuffled", "userknn"]
    (table,) = read_plan(raw).tables
    assert "compare" not in raw["tables"][0]
    assert table.compare == ("shuffled", "userknn")


def test_rows_may_have_fewer_seeds(raw):
    raw["tables"][0]["fewer"] = {"@simple": [1], "shuffled": [0]}
    plan = read_plan(raw)
    places = {(spec.name, wanted.seed) for _, spec, wanted in wanted_cells(plan)}
    assert places == {("toppop", 1), ("itemknn", 1), ("ease", 0), ("ease", 1), ("shuffled", 0)}
    assert read_cells(plan, plan.tables[0], Path("nowhere")).missing["shuffled"] == (0,)


@pytest.mark.parametrize("key", ["shuffle", "without", "new_items"])
def test_unknown_controls_are_refused(raw, key):
    raw["models"] = [{"name": "odd", key: "nothing"}]
    raw["tables"][0]["models"] = ["odd"]
    with pytest.raises(UnknownNameError, match=key):
        read_plan(raw)


def test_empty_plans_and_bad_toml_are_refused(raw, tmp_path):
    with pytest.raises(BadInputError, match="tables"):
        read_plan({**raw, "tables": []})
    (tmp_path / "plan.toml").write_text("product = ")
    with pytest.raises(BadInputError, match="plan"):
        load_plan(tmp_path / "plan.toml")


def test_project_plan_has_product_and_blend_everywhere():
    plan = load_plan(ROOT / "benchmarks" / "evidence.toml")
    for table in plan.tables:
        names = [spec.name for spec in table.models]
        assert (table.product or plan.product) in names, table.name
        assert plan.blend in names, table.name
        assert set(table.compare) <= {*names, "all"}, table.name
        first = 5 if table.name == "ml-1m-confirmation" else 0
        assert table.seeds == tuple(range(first, first + len(table.seeds)))


def test_choices_must_all_match(plan):
    only = read_only(["dataset=planted,other", "seed=1", "model=warmprompt, not adapted", "model=ease"])
    assert only == Only(
        values={"dataset": ("planted", "other"), "seed": ("1",), "model": ("warmprompt, not adapted", "ease")}
    )
    (table,) = plan.tables
    assert only.takes(table, 1, "ease")
    assert not only.takes(table, 0, "ease")
    assert not only.takes(table, 1, "toppop")
    with pytest.raises(UnknownNameError, match="sed"):
        read_only(["sed=1"])
    with pytest.raises(BadInputError, match="name=value"):
        read_only(["seed"])


@pytest.mark.parametrize(
    ("choice", "shown"),
    [("model=eaze", "Did you mean ease"), ("seed=7", "Known: 0, 1"), ("table=nope", "planted-random")],
)
def test_choices_outside_the_plan_are_refused(plan, choice, shown):
    with pytest.raises(UnknownNameError, match=shown):
        filter_plan(plan, read_only([choice]))


def test_choices_without_a_cell_are_refused(raw):
    raw["tables"].append({**raw["tables"][0], "name": "other", "seeds": [5]})
    plan = read_plan(raw)
    (table,) = filter_plan(plan, read_only(["table=other", "seed=5"]))[0].tables
    assert table.name == "other"
    with pytest.raises(BadInputError, match=r"--only: 'table=other seed=0'.*leave one out"):
        filter_plan(plan, read_only(["table=other", "seed=0"]))


def test_absent_data_sets_are_reported(raw):
    raw["tables"].append({**raw["tables"][0], "dataset": "nowhere"})
    plan, absent = filter_plan(read_plan(raw), Only())
    assert [table.dataset for table in plan.tables] == ["planted"]
    assert absent == ("nowhere",)
    with pytest.raises(UnknownNameError, match="nowhere"):
        filter_plan(read_plan(raw), read_only(["dataset=nowhere"]))


def test_other_hosts_are_not_fetched_unasked(raw):
    # Tests run without a network: fetching would fail, and not as a data set that is absent.
    raw["tables"].append({**raw["tables"][0], "dataset": "ml-1m"})
    assert filter_plan(read_plan(raw), Only())[1] == ("ml-1m",)


def test_names_become_parts_of_file_names():
    assert slug("cold-item/new-only with attributes") == "cold-item-new-only-with-attributes"
