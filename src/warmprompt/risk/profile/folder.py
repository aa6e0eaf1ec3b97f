"""Profilers on disk: numbers as safetensors, the rest as JSON, no pickle.

profiler.safetensors   numbers, named group/name
profiler.json          what the folder holds, and a hash of the numbers; written last
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save

from warmprompt.backbone.load import Backbone, load_backbone
from warmprompt.errors import BadInputError, IntegrityError, MismatchError
from warmprompt.files import new_folder

_NUMBERS, _MANIFEST = "profiler.safetensors", "profiler.json"
_USES = {"payments": "payments: use `risk profile`.", "table": "a table: use `risk score`."}


def write_profiler_folder(
    folder: Path,
    arrays: Mapping[str, np.ndarray],
    manifest: Mapping[str, Any],
    *,
    kind: str,
    version: int,
    overwrite: bool,
) -> None:
    """Write a folder that is there whole or not at all.

    Raises:
        BadInputError: The folder holds something and may not be replaced.
        StorageError: It cannot be written.
    """
    numbers = save({name: np.array(array, order="C") for name, array in arrays.items()})
    head = {"kind": kind, "version": version}
    whole = head | dict(manifest) | {"numbers_hash": hashlib.sha256(numbers).hexdigest()}
    with new_folder(folder, overwrite=overwrite) as temporary:
        (temporary / _NUMBERS).write_bytes(numbers)
        (temporary / _MANIFEST).write_text(json.dumps(whole, indent=1))


def read_profiler_folder(
    folder: Path, *, kind: str, version: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return manifest and numbers of a folder.

    Raises:
        BadInputError: No profiler lies there, or one of another kind.
        IntegrityError: A file is damaged.
        MismatchError: Another version wrote it.
    """
    if not (folder / _MANIFEST).is_file() or not (folder / _NUMBERS).is_file():
        raise BadInputError(field="profiler folder", value=folder, remedy="Name one that was saved.")
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        found, other = manifest["version"], manifest.get("kind", "payments")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged_profiler(folder, str(error)) from error
    if other != kind:
        remedy = f"It was trained on {_USES.get(other, 'something else; train again.')}"
        raise BadInputError(field="profiler folder", value=folder, remedy=remedy)
    if found != version:
        raise MismatchError(
            field="profiler version", value=found, remedy=f"This version reads {version}; train again."
        )
    data = (folder / _NUMBERS).read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest.get("numbers_hash"):
        raise damaged_profiler(folder, _NUMBERS)
    return manifest, load(data)


def recorded_backbone(backbone: Backbone) -> dict[str, Any]:
    """Return what a manifest keeps of the frozen model."""
    return {
        "name": backbone.name,
        "num_layers": backbone.num_layers,
        "weights_hash": backbone.weights_hash,
    }


def backbone_of(recorded: Mapping[str, Any], backbone: Backbone | None) -> Backbone:
    """Return the frozen model that a manifest names: the one given, or loaded where None.

    Raises:
        MismatchError: It is another one.
    """
    if backbone is None:
        backbone = load_backbone(recorded["name"], num_layers=recorded["num_layers"])
    for key in ("weights_hash", "num_layers"):
        if getattr(backbone, key) != recorded[key]:
            raise MismatchError(
                field=f"{key} of backbone {backbone.name}",
                value=getattr(backbone, key),
                remedy=f"The profiler was trained with {recorded[key]}; give the same model.",
            )
    return backbone


def group_of(numbers: Mapping[str, np.ndarray], group: str) -> dict[str, np.ndarray]:
    """Return the numbers of a group by name."""
    start = f"{group}/"
    return {name.removeprefix(start): array for name, array in numbers.items() if name.startswith(start)}


def tensor_group(numbers: Mapping[str, np.ndarray], group: str) -> dict[str, torch.Tensor]:
    """Return the numbers of a group as tensors."""
    return {name: torch.from_numpy(array) for name, array in group_of(numbers, group).items()}


def plain_group(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return numbers without an axis as numbers of Python."""
    return {name: array if array.ndim else array.item() for name, array in arrays.items()}


def array_of(value: Any) -> np.ndarray:
    """Return a tensor, an array or a number as an array."""
    return value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def damaged_profiler(folder: Path, what: str) -> IntegrityError:
    """Return the error of a folder whose files do not agree."""
    return IntegrityError(field=f"profiler {folder}", value=what, remedy="It was changed; train again.")
