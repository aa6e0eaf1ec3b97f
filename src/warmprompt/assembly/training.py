"""Train a run: a folder that is finished, or can be gone on with, at every moment."""

from __future__ import annotations

import json
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from warmprompt.assembly.building import (
    build_start,
    check_backbones,
    drawing_of,
    plan_of,
    settings_that_matter,
    users_hash,
)
from warmprompt.assembly.naming import learn_named_genres
from warmprompt.assembly.newcomers import place_new_items
from warmprompt.assembly.recalling import believe, believes, choose_weights, given_weights
from warmprompt.assembly.watching import Watch, ignore
from warmprompt.backbone.load import Backbone, weights_hash_of
from warmprompt.backbone.threads import use_threads
from warmprompt.data.attributes import attributes_of
from warmprompt.data.dataset import Dataset, take_users
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.splits import split_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.data.verbalise import item_texts
from warmprompt.errors import BadInputError, IntegrityError
from warmprompt.files import write_atomic, writing_to
from warmprompt.meta.checkpoint import (
    MANIFEST,
    STATE,
    Trained,
    load_state,
    load_trained,
    save_state,
    save_trained,
)
from warmprompt.meta.learners import learner_of
from warmprompt.meta.scalars import write_scalars
from warmprompt.meta.trainer import Progress, TrainState, start_training, train
from warmprompt.scoring.memory import NOTHING, remember
from warmprompt.settings import Settings, from_mapping, to_mapping

_ELAPSED = Path("training", "elapsed.json")
_OURS = {MANIFEST, "model.safetensors", "items.parquet", "training", "tensorboard"}
_RESULTS = {"results.json", "report.md", "metrics.png"}


def train_run(
    settings: Settings,
    out: Path | str,
    *,
    watch: Watch = ignore,
    dataset: Dataset | None = None,
    overwrite: bool = False,
) -> Trained:
    """Train a model on the users of split `settings.train.seed` and store it in a folder.

    A folder whose training was interrupted is gone on with and ends in the same bits; one that holds
    the finished run of the same settings is returned as it is.

    Args:
        settings: The whole tree.
        out: The run's folder.
        watch: Told what begins, each step and each validation.
        dataset: Instead of the one that `settings.data.name` names.
        overwrite: Replace a run of other settings.

    Raises:
        BadInputError: The folder holds a finished run of other settings, or something else.
        MismatchError: It holds unfinished training of other settings, data or another backbone.
        WarmpromptError: Anything else that does not fit, or a fault.
    """
    learner_of(settings.learner.name)
    check_backbones(settings)
    dataset = dataset or open_data(settings, watch=watch)
    split = split_dataset(dataset, seed=settings.train.seed)
    training, validation = take_users(dataset, split.train), take_users(dataset, split.validation)
    return fit_run(settings, training, validation, Path(out), watch=watch, overwrite=overwrite)


def fit_run(
    settings: Settings,
    training: Dataset,
    validation: Dataset,
    folder: Path,
    *,
    watch: Watch = ignore,
    overwrite: bool = False,
) -> Trained:
    """Train on exactly these users and store the run; arguments and errors as `train_run`."""
    use_threads(settings.train.threads)
    begun_s = time.monotonic()
    identity = _identity(settings, training, validation)
    finished = _prepare(folder, identity, overwrite=overwrite)
    if finished is not None:
        watch(f"{folder} holds this run already; nothing to train")
        return finished
    _check_users(training, validation)
    weighs_users = believes(settings.model, training)
    _probe(folder)
    learner = learner_of(settings.learner.name)
    device = settings.backbone.device
    saved = load_state(folder / STATE, identity=identity, device=device)
    start = build_start(settings, training, validation, learner=learner, watch=watch)
    state = saved or start_training(learner, start.params)
    elapsed_s = _elapsed(folder) if saved else 0.0
    if saved:
        watch(f"going on after {_where(saved)}")

    def save(now: TrainState) -> None:
        save_state(folder / STATE, now, identity=identity)
        spent_s = elapsed_s + time.monotonic() - begun_s
        write_atomic(folder / _ELAPSED, json.dumps({"train_s": spent_s}).encode())

    with writing_to(folder / "tensorboard"), write_scalars(folder / "tensorboard") as write:
        state = train(
            learner,
            state,
            start.material,
            drawing_of(settings),
            plan_of(settings),
            save=save,
            watch=_both(write, watch),
        )
    trained = Trained(
        params=state.best,
        constants=start.material.constants,
        read=start.material.read,
        learner=learner.name,
        item_ids=training.item_ids,
        titles=tuple(training.items["title"].to_list()),
        attributes=attributes_of(training.items),
        rating_scale=training.rating_scale,
        weight_unit=training.weight_unit,
        manifest={
            **_manifest(settings, start.material.backbone, training, validation),
            "identity": identity,
            "history": [list(entry) for entry in state.history],
        },
    )
    watch("learning where new items go")
    new_items = place_new_items(
        trained,
        training,
        validation,
        passes=settings.model.new_item_passes,
        no_text_T=start.material.features[""],
        seed=settings.train.seed,
        order=settings.train.order,
    )
    trained = replace(trained, params={**trained.params, **new_items})
    watch("weighing what memory adds on validation users")
    memory = remember(
        training,
        num_neighbours=settings.model.num_neighbours,
        texts=item_texts(training, untitled="") if _recalls_words(settings) else None,
        alike_share=settings.model.alike_share,
        kappa=settings.model.memory_kappa,
    )
    if weighs_users:
        believed = believe(trained, training, no_text_T=start.material.features[""])
        memory = replace(memory, believed=believed)
    recall = choose_weights(
        trained,
        memory,
        training,
        validation,
        given=given_weights(settings.model),
        no_text_T=start.material.features[""],
        seed=settings.train.seed,
        order=settings.train.order,
    )
    if recall != NOTHING:
        if not recall.words and not memory.alike_share:
            memory = replace(memory, words=None)
        if not recall.posterior:
            memory = replace(memory, believed=None)
        trained = replace(trained, memory=memory, recall=recall)
    watch("learning what genres are called")
    trained = learn_named_genres(trained, start.material, seed=settings.train.seed)
    spent = {"train_s": elapsed_s + time.monotonic() - begun_s, "peak_memory_mb": peak_memory_mb()}
    save_trained(folder, replace(trained, manifest={**trained.manifest, **spent}))
    shutil.rmtree(folder / "training", ignore_errors=True)
    return load_trained(folder, device=device)


def open_data(settings: Settings, *, watch: Watch = ignore) -> Dataset:
    """Open the data set that the settings name, fetching a published one on first use."""
    watch(f"opening data set {settings.data.name}")
    return open_dataset(ensure_dataset(settings.data.name))


def peak_memory_mb() -> float:
    """Return the largest memory this process has held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _identity(settings: Settings, training: Dataset, validation: Dataset) -> dict[str, Any]:
    """Return what two trainings must share to end in the same model."""
    return {
        "settings": settings_that_matter(settings),
        "data": training.content_hash,
        "users": users_hash(training, validation),
        "backbone": weights_hash_of(settings.backbone.name),
        "user_text": _encoder_hash(settings),
    }


def _recalls_words(settings: Settings) -> bool:
    """Tell whether words of item texts may be recalled; a run without item texts knows none."""
    model = settings.model
    return settings.backbone.item_text is not None and (model.words_weight != 0 or model.alike_share > 0)


def _prepare(folder: Path, identity: dict[str, Any], *, overwrite: bool) -> Trained | None:
    """Return the finished run where this very one lies there; else see that the folder may be used."""
    if folder.is_file():
        raise BadInputError(field="run folder", value=folder, remedy="It is a file; name another place.")
    if not folder.is_dir():
        return None
    _refuse_foreign(folder)
    if (folder / MANIFEST).is_file():
        finished = _finished(folder, overwrite=overwrite)
        if finished is not None and finished.manifest.get("identity") == identity:
            return finished
        if not overwrite:
            raise BadInputError(
                field="run folder",
                value=folder,
                remedy=f"It holds a finished run{_difference(finished, identity)}; name another place, or "
                "add --overwrite.",
            )
    if overwrite:
        _clear(folder)
    return None


def _check_users(training: Dataset, validation: Dataset) -> None:
    """Refuse data without anybody to learn from, or to judge by: a user needs an event for each side."""
    for part, view in (("training", training), ("validation", validation)):
        if not (np.diff(view.interactions.offsets) >= 2).any():
            raise BadInputError(
                field="data set",
                value=view.name,
                remedy=f"None of its {view.num_users} {part} users has two events or more; give more users.",
            )


def _probe(folder: Path) -> None:
    """Refuse a place that cannot be written to before time is spent; leave it as it was."""
    existed = folder.exists()
    try:
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        remedy = "No folder can be made there; name another place."
        raise BadInputError(field="output folder", value=folder, remedy=remedy) from None
    if not existed:
        folder.rmdir()


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with anything in it that no run leaves there, such as a data set."""
    foreign = sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in _OURS | _RESULTS and not path.name.startswith((".", "seed-"))
    )
    if foreign:
        raise BadInputError(
            field="run folder",
            value=folder,
            remedy=f"It holds something else ({', '.join(foreign[:3])}); name another place.",
        )


def _finished(folder: Path, *, overwrite: bool) -> Trained | None:
    """Return the run, or None where it is damaged and is to be overwritten anyway."""
    try:
        return load_trained(folder)
    except IntegrityError:
        if overwrite:
            return None
        raise


def _clear(folder: Path) -> None:
    """Remove a run, its manifest first, so that what is left of an interrupted removal is no run."""
    with writing_to(folder):
        for name in (MANIFEST, *sorted(_OURS | _RESULTS), *(path.name for path in folder.glob("seed-*"))):
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _difference(finished: Trained | None, identity: dict[str, Any]) -> str:
    """Return in words the first thing in which a finished run differs from the wanted one."""
    told = finished.manifest.get("identity") if finished else None
    if not isinstance(told, dict):
        return ""
    for section, values in identity["settings"].items():
        for key, value in values.items():
            before = told.get("settings", {}).get(section, {}).get(key)
            if before != value:
                return f" of other settings ({section}.{key} is {before}, not {value})"
    parts = ("data", "users", "backbone", "user_text")
    other = next((key for key in parts if told.get(key) != identity[key]), None)
    return f" of other {other}" if other else ""


def _manifest(
    settings: Settings, backbone: Backbone, training: Dataset, validation: Dataset
) -> dict[str, Any]:
    name = settings.data.name
    if Path(name).is_dir():
        settings = replace(settings, data=replace(settings.data, name=str(Path(name).resolve())))
    return {
        "settings": to_mapping(settings),
        "backbone": {
            "name": backbone.name,
            "num_layers": backbone.num_layers,
            "total_layers": backbone.total_layers,
            "weights_hash": backbone.weights_hash,
            "dtype": settings.backbone.dtype,
            "kind": backbone.kind,
        },
        "user_text": _encoder_hash(settings),
        "data": {
            "name": training.name,
            "content_hash": training.content_hash,
            "num_users": training.num_users + validation.num_users,
            "num_items": training.num_items,
            "num_events": len(training.interactions) + len(validation.interactions),
        },
        "split_seed": settings.train.seed,
        "versions": {
            **{package: version(package) for package in ("warmprompt", "torch", "transformers")},
            "python": platform.python_version(),
        },
    }


def _encoder_hash(settings: Settings) -> str | None:
    name = settings.backbone.user_text
    return None if name is None else weights_hash_of(name)


def settings_of(trained: Trained) -> Settings:
    """Return the settings that a run was trained with."""
    return from_mapping(trained.manifest["settings"])


def _both(write: Callable[[Progress], None], watch: Watch) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        write(progress)
        watch(progress)

    return tell


def _where(state: TrainState) -> str:
    return f"stage {state.stage + 1}, epoch {state.epoch}, batch {state.batch}"


def _elapsed(folder: Path) -> float:
    """Return the seconds that earlier, interrupted runs took; 0 where that was not kept."""
    try:
        return float(json.loads((folder / _ELAPSED).read_text())["train_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
