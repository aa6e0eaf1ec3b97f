"""The recipes of docs/howto/evaluate.md that need more than the core: ir_measures, MLflow, TensorBoard."""

from __future__ import annotations

import json
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from warmprompt.cli import run

pytestmark = pytest.mark.usefixtures("text_home")
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "evaluate.md"


@pytest.fixture(scope="module")
def folder(trained_folder, tmp_path_factory, text_home):
    """Return a folder with a run in the place of the demo's, measured, its rankings in runs/trec."""
    folder = tmp_path_factory.mktemp("reader")
    demo = shutil.copytree(trained_folder, folder / "runs" / "demo")
    command = [
        "evaluate",
        str(demo),
        "--k",
        "0,5",
        "--baselines",
        "toppop",
        "--out",
        str(demo / "results.json"),
    ]
    assert run([*command, "--trec", str(folder / "runs" / "trec")]) == 0
    return folder


def recipe(heading):
    section = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return re.search(r"```py\n(.*?)```", section[1], re.DOTALL)[1]


def rows(folder):
    found = json.loads((folder / "runs" / "demo" / "results.json").read_text())["rows"]
    return {(row["model"], row["metric"], row["k"]): row["value"] for row in found if row["seed"] is None}


def test_the_trec_recipe_prints_the_tables_numbers(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    exec(recipe("TREC files"), {})
    printed = dict(re.findall(r"(nDCG@10|RR): ([\d.]+)", capsys.readouterr().out))
    value = rows(folder)
    assert float(printed["nDCG@10"]) == pytest.approx(value["warmprompt", "NDCG@10", 5], abs=1e-6)
    assert float(printed["RR"]) == pytest.approx(value["warmprompt", "MRR", 5], abs=1e-6)


class MLflow(ModuleType):
    """Keeps what it is given, and refuses the names that MLflow refuses."""

    def __init__(self):
        super().__init__("mlflow")
        self.params, self.metrics, self.artifacts = {}, {}, []

    @contextmanager
    def start_run(self, *, run_name):
        yield run_name

    def log_params(self, params):
        assert not set(params) & set(self.params)
        self.params |= params

    def log_metric(self, name, value, *, step):
        assert re.fullmatch(r"[\w./ -]+", name), name
        self.metrics[name, step] = value

    def log_artifact(self, path):
        assert Path(path).is_file()
        self.artifacts.append(path)


def test_the_mlflow_recipe_logs_the_products_rows_and_the_settings(folder, monkeypatch):
    monkeypatch.chdir(folder)
    mlflow = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    exec(recipe("Log to MLflow"), {})
    value = rows(folder)
    own = {
        (f"{model}/{metric}", k): number for (model, metric, k), number in value.items() if "warm" in model
    }
    renamed = {(re.sub("[@,]", "_", name), k): number for (name, k), number in own.items()}
    assert mlflow.metrics == renamed
    assert len(renamed) == 2 * 3 * 2
    assert mlflow.params["train.batch_size"] == 32
    assert mlflow.params["protocol"] == "random"
    assert mlflow.artifacts == ["runs/demo/report.md"]


def test_a_run_keeps_what_tensorboard_shows(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "runs" / "demo" / "tensorboard"))
    events.Reload()
    assert any("loss" in tag for tag in events.Tags()["scalars"])
