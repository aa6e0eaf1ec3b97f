"""What is known of one user, as a small value that never changes, and its form as bytes.

    4 bytes   "WPUS"
    2 bytes   version, little-endian
    4 bytes   length of the header, little-endian
    header    JSON: model, events, about, attributes, shapes
    vector    D float32, little-endian
    offsets   P x H float32, little-endian
    32 bytes  SHA-256 of all that stands before

D is factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from warmprompt.errors import BadInputError, IntegrityError, MismatchError
from warmprompt.types import Event, Floats

VERSION = 1
_MAGIC = b"WPUS"
_HEAD = struct.Struct("<4sHI")


@dataclass(frozen=True, kw_only=True, eq=False)
class UserState:
    """One user after adaptation; make it with `Personaliser.adapt`, never by hand.

    Attributes:
        events: What the user did, in the order told.
        about: The sentence about the user, or None.
        attributes: The user's attributes; empty when none were told.
        vector_D: The adapted user vector; read-only.
        offsets_PH: The adapted prompt, as an offset from the run's reference prompt; read-only.
        model_hash: Of the run and backbone that adapted it; no other can use it.
    """

    events: tuple[Event, ...]
    about: str | None
    attributes: Mapping[str, str]
    vector_D: Floats
    offsets_PH: Floats
    model_hash: str

    def to_bytes(self) -> bytes:
        """Return the state as bytes; equal states give equal bytes."""
        header = {
            "model": self.model_hash,
            "events": [[event.item, event.rating, event.time_s] for event in self.events],
            "about": self.about,
            "attributes": dict(self.attributes),
            "shapes": [list(self.vector_D.shape), list(self.offsets_PH.shape)],
        }
        told = json.dumps(header, sort_keys=True, allow_nan=False).encode()
        arrays = b"".join(np.asarray(one, dtype="<f4").tobytes() for one in (self.vector_D, self.offsets_PH))
        body = _HEAD.pack(_MAGIC, VERSION, len(told)) + told + arrays
        return body + hashlib.sha256(body).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> UserState:
        """Return the state that `to_bytes` wrote.

        Raises:
            BadInputError: The bytes are no user state.
            MismatchError: A later version wrote them.
            IntegrityError: They are cut short or changed.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise BadInputError(field="user state", value=type(data).__name__, remedy="Give bytes.")
        data = bytes(data)
        if data[:4] != _MAGIC:
            raise BadInputError(
                field="user state", value=data[:16], remedy="Give bytes that UserState.to_bytes made."
            )
        if len(data) < _HEAD.size + 32 or hashlib.sha256(data[:-32]).digest() != data[-32:]:
            raise _damaged(f"{len(data)} bytes")
        _, version, length = _HEAD.unpack_from(data)
        if version != VERSION:
            raise MismatchError(
                field="user state version",
                value=version,
                remedy=f"This version reads {VERSION}; adapt again.",
            )
        try:
            return _read(json.loads(data[_HEAD.size : _HEAD.size + length]), data[_HEAD.size + length : -32])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(str(error)) from error


def frozen(array: Floats) -> Floats:
    """Return a copy that cannot be written to."""
    copied: Floats = np.array(array, dtype=np.float32)
    copied.setflags(write=False)
    return copied


def _read(header: Any, arrays: bytes) -> UserState:
    shape_D, shape_PH = (tuple(shape) for shape in header["shapes"])
    numbers = np.frombuffer(arrays, dtype="<f4")
    width = int(np.prod(shape_D))
    return UserState(
        events=tuple(
            Event(item=item, rating=rating, time_s=time_s) for item, rating, time_s in header["events"]
        ),
        about=header["about"],
        attributes=MappingProxyType(dict(header["attributes"])),
        vector_D=frozen(numbers[:width].reshape(shape_D)),
        offsets_PH=frozen(numbers[width:].reshape(shape_PH)),
        model_hash=header["model"],
    )


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(
        field="user state", value=what, remedy="It was cut short or changed; adapt the user again."
    )
