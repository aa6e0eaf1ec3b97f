"""`warmprompt tune`: where it begins, what it prints, mistakes in one line."""

import pytest

from warmprompt.assembly import searching
from warmprompt.cli import run
from warmprompt.settings import load_settings

pytestmark = pytest.mark.usefixtures("text_home")


@pytest.fixture(autouse=True)
def judged(monkeypatch):
    """Judge by the batch size in place of training, and keep what was asked for."""
    asked = []

    def judge(dataset, task, folder, progress, settings):
        asked.append(settings)
        return settings.train.batch_size / 1000

    monkeypatch.setattr(searching, "_judge", judge)
    return asked


def test_a_data_set_begins_with_what_training_would_take_and_the_best_is_said(
    capfd, planted_folder, tmp_path, judged
):
    out = tmp_path / "search"
    command = ["tune", str(planted_folder[0]), "--out", str(out), "--set", "train.batch_size=32"]
    assert run([*command, "--trials", "7", "--protocol", "next10"]) == 0
    said = capfd.readouterr().out
    best = max(one.train.batch_size for one in judged)
    assert judged[0].train.batch_size == 32
    assert judged[0].evaluate.protocol == "next10"
    assert "The best of 7 trials" in said
    assert "judged on 12 validation users of split 0, protocol next10, K = 1, 3, 5, 10" in said
    assert f"NDCG@10 {best / 1000:.4f}, 0.0320 of the settings that the search began with" in said
    assert f"--set train.batch_size={best}" in said
    assert f"next: warmprompt train --settings {out / 'best.toml'} --out RUN" in said
    # What is said to be set, set by hand, is what the file holds.
    line = next(line for line in said.splitlines() if line.startswith("the best: "))
    assignments = line.removeprefix("the best: --set ").split(" --set ")
    kept = load_settings(file=out / "best.toml")
    assert load_settings(file=out / "best.toml", assignments=assignments) == kept


def test_a_run_begins_with_its_own_settings(trained_folder, tiny_settings, tmp_path, judged):
    assert run(["tune", str(trained_folder), "--out", str(tmp_path / "search"), "--trials", "1"]) == 0
    assert [(one.model, one.train) for one in judged] == [(tiny_settings.model, tiny_settings.train)]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere", "--out=OUT"], "error: data set: 'nowhere'."),
        (["RUN", "--out=OUT", "--set", "train.seed=1"], "error: --set: 'train.seed=1'. A run brings its own"),
        (["DATA", "--out=OUT", "--protocol=rand"], "error: evaluate.protocol (flag): 'rand'."),
        (["DATA", "--out=OUT", "--protocol=temporal"], "error: protocol: 'temporal'. It trains on users"),
        (["DATA", "--out=OUT", "--trials=0"], "error: --trials: '0'."),
        (["DATA", "--out=RUN"], "error: output folder: "),
    ],
)
def test_a_mistake_is_one_line(capfd, planted_folder, trained_folder, tmp_path, judged, arguments, line):
    places = {"RUN": trained_folder, "DATA": planted_folder[0], "OUT": tmp_path / "search"}
    for name, path in places.items():
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    assert run(["tune", *arguments]) == 2
    # What began stands before it, each line with its time.
    said = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("[")]
    assert len(said) == 1
    assert said[0].startswith(line)
    assert judged == []
