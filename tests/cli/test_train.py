"""`warmprompt train`: what it makes, what it says, and what it refuses in one line."""

import json
import re

import numpy as np
import pytest

from warmprompt.cli import run
from warmprompt.data.tables import open_dataset

pytestmark = pytest.mark.usefixtures("text_home")

TINY = [
    "--backbone=tiny", "--layers=2", "--tangent-epochs=1", "--prompt-epochs=1", "--set=model.num_factors=8",
    "--set=backbone.item_text=tiny-encoder", "--set=backbone.user_text=tiny-encoder",
    "--set=model.wordings=1", "--set=train.threads=1",
]  # fmt: skip


def test_a_run_is_trained_as_asked(capfd, planted_folder, tmp_path):
    out = tmp_path / "run"
    command = ["train", "--data", str(planted_folder[0]), "--learner=multitask", "--out", str(out), *TINY]
    command.append("--horizon=2")
    assert run(command) == 0
    said = capfd.readouterr()
    assert f"next: warmprompt evaluate {out}" in said.out
    assert re.search(
        r"budget: at most \d+ s on this machine, \d+ s of processor time \(reading texts", said.err
    )
    assert re.search(r" \d+ s of at most \d+, processor time \d+ s of at most \d+, ", said.out)
    assert "prompts, epoch 1 of 1: validation loss" in said.err
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["learner"] == "multitask"
    assert manifest["settings"]["model"]["num_factors"] == 8
    assert manifest["settings"]["backbone"]["num_layers"] == 2
    assert manifest["settings"]["experts"]["horizon"] == manifest["order"]["horizon"] == 2
    assert run([*command, "--seed=1"]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: run folder: ")


def test_training_says_which_preset_it_takes_and_keeps_it(capfd, planted_folder, tmp_path):
    out = tmp_path / "run"
    command = ["train", "--data", str(planted_folder[0]), "--out", str(out), *TINY, "--prompt-epochs=0"]
    assert run([*command, "--tangent-epochs=0", "--set=train.batch_size=32"]) == 0
    # 120 users of 12 to 24 events, 60 items.
    events = open_dataset(planted_folder[0]).interactions
    median, per_item = np.median(np.diff(events.offsets)), len(events) / 60
    expected = (
        f"preset: sparse (median {median:g} events per user, {per_item:.0f} per item); "
        "--preset default|dense|dense-small overrides; given otherwise: model.num_factors, train.batch_size"
    )
    assert expected in capfd.readouterr().err
    kept = json.loads((out / "manifest.json").read_text())["settings"]
    assert (kept["train"]["preset"], kept["model"]["factor_alpha"]) == ("sparse", 20.0)
    assert (kept["model"]["num_factors"], kept["train"]["batch_size"]) == (8, 32)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ([], 2, "error: Missing option '--out'. See 'warmprompt train --help'."),
        (["--out=OUT", "--data=ml-1000k"], 2, "error: data set: 'ml-1000k'. Known: ml-100k"),
        (["--out=OUT", "--learner=fomalm"], 2, "error: learner: 'fomalm'. Did you mean fomaml?"),
        (
            ["--out=OUT", "--preset=dens"],
            2,
            "error: train.preset (flag): 'dens'. It should be 'auto', 'default'",
        ),
        (["--out=OUT", "--layers=x"], 2, "error: Invalid value for '--layers'"),
        (["--out=OUT", "--layers=0"], 2, "error: backbone.num_layers (flag): '0'."),
        (["--out=OUT", "--horizon=0"], 2, "error: experts.horizon (flag): '0'. It should be greater"),
        (["--out=OUT", "--horizon=2.5"], 2, "error: Invalid value for '--horizon'"),
        (["--out=OUT", "--set=experts.horizon=next"], 2, "error: experts.horizon (--set): 'next'."),
        (["--out=OUT", "--set=train.sede=1"], 2, "error: train.sede (--set): '1'. There is no such setting"),
        (["--out=OUT", "--set=train"], 2, "error: --set: 'train'. Write it as section.key=value."),
        (["--out=OUT", "--settings=none.toml"], 2, "error: settings file: 'none.toml'. It does not exist"),
        (["--out=OUT", "--backbone=smollm"], 2, "error: backbone"),
        (["--out=FILE"], 2, "error: run folder:"),
        (["--out=FILE/x"], 2, "error:"),
        (["--out=DATA"], 2, "error: run folder:"),
        (["--out=DATA", "--overwrite"], 2, "error: run folder:"),
    ],
)
def test_a_mistake_is_one_line(capfd, planted_folder, tmp_path, arguments, code, line):
    file = tmp_path / "file"
    file.write_text("x")
    places = {"OUT": str(tmp_path / "run"), "FILE": str(file), "DATA": str(planted_folder[0])}
    for name, index in places.items():
        arguments = [argument.replace(f"={name}", f"={index}") for argument in arguments]
    data = [] if any(a.startswith("--data") for a in arguments) else [f"--data={planted_folder[0]}"]
    small = [one for one in TINY if one.split("=")[0] not in {a.split("=")[0] for a in arguments} - {"--set"}]
    assert run(["train", *small, *data, *arguments]) == code
    said = capfd.readouterr()
    errors = [text for text in said.err.splitlines() if "error" in text]
    assert len(errors) == 1
    assert errors[0].startswith(line)
    assert "Traceback" not in said.err
    assert said.out == ""
    assert not (tmp_path / "run").exists()
    assert (planted_folder[0] / "manifest.json").is_file()


@pytest.mark.parametrize("damage", ["cut", "empty", "binary"])
def test_a_damaged_data_set_is_a_fault_in_one_line(capfd, planted_folder, tmp_path, damage):
    import shutil

    folder = shutil.copytree(planted_folder[0], tmp_path / "data")
    file = folder / "interactions.parquet"
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[:200], "empty": b"", "binary": b"\xff\x00" * 50}[damage])
    assert run(["train", "--data", str(folder), "--out", str(tmp_path / "run"), *TINY]) == 1
    assert "Traceback" not in capfd.readouterr().err
    assert not (tmp_path / "run").exists()
