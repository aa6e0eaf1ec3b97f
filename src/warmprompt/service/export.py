"""Everything held about a user, in a form that people and programs can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from warmprompt.service.model.numbers import unpack
from warmprompt.store.contract import Export, StoredState
from warmprompt.types import Floats


class Adapted(Protocol):
    """A state with an adapted vector and prompt."""

    @property
    def vector_D(self) -> Floats:
        """D numbers."""

    @property
    def offsets_PH(self) -> Floats:
        """P x H numbers."""


def exported(held: Export, *, read: Callable[[bytes], Adapted] = unpack) -> dict[str, Any]:
    """Return an export as JSON values; a state's numbers are written out.

    Args:
        held: What the store holds.
        read: Makes a state of its bytes.
    """
    return {
        "user": held.user,
        "first_seen_s": held.first_seen_s,
        "log": [
            {
                "seq": entry.seq,
                "kind": entry.kind,
                "body": json.loads(entry.body),
                "time_s": entry.time_s,
                "evidence_hash": entry.evidence_hash,
            }
            for entry in held.entries
        ],
        "idempotency_keys": [
            {"key": key, "first_seq": first, "last_seq": last} for key, first, last in held.idempotency_keys
        ],
        "states": [_state(state, read) for state in held.states],
    }


def _state(stored: StoredState, read: Callable[[bytes], Adapted]) -> dict[str, Any]:
    state = read(stored.data)
    return {
        "model": stored.model_hash,
        "seq": stored.seq,
        "evidence_hash": stored.evidence_hash,
        "vector": state.vector_D.tolist(),
        "prompt": state.offsets_PH.tolist(),
    }
