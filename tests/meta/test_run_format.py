"""Runs and training states on disk: every bit comes back, and damage is named, never loaded."""

import errno
import hashlib
import json
import math
import resource
import signal
import struct
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.experts.worlds import batch_of, context_of, small_world, support_of

from warmprompt.errors import BadInputError, IntegrityError, MismatchError, StorageError, UnknownNameError
from warmprompt.experts import EXPERTS, Mixture
from warmprompt.experts.registry import LEARNED
from warmprompt.files import write_atomic
from warmprompt.runs.format import (
    ITEMS,
    MANIFEST,
    MODEL,
    STATE,
    Trained,
    header_of,
    load_trained,
    pack,
    save_trained,
    tensors_of,
    with_tensors,
)
from warmprompt.runs.training_state import load_state, save_state

IDENTITY = {"settings": {"train": {"seed": 0, "lr": 1e-3}, "evaluate": {"k": [0, 1]}}, "data": "d" * 64}


@pytest.fixture
def trained(worlds):
    params = {name: value.float() for name, value in worlds.random_params(0).items()}
    return Trained(
        params=params,
        data=worlds.random_data(0),
        readout=worlds.some_read_out(),
        learner="fomaml",
        item_ids=(3, 1, 4, 15, 9, 26, 5),
        titles=("Heat (1995)", "", "8½", "Amélie", "七人の侍", 'a "b"', "x\ny"),
        rating_scale=(1.0, 5.0),
        manifest={
            "settings": {"train": {"seed": 0}},
            "history": [["tangent", 1, 0.5, 1 / 3]],
            **dict.fromkeys(("backbone", "user_text", "data", "identity")),
        },
    )


@pytest.fixture
def stored(tmp_path, trained):
    save_trained(tmp_path / "run", trained)
    return tmp_path / "run"


def _same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)


@pytest.mark.parametrize(
    ("ids", "scale"), [((3, 1, 4, 15, 9, 26, 5), (0.5, 5.0)), (tuple("7650321"), None)], ids=["int", "text"]
)
def test_a_run_comes_back_bit_for_bit(tmp_path, trained, ids, scale):
    written = replace(trained, item_ids=ids, rating_scale=scale)
    save_trained(tmp_path, written)
    back = load_trained(tmp_path)
    assert list(back.params) == list(written.params)
    assert all(_same(back.params[name], value) for name, value in written.params.items())
    for record in ("data", "readout"):
        for field in fields(getattr(written, record)):
            one, other = (getattr(getattr(which, record), field.name) for which in (back, written))
            assert _same(one, other), field.name
    assert (back.item_ids, back.titles, back.rating_scale) == (ids, written.titles, scale)
    assert back.learner == "fomaml"
    assert {**back.manifest, **written.manifest} == back.manifest


def test_experts_come_back_with_their_weights_and_share_what_is_equal(tmp_path, trained):
    world = small_world()
    context = context_of(world, similar_item_weight=0.1)
    experts = {name: EXPERTS[name].fit(world, context) for name in EXPERTS if name not in LEARNED}
    weights = {name: float(rank) for rank, name in enumerate(experts, start=1)}
    mixture = Mixture(experts=experts, weights=weights, kappa=1.5)
    save_trained(tmp_path, replace(trained, experts=mixture))
    back = load_trained(tmp_path).experts
    users = batch_of(support_of(1, 4), support_of(), support_of(2, 7, 9))
    assert (back.weights, back.kappa) == (weights, 1.5)
    assert mixture.score(users).any()
    np.testing.assert_array_equal(back.score(users), mixture.score(users))
    histories = [back.experts[name].histories.items for name in ("user_neighbours", "user_posterior")]
    assert np.shares_memory(*histories)
    assert (tmp_path / MODEL).stat().st_size < sum(one.nbytes for one in mixture.arrays().values()) + 20_000


def test_a_run_with_a_dictionary_of_genres_reads_texts_by_the_encoder_alone(trained):
    head_TD = trained.params["prior.text_head"]
    params = {**trained.params, "prior.text_head": torch.cat([head_TD, 0.3 * head_TD, head_TD[:2]])}
    older = replace(trained, params=params, no_text_T=torch.zeros(len(head_TD)))
    header = {**header_of(older), "genres": [["sci-fi", "Sci-Fi"], ["war"]]}
    read = with_tensors(trained, tensors_of(older), header)
    torch.testing.assert_close(read.params["prior.text_head"], head_TD, rtol=0, atol=0)


def test_an_expert_of_another_version_is_named(trained):
    header = {**header_of(trained), "experts": {"weights": {"cooccurrence": 2.0}, "kappa": 0.0}}
    with pytest.raises(UnknownNameError, match="Train the run again") as caught:
        with_tensors(trained, tensors_of(trained), header)
    assert caught.value.value == "cooccurrence"


def test_the_manifest_carries_the_hash_of_every_other_file(stored):
    files = json.loads((stored / MANIFEST).read_text())["files"]
    others = {path.name for path in stored.iterdir()} - {MANIFEST}
    assert files == {name: hashlib.sha256((stored / name).read_bytes()).hexdigest() for name in others}


def test_saving_again_keeps_what_lies_beside(stored, trained):
    for name in ("training/state.safetensors", "tensorboard/events", "seed-1/manifest.json"):
        (stored / name).parent.mkdir()
        (stored / name).write_text("kept")
    save_trained(stored, replace(trained, titles=tuple("abcdefg")))
    assert load_trained(stored).titles == tuple("abcdefg")
    assert [path.read_text() for path in sorted(stored.glob("*/*"))] == ["kept"] * 3


@pytest.mark.parametrize("file", [MODEL, ITEMS])
@pytest.mark.parametrize("index", [0, 9, -1])
def test_a_changed_byte_is_named(stored, file, index):
    data = bytearray((stored / file).read_bytes())
    data[index] ^= 1
    (stored / file).write_bytes(data)
    with pytest.raises(IntegrityError, match=file):
        load_trained(stored)


@pytest.mark.parametrize("file", [MODEL, ITEMS, MANIFEST])
@pytest.mark.parametrize("length", [0, 5, 100])
def test_a_truncated_file_is_named(stored, file, length):
    (stored / file).write_bytes((stored / file).read_bytes()[:length])
    with pytest.raises(IntegrityError, match=file):
        load_trained(stored)


@pytest.mark.parametrize("file", [MODEL, ITEMS])
def test_a_missing_file_is_named(stored, file):
    (stored / file).unlink()
    with pytest.raises(IntegrityError, match=file):
        load_trained(stored)


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"format": 1, "files": {}}', "3", '{"name": "ml-100k"}'])
def test_a_folder_of_something_else_is_no_run(stored, manifest):
    (stored / MANIFEST).write_text(manifest)
    with pytest.raises(BadInputError, match="something else"):
        load_trained(stored)


@pytest.mark.parametrize("other", [3, 7, 99])
def test_a_run_of_another_format_is_refused_in_one_line(stored, other):
    manifest = json.loads((stored / MANIFEST).read_text()) | {"format": other}
    (stored / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BadInputError, match=rf"format of run run: '{other}'.*train again"):
        load_trained(stored)


def test_a_manifest_cannot_send_the_reader_elsewhere(stored):
    manifest = json.loads((stored / MANIFEST).read_text())
    manifest["files"]["../secret"] = "0" * 64
    (stored / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match="secret"):
        load_trained(stored)


@pytest.mark.parametrize("file", [MODEL, ITEMS])
def test_well_hashed_files_of_another_kind_are_refused(stored, file):
    # What a foreign writer could leave: the manifest fits, the content does not.
    content = b"PAR1 is not enough"
    (stored / file).write_bytes(content)
    manifest = json.loads((stored / MANIFEST).read_text())
    manifest["files"][file] = hashlib.sha256(content).hexdigest()
    (stored / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match="damaged"):
        load_trained(stored)


def test_items_of_another_run_are_refused(tmp_path, trained):
    save_trained(tmp_path, replace(trained, item_ids=(1, 2), titles=("a", "b")))
    with pytest.raises(IntegrityError, match="2 items, 7 item vectors"):
        load_trained(tmp_path)


def test_no_run_names_the_nearest_one(stored):
    with pytest.raises(UnknownNameError, match=f"Did you mean {stored}"):
        load_trained(stored.with_name("runs"))
    with pytest.raises(UnknownNameError, match="train one"):
        load_trained(stored / "deep" / "down")


def test_unfinished_training_differs_from_no_run(tmp_path, worlds):
    save_state(tmp_path / STATE, worlds.some_state(), identity=IDENTITY)
    with pytest.raises(UnknownNameError, match="has not finished"):
        load_trained(tmp_path)


@pytest.mark.parametrize("files_before_failure", [0, 1, 2])
def test_a_save_that_fails_before_its_manifest_is_no_run(stored, trained, monkeypatch, files_before_failure):
    written = []

    def failing(path, data):
        if len(written) == files_before_failure:
            raise OSError(errno.ENOSPC, "no space left")
        written.append(path)
        write_atomic(path, data)

    monkeypatch.setattr("warmprompt.runs.format.write_atomic", failing)
    with pytest.raises(OSError, match="no space"):
        save_trained(stored, trained)
    with pytest.raises(UnknownNameError):
        load_trained(stored)


SAVE = """
import os, signal, sys
from pathlib import Path
from warmprompt.runs import format as checkpoint
folder = Path(sys.argv[1])
trained, write = checkpoint.load_trained(folder), checkpoint.write_atomic
def watched(path, data):
    if path.name == checkpoint.MANIFEST:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)
checkpoint.write_atomic = watched
checkpoint.save_trained(folder, trained)
"""


def test_a_save_killed_before_its_manifest_is_no_run(stored):
    command = [sys.executable, "-c", SAVE, str(stored)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    with pytest.raises(UnknownNameError):
        load_trained(stored)


@contextmanager
def no_room():
    """Let no file of this process grow beyond a few bytes: writes fail just where a full disk would."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_no_run_and_no_rubbish(tmp_path, trained):
    with no_room(), pytest.raises(StorageError):
        save_trained(tmp_path / "run", trained)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_full_disk_leaves_the_state_before(tmp_path, worlds):
    path = tmp_path / STATE
    before = worlds.some_state()
    save_state(path, before, identity=IDENTITY)
    with no_room(), pytest.raises(StorageError):
        save_state(path, replace(before, epoch=3), identity=IDENTITY)
    assert worlds.same_state(load_state(path, identity=IDENTITY), before)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("best_loss", [math.inf, 5.123456789012345])
def test_a_state_comes_back_bit_for_bit(tmp_path, worlds, best_loss):
    state = replace(worlds.some_state(), best_loss=best_loss)
    save_state(tmp_path / STATE, state, identity=IDENTITY)
    assert worlds.same_state(load_state(tmp_path / STATE, identity=IDENTITY), state)


@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_no_loss_is_rounded(tmp_path_factory, worlds, numbers):
    path = tmp_path_factory.mktemp("state") / "x"
    state = replace(worlds.some_state(), history=(("prompt", 1, *numbers),), train_loss=numbers[0])
    save_state(path, state, identity=IDENTITY)
    back = load_state(path, identity=IDENTITY)
    exact = [struct.pack("d", number) for number in numbers]
    assert [struct.pack("d", number) for number in back.history[0][2:]] == exact
    assert struct.pack("d", back.train_loss) == exact[0]


def test_no_state_is_none(tmp_path):
    assert load_state(tmp_path / STATE, identity=IDENTITY) is None


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"data": "e" * 64}, "data"),
        ({"settings": {**IDENTITY["settings"], "train": {"seed": 1, "lr": 1e-3}}}, "settings.train.seed"),
        ({"settings": {**IDENTITY["settings"], "evaluate": {"k": [0]}}}, "settings.evaluate.k"),
        ({"data": None}, "data"),
        ({"backbone": "f"}, "backbone"),
    ],
)
def test_a_state_of_something_else_names_what_differs(tmp_path, worlds, changed, key):
    save_state(tmp_path / STATE, worlds.some_state(), identity=IDENTITY)
    with pytest.raises(MismatchError) as caught:
        load_state(tmp_path / STATE, identity={**IDENTITY, **changed})
    assert caught.value.field == key


def test_tuples_and_lists_are_the_same_identity(tmp_path, worlds):
    save_state(tmp_path / STATE, worlds.some_state(), identity={"k": (0, 1)})
    assert load_state(tmp_path / STATE, identity={"k": [0, 1]}) is not None


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_truncated_state_is_damaged(tmp_path, worlds, length):
    path = tmp_path / STATE
    save_state(path, worlds.some_state(), identity=IDENTITY)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(IntegrityError, match=path.name):
        load_state(path, identity=IDENTITY)


def test_a_changed_weight_of_a_state_is_damage(tmp_path, worlds):
    path = tmp_path / STATE
    save_state(path, worlds.some_state(), identity=IDENTITY)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=path.name):
        load_state(path, identity=IDENTITY)


def test_a_file_of_another_program_is_no_state(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(IntegrityError):
        load_state(Path(tmp_path / "x.safetensors"), identity=IDENTITY)


@pytest.mark.parametrize("key", ["settings", "backbone", "experts"])
def test_a_manifest_without_what_opening_a_run_reads_is_damaged(stored, key):
    manifest = json.loads((stored / MANIFEST).read_text())
    del manifest[key]
    (stored / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match=f"names no {key}"):
        load_trained(stored)


@pytest.mark.parametrize(
    ("name", "spoil", "what"),
    [
        ("params.items.bias", lambda value: value * math.nan, "params.items.bias has NaN or infinite"),
        ("constants.log_popularity_V", lambda value: value / 0, "constants.log_popularity_V has NaN"),
        ("read.mean_X", lambda value: value + math.inf, "read.mean_X has NaN or infinite"),
        ("params.items.bias", lambda value: value[:-1], "params.items.bias has 6 along V, where"),
        ("params.items.learned", lambda value: value[:, :-1], "along K, where params.items.learned has"),
        ("constants.warm_V", lambda value: value[:, None], "constants.warm_V has 2 axes, not 1"),
        ("read.reference_PH", lambda value: value[:, :, None], "read.reference_PH has 3 axes, not 2"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(stored, name, spoil, what):
    """The manifest fits the file: it was written so."""
    trained = load_trained(stored)
    tensors = tensors_of(trained)
    data = pack(tensors | {name: spoil(tensors[name])}, header_of(trained))
    (stored / MODEL).write_bytes(data)
    manifest = json.loads((stored / MANIFEST).read_text())
    manifest["files"][MODEL] = hashlib.sha256(data).hexdigest()
    (stored / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError) as caught:
        load_trained(stored)
    assert what in str(caught.value.value)
