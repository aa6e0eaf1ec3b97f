"""Train a run: a folder that is finished, or can be gone on with, at every moment."""

from __future__ import annotations

import platform
import resource
import shutil
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from warmprompt.backbone.load import weights_hash_of
from warmprompt.backbone.threads import use_threads
from warmprompt.data.dataset import Dataset, take_users
from warmprompt.data.fetch import ensure_dataset
from warmprompt.data.home import is_dataset_folder
from warmprompt.data.splits import split_dataset
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.meta.learners import learner_of
from warmprompt.meta.workers import ALONE, Workers
from warmprompt.runs.folder import alone_in, check_location, finished_run, prepare
from warmprompt.runs.format import Trained, load_trained, save_trained
from warmprompt.settings import Settings, to_mapping
from warmprompt.training.budget import budget_of
from warmprompt.training.mixture_weights import check_experts
from warmprompt.training.presets import preset_line, settled
from warmprompt.training.progress import ProgressCallback, no_progress
from warmprompt.training.stages import STAGES, TrainingJob, join_stages, run_stages
from warmprompt.training.start import check_backbones, settings_that_matter, users_hash


def train_run(
    settings: Settings,
    out: Path | str,
    *,
    progress: ProgressCallback = no_progress,
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
        progress: Receives what begins, each step and each validation.
        dataset: Instead of the one that `settings.data.name` names.
        overwrite: Replace a run of other settings.

    Raises:
        BadInputError: The folder holds a finished run of other settings, or something else.
        MismatchError: It holds unfinished training of other settings, data or another backbone.
        WarmpromptError: Anything else that does not fit, or a fault.
    """
    trained = train_with(ALONE, settings, out, progress=progress, dataset=dataset, overwrite=overwrite)
    assert trained is not None  # only `until` ends early
    return trained


def train_with(  # noqa: PLR0913 - as `train_run`
    workers: Workers,
    settings: Settings,
    out: Path | str,
    *,
    until: str | None = None,
    progress: ProgressCallback = no_progress,
    dataset: Dataset | None = None,
    overwrite: bool = False,
) -> Trained | None:
    """Train as `train_run`, with other processes that call this with the same arguments.

    The first worker writes and reports; the others may end before it.

    Args:
        workers: Those that train together, from `meta.workers.joined_workers`.
        settings: As `train_run`.
        out: As `train_run`; only the first worker reads or writes it.
        until: Stop at the end of one of the `STAGES`.
        progress: As `train_run`.
        dataset: As `train_run`.
        overwrite: As `train_run`.

    Returns:
        The run; None where `until` ends it early, and on all workers but the first.

    Raises:
        UnknownNameError: No such stage.
        MismatchError: As `train_run`; or workers have different settings, data or models.
        WorkerLostError: Another worker has ended or does not answer.
        WarmpromptError: As `train_run`.
    """
    progress = progress if workers.is_first else no_progress
    if not workers.is_first:
        workers.share()  # data and models that the first one has to fetch are there then
    job = _job(*_views(settings, dataset, progress), Path(out), progress, workers)
    if workers.is_first:
        workers.share("ready")
    return _fit(job, overwrite=overwrite, until=until)


def fit_run(
    settings: Settings,
    training: Dataset,
    validation: Dataset,
    folder: Path,
    *,
    progress: ProgressCallback = no_progress,
    overwrite: bool = False,
) -> Trained:
    """Train on exactly these users and store the run; arguments and errors as `train_run`."""
    job = _job(settings, training, validation, folder, progress, ALONE)
    trained = _fit(job, overwrite=overwrite, until=None)
    assert trained is not None  # only `until` ends early
    return trained


def _views(
    settings: Settings, dataset: Dataset | None, progress: ProgressCallback
) -> tuple[Settings, Dataset, Dataset]:
    """Return the settings with a preset applied, and the users of both parts."""
    learner_of(settings.learner.name)
    settings = check_backbones(settings)
    dataset = dataset or open_data(settings, progress=progress)
    asked, settings = settings, settled(settings, dataset)
    progress(preset_line(asked, settings, dataset))
    split = split_dataset(dataset, seed=settings.train.seed)
    return settings, take_users(dataset, split.train), take_users(dataset, split.validation)


def _job(
    settings: Settings,
    training: Dataset,
    validation: Dataset,
    folder: Path,
    progress: ProgressCallback,
    workers: Workers,
) -> TrainingJob:
    identity = _identity(settings, training, validation)
    return TrainingJob(
        settings=settings,
        training=training,
        validation=validation,
        folder=folder,
        identity=identity,
        progress=progress,
        workers=workers,
    )


def _fit(job: TrainingJob, *, overwrite: bool, until: str | None) -> Trained | None:
    use_threads(job.settings.train.threads)
    _check_alike(job)
    if not job.workers.is_first:
        join_stages(job, STAGES)
        return None
    trained = _fit_first(job, overwrite=overwrite, until=until)
    job.workers.share(None)
    return trained


def _fit_first(job: TrainingJob, *, overwrite: bool, until: str | None) -> Trained | None:
    """Train as the worker that writes."""
    folder, identity = job.folder, dict(job.identity)
    check_location(folder)
    finished = finished_run(folder, identity)
    if finished is None:
        _check_users(job.training, job.validation)
        check_experts(job.settings.experts)
        with alone_in(folder):
            # Looked at again, now that nobody else trains into it.
            finished = prepare(folder, identity, overwrite=overwrite)
            if finished is None:
                return _train_into(job, until)
    job.progress(f"{folder} holds this run already; nothing to train")
    return finished


def _check_alike(job: TrainingJob) -> None:
    """Refuse workers that would train on something else than the first one."""
    first: dict[str, Any] = job.workers.share(dict(job.identity))
    for key, wanted in first.items():
        if job.identity[key] != wanted:
            raise MismatchError(
                field=f"worker {job.workers.rank}: {key}",
                value=f"{job.identity[key]}, not {wanted}",
                remedy="Give every worker the same command, data and models.",
            )


def _train_into(job: TrainingJob, until: str | None) -> Trained | None:
    """Train, or go on with training, in a folder that is this process's own."""
    budget = None
    if job.progress is not no_progress:
        budget = budget_of(job.settings, job.training, job.validation, learner=job.learner)
        job.progress(budget.line())
    draft = run_stages(job, STAGES, until=until)
    if draft is None:
        return None
    manifest = {
        **_manifest(job),
        **draft.trained.manifest,
        "identity": dict(job.identity),
        "stages": {name: {"wall_s": wall, "cpu_s": cpu} for name, (wall, cpu) in draft.seconds.items()},
        "train_s": sum(wall for wall, _ in draft.seconds.values()),
        "train_cpu_s": sum(cpu for _, cpu in draft.seconds.values()),
        "peak_memory_mb": peak_memory_mb(),
    }
    if budget is not None:
        manifest["budget"] = budget.as_json()
    save_trained(job.folder, replace(draft.trained, manifest=manifest))
    shutil.rmtree(job.folder / "training", ignore_errors=True)
    return load_trained(job.folder, device=job.settings.backbone.device)


def open_data(settings: Settings, *, progress: ProgressCallback = no_progress) -> Dataset:
    """Open the data set that the settings name, fetching a published one on first use."""
    progress(f"opening data set {settings.data.name}")
    return open_dataset(ensure_dataset(settings.data.name))


def peak_memory_mb() -> float:
    """Return the largest memory this process has used, in MiB."""
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


def _check_users(training: Dataset, validation: Dataset) -> None:
    """Refuse data without anybody to learn from, or to judge by: a user needs an event for each side."""
    for part, view in (("training", training), ("validation", validation)):
        if not (np.diff(view.interactions.offsets) >= 2).any():
            raise BadInputError(
                field="data set",
                value=view.name,
                remedy=f"None of its {view.num_users} {part} users has two events or more; give more users.",
            )


def _manifest(job: TrainingJob) -> dict[str, Any]:
    settings, training, validation = job.settings, job.training, job.validation
    backbone, name = job.backbone, settings.data.name
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
