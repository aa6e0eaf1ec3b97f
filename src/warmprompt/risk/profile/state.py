"""What is known of one entity, as a small value that never changes, and its form as bytes.

Packed as user states are (`adaptation.packing`); the header holds: entity, model, payments, labels, num_seen.
D is factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from warmprompt.adaptation.packing import Packing
from warmprompt.errors import BadInputError
from warmprompt.risk.profile.payments import NUM_CONTEXT
from warmprompt.types import Floats

VERSION = 1
_PACKING = Packing(
    magic=b"WPRS",
    version=VERSION,
    name="entity state",
    maker="EntityState.to_bytes",
    remedy="profile the entity again",
)

Id = str | int


@dataclass(frozen=True, kw_only=True)
class Payment:
    """One payment as it is known when it comes: without its label.

    Attributes:
        id: Unique within the entity.
        time_s: Whole seconds since 1970.
        amount_minor: Hundredths of the currency unit.
        counterparty: The other side.
        context: What others' payments say about the counterparty, `CONTEXT_NAMES` in order; zeros where
            nothing is known.
    """

    id: Id
    time_s: int
    amount_minor: int
    counterparty: Id
    context: tuple[float, ...] = (0.0,) * NUM_CONTEXT


@dataclass(frozen=True, kw_only=True, eq=False)
class EntityState:
    """One entity after adaptation; make it with a `Profiler`, never by hand.

    Attributes:
        entity: Its id.
        payments: The last ones, oldest first.
        labels: Per payment: fraud or not, None until it is reported.
        num_seen: Payments ever observed.
        vector_D: The adapted entity vector; read-only.
        offsets_PH: The adapted prompt, as an offset from the reference prompt; read-only.
        model_hash: Of the model that adapted it; no other can use it.
    """

    entity: Id
    payments: tuple[Payment, ...]
    labels: tuple[bool | None, ...]
    num_seen: int
    vector_D: Floats
    offsets_PH: Floats
    model_hash: str

    def to_bytes(self) -> bytes:
        """Return the state as bytes; equal states give equal bytes."""
        header = {
            "entity": self.entity,
            "model": self.model_hash,
            "payments": [
                [one.id, one.time_s, one.amount_minor, one.counterparty, list(one.context)]
                for one in self.payments
            ],
            "labels": list(self.labels),
            "num_seen": self.num_seen,
        }
        return _PACKING.pack(header, self.vector_D, self.offsets_PH)

    @classmethod
    def from_bytes(cls, data: bytes) -> EntityState:
        """Return the state that `to_bytes` wrote.

        Raises:
            BadInputError: The bytes are no entity state.
            MismatchError: A later version wrote them.
            IntegrityError: They are cut short or changed.
        """
        return _PACKING.unpack(data, _read)


def check_payment(payment: Payment, *, field: str = "payment") -> None:
    """Refuse a payment that cannot be.

    Raises:
        BadInputError: Names the part that is wrong.
    """
    if not isinstance(payment, Payment):
        raise BadInputError(field=field, value=payment, remedy="Give warmprompt.risk.profile.Payment(...).")
    for name in ("time_s", "amount_minor"):
        value: object = getattr(payment, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadInputError(
                field=f"{name} of {field}", value=value, remedy="Give a whole number of at least 0."
            )
    for name in ("id", "counterparty"):
        value = getattr(payment, name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise BadInputError(
                field=f"{name} of {field}", value=value, remedy="Give text or a whole number."
            )
    context: object = payment.context
    if (
        not isinstance(context, tuple)
        or len(context) != NUM_CONTEXT
        or not all(isinstance(one, int | float) and math.isfinite(one) and one >= 0 for one in context)
    ):
        raise BadInputError(
            field=f"context of {field}",
            value=context,
            remedy=f"Give {NUM_CONTEXT} finite numbers of at least 0, CONTEXT_NAMES in order.",
        )


def _read(header: Any, vector_D: Floats, offsets_PH: Floats) -> EntityState:
    return EntityState(
        entity=header["entity"],
        payments=tuple(
            Payment(id=id_, time_s=time_s, amount_minor=amount, counterparty=other, context=tuple(context))
            for id_, time_s, amount, other, context in header["payments"]
        ),
        labels=tuple(header["labels"]),
        num_seen=header["num_seen"],
        vector_D=vector_D,
        offsets_PH=offsets_PH,
        model_hash=header["model"],
    )
