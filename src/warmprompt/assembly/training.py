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

from warmprompt.assembly.budget import budget_of
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
from warmprompt.assembly.presets import preset_line, settled
from warmprompt.assembly.recalling import believe, believes, choose_weights, given_weights
from warmprompt.assembly.run_folder import alone_in, check_place, finished_run, prepare
from warmprompt.assembly.watching import Watch, ignore
from warmprompt.backbone.load import Backbone, weights_hash_of
from warmprompt.backbone.threads import use_threads
from warmprompt.data.attributes import attributes_of
from warmprompt.data.dataset import Dataset, take_users
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.home import is_dataset_folder
from warmprompt.data.splits import split_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.data.verbalise import item_texts
from warmprompt.errors import BadInputError
from warmprompt.files import write_atomic, writing_to
from warmprompt.meta.checkpoint import (
    STATE,
    Trained,
    load_state,
    load_trained,
    save_state,
    save_trained,
)
from warmprompt.meta.learners import learner_of
from warmprompt.meta.scalars import write_scalars
from warmprompt.meta.tasks import stages_of
from warmprompt.meta.trainer import Progress, TrainState, start_training, train
from warmprompt.scoring.memory import NOTHING, remember
from warmprompt.settings import Settings, from_mapping, to_mapping

_ELAPSED = Path("training", "elapsed.json")


def train_run(
    settings: Settings,
    out: Path | str,
    *,
    watch: Watch = ignore,
    dataset: Dataset | None = None,
    overwrite: bool = False,
) -> Trained:
    """Train a model on the users of split `settings.train.seed` and store it in a folder.

    The preset that the settings name, or that the data set's density chooses, fills in what nobody has set.

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
    settings = check_backbones(settings)
    dataset = dataset or open_data(settings, watch=watch)
    asked, settings = settings, settled(settings, dataset)
    watch(preset_line(asked, settings, dataset))
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
    identity = _identity(settings, training, validation)
    check_place(folder)
    finished = finished_run(folder, identity)
    if finished is None:
        _check_users(training, validation)
        believes(settings.model, training)
        with alone_in(folder):
            # Looked at again, now that nobody else trains into it.
            finished = prepare(folder, identity, overwrite=overwrite)
            if finished is None:
                return _train_into(folder, settings, training, validation, identity=identity, watch=watch)
    watch(f"{folder} holds this run already; nothing to train")
    return finished


def _train_into(
    folder: Path,
    settings: Settings,
    training: Dataset,
    validation: Dataset,
    *,
    identity: dict[str, Any],
    watch: Watch,
) -> Trained:
    """Train, or go on with training, in a folder that is this process's own."""
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    learner = learner_of(settings.learner.name)
    budget = None if watch is ignore else budget_of(settings, training, validation, learner=learner)
    if budget is not None:
        watch(budget.line())
    device = settings.backbone.device
    saved = load_state(folder / STATE, identity=identity, device=device)
    start = build_start(settings, training, validation, learner=learner, watch=watch)
    state = saved or start_training(learner, start.params)
    elapsed = _elapsed(folder) if saved else {}
    if saved:
        watch(f"going on after {_where(saved)}")

    def spent() -> dict[str, float]:
        return {
            "train_s": elapsed.get("train_s", 0.0) + time.monotonic() - begun_s,
            "train_cpu_s": elapsed.get("train_cpu_s", 0.0) + time.process_time() - begun_cpu_s,
        }

    def save(now: TrainState) -> None:
        save_state(folder / STATE, now, identity=identity)
        write_atomic(folder / _ELAPSED, json.dumps(spent()).encode())

    plan = plan_of(settings)
    with writing_to(folder / "tensorboard"), write_scalars(folder / "tensorboard") as write:
        state = train(
            state,
            stages_of(learner, start.material, drawing_of(settings), plan),
            plan,
            save=save,
            watch=_both(write, watch),
        )
    trained = Trained(
        params=state.best,
        constants=start.material.data,
        read=start.material.readout,
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
    if believes(settings.model, training):
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
    cost: dict[str, Any] = {**spent(), "peak_memory_mb": peak_memory_mb()}
    if budget is not None:
        cost["budget"] = budget.as_json()
    save_trained(folder, replace(trained, manifest={**trained.manifest, **cost}))
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


def _check_users(training: Dataset, validation: Dataset) -> None:
    """Refuse data without anybody to learn from, or to judge by: a user needs an event for each side."""
    for part, view in (("training", training), ("validation", validation)):
        if not (np.diff(view.interactions.offsets) >= 2).any():
            raise BadInputError(
                field="data set",
                value=view.name,
                remedy=f"None of its {view.num_users} {part} users has two events or more; give more users.",
            )


def _manifest(
    settings: Settings, backbone: Backbone, training: Dataset, validation: Dataset
) -> dict[str, Any]:
    name = settings.data.name
    if is_dataset_folder(name):
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


def _elapsed(folder: Path) -> dict[str, float]:
    """Return the seconds that earlier, interrupted runs took; nothing where that was not kept."""
    try:
        return {name: float(value) for name, value in json.loads((folder / _ELAPSED).read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
