"""A profiler on disk: numbers as safetensors, the rest as JSON, no pickle.

profiler.safetensors   learned parameters, scaling, read-out, trees, calibrations
profiler.json          settings, backbone, hashes; written last
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save

from warmprompt.backbone.load import Backbone, load_backbone
from warmprompt.backbone.readout import ReadOut
from warmprompt.errors import BadInputError, IntegrityError, MismatchError
from warmprompt.files import new_folder
from warmprompt.risk.profile.calibration import Calibration
from warmprompt.risk.profile.model import Scaling
from warmprompt.risk.profile.population import BoostingSettings, ForestSettings, Population
from warmprompt.risk.profile.profiler import Profiler, hash_model
from warmprompt.risk.profile.trained import ProfileModel, ProfileSettings
from warmprompt.risk.profile.trees import Trees

_NUMBERS, _MANIFEST = "profiler.safetensors", "profiler.json"
_VERSION = 3


def save_profiler(
    profiler: Profiler, folder: Path, *, overwrite: bool = False, marks: Sequence[str] = ()
) -> None:
    """Write a profiler to a folder that is there whole or not at all.

    Args:
        profiler: Trained and calibrated.
        folder: Where to.
        overwrite: Whether a folder with something in it may be replaced.
        marks: Of the entities it was fitted to, so that they are not judged as unseen; see `marks_of`.

    Raises:
        BadInputError: The folder holds something and may not be replaced.
        StorageError: It cannot be written.
    """
    model = profiler.model
    arrays = {f"params/{name}": value.numpy() for name, value in model.params.items()}
    parts = {
        "scaling": model.scaling,
        "read": model.readout,
        "boosting": model.population.boosting,
        "forest": model.population.forest,
    }
    for part, owner in parts.items():
        arrays |= {f"{part}/{name}": _array(value) for name, value in vars(owner).items()}
    for k, calibration in profiler.calibrations.items():
        arrays |= {f"calibration/{k}/{name}": _array(value) for name, value in vars(calibration).items()}
    numbers = save({name: np.array(array, order="C") for name, array in arrays.items()})
    manifest = {
        "version": _VERSION,
        "settings": asdict(model.settings),
        "forest_weight": model.population.weight,
        "side": model.side,
        "label_delay_s": model.label_delay_s,
        "calibrated_at": list(profiler.calibrations),
        "backbone": {
            "name": model.backbone.name,
            "num_layers": model.backbone.num_layers,
            "weights_hash": model.backbone.weights_hash,
        },
        "entities": sorted(marks),
        "model_hash": profiler.model_hash,
        "numbers_hash": hashlib.sha256(numbers).hexdigest(),
    }
    with new_folder(folder, overwrite=overwrite) as temporary:
        (temporary / _NUMBERS).write_bytes(numbers)
        (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=1))


def load_profiler(folder: Path, *, backbone: Backbone | None = None) -> Profiler:
    """Read a profiler that `save_profiler` wrote.

    Args:
        folder: Where it lies.
        backbone: The frozen model where it is in memory already; None loads the one that is named.

    Raises:
        BadInputError: No profiler lies there.
        IntegrityError: A file is damaged.
        MismatchError: Another version wrote it, or the backbone is another one.
    """
    manifest, numbers = _read(folder)
    recorded = manifest["backbone"]
    if backbone is None:
        backbone = load_backbone(recorded["name"], num_layers=recorded["num_layers"])
    for key in ("weights_hash", "num_layers"):
        if getattr(backbone, key) != recorded[key]:
            raise MismatchError(
                field=f"{key} of backbone {backbone.name}",
                value=getattr(backbone, key),
                remedy=f"The profiler was trained with {recorded[key]}; give the same model.",
            )
    settings = dict(manifest["settings"])
    model = ProfileModel(
        params={name: torch.from_numpy(array) for name, array in _part(numbers, "params").items()},
        scaling=Scaling(**_tensors(numbers, "scaling")),
        population=Population(
            boosting=Trees(**_plain(_part(numbers, "boosting"))),
            forest=Trees(**_plain(_part(numbers, "forest"))),
            weight=manifest["forest_weight"],
        ),
        readout=ReadOut(**_tensors(numbers, "read")),
        backbone=backbone,
        settings=ProfileSettings(
            **settings
            | {
                "boosting": BoostingSettings(**settings["boosting"]),
                "forest": ForestSettings(**settings["forest"]),
            }
        ),
        side=manifest["side"],
        label_delay_s=manifest["label_delay_s"],
    )
    calibrations = {
        int(k): Calibration(**_plain(_part(numbers, f"calibration/{k}"))) for k in manifest["calibrated_at"]
    }
    if hash_model(model) != manifest["model_hash"]:
        raise _damaged(folder, "its numbers are not those that were saved")
    return Profiler(model=model, calibrations=calibrations, model_hash=manifest["model_hash"])


def read_marks(folder: Path) -> frozenset[str]:
    """Return the marks of the entities that a saved profiler was fitted to; none where they were not kept.

    Raises:
        BadInputError: No profiler lies there.
        IntegrityError: A file is damaged.
        MismatchError: Another version wrote it.
    """
    return frozenset(_read(folder)[0].get("entities", ()))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not (folder / _MANIFEST).is_file() or not (folder / _NUMBERS).is_file():
        raise BadInputError(field="profiler folder", value=folder, remedy="Name one that was saved.")
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        version = manifest["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, str(error)) from error
    if version != _VERSION:
        raise MismatchError(
            field="profiler version", value=version, remedy=f"This version reads {_VERSION}; train again."
        )
    data = (folder / _NUMBERS).read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest.get("numbers_hash"):
        raise _damaged(folder, _NUMBERS)
    return manifest, load(data)


def _part(numbers: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    start = f"{part}/"
    return {name.removeprefix(start): array for name, array in numbers.items() if name.startswith(start)}


def _tensors(numbers: dict[str, np.ndarray], part: str) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in _part(numbers, part).items()}


def _plain(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return numbers without an axis as numbers of Python."""
    return {name: array if array.ndim else array.item() for name, array in arrays.items()}


def _array(value: Any) -> np.ndarray:
    return value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _damaged(folder: Path, what: str) -> IntegrityError:
    return IntegrityError(field=f"profiler {folder}", value=what, remedy="It was changed; train again.")
