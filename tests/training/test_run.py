"""Training a run: whole or resumable at every moment, the same bits always, never over another's work."""

import errno
import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from warmprompt.data.dataset import keep_events, take_users
from warmprompt.data.splits import split_users
from warmprompt.data.synthetic import planted_world
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError, MismatchError, StorageError, UnknownNameError
from warmprompt.meta.trainer import TrainingProgress
from warmprompt.meta.workers import ALONE
from warmprompt.runs.format import load_trained
from warmprompt.settings import from_mapping, to_toml
from warmprompt.training.run import train_run, train_with
from warmprompt.training.stages import STAGES
from warmprompt.training.start import users_hash

pytestmark = pytest.mark.usefixtures("text_home")


@pytest.fixture(scope="module")
def brief(tiny_settings):
    """Return settings of a few seconds less, which save often."""
    train = replace(tiny_settings.train, tangent_epochs=2, prompt_epochs=1, save_every=1)
    # One pass for new items: how many are best is found in tests/training/test_new_items.py.
    return replace(tiny_settings, train=train, model=replace(tiny_settings.model, new_item_passes=1))


@pytest.fixture(scope="module")
def whole(brief, text_home, tmp_path_factory):
    """Return the folder of a run of `brief` that nothing interrupted; nobody writes to it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train_run(brief, folder)
    return folder


class Stop(Exception):
    """What a test interrupts training with."""


def stopping(stage, step):
    def progress(update):
        if isinstance(update, TrainingProgress) and (update.stage, update.step) == (stage, step):
            raise Stop

    return progress


@pytest.mark.parametrize(("stage", "step"), [("tangent", 5), ("prompt", 2)])
def test_interrupted_training_goes_on_to_the_same_bits(brief, whole, tmp_path, stage, step):
    parts = tmp_path / "parts"
    with pytest.raises(Stop):
        train_run(brief, parts, progress=stopping(stage, step))
    with pytest.raises(UnknownNameError):
        load_trained(parts)
    trained = train_run(brief, parts)
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert trained.manifest["history"] == load_trained(whole).manifest["history"]
    assert not (parts / "training").exists()


@pytest.mark.parametrize("stage", ["start", "meta_learning", "experts"])
def test_training_until_a_stage_goes_on_to_the_same_bits(brief, whole, tmp_path, stage):
    assert train_with(ALONE, brief, tmp_path / "run", until=stage) is None
    with pytest.raises(UnknownNameError, match="has not finished"):
        load_trained(tmp_path / "run")
    lines = []
    trained = train_run(brief, tmp_path / "run", progress=lines.append)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert [stage.name for stage in STAGES] == list(trained.manifest["stages"])
    begun = {"start": "measuring", "meta_learning": "TrainingProgress(", "experts": "weighing experts on"}
    done = [name for name in begun if [*begun].index(name) <= [*begun].index(stage)]
    assert not any(str(line).startswith(begun[name]) for name in done for line in lines)


def test_a_stage_that_there_is_not_is_named(brief, tmp_path):
    with pytest.raises(UnknownNameError, match="--until: 'prompts'.*meta_learning"):
        train_with(ALONE, brief, tmp_path / "run", until="prompts")


def test_a_killed_stage_after_the_outer_loop_repeats_that_stage_alone(brief, whole, tmp_path):
    def progress(update):
        if str(update).startswith("weighing"):
            raise Stop

    with pytest.raises(Stop):
        train_run(brief, tmp_path / "run", progress=progress)
    lines = []
    train_run(brief, tmp_path / "run", progress=lines.append)
    assert not any(isinstance(line, TrainingProgress) for line in lines)
    assert "learning where new items go" not in lines
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_the_manifest_tells_what_was_trained_on_what(trained_folder, tiny_settings, planted_folder):
    manifest = json.loads((trained_folder / "manifest.json").read_text())
    data = open_dataset(planted_folder[0])
    split = split_users(data.num_users, seed=0)
    views = take_users(data, split.train), take_users(data, split.validation)
    assert from_mapping(manifest["settings"]) == tiny_settings
    assert manifest["data"]["content_hash"] == data.content_hash
    assert manifest["data"]["num_users"] == len(split.train) + len(split.validation)
    assert manifest["identity"]["users"] == users_hash(*views)
    assert manifest["backbone"]["num_layers"] == 2
    assert manifest["backbone"]["total_layers"] == 4
    assert manifest["split_seed"] == 0
    assert manifest["train_s"] > 0
    assert manifest["peak_memory_mb"] > 50  # the interpreter with torch alone is larger


def test_scalars_of_both_stages_are_written(trained_folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(trained_folder / "tensorboard"))
    found.Reload()
    names = set(found.Tags()["scalars"])
    assert {"tangent/loss", "tangent/validation", "prompt/loss", "prompt/gradient_norm"} <= names
    # 84 training users make 3 batches an epoch.
    assert len(found.Scalars("prompt/loss")) == 3


@pytest.mark.parametrize("has_genres", [True, False])
def test_training_says_when_sentences_will_say_nothing(brief, planted_folder, tmp_path, has_genres):
    data = open_dataset(planted_folder[0])
    data = data if has_genres else replace(data, items=data.items.select("title"))
    updates = []

    def progress(what):
        updates.append(what)
        if str(what).startswith("measuring"):
            raise Stop

    with pytest.raises(Stop):
        train_run(brief, tmp_path / "run", progress=progress, dataset=data)
    assert ("sentences will say nothing: name a category column" in updates) == (not has_genres)


def test_a_finished_run_of_the_same_settings_is_returned_as_it_is(trained_folder, tiny_settings):
    before = (trained_folder / "manifest.json").stat().st_mtime_ns
    updates = []
    again = replace(tiny_settings, evaluate=replace(tiny_settings.evaluate, k=(7,)))
    train_run(again, trained_folder, progress=updates.append)
    assert (trained_folder / "manifest.json").stat().st_mtime_ns == before
    assert "nothing to train" in updates[-1]


def test_a_finished_run_of_other_settings_is_replaced_only_when_asked(brief, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    other = replace(brief, inner=replace(brief.inner, num_steps=1))
    with pytest.raises(BadInputError) as caught:
        train_run(other, tmp_path / "run")
    assert "inner.num_steps is 2, not 1" in caught.value.line()
    assert "--overwrite" in caught.value.line()
    # Without a map for new items, which would take half of the time.
    other = replace(other, model=replace(other.model, new_item_passes=0))
    trained = train_run(other, tmp_path / "run", overwrite=True)
    assert trained.params["inner.log_rates"].shape == (1,)


def test_unfinished_training_of_other_settings_is_reported_by_name(brief, tmp_path):
    with pytest.raises(Stop):
        train_run(brief, tmp_path, progress=stopping("tangent", 2))
    other = replace(brief, train=replace(brief.train, dropout=0.1))
    with pytest.raises(MismatchError, match="settings.train.dropout"):
        train_run(other, tmp_path)


def test_a_folder_that_holds_something_else_is_left_alone(brief, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(BadInputError, match="It holds something else"):
            train_run(brief, tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(BadInputError, match="It is a file"):
        train_run(brief, tmp_path / "thesis.txt")


@pytest.mark.parametrize("broken", [b"", b"{", b"\xff\x00", b"[]", b"{}"])
def test_a_broken_manifest_is_not_trained_over(brief, tmp_path, broken):
    (tmp_path / "manifest.json").write_bytes(broken)
    with pytest.raises(Exception) as caught:  # noqa: PT011  which one depends on what is broken
        train_run(brief, tmp_path)
    assert type(caught.value).__name__ in {"IntegrityError", "BadInputError"}
    assert (tmp_path / "manifest.json").read_bytes() == broken


def test_a_full_disk_leaves_no_run(brief, tmp_path, monkeypatch):
    brief = replace(brief, model=replace(brief.model, new_item_passes=0))

    def full(folder, trained):
        raise StorageError(field="cannot write", value=folder, remedy="Free some space.")

    monkeypatch.setattr("warmprompt.training.run.save_trained", full)
    with pytest.raises(StorageError):
        train_run(brief, tmp_path / "run")
    with pytest.raises(UnknownNameError, match="has not finished"):
        load_trained(tmp_path / "run")
    monkeypatch.undo()
    train_run(brief, tmp_path / "run")
    assert load_trained(tmp_path / "run").learner == "learned-target"


def test_a_disk_that_fills_up_between_checkpoints_is_one_error(brief, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
    with pytest.raises(StorageError, match="disk is full"):
        train_run(brief, tmp_path)


@pytest.mark.parametrize(
    ("section", "changes", "line"),
    [
        ("data", {"name": "ml-100x"}, "data set: 'ml-100x'."),
        ("learner", {"name": "fomalm"}, "Did you mean fomaml?"),
        ("backbone", {"name": "smolm2"}, "smolm2"),
        ("backbone", {"num_layers": 9}, "'9'"),
        ("model", {"num_factors": 500}, "model.num_factors: '500'."),
        ("prompt", {"init": "text"}, "prompt.text_init"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_before_training(
    tiny_settings, tmp_path, section, changes, line
):
    wrong = replace(tiny_settings, **{section: replace(getattr(tiny_settings, section), **changes)})
    with pytest.raises((UnknownNameError, BadInputError)) as caught:
        train_run(wrong, tmp_path / "run")
    assert line in caught.value.line()
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_the_hash_of_users_tells_users_and_events_apart(planted_folder):
    data = open_dataset(planted_folder[0])
    split = split_users(data.num_users, seed=0)
    one, other = take_users(data, split.train), take_users(data, split.validation)
    keep = one.interactions.items != one.interactions.items[0]
    hashes = [
        users_hash(one, other),
        users_hash(other, one),
        users_hash(take_users(data, split.train[:-1]), other),
        users_hash(keep_events(one, keep), other),
    ]
    assert len(set(hashes)) == 4
    assert hashes[0] == users_hash(take_users(data, split.train), other)


def test_a_killed_process_leaves_a_run_that_goes_on_to_the_same_bits(brief, whole, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text(to_toml(brief))
    code = f"""
import os, pathlib, signal
from warmprompt import load_settings, train_run
def progress(update):
    if getattr(update, "stage", "") == "prompt" and update.batch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
train_run(load_settings(file=pathlib.Path({str(settings)!r})), {str(tmp_path / "parts")!r}, progress=progress)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False, timeout=120, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    kept = {path.name for path in (tmp_path / "parts" / "training").glob("*.safetensors")}
    assert kept == {"stages.safetensors", "state.safetensors"}
    train_run(brief, tmp_path / "parts")
    one, other = ((folder / "model.safetensors").read_bytes() for folder in (whole, tmp_path / "parts"))
    assert one == other


TRAIN = """
import pathlib, sys
from warmprompt import load_settings, train_run
def progress(update):
    if getattr(update, "stage", "") == "tangent" and update.batch == 1:
        print("training", flush=True)
        sys.stdin.readline()
train_run(load_settings(file=pathlib.Path(sys.argv[1])), sys.argv[2], progress=progress)
"""


@contextmanager
def training_elsewhere(settings, folder, tmp_path):
    """Yield a process that has begun to train into a folder and goes on when it reads a line."""
    (tmp_path / "settings.toml").write_text(to_toml(settings))
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "settings.toml"), str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "training\n"
        yield process
        process.kill()


def test_of_two_trainings_into_one_folder_the_second_is_refused(brief, tmp_path, text_home):
    run = tmp_path / "run"
    with training_elsewhere(brief, run, tmp_path) as first:
        for overwrite in (False, True):
            with pytest.raises(BadInputError, match=f"Process {first.pid} on .* is training into it"):
                train_run(brief, run, overwrite=overwrite)
        first.kill()
        first.wait()
        # What the dead process left is gone on with.
        trained = train_run(brief, run)
    assert trained.manifest["identity"] == load_trained(run).manifest["identity"]
    assert not (run / ".lock").exists()


def test_a_run_is_not_replaced_while_a_model_is_trained_inside_it(brief, tmp_path, text_home):
    train_run(brief, tmp_path / "run")
    other = replace(brief, inner=replace(brief.inner, num_steps=1))
    inside = tmp_path / "run" / "seed-1"
    with training_elsewhere(brief, inside, tmp_path) as first:
        with pytest.raises(BadInputError, match=f"seed-1.*Process {first.pid} on"):
            train_run(other, tmp_path / "run", overwrite=True)
        assert load_trained(tmp_path / "run").params["inner.log_rates"].shape == (2,)
        first.kill()
    train_run(other, tmp_path / "run", overwrite=True)
    assert not inside.exists()


def test_a_finished_run_in_a_folder_without_rights_is_still_returned(brief, tmp_path, monkeypatch):
    train_run(brief, tmp_path / "run")

    def never(*_, **__):
        raise AssertionError("a finished run is not locked")

    monkeypatch.setattr("warmprompt.runs.folder.locked", never)
    assert train_run(brief, tmp_path / "run").learner == "learned-target"


def test_users_with_one_event_each_are_nobody_to_learn_from(tiny_settings, tmp_path):
    world = planted_world(num_users=20, num_items=30, num_tastes=3, seed=0).dataset
    events = world.interactions
    first = replace(
        events,
        offsets=np.arange(world.num_users + 1, dtype=events.offsets.dtype),
        items=events.items[events.offsets[:-1]],
        ratings=None if events.ratings is None else events.ratings[events.offsets[:-1]],
        times_s=None if events.times_s is None else events.times_s[events.offsets[:-1]],
    )
    with pytest.raises(BadInputError, match="two events or more"):
        train_run(tiny_settings, tmp_path / "run", dataset=replace(world, interactions=first))
    assert not (tmp_path / "run").exists()
