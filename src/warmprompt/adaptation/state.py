"""What is known of one user, as a small value that never changes, and its form as bytes (see `packing`).

The header holds: model, events, about, attributes. D is factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import Tensor

from warmprompt.adaptation.events import Known
from warmprompt.adaptation.packing import Packing, read_only_copy
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.types import Event, Floats, short_repr

VERSION = 1
_PACKING = Packing(
    magic=b"WPUS",
    version=VERSION,
    name="user state",
    maker="UserState.to_bytes",
    remedy="adapt the user again",
)
_NO_PROMPT = read_only_copy(np.zeros((0, 0), dtype=np.float32))


@dataclass(frozen=True, kw_only=True, eq=False)
class UserState:
    """One user after adaptation; make it with `Personaliser.adapt`, never by hand.

    Attributes:
        events: What the user did, in the order given.
        about: The sentence about the user, or None.
        attributes: The user's attributes; empty when none were given.
        vector_D: The adapted user vector; read-only.
        offsets_PH: The adapted prompt, as an offset from the run's reference prompt; read-only. Of shape
            (0, 0) where the user was adapted in the linear response.
        model_hash: Of the run and backbone that adapted it; no other can use it.
    """

    events: tuple[Event, ...]
    about: str | None
    attributes: Mapping[str, str]
    vector_D: Floats
    offsets_PH: Floats
    model_hash: str

    __repr__ = short_repr

    @property
    def has_prompt(self) -> bool:
        """Whether the state holds a prompt; `Personaliser.with_prompt` computes it where it does not."""
        return bool(self.offsets_PH.size)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the bytes that `to_bytes` returns."""
        return UserState.from_bytes, (self.to_bytes(),)

    def to_bytes(self) -> bytes:
        """Return the state as bytes; equal states give equal bytes."""
        header = {
            "model": self.model_hash,
            "events": [_written(event) for event in self.events],
            "about": self.about,
            "attributes": dict(self.attributes),
        }
        return _PACKING.pack(header, self.vector_D, self.offsets_PH)

    @classmethod
    def from_bytes(cls, data: bytes) -> UserState:
        """Return the state that `to_bytes` wrote.

        Raises:
            BadInputError: The bytes are no user state.
            MismatchError: A later version wrote them.
            IntegrityError: They are cut short or changed.
        """
        return _PACKING.unpack(data, _read)


def check_own(state: UserState, model_hash: str) -> None:
    """Refuse what is no state, or the state of another model."""
    if not isinstance(state, UserState):
        raise BadInputError(field="state", value=type(state).__name__, remedy="Give what adapt returned.")
    if state.model_hash != model_hash:
        raise MismatchError(
            field="model of the user state",
            value=state.model_hash[:12],
            remedy=f"This model is {model_hash[:12]}: adapt the user again from state.events.",
        )


def states_of(
    users: Sequence[Known], users_BD: Tensor, offsets_BPH: Tensor | None = None, *, model_hash: str
) -> list[UserState]:
    """Return the states of adapted users, row by row; without offsets no prompt was moved."""
    vectors_BD = users_BD.cpu().numpy()
    offsets = [_NO_PROMPT] * len(users) if offsets_BPH is None else offsets_BPH.cpu().numpy()
    return [
        UserState(
            events=tuple(known.events),
            about=known.about,
            attributes=known.attributes or {},
            vector_D=read_only_copy(vector_D),
            offsets_PH=offsets_PH if offsets_BPH is None else read_only_copy(offsets_PH),
            model_hash=model_hash,
        )
        for known, vector_D, offsets_PH in zip(users, vectors_BD, offsets, strict=True)
    ]


def _written(event: Event) -> list[Any]:
    """Return an event as a list; what it lacks at the end is left out, as earlier versions wrote it."""
    values = [event.item, event.rating, event.time_s, event.weight, event.text]
    return values if event.text is not None else values[: 3 if event.weight is None else 4]


def _read(header: Any, vector_D: Floats, offsets_PH: Floats) -> UserState:
    return UserState(
        events=tuple(
            Event(
                item=item, rating=rating, time_s=time_s, **dict(zip(("weight", "text"), rest, strict=False))
            )
            for item, rating, time_s, *rest in header["events"]
        ),
        about=header["about"],
        attributes=MappingProxyType(dict(header["attributes"])),
        vector_D=vector_D,
        offsets_PH=offsets_PH,
        model_hash=header["model"],
    )
