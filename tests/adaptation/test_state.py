"""User states as bytes: back to the same bits, and never a wrong state from damaged ones."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.adaptation.packing import read_only_copy
from warmprompt.adaptation.state import UserState
from warmprompt.errors import BadInputError, IntegrityError, MismatchError, WarmpromptError
from warmprompt.types import Event


def state(**changes):
    values = {
        "events": (Event(item="a", rating=4.5, time_s=7), Event(item="b")),
        "about": "likes “tea”",
        "attributes": {"age": "24"},
        "vector_D": read_only_copy(np.array([1.5, -0.0, 3e-40], dtype=np.float32)),
        "offsets_PH": read_only_copy(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "model_hash": "ab" * 32,
    }
    return UserState(**(values | changes))


ids = st.text(max_size=5) | st.integers(-(2**63), 2**63 - 1)
floats = st.floats(width=32, allow_nan=False)
events = st.builds(
    Event,
    item=ids,
    rating=st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    time_s=st.none() | st.integers(0, 2**60),
    weight=st.none() | st.floats(0.5, 1e9),
    text=st.none() | st.text(max_size=9),
)


@given(
    user_events=st.lists(events, max_size=4).map(tuple),
    about=st.none() | st.text(max_size=9),
    attributes=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3),
    vector=st.lists(floats, min_size=1, max_size=5),
)
def test_a_state_comes_back_bit_for_bit(user_events, about, attributes, vector):
    one = state(
        events=user_events, about=about, attributes=attributes, vector_D=read_only_copy(np.array(vector))
    )
    back = UserState.from_bytes(one.to_bytes())
    assert (back.events, back.about, dict(back.attributes), back.model_hash) == (
        user_events, about, attributes, one.model_hash
    )  # fmt: skip
    assert [type(event.item) for event in back.events] == [type(event.item) for event in user_events]
    assert back.vector_D.tobytes() == one.vector_D.tobytes()
    assert back.offsets_PH.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert back.to_bytes() == one.to_bytes()


def test_events_without_weights_and_texts_are_written_as_version_0_1_did():
    # SHA-256 of the bytes that commit 4fad69f made of the same state.
    assert hashlib.sha256(state().to_bytes()).hexdigest() == (
        "1fdc94e74472fe55eaef0f72fc6a3867909b0e384a0a88c74b97fd5b2029ee17"
    )


@given(index=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(index, flip):
    data = bytearray(state().to_bytes())
    data[index % len(data)] ^= flip
    with pytest.raises((IntegrityError, BadInputError)):
        UserState.from_bytes(bytes(data))


def test_any_cut_is_noticed():
    data = state().to_bytes()
    for length in range(len(data)):
        with pytest.raises(WarmpromptError):
            UserState.from_bytes(data[:length])
    with pytest.raises(IntegrityError):
        UserState.from_bytes(data + b"\0")


@pytest.mark.parametrize("data", [b"", b"WPU", b"\x80\x04K\x01.", "text", None])
def test_something_else_is_no_state(data):
    with pytest.raises(BadInputError):
        UserState.from_bytes(data)


def test_a_later_version_is_reported():
    body = state().to_bytes()[:-32]
    later = body[:4] + struct.pack("<H", 2) + body[6:]
    with pytest.raises(MismatchError, match="version"):
        UserState.from_bytes(later + hashlib.sha256(later).digest())


def test_a_state_cannot_be_written_to():
    one = UserState.from_bytes(state().to_bytes())
    with pytest.raises(ValueError, match="read-only"):
        one.vector_D[0] = 1
    with pytest.raises(TypeError):
        one.attributes["age"] = "25"
