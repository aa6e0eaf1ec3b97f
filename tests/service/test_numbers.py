"""A state's numbers as bytes: half the prompt's size, and still the same to the last bit everywhere."""

import numpy as np
import pytest

from warmprompt.adaptation.state import UserState
from warmprompt.errors import IntegrityError, WarmpromptError
from warmprompt.service.model.numbers import Numbers, pack_numbers, quantised, unpack_numbers


def some(seed=0, *, scale=0.2):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=32).astype(np.float32),
        (scale * rng.normal(size=(4, 576))).astype(np.float32),
    )


def test_packing_is_lossless_after_rounding():
    vector_D, offsets_PH = some()
    kept = quantised(vector_D, offsets_PH)
    back = unpack_numbers(pack_numbers(kept))
    assert back.vector_D.tobytes() == kept.vector_D.tobytes() == vector_D.tobytes()
    assert back.offsets_PH.tobytes() == kept.offsets_PH.tobytes()
    assert pack_numbers(back) == pack_numbers(kept)
    # Half precision: a relative step of 2^-10 for normal numbers, rounded to nearest; 2^-24 apart near zero.
    assert np.all(np.abs(kept.offsets_PH - offsets_PH) <= np.maximum(np.abs(offsets_PH) * 2**-11, 2**-25))
    assert kept.offsets_PH.dtype == np.float32
    assert not kept.offsets_PH.flags.writeable


def test_packed_size_matches_the_format():
    assert len(pack_numbers(quantised(*some()))) == 12 + 4 * 32 + 2 * 4 * 576 + 32


def test_half_precision_overflow_is_clipped():
    kept = quantised(np.zeros(1, np.float32), np.array([[1e9, -1e9, 1.0]], np.float32))
    assert kept.offsets_PH.tolist() == [[65504.0, -65504.0, 1.0]]


@pytest.mark.parametrize("harm", ["cut", "flip", "longer", "empty", "shape"])
def test_damaged_bytes_are_refused(harm):
    data = pack_numbers(quantised(*some()))
    damaged = {
        "cut": data[:-1],
        "flip": data[:40] + bytes([data[40] ^ 1]) + data[41:],
        "longer": data + b"\0",
        "empty": b"",
        "shape": data[:6] + b"\xff\xff" + data[8:],
    }[harm]
    with pytest.raises(WarmpromptError):
        unpack_numbers(damaged)


def test_later_format_version_is_refused():
    import hashlib

    data = pack_numbers(quantised(*some()))[:-32]
    later = data[:4] + b"\x02\x00" + data[6:]
    with pytest.raises(IntegrityError, match="later version"):
        unpack_numbers(later + hashlib.sha256(later).digest())


def test_whole_states_of_earlier_versions_are_read():
    vector_D, offsets_PH = some(1)
    old = UserState(
        events=(), about=None, attributes={}, vector_D=vector_D, offsets_PH=offsets_PH, model_hash="m"
    )
    back = unpack_numbers(old.to_bytes())
    assert isinstance(back, Numbers)
    assert back.offsets_PH.tobytes() == offsets_PH.tobytes()
