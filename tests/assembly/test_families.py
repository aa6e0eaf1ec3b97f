"""A model folder of any family, in each of the three roles, through real training and after it."""

import numpy as np
import pytest
from tests.backbone.small_families import LAYERS, save_family

from warmprompt import Event, load
from warmprompt.cli import run
from warmprompt.settings import load_settings
from warmprompt.training.run import train_run

pytestmark = pytest.mark.usefixtures("text_home")


def _settings(planted_folder, backbone, text, *more):
    return load_settings(
        assignments=[
            f"data.name={planted_folder[0]}",
            f"backbone.name={backbone}",
            "backbone.num_layers=2",
            f"backbone.item_text={text}",
            f"backbone.user_text={text}",
            "model.num_factors=8",
            "model.wordings=1",
            "train.tangent_epochs=10",
            "train.prompt_epochs=1",
            "train.max_support=10",
            "train.batch_size=32",
            "inner.num_steps=2",
            "train.threads=1",
            *more,
        ]
    )


@pytest.mark.parametrize(
    ("backbone", "text", "learner"),
    [
        ("Gemma 2", "MPNet", "learned-target"),
        ("GPT-2", "DistilBERT", "maml"),  # differentiated twice
        ("ELECTRA", "BLOOM", "multitask"),  # embeddings of another width than the states
    ],
)
def test_planted_tastes_are_found_with_models_in_folders(backbone, text, learner, planted_folder, tmp_path):
    names = [save_family(family, tmp_path / family) for family in (backbone, text)]
    train_run(_settings(planted_folder, *names, f"learner.name={learner}"), tmp_path / "run")
    model, data = load(tmp_path / "run"), planted_folder[1].dataset
    taste_of = {item: index % 4 for index, item in enumerate(data.item_ids)}
    shares = []
    for taste in range(4):
        own = [item for item, its in taste_of.items() if its == taste][:5]
        state = model.adapt([Event(item=item, rating=5.0) for item in own], about="I like slow films")
        ranking = model.rank(state, n=8)
        assert load(tmp_path / "run").rank(state, n=8).items == ranking.items
        shares.append(np.mean([taste_of[item] == taste for item in ranking.items]))
    # A quarter of the items have each taste.
    assert np.mean(shares) > 0.6


def test_a_run_of_a_relative_model_folder_opens_from_anywhere(planted_folder, tmp_path, monkeypatch):
    for family in ("GPT-2", "BERT"):
        save_family(family, tmp_path / family)
    monkeypatch.chdir(tmp_path)
    settings = _settings(planted_folder, "./GPT-2", "BERT", "train.tangent_epochs=1", "train.prompt_epochs=0")
    train_run(settings, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(tmp_path / "run").rank(load(tmp_path / "run").adapt([]), n=3).items
    monkeypatch.chdir(tmp_path)
    updates = []
    train_run(settings, tmp_path / "run", progress=updates.append)
    assert any("holds this run already" in str(line) for line in updates)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ([], f"error: backbone.num_layers: '6'. Choose 1 to {LAYERS} for"),
        (["--layers=2", "--set=prompt.length=80"], "error: prompt.length: '80'. Choose 1 to 78 for"),
        (["--layers=2", "--set=backbone.item_text=T5"], "error: backbone.item_text: "),
        (["--layers=2", "--set=backbone.user_text=T5"], "error: backbone.user_text: "),
        (["--backbone=T5", "--layers=2"], "error: backbone: "),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(
    changes, line, planted_folder, tmp_path, capfd, monkeypatch
):
    folders = {name: save_family(name, tmp_path / name) for name in ("GPT-2", "T5")}
    monkeypatch.setattr("warmprompt.training.run.open_data", None)
    changes = [change.replace("=T5", f"={folders['T5']}") for change in changes]
    command = ["train", f"--data={planted_folder[0]}", f"--out={tmp_path / 'run'}"]
    assert run([*command, f"--backbone={folders['GPT-2']}", *changes]) == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(line)
    assert not (tmp_path / "run").exists()
