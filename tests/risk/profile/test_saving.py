"""A profiler comes back from the disk as it was, or not at all."""

import json
from dataclasses import replace

import pytest

from warmprompt.errors import BadInputError, IntegrityError, MismatchError
from warmprompt.risk.profile import Payment, load_profiler, save_profiler


@pytest.fixture
def folder(profiler, tmp_path):
    save_profiler(profiler, tmp_path / "saved")
    return tmp_path / "saved"


def test_a_loaded_profiler_gives_the_same_bits(profiler, folder):
    loaded = load_profiler(folder, backbone=profiler.model.backbone)
    one = Payment(id=1, time_s=1_525_000_000, amount_minor=5_000, counterparty="shop")
    two = replace(one, id=2, time_s=one.time_s + 90_000, amount_minor=40_000)
    states = [each.observe(each.start("a"), one) for each in (profiler, loaded)]
    assert states[0].to_bytes() == states[1].to_bytes()
    assert loaded.score(states[0], two) == profiler.score(states[1], two)


def test_damage_is_named(folder, profiler):
    backbone = profiler.model.backbone
    numbers = folder / "profiler.safetensors"
    whole = numbers.read_bytes()
    numbers.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"profiler\.safetensors"):
        load_profiler(folder, backbone=backbone)
    numbers.write_bytes(whole)
    manifest = json.loads((folder / "profiler.json").read_text())
    for changed, error in (
        ({"version": 99}, MismatchError),
        ({"label_delay_s": 1}, IntegrityError),
        ({"backbone": manifest["backbone"] | {"weights_hash": "0"}}, MismatchError),
    ):
        (folder / "profiler.json").write_text(json.dumps(manifest | changed))
        with pytest.raises(error):
            load_profiler(folder, backbone=backbone)
    (folder / "profiler.json").write_text("{")
    with pytest.raises(IntegrityError):
        load_profiler(folder, backbone=backbone)
    with pytest.raises(BadInputError, match="Name one that was saved"):
        load_profiler(folder.parent)


def test_a_folder_with_something_in_it_is_kept(profiler, folder):
    with pytest.raises(BadInputError, match="output folder"):
        save_profiler(profiler, folder)
    save_profiler(profiler, folder, overwrite=True)
