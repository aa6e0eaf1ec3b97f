"""States as bytes: a head, a JSON header, a vector and a prompt, sealed with a hash.

    4 bytes   magic
    2 bytes   version, little-endian
    4 bytes   length of the header, little-endian
    header    JSON, keys sorted; "shapes" is added here
    vector    D float32, little-endian
    offsets   P x H float32, little-endian
    32 bytes  SHA-256 of everything before

D is factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from warmprompt.errors import BadInputError, IntegrityError, MismatchError
from warmprompt.types import Floats

_HEAD = struct.Struct("<4sHI")

_State = TypeVar("_State")


@dataclass(frozen=True, kw_only=True)
class Packing:
    """One kind of state as bytes.

    Attributes:
        magic: Four bytes that its packages begin with.
        version: The only one that is read.
        name: What the state is called in errors ("user state").
        maker: What makes the bytes ("UserState.to_bytes").
        remedy: What to do without the state ("adapt again").
    """

    magic: bytes
    version: int
    name: str
    maker: str
    remedy: str

    def pack(self, header: Mapping[str, Any], vector_D: Floats, offsets_PH: Floats) -> bytes:
        """Return a state as bytes; equal parts give equal bytes."""
        whole = {**header, "shapes": [list(vector_D.shape), list(offsets_PH.shape)]}
        head = json.dumps(whole, sort_keys=True, allow_nan=False).encode()
        arrays = b"".join(np.asarray(one, dtype="<f4").tobytes() for one in (vector_D, offsets_PH))
        body = _HEAD.pack(self.magic, self.version, len(head)) + head + arrays
        return body + hashlib.sha256(body).digest()

    def unpack(self, data: bytes, build: Callable[[Any, Floats, Floats], _State]) -> _State:
        """Return what `build` makes of the header, the vector and the offsets.

        Raises:
            BadInputError: The bytes are of something else.
            MismatchError: Another version wrote them.
            IntegrityError: They are cut short or changed.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise BadInputError(field=self.name, value=type(data).__name__, remedy="Give bytes.")
        data = bytes(data)
        if data[:4] != self.magic:
            remedy = f"Give bytes that {self.maker} made."
            raise BadInputError(field=self.name, value=data[:16], remedy=remedy)
        if len(data) < _HEAD.size + 32 or hashlib.sha256(data[:-32]).digest() != data[-32:]:
            raise self._damaged(f"{len(data)} bytes")
        _, version, length = _HEAD.unpack_from(data)
        if version != self.version:
            remedy = f"This version reads {self.version}; {self.remedy}."
            raise MismatchError(field=f"{self.name} version", value=version, remedy=remedy)
        try:
            header = json.loads(data[_HEAD.size : _HEAD.size + length])
            shape_D, shape_PH = (tuple(shape) for shape in header["shapes"])
            numbers = np.frombuffer(data[_HEAD.size + length : -32], dtype="<f4")
            width = int(np.prod(shape_D))
            vector_D, offsets_PH = numbers[:width].reshape(shape_D), numbers[width:].reshape(shape_PH)
            return build(header, read_only_copy(vector_D), read_only_copy(offsets_PH))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, what: str) -> IntegrityError:
        return IntegrityError(
            field=self.name, value=what, remedy=f"It was cut short or changed; {self.remedy}."
        )


def read_only_copy(array: Floats) -> Floats:
    """Return a copy that cannot be written to."""
    copied: Floats = np.array(array, dtype=np.float32)
    copied.setflags(write=False)
    return copied
