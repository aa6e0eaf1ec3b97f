"""A state's numbers and their byte format: the vector in single precision, the prompt in half precision.

    4 bytes   magic
    2 bytes   version
    6 bytes   D, P, H, two bytes each
    vector    D float32
    offsets   P x H float16
    32 bytes  SHA-256 of everything before it

All numbers are little-endian. Ranking needs only the vector; half precision halves the size of the prompt's
offsets. They are rounded when the state is made, not when it is written. So a state in memory, one read from
the store and one rebuilt from the log are the same to the last bit.

D is factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

import numpy as np

from warmprompt.adaptation.packing import read_only_copy
from warmprompt.adaptation.state import UserState
from warmprompt.errors import IntegrityError
from warmprompt.types import Floats

_HEAD = struct.Struct("<4sHHHH")
_MAGIC = b"WPUN"
_VERSION = 1
_HASH = 32
_LARGEST = float(np.finfo(np.float16).max)


class Numbers(NamedTuple):
    """A user after adaptation.

    Attributes:
        vector_D: The user vector.
        offsets_PH: The prompt, as an offset from the run's reference prompt, in float32. In states its values
            are rounded to half precision; see `quantised`.
    """

    vector_D: Floats
    offsets_PH: Floats


def quantised(vector_D: Floats, offsets_PH: Floats) -> Numbers:
    """Return read-only numbers with the offsets rounded to half precision and clipped to 65,504."""
    half_PH = np.clip(offsets_PH, -_LARGEST, _LARGEST).astype(np.float16)
    return Numbers(vector_D=read_only_copy(vector_D), offsets_PH=read_only_copy(half_PH.astype(np.float32)))


def pack_numbers(numbers: Numbers) -> bytes:
    """Return numbers from `quantised` as bytes, without loss; equal numbers give equal bytes."""
    vector_D, offsets_PH = numbers
    head = _HEAD.pack(_MAGIC, _VERSION, *vector_D.shape, *offsets_PH.shape)
    body = head + vector_D.astype("<f4").tobytes() + offsets_PH.astype("<f2").tobytes()
    return body + hashlib.sha256(body).digest()


def unpack_numbers(data: bytes) -> Numbers:
    """Return the numbers that `pack_numbers` wrote, or those of a whole state that an earlier version stored.

    Raises:
        IntegrityError: The bytes are cut short, changed or of another format.
        UserError: They have another format than a whole state.
    """
    if data[:4] != _MAGIC:
        whole = UserState.from_bytes(data)
        return Numbers(vector_D=whole.vector_D, offsets_PH=whole.offsets_PH)
    if len(data) < _HEAD.size + _HASH or hashlib.sha256(data[:-_HASH]).digest() != data[-_HASH:]:
        raise _damaged(data)
    _, version, width, prompts, hidden = _HEAD.unpack_from(data)
    split = _HEAD.size + 4 * width
    if version != _VERSION or len(data) != split + 2 * prompts * hidden + _HASH:
        raise _damaged(data)
    return Numbers(
        vector_D=read_only_copy(np.frombuffer(data[_HEAD.size : split], dtype="<f4")),
        offsets_PH=read_only_copy(np.frombuffer(data[split:-_HASH], dtype="<f2").reshape(prompts, hidden)),
    )


def _damaged(data: bytes) -> IntegrityError:
    return IntegrityError(
        field="numbers of a user state",
        value=f"{len(data)} bytes",
        remedy="They were cut short, changed, or written by a later version; adapt the user again.",
    )
