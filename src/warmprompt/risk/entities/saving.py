"""A profiler of a table's entities on disk; see `warmprompt.risk.profile.folder`.

profiler.safetensors   quantiles, experts, weights, calibrations, and what the prompt learned
profiler.json          schema, backbone, hashes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import ReadOut
from warmprompt.risk.entities.encoding import Encoding
from warmprompt.risk.entities.experts import WINDOWS, BoostingExpert, Experts, LogisticExpert
from warmprompt.risk.entities.profiler import ClassPopulation, EntityProfiler
from warmprompt.risk.entities.prompt import ClassModel, EntityPrompt, class_directions
from warmprompt.risk.entities.table import TableSchema
from warmprompt.risk.profile.calibration import Calibration
from warmprompt.risk.profile.folder import (
    array_of,
    backbone_of,
    group_of,
    plain_group,
    read_profiler_folder,
    recorded_backbone,
    tensor_group,
    write_profiler_folder,
)
from warmprompt.risk.profile.trees import Trees

KIND, _VERSION = "table", 1


def save_entities(profiler: EntityProfiler, folder: Path, *, overwrite: bool = False) -> None:
    """Write a profiler to a folder that is there whole or not at all.

    Raises:
        BadInputError: The folder holds something and may not be replaced.
        StorageError: It cannot be written.
    """
    population, prompt = profiler.population, profiler.prompt
    groups: dict[str, Mapping[str, Any]] = {
        "encoding": {
            "quantiles_JQ": profiler.encoding.quantiles_JQ,
            "missing_M": profiler.encoding.missing_M,
        },
        "weights": {"new_X": population.new_X, "known_X": population.known_X},
        "peers": {str(num): weights for num, weights in profiler.peer_weights.items()},
    }
    for index, (logistic, boosting) in enumerate(
        zip(population.experts.logistic, population.experts.boosting, strict=True)
    ):
        groups[f"logistic.{index}"] = vars(logistic)
        groups |= {f"boosting.{index}.{one}": vars(trees) for one, trees in enumerate(boosting.trees)}
    for (num, known), calibration in profiler.calibrations.items():
        groups[f"calibration.{num}.{int(known)}"] = vars(calibration)
    if prompt is not None:
        groups |= {"params": prompt.model.params, "read": vars(prompt.readout)}
    arrays = {
        f"{group}/{name}": array_of(value) for group, of in groups.items() for name, value in of.items()
    }
    manifest = {
        "schema": asdict(profiler.schema),
        "categories": profiler.encoding.categories,
        "boosting_classes": [one.classes for one in population.experts.boosting],
        "figures": profiler.figures,
        "seed": profiler.seed,
        "calibrated_at": [[num, known] for num, known in profiler.calibrations],
        "backbone": None if prompt is None else recorded_backbone(prompt.backbone),
    }
    write_profiler_folder(folder, arrays, manifest, kind=KIND, version=_VERSION, overwrite=overwrite)


def load_entities(folder: Path, *, backbone: Backbone | None = None) -> EntityProfiler:
    """Read a profiler that `save_entities` wrote.

    Args:
        folder: Where it lies.
        backbone: The frozen model where it is in memory already; None loads the one that is named, if any.

    Raises:
        BadInputError: No profiler of a table lies there.
        IntegrityError: A file is damaged.
        MismatchError: Another version wrote it, or the backbone is another one.
    """
    manifest, numbers = read_profiler_folder(folder, kind=KIND, version=_VERSION)
    fields: dict[str, Any] = {
        name: tuple(one) if isinstance(one, list) else one for name, one in manifest["schema"].items()
    }
    schema = TableSchema(**fields)
    num_classes, windows = len(schema.classes), range(len(WINDOWS))
    experts = Experts(
        logistic=tuple(LogisticExpert(**group_of(numbers, f"logistic.{index}")) for index in windows),
        boosting=tuple(
            BoostingExpert(
                trees=_trees(numbers, f"boosting.{index}"),
                classes=tuple(manifest["boosting_classes"][index]),
                num_classes=num_classes,
            )
            for index in windows
        ),
    )
    return EntityProfiler(
        schema=schema,
        encoding=Encoding(
            **group_of(numbers, "encoding"),
            categories=tuple((position, value) for position, value in manifest["categories"]),
        ),
        population=ClassPopulation(experts=experts, **group_of(numbers, "weights")),
        peer_weights={
            int(num): weights for num, weights in sorted(group_of(numbers, "peers").items(), key=_num)
        },
        prompt=_prompt(manifest, numbers, schema, backbone),
        figures=tuple(manifest["figures"]),
        calibrations={
            (num, known): Calibration(**plain_group(group_of(numbers, f"calibration.{num}.{int(known)}")))
            for num, known in manifest["calibrated_at"]
        },
        seed=manifest["seed"],
    )


def _num(item: tuple[str, np.ndarray]) -> int:
    return int(item[0])


def _prompt(
    manifest: Mapping[str, Any],
    numbers: Mapping[str, np.ndarray],
    schema: TableSchema,
    backbone: Backbone | None,
) -> EntityPrompt | None:
    if manifest["backbone"] is None:
        return None
    directions_UC = class_directions(len(schema.classes), ordered=schema.ordered)
    return EntityPrompt(
        model=ClassModel(directions_UC=directions_UC, params=tensor_group(numbers, "params")),
        readout=ReadOut(**tensor_group(numbers, "read")),
        backbone=backbone_of(manifest["backbone"], backbone),
    )


def _trees(numbers: Mapping[str, np.ndarray], group: str) -> tuple[Trees, ...]:
    found: list[Trees] = []
    while trees := group_of(numbers, f"{group}.{len(found)}"):
        found.append(Trees(**plain_group(trees)))
    return tuple(found)
