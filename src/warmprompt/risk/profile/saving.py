"""A profiler of payments on disk; see `warmprompt.risk.profile.folder`.

profiler.safetensors   learned parameters, scaling, read-out, trees, calibrations
profiler.json          settings, backbone, hashes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import ReadOut
from warmprompt.risk.profile.calibration import Calibration
from warmprompt.risk.profile.folder import (
    array_of,
    backbone_of,
    damaged_profiler,
    group_of,
    plain_group,
    read_profiler_folder,
    recorded_backbone,
    tensor_group,
    write_profiler_folder,
)
from warmprompt.risk.profile.model import Scaling
from warmprompt.risk.profile.population import BoostingSettings, ForestSettings, Population
from warmprompt.risk.profile.profiler import Profiler, hash_model
from warmprompt.risk.profile.trained import ProfileModel, ProfileSettings
from warmprompt.risk.profile.trees import Trees

KIND = "payments"
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
        arrays |= {f"{part}/{name}": array_of(value) for name, value in vars(owner).items()}
    for k, calibration in profiler.calibrations.items():
        arrays |= {f"calibration/{k}/{name}": array_of(value) for name, value in vars(calibration).items()}
    manifest = {
        "settings": asdict(model.settings),
        "forest_weight": model.population.weight,
        "side": model.side,
        "label_delay_s": model.label_delay_s,
        "calibrated_at": list(profiler.calibrations),
        "backbone": recorded_backbone(model.backbone),
        "entities": sorted(marks),
        "model_hash": profiler.model_hash,
    }
    write_profiler_folder(folder, arrays, manifest, kind=KIND, version=_VERSION, overwrite=overwrite)


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
    manifest, numbers = read_profiler_folder(folder, kind=KIND, version=_VERSION)
    backbone = backbone_of(manifest["backbone"], backbone)
    settings = dict(manifest["settings"])
    model = ProfileModel(
        params=tensor_group(numbers, "params"),
        scaling=Scaling(**tensor_group(numbers, "scaling")),
        population=Population(
            boosting=Trees(**plain_group(group_of(numbers, "boosting"))),
            forest=Trees(**plain_group(group_of(numbers, "forest"))),
            weight=manifest["forest_weight"],
        ),
        readout=ReadOut(**tensor_group(numbers, "read")),
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
        int(k): Calibration(**plain_group(group_of(numbers, f"calibration/{k}")))
        for k in manifest["calibrated_at"]
    }
    if hash_model(model) != manifest["model_hash"]:
        raise damaged_profiler(folder, "its numbers are not those that were saved")
    return Profiler(model=model, calibrations=calibrations, model_hash=manifest["model_hash"])


def read_marks(folder: Path) -> frozenset[str]:
    """Return the marks of the entities that a saved profiler was fitted to; none where they were not kept.

    Raises:
        BadInputError: No profiler lies there.
        IntegrityError: A file is damaged.
        MismatchError: Another version wrote it.
    """
    return frozenset(read_profiler_folder(folder, kind=KIND, version=_VERSION)[0].get("entities", ()))
