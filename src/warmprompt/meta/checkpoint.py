"""A trained model as a folder, and unfinished training as one file; both are there whole or not at all.

    manifest.json               what was trained on what, and the SHA-256 of the files; written last
    model.safetensors           "params.*", "constants.*", "read.*", "memory.*", "words.*",
                                "believed.*"; the genres' names in its header
    items.parquet               item (its id, type kept), title, attributes, in index order
    training/state.safetensors  where training is: tensors, the rest as JSON in the header

A folder without a manifest is no run, so one that was interrupted is never taken for a finished one.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
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
from warmprompt.data.genre_words import GenreWords
from warmprompt.errors import BadInputError, IntegrityError, MismatchError, UnknownNameError
from warmprompt.files import write_atomic, writing_to
from warmprompt.meta.learner import LearnerState
from warmprompt.meta.model import CatalogueData
from warmprompt.meta.trainer import TrainState
from warmprompt.scoring.memory import NOTHING, Memory, RecallWeights
from warmprompt.scoring.posterior import Believed
from warmprompt.scoring.words import Words
from warmprompt.types import ItemId, short_repr

FORMAT = 7
# Format 3 knows no words, format 4 no map for new items, format 5 no dictionary of genres, format 6 no
# posterior over training users.
_READABLE = (3, 4, 5, 6, FORMAT)
MANIFEST = "manifest.json"
MODEL = "model.safetensors"
ITEMS = "items.parquet"
STATE = Path("training", "state.safetensors")

_Record = TypeVar("_Record", CatalogueData, ReadOut)
# What memory holds beside arrays and numbers, each under a prefix of its own.
_PARTS = ("words", "believed")
_COUNTERS = ("stage", "epoch", "batch", "since_best", "train_loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """All that ranking needs beside the frozen model. V is items.

    Attributes:
        params: Learned.
        constants: Of the item side.
        read: The normalised read-out.
        learner: Its name.
        item_ids: Index to id, (V,); all strings or all integers.
        titles: Index to title, (V,).
        rating_scale: (lowest, highest) possible rating, or None without ratings.
        manifest: Settings, backbone, data, versions: JSON values only.
        weight_unit: The weight of events that counts 1, or None without weights.
        memory: What training users did, or None where nothing of it is recalled.
        recall: What memory adds to scores.
        genres: By which words a text about a user names a genre, or None where the text head knows none.
        attributes: Of the items, for filters; None where the run holds none.
    """

    params: dict[str, Tensor]
    constants: CatalogueData
    read: ReadOut
    learner: str
    item_ids: tuple[ItemId, ...]
    titles: tuple[str, ...]
    rating_scale: tuple[float, float] | None
    manifest: Mapping[str, Any]
    weight_unit: float | None = None
    memory: Memory | None = None
    recall: RecallWeights = NOTHING
    genres: GenreWords | None = None
    attributes: ItemAttributes | None = None

    __repr__ = short_repr

    @property
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
    tensors = {
        **{f"params.{name}": value for name, value in trained.params.items()},
        **_fields_of("constants", trained.constants),
        **_fields_of("read", trained.read),
        **_memory_tensors(trained.memory),
    }
    items = io.BytesIO()
    named = pl.DataFrame({"item": trained.item_ids, "title": trained.titles})
    named.hstack([] if trained.attributes is None else trained.attributes.frame).write_parquet(items)
    header = {"params": list(trained.params), "genres": trained.genres and trained.genres.words}
    files = {MODEL: _pack(tensors, header), ITEMS: items.getvalue()}
    manifest = {
        **trained.manifest,
        "format": FORMAT,
        "learner": trained.learner,
        "rating_scale": trained.rating_scale,
        "weight_unit": trained.weight_unit,
        "recall": dataclasses.asdict(trained.recall),
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
        UnknownNameError: There is no run, or its training has not finished.
        BadInputError: The folder holds something else, or a run of another format.
        IntegrityError: A file is missing, cut short or not the one that was written.
    """
    manifest = _read_manifest(folder)
    content = {name: _checked(folder / name, manifest["files"][name]) for name in (MODEL, ITEMS)}
    tensors, header = _unpack(folder / MODEL, device)
    try:
        items, genres = pl.read_parquet(io.BytesIO(content[ITEMS])), header.get("genres")
        trained = Trained(
            params={name: tensors[f"params.{name}"] for name in header["params"]},
            constants=_record(CatalogueData, "constants", tensors),
            read=_record(ReadOut, "read", tensors),
            learner=str(manifest["learner"]),
            item_ids=tuple(items["item"].to_list()),
            titles=tuple(items["title"].to_list()),
            rating_scale=_pair(manifest["rating_scale"]),
            manifest=manifest,
            weight_unit=manifest.get("weight_unit"),
            memory=_memory_of(tensors),
            recall=RecallWeights(**manifest["recall"]),
            genres=genres and GenreWords(words=tuple(map(tuple, genres))),
            attributes=attributes_of(items),
        )
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise _damaged(folder, f"content: {error}") from error
    if len(trained.item_ids) != len(trained.constants.warm_V):
        counts = f"{len(trained.item_ids)} items, {len(trained.constants.warm_V)} item vectors"
        raise _damaged(folder, counts)
    return trained


def save_state(path: Path, state: TrainState, *, identity: Mapping[str, Any]) -> None:
    """Write where training is, replacing the file in one step.

    Args:
        path: Usually `STATE` in the run's folder.
        state: Everything that going on needs.
        identity: What the state belongs to (settings, data hash, backbone hash): JSON values only.

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
        "step": state.learner.step,
        # JSON has no infinity; before the first validation there is no best loss.
        "best_loss": None if math.isinf(state.best_loss) else state.best_loss,
        "history": state.history,
        "names": {part: list(values) for part, values in parts.items()},
        "digest": hash_tensors(sorted(tensors.items())),
        **{name: getattr(state, name) for name in _COUNTERS},
    }
    write_atomic(path, _pack(tensors, header))


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
    tensors, header = _unpack(path, device)
    try:
        if header["format"] != FORMAT or header["digest"] != hash_tensors(sorted(tensors.items())):
            raise _damaged(path, "format or digest")
        _check_identity(header["identity"], json.loads(json.dumps(dict(identity))))
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
        raise _damaged(path, f"header: {error}") from error


def _fields_of(prefix: str, record: CatalogueData | ReadOut) -> dict[str, Tensor]:
    return {f"{prefix}.{field.name}": getattr(record, field.name) for field in dataclasses.fields(record)}


def _record(kind: type[_Record], prefix: str, tensors: Mapping[str, Tensor]) -> _Record:
    return kind(**{field.name: tensors[f"{prefix}.{field.name}"] for field in dataclasses.fields(kind)})


def _memory_tensors(memory: Memory | None) -> dict[str, Tensor]:
    if memory is None:
        return {}
    values = {f"memory.{field.name}": getattr(memory, field.name) for field in dataclasses.fields(memory)}
    for prefix in _PARTS:
        part = values.pop(f"memory.{prefix}")
        if part is not None:
            values |= {
                f"{prefix}.{field.name}": getattr(part, field.name) for field in dataclasses.fields(part)
            }
    return {
        name: torch.tensor(value, dtype=torch.float64) if isinstance(value, float) else torch.as_tensor(value)
        for name, value in values.items()
    }


def _memory_of(tensors: Mapping[str, Tensor]) -> Memory | None:
    held: dict[str, Any] = _arrays("memory", tensors)
    if not held:
        return None
    words, believed = (_arrays(prefix, tensors) for prefix in _PARTS)
    if believed:
        believed |= {name: float(believed[name]) for name in ("belief_share", "kappa")}
    return Memory(
        **{
            **held,
            "num_neighbours": int(held["num_neighbours"]),
            "alike_share": float(held.get("alike_share", 0.0)),
            "kappa": float(held.get("kappa", 0.0)),
            "words": Words(**words) if words else None,
            "believed": Believed(**believed) if believed else None,
        }
    )


def _arrays(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the arrays whose names begin with `prefix` and a dot, by the rest of their names."""
    start = f"{prefix}."
    own = {name: value for name, value in tensors.items() if name.startswith(start)}
    return {name.removeprefix(start): value.cpu().numpy() for name, value in own.items()}


def _pack(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """Return tensors and header as one file; the format keeps no order, so the header lists names."""
    # Parts of a state may share memory, which the format refuses: each is copied.
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    return to_bytes(plain, metadata={"warmprompt": json.dumps(header, allow_nan=False)})


def _unpack(path: Path, device: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as reader:
            header = json.loads((reader.metadata() or {})["warmprompt"])
            names = reader.keys()
            # Cloned: the tensors would otherwise be views of a file that may be replaced.
            tensors = {name: reader.get_tensor(name).clone().to(device) for name in names}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    return tensors, header


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise _no_run(folder)
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(manifest, dict) or not {"format", "learner", "rating_scale", "files"} <= set(manifest):
        remedy = f"Name a folder that training wrote: {MANIFEST} is of something else."
        raise BadInputError(field="run", value=folder, remedy=remedy)
    if manifest["format"] not in _READABLE:
        raise BadInputError(
            field=f"format of run {folder.name}",
            value=manifest["format"],
            remedy=f"This version reads formats {_READABLE[0]} to {FORMAT}; use the version that wrote it, "
            "or train again.",
        )
    missing = sorted({"settings", "backbone", "user_text", "data", "identity", "recall"} - set(manifest))
    if missing:
        raise _damaged(path, f"it names no {', '.join(missing)}")
    files = manifest["files"]
    if not isinstance(files, dict) or set(files) != {MODEL, ITEMS}:
        raise _damaged(path, f"files: {', '.join(sorted(files))}")
    return manifest


def _no_run(folder: Path) -> UnknownNameError:
    if (folder / STATE).is_file():
        return UnknownNameError(
            field="run",
            value=folder,
            remedy="Its training has not finished: give the same train command again, and it goes on.",
        )
    beside = [path.parent.name for path in sorted(folder.parent.glob(f"*/{MANIFEST}"))]
    near = difflib.get_close_matches(folder.name, beside, n=1)
    guess = f"Did you mean {folder.parent / near[0]}? " if near else ""
    remedy = f"{guess}There is no trained model; train one into this folder."
    return UnknownNameError(field="run", value=folder, remedy=remedy)


def _checked(path: Path, sha256: object) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(path, str(error)) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _damaged(path, f"SHA-256 differs from the one in {MANIFEST}")
    return data


def _pair(scale: Any) -> tuple[float, float] | None:
    if scale is None:
        return None
    low, high = scale
    return float(low), float(high)


def _check_identity(saved: Any, wanted: Any, path: str = "") -> None:
    """Raise at the first key, in the saved order, whose values differ."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in [*saved, *(key for key in wanted if key not in saved)]:
            _check_identity(saved.get(key), wanted.get(key), f"{path}.{key}" if path else key)
    elif saved != wanted:
        raise MismatchError(
            field=path,
            value=f"{saved} in the unfinished training, {wanted} now",
            remedy="Go on with the same settings, data and backbone, or train into another folder.",
        )


def _damaged(path: Path, what: str) -> IntegrityError:
    remedy = f"Restore {path}, or train again into a new folder."
    return IntegrityError(field=f"damaged {path.name}", value=what, remedy=remedy)
