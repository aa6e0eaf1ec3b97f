"""A trained model as a folder, and unfinished training as one file; both are there whole or not at all.

    manifest.json               what was trained on what, and the SHA-256 of the files; written last
    model.safetensors           "params.*", "constants.*", "read.*", "no_text_T", "experts.NAME.*"; equal ones
                                are written once, and the header names their other names
    items.parquet               item (its id, type kept), title, attributes, in index order
    training/                   how far unfinished training is: stages that are done, state of the outer loop

A folder without a manifest is no run, so one that was interrupted is never taken for a finished one.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from warmprompt.backbone.hashing import hash_tensors
from warmprompt.backbone.readout import ReadOut
from warmprompt.data.attributes import ItemAttributes, attributes_of
from warmprompt.data.feedback import PUSHING_SHARE
from warmprompt.errors import BadInputError, IntegrityError, UnknownNameError
from warmprompt.experts.mixture import Mixture
from warmprompt.experts.registry import EXPERTS
from warmprompt.files import write_atomic, writing_to
from warmprompt.meta.model import CatalogueData
from warmprompt.runs.checks import wrong_number
from warmprompt.types import ItemId, short_repr

FORMAT = 9
NO_EXPERTS = Mixture(experts={})
MANIFEST = "manifest.json"
MODEL = "model.safetensors"
ITEMS = "items.parquet"
STATE = Path("training", "state.safetensors")
STAGES_FILE = Path("training", "stages.safetensors")

_Record = TypeVar("_Record", CatalogueData, ReadOut)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """All that ranking needs in addition to the frozen model. V is items.

    Attributes:
        params: Learned.
        data: Of the item side.
        readout: The normalised read-out.
        learner: Its name.
        item_ids: Index to id, (V,); all strings or all integers.
        titles: Index to title, (V,).
        rating_scale: (lowest, highest) possible rating, or None without ratings.
        manifest: Settings, backbone, data, versions: JSON values only.
        weight_unit: The weight of events that counts 1, or None without weights.
        experts: What the scores add to user vector and popularity.
        no_text_T: Text features of the empty text.
        attributes: Of the items, for filters; None where the run holds none.
    """

    params: dict[str, Tensor]
    data: CatalogueData
    readout: ReadOut
    learner: str
    item_ids: tuple[ItemId, ...]
    titles: tuple[str, ...]
    rating_scale: tuple[float, float] | None
    manifest: Mapping[str, Any]
    weight_unit: float | None = None
    experts: Mixture = NO_EXPERTS
    no_text_T: Tensor = field(default_factory=lambda: torch.zeros(0))
    attributes: ItemAttributes | None = None

    __repr__ = short_repr

    @cached_property
    def least_rating(self) -> float | None:
        """Events rated below it push away, and recall nothing; None without ratings."""
        if self.rating_scale is None:
            return None
        low, high = self.rating_scale
        return low + PUSHING_SHARE * (high - low)


def save_trained(folder: Path, trained: Trained) -> None:
    """Write a run's files and, last of all, its manifest; what else lies in the folder stays.

    An older manifest is removed first: a save that fails leaves no run rather than a mixed one.

    Raises:
        StorageError: The disk is full or the place may not be written.
        BadInputError: Something else is in the way.
    """
    items = io.BytesIO()
    named = pl.DataFrame({"item": trained.item_ids, "title": trained.titles})
    named.hstack([] if trained.attributes is None else trained.attributes.frame).write_parquet(items)
    files = {MODEL: pack(tensors_of(trained), header_of(trained)), ITEMS: items.getvalue()}
    manifest = {
        **trained.manifest,
        "format": FORMAT,
        "learner": trained.learner,
        "rating_scale": trained.rating_scale,
        "weight_unit": trained.weight_unit,
        "experts": header_of(trained)["experts"],
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    # Made before anything is touched, so that a value JSON cannot hold destroys no older run.
    manifest_bytes = (json.dumps(manifest, indent=2, allow_nan=False) + "\n").encode()
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
    for name, data in files.items():
        write_atomic(folder / name, data)
    write_atomic(folder / MANIFEST, manifest_bytes)


def load_trained(folder: Path, *, device: str = "cpu") -> Trained:
    """Read a run back, every file checked against its SHA-256.

    Args:
        folder: Of `save_trained`.
        device: Where the tensors go.

    Raises:
        UnknownNameError: No run, training not finished, or an expert that this version does not have.
        BadInputError: The folder holds something else, or a run of another format.
        IntegrityError: A file is missing, cut short or not the one that was written, or its numbers are not
            finite or do not fit one another.
    """
    manifest = _read_manifest(folder)
    content = {name: _checked(folder / name, manifest["files"][name]) for name in (MODEL, ITEMS)}
    tensors, header = unpack(folder / MODEL, device)
    try:
        items = pl.read_parquet(io.BytesIO(content[ITEMS]))
        blank = Trained(
            params={},
            data=_record(CatalogueData, "constants", tensors),
            readout=_record(ReadOut, "read", tensors),
            learner=str(manifest["learner"]),
            item_ids=tuple(items["item"].to_list()),
            titles=tuple(items["title"].to_list()),
            rating_scale=_pair(manifest["rating_scale"]),
            manifest=manifest,
            weight_unit=manifest.get("weight_unit"),
            attributes=attributes_of(items),
        )
        trained = with_tensors(blank, tensors, header)
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise damaged(folder, f"content: {error}") from error
    if len(trained.item_ids) != len(trained.data.warm_V):
        counts = f"{len(trained.item_ids)} items, {len(trained.data.warm_V)} item vectors"
        raise damaged(folder, counts)
    wrong = wrong_number(tensors_of(trained))
    if wrong is not None:
        raise damaged(folder / MODEL, wrong)
    return trained


def tensors_of(trained: Trained) -> dict[str, Tensor]:
    """Return all tensors of a model by the names that files have for them."""
    return {
        **{f"params.{name}": value for name, value in trained.params.items()},
        **_fields_of("constants", trained.data),
        **_fields_of("read", trained.readout),
        "no_text_T": trained.no_text_T,
        **{f"experts.{name}": torch.as_tensor(value) for name, value in trained.experts.arrays().items()},
    }


def header_of(trained: Trained) -> dict[str, Any]:
    """Return what a model holds besides tensors, items and manifest: JSON values only."""
    return {
        "params": list(trained.params),
        "experts": {
            "weights": dict(trained.experts.weights),
            "kappa": trained.experts.kappa,
            "ordered": {name: list(weights) for name, weights in trained.experts.ordered.items()},
        },
    }


def with_tensors(blank: Trained, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Trained:
    """Return the model whose `tensors_of` and `header_of` are given; the rest is that of `blank`."""
    params = {name: tensors[f"params.{name}"] for name in header["params"]}
    if header.get("genres"):
        # Of a run whose head also reads the genres that a text names: the first rows read any other text.
        params["prior.text_head"] = params["prior.text_head"][: len(tensors["no_text_T"])]
    return replace(
        blank,
        params=params,
        data=_record(CatalogueData, "constants", tensors),
        readout=_record(ReadOut, "read", tensors),
        experts=_experts_of(tensors, header["experts"]),
        no_text_T=tensors["no_text_T"],
    )


def _fields_of(prefix: str, record: CatalogueData | ReadOut) -> dict[str, Tensor]:
    return {f"{prefix}.{one.name}": getattr(record, one.name) for one in dataclasses.fields(record)}


def _record(kind: type[_Record], prefix: str, tensors: Mapping[str, Tensor]) -> _Record:
    return kind(**{one.name: tensors[f"{prefix}.{one.name}"] for one in dataclasses.fields(kind)})


def _experts_of(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Mixture:
    for name in about["weights"]:
        if name not in EXPERTS:
            remedy = f"This version has {', '.join(EXPERTS)}. Train the run again."
            raise UnknownNameError(field="expert of the run", value=name, remedy=remedy)
    # Copied: torch moves a tensor's memory when it sends it to another process, and a view would dangle.
    copies: dict[int, Any] = {}
    arrays = {
        name.removeprefix("experts."): copies.setdefault(id(value), value.cpu().numpy().copy())
        for name, value in tensors.items()
        if name.startswith("experts.")
    }
    return Mixture.from_arrays(
        arrays, weights=about["weights"], kappa=float(about["kappa"]), ordered=about["ordered"]
    )


def pack(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """Return tensors and header as one safetensors file; equal tensors are written once."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    first: dict[str, str] = {}
    same_as = {name: first.setdefault(hash_tensors([("", value)]), name) for name, value in plain.items()}
    # Parts of a state may share memory, which the format refuses: each is copied.
    written = {name: value.clone() for name, value in plain.items() if same_as[name] == name}
    aliases = {name: kept for name, kept in same_as.items() if kept != name}
    return to_bytes(
        written, metadata={"warmprompt": json.dumps({**header, "same_as": aliases}, allow_nan=False)}
    )


def unpack(path: Path, device: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, those written once under all their names, and the header.

    Raises:
        IntegrityError: The file is missing or cut short.
    """
    try:
        with safe_open(path, framework="pt") as reader:
            header = json.loads((reader.metadata() or {})["warmprompt"])
            names = reader.keys()
            # Cloned: the tensors would otherwise be views of a file that may be replaced.
            tensors = {name: reader.get_tensor(name).clone().to(device) for name in names}
        tensors |= {name: tensors[kept] for name, kept in header["same_as"].items()}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise damaged(path, str(error)) from error
    return tensors, header


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise _no_run(folder)
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(manifest, dict) or not {"format", "learner", "rating_scale", "files"} <= set(manifest):
        remedy = f"Name a folder that training wrote: {MANIFEST} is of something else."
        raise BadInputError(field="run", value=folder, remedy=remedy)
    if manifest["format"] != FORMAT:
        remedy = f"This version reads format {FORMAT}: train again, or use the version that wrote it."
        raise BadInputError(field=f"format of run {folder.name}", value=manifest["format"], remedy=remedy)
    missing = sorted({"settings", "backbone", "user_text", "data", "identity", "experts"} - set(manifest))
    if missing:
        raise damaged(path, f"it names no {', '.join(missing)}")
    files = manifest["files"]
    if not isinstance(files, dict) or set(files) != {MODEL, ITEMS}:
        raise damaged(path, f"files: {', '.join(sorted(files))}")
    return manifest


def _no_run(folder: Path) -> UnknownNameError:
    if any((folder / file).is_file() for file in (STATE, STAGES_FILE)):
        return UnknownNameError(
            field="run",
            value=folder,
            remedy="Its training has not finished: give the same train command again, and it goes on.",
        )
    siblings = [path.parent.name for path in sorted(folder.parent.glob(f"*/{MANIFEST}"))]
    near = difflib.get_close_matches(folder.name, siblings, n=1)
    guess = f"Did you mean {folder.parent / near[0]}? " if near else ""
    remedy = f"{guess}There is no trained model; train one into this folder."
    return UnknownNameError(field="run", value=folder, remedy=remedy)


def _checked(path: Path, sha256: object) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise damaged(path, str(error)) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise damaged(path, f"SHA-256 differs from the one in {MANIFEST}")
    return data


def _pair(scale: Any) -> tuple[float, float] | None:
    if scale is None:
        return None
    low, high = scale
    return float(low), float(high)


def damaged(path: Path, what: str) -> IntegrityError:
    """Return the error for a file that is not the one that was written."""
    remedy = f"Restore {path}, or train again into a new folder."
    return IntegrityError(field=f"damaged {path.name}", value=what, remedy=remedy)
