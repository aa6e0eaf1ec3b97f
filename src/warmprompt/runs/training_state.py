"""Unfinished training as one file: everything that going on needs, and what it belongs to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmprompt.backbone.hashing import hash_tensors
from warmprompt.errors import MismatchError
from warmprompt.files import write_atomic
from warmprompt.meta.learner import LearnerState
from warmprompt.meta.trainer import TrainState
from warmprompt.runs.format import FORMAT, STATE, damaged, pack, unpack

__all__ = ["STATE", "check_identity", "load_state", "save_state", "seconds_of"]

_COUNTERS = ("stage", "epoch", "batch", "since_best", "train_loss")


def save_state(
    path: Path,
    state: TrainState,
    *,
    identity: Mapping[str, Any],
    seconds: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Write where training is, replacing the file in one step.

    Args:
        path: Usually `STATE` in the run's folder.
        state: Everything that going on needs.
        identity: What the state belongs to (settings, data hash, backbone hash): JSON values only.
        seconds: By the clock and of the processor so far.

    Raises:
        StorageError, BadInputError: As `files.write_atomic`.
    """
    parts = {
        "params": state.learner.params,
        "first": state.learner.first,
        "second": state.learner.second,
        "best": state.best,
    }
    tensors = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
    header = {
        "format": FORMAT,
        "identity": dict(identity),
        "seconds": list(seconds),
        "step": state.learner.step,
        # JSON has no infinity; before the first validation there is no best loss.
        "best_loss": None if math.isinf(state.best_loss) else state.best_loss,
        "history": state.history,
        "names": {part: list(values) for part, values in parts.items()},
        "digest": hash_tensors(sorted(tensors.items())),
        **{name: getattr(state, name) for name in _COUNTERS},
    }
    write_atomic(path, pack(tensors, header))


def load_state(path: Path, *, identity: Mapping[str, Any], device: str = "cpu") -> TrainState | None:
    """Return the state that lies there, or None where no file does.

    Args:
        path: As `save_state`.
        identity: Of the training that wants to go on.
        device: Where the tensors go.

    Raises:
        MismatchError: The state belongs to other settings, data or another backbone; names the key.
        IntegrityError: The file is cut short or not the one that was written.
    """
    if not path.is_file():
        return None
    tensors, header = unpack(path, device)
    try:
        if header["format"] != FORMAT or header["digest"] != hash_tensors(sorted(tensors.items())):
            raise damaged(path, "format or digest")
        check_identity(header["identity"], identity)
        parts = {
            part: {name: tensors[f"{part}.{name}"] for name in names}
            for part, names in header["names"].items()
        }
        return TrainState(
            learner=LearnerState(
                params=parts["params"], first=parts["first"], second=parts["second"], step=header["step"]
            ),
            best=parts["best"],
            best_loss=math.inf if header["best_loss"] is None else header["best_loss"],
            history=tuple((stage, epoch, train, val) for stage, epoch, train, val in header["history"]),
            **{name: header[name] for name in _COUNTERS},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"header: {error}") from error


def seconds_of(path: Path) -> tuple[float, float]:
    """Return the seconds that a state's training has taken, by clock and processor; 0 without one."""
    wall_s, cpu_s = unpack(path, "cpu")[1]["seconds"] if path.is_file() else (0.0, 0.0)
    return wall_s, cpu_s


def check_identity(saved: Any, wanted: Mapping[str, Any]) -> None:
    """Raise `MismatchError` where unfinished training belongs to something else; names the first key."""
    _compare(saved, json.loads(json.dumps(dict(wanted))))


def _compare(saved: Any, wanted: Any, path: str = "") -> None:
    """Raise at the first key, in the saved order, whose values differ."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in [*saved, *(key for key in wanted if key not in saved)]:
            _compare(saved.get(key), wanted.get(key), f"{path}.{key}" if path else key)
    elif saved != wanted:
        raise MismatchError(
            field=path,
            value=f"{saved} in the unfinished training, {wanted} now",
            remedy="Go on with the same settings, data and backbone, or train into another folder.",
        )
