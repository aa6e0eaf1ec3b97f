"""Export of everything stored about a user, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from warmprompt.service.model.numbers import unpack_numbers
from warmprompt.store.contract import Export, StoredState
from warmprompt.types import Floats


class StateNumbers(Protocol):
    """A state with an adapted vector and prompt."""

    @property
    def vector_D(self) -> Floats:
        """D numbers."""

    @property
    def offsets_PH(self) -> Floats:
        """P x H numbers."""


def exported(export: Export, *, read: Callable[[bytes], StateNumbers] = unpack_numbers) -> dict[str, Any]:
    """Return an export as JSON values; a state's numbers are written out.

    Args:
        export: From the store.
        read: Parses a state's bytes.
    """
    return {
        "user": export.user,
        "first_seen_s": export.first_seen_s,
        "log": [
            {
                "seq": entry.seq,
                "kind": entry.kind,
                "body": json.loads(entry.body),
                "time_s": entry.time_s,
                "evidence_hash": entry.evidence_hash,
            }
            for entry in export.entries
        ],
        "idempotency_keys": [
            {"key": key, "first_seq": first, "last_seq": last} for key, first, last in export.idempotency_keys
        ],
        "states": [_state(state, read) for state in export.states],
    }


def _state(stored: StoredState, read: Callable[[bytes], StateNumbers]) -> dict[str, Any]:
    state = read(stored.data)
    return {
        "model": stored.model_hash,
        "seq": stored.seq,
        "evidence_hash": stored.evidence_hash,
        "vector": state.vector_D.tolist(),
        "prompt": state.offsets_PH.tolist(),
    }
