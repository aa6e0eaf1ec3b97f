"""Search the product's own settings on validation users: Optuna's TPE, kept in SQLite, resumable.

Searched is what the presets for dense and sparse data differ in: how wide the item vectors are, how the
factors are fitted that they start from, how fast and in what batches the first stage learns, and from how
many events on memory is trusted. Everything else keeps the value that it has.

Each proposal comes from a sampler of its own, seeded by how many trials there are and given all of them, so
a search that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmprompt.assembly.ranker import PromptRanker
from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError, IntegrityError, MismatchError, UserError
from warmprompt.evaluation.protocols import EvaluationTask, ProtocolSettings, build_task
from warmprompt.evaluation.validating import mean_ndcg_on
from warmprompt.files import locked_path, write_atomic, writing_to
from warmprompt.rng import derive_seed
from warmprompt.settings import Settings, from_mapping, to_mapping, to_toml
from warmprompt.training.presets import settled
from warmprompt.training.progress import ProgressCallback, no_progress
from warmprompt.training.run import open_data, train_run
from warmprompt.training.start import settings_that_matter, users_hash

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

NUM_TRIALS = 20
KS = (1, 3, 5, 10)
PROTOCOLS = ("random", "next", "gap10", "next10")
"""Protocols that train on the users of the usual split, as `train` does."""

CHOICES: Mapping[str, tuple[int, ...]] = {
    "model.num_factors": (16, 32, 64, 128),
    "train.batch_size": (32, 64, 128, 256),
}
RANGES: Mapping[str, tuple[float, float]] = {
    "model.factor_regularization": (3.0, 300.0),
    "model.factor_alpha": (1.0, 80.0),
    "train.tangent_lr": (0.0005, 0.03),
}
"""From and to, tried evenly in ratio; two digits are taken."""

STEPS: Mapping[str, tuple[float, float, float]] = {"experts.kappa": (0.0, 8.0, 1.0)}
"""From, to and step."""

SEARCHED = (*CHOICES, *RANGES, *STEPS)
_STARTUP = 5
_STUDY, _BEST = "study.db", "best.toml"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial.

    Attributes:
        number: Counted from 0 in the order of trying; 0 has the settings that the search began with.
        changes: Value of every searched setting, by dotted name.
        value: Mean NDCG@10 on validation users, over users and then over K.
        cpu_s: Processor seconds of training and measuring.
    """

    number: int
    changes: Mapping[str, float]
    value: float
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        trials: Those that ended with a value, in order.
        best: The one with the highest value, the earliest of equals.
        settings: The whole tree with the best trial's values.
        file: The same as a settings file.
        num_failed: Trials whose settings could not be trained.
        num_users: Validation users at the smallest K.
        ks: The K averaged over.
    """

    trials: tuple[Tried, ...]
    best: Tried
    settings: Settings
    file: Path
    num_failed: int
    num_users: int
    ks: tuple[int, ...]


def tune_settings(
    settings: Settings,
    out: Path | str,
    *,
    num_trials: int = NUM_TRIALS,
    budget_s: float | None = None,
    dataset: Dataset | None = None,
    progress: ProgressCallback = no_progress,
) -> SearchResult:
    """Return the best of some settings, each trained on training users and judged on validation users.

    Episodes are those of `settings.evaluate.protocol`, K as far as the data set carries 1, 3, 5 and 10. The
    first trial has the settings as they are given, with the preset that training would take. Tested users
    are not looked at.

    Args:
        settings: Where the search begins.
        out: Folder that keeps the search (an Optuna study) and the best settings; the same one goes on.
        num_trials: Trials in all, those of earlier calls counted.
        budget_s: Begin no trial after so many processor seconds, earlier calls counted.
        dataset: Instead of the one that the settings name.
        progress: Receives each trial.

    Raises:
        BadInputError: A protocol with training users of its own, no validation user with events enough, a
            budget that allows no trial, numbers out of range, or another search at work in the folder.
        MismatchError: The folder holds the search of other settings or data.
        IntegrityError: The study in it is damaged.
        WarmpromptError: Whatever training raises in the first trial.
    """
    out = Path(out)
    _check(settings, out, num_trials, budget_s)
    dataset = dataset or open_data(settings, progress=progress)
    settings = settled(settings, dataset)
    task = _task(settings, dataset)
    with locked_path(out, field="output folder", doing="is searching in it"):
        with writing_to(out / _STUDY):
            out.mkdir(parents=True, exist_ok=True)
        study = _open_study(out / _STUDY, _about(settings, task))
        space = _space(settings)
        while len(_ended(study)) < num_trials and (budget_s is None or _spent(study) < budget_s):
            _try_one(
                study, settings, space, partial(_judge, dataset, task, out / "trial", progress), progress
            )
    trials = tuple(_tried(number, trial) for number, trial in enumerate(_complete(study)))
    if not trials:
        raise BadInputError(field="--budget", value=budget_s, remedy="Allow one trial at least.")
    best = max(trials, key=lambda one: (one.value, -one.number))
    selected = _changed(settings, best.changes)
    write_atomic(out / _BEST, to_toml(selected).encode())
    return SearchResult(
        trials=trials,
        best=best,
        settings=selected,
        file=out / _BEST,
        num_failed=len(_ended(study)) - len(trials),
        num_users=max(map(len, task.cases.values())),
        ks=tuple(k for k, cases in task.cases.items() if cases),
    )


def _check(settings: Settings, out: Path, num_trials: int, budget_s: float | None) -> None:
    if settings.evaluate.protocol not in PROTOCOLS:
        raise BadInputError(
            field="protocol",
            value=settings.evaluate.protocol,
            remedy=f"It trains on users of its own; choose one of {', '.join(PROTOCOLS)}.",
        )
    if num_trials < 1:
        raise BadInputError(field="--trials", value=num_trials, remedy="Give 1 or more.")
    if budget_s is not None and not 0 < budget_s < math.inf:
        raise BadInputError(field="--budget", value=budget_s, remedy="Give seconds above 0.")
    if "?" in str(out.resolve()):
        raise BadInputError(field="output folder", value=out, remedy="Name one without a question mark.")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / _STUDY).is_file()):
        raise BadInputError(
            field="output folder", value=out, remedy="It holds something else than a search; name another."
        )


def _task(settings: Settings, dataset: Dataset) -> EvaluationTask:
    protocol = ProtocolSettings(protocol=settings.evaluate.protocol, users="validation", ks=KS)
    task = build_task(dataset, protocol, seed=settings.train.seed)
    if not any(task.cases.values()):
        raise BadInputError(
            field="data set",
            value=dataset.name,
            remedy="No validation user has events enough for K = 1; give more users or longer histories.",
        )
    return task


def _about(settings: Settings, task: EvaluationTask) -> dict[str, Any]:
    """Return what the calls of one search must share."""
    return {
        "settings": settings_that_matter(settings),
        "users": users_hash(task.training, task.validation),
        "protocol": task.settings.protocol,
        "ks": list(task.cases),
    }


def _open_study(file: Path, about: dict[str, Any]) -> Study:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            study_name="warmprompt",
            storage=f"sqlite:///{file.resolve()}",
            direction="maximize",
            load_if_exists=True,
        )
    except SQLAlchemyError as error:
        raise IntegrityError(
            field="study", value=file, remedy="It cannot be read; delete it and search again."
        ) from error
    kept = study.user_attrs.get("about")
    if kept is None:
        study.set_user_attr("about", about)
    elif kept != about:
        other = next((key for key in about if kept.get(key) != about[key]), "settings")
        raise MismatchError(
            field="output folder",
            value=file.parent,
            remedy=f"It holds a search with other {other}; name another folder.",
        )
    # What a killed process left; the same proposal is made again.
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _space(settings: Settings) -> dict[str, BaseDistribution]:
    """Return what is tried per setting, widened to hold the value that it has."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    own = _values(settings)
    choices = {
        name: CategoricalDistribution(tuple(sorted({*some, int(own[name])})))
        for name, some in CHOICES.items()
    }
    ranges = {
        name: FloatDistribution(min(low, own[name]), max(high, own[name]), log=True)
        for name, (low, high) in RANGES.items()
    }
    steps = {
        name: CategoricalDistribution(
            tuple(
                sorted({low + step * index for index in range(round((high - low) / step) + 1)} | {own[name]})
            )
        )
        for name, (low, high, step) in STEPS.items()
    }
    return {**choices, **ranges, **steps}


def _try_one(
    study: Study,
    settings: Settings,
    space: dict[str, BaseDistribution],
    judge: Callable[[Settings], float],
    progress: ProgressCallback,
) -> None:
    """Propose, train, judge, and tell the study; settings that cannot be trained are kept as failed."""
    import optuna

    number = len(_ended(study))
    seed = derive_seed(settings.train.seed, "tune", number) % 2**32
    study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=_STARTUP)
    if number == 0:
        study.enqueue_trial(_values(settings), skip_if_exists=True)
    trial = study.ask(space)
    changes = (
        _values(settings) if number == 0 else {name: _rounded(name, trial.params[name]) for name in space}
    )
    trial.set_user_attr("changes", changes)
    shown = ", ".join(f"{name} {value:g}" for name, value in changes.items())
    progress(f"trial {number + 1}: {shown}")
    begun_s = time.process_time()
    try:
        value = judge(_changed(settings, changes))
    except UserError as error:
        if number == 0:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        trial.set_user_attr("error", error.line())
        trial.set_user_attr("cpu_s", time.process_time() - begun_s)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        progress(f"trial {number + 1} cannot be trained: {error.line()}")
        return
    trial.set_user_attr("cpu_s", time.process_time() - begun_s)
    study.tell(trial, value)
    progress(f"trial {number + 1}: NDCG@10 {value:.4f}, best so far {study.best_value:.4f}")


def _judge(
    dataset: Dataset, task: EvaluationTask, folder: Path, progress: ProgressCallback, settings: Settings
) -> float:
    """Train a run into a folder that is removed afterwards, and return its mean NDCG@10."""
    try:
        train_run(settings, folder, dataset=dataset, progress=progress, overwrite=True)
        ranker = PromptRanker(folder=folder, settings=settings, dataset=dataset)
        return mean_ndcg_on(lambda: ranker, task)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _values(settings: Settings) -> dict[str, float]:
    values = to_mapping(settings)
    return {name: values[name.split(".")[0]][name.split(".")[1]] for name in SEARCHED}


def _changed(settings: Settings, changes: Mapping[str, float]) -> Settings:
    values = to_mapping(settings)
    for name, value in changes.items():
        section, _, key = name.partition(".")
        values[section][key] = value
    return replace(from_mapping(values), data=settings.data)


def _rounded(name: str, value: float) -> float:
    """Return a value tried evenly in ratio with two digits, which a person can read; others as they are."""
    return float(f"{value:.1e}") if name in RANGES else value


def _ended(study: Study) -> list[FrozenTrial]:
    """Return the trials that count: those with a value, and those whose settings could not be trained."""
    return [trial for trial in study.get_trials(deepcopy=False) if "cpu_s" in trial.user_attrs]


def _complete(study: Study) -> list[FrozenTrial]:
    return [trial for trial in _ended(study) if trial.value is not None]


def _spent(study: Study) -> float:
    return math.fsum(trial.user_attrs["cpu_s"] for trial in _ended(study))


def _tried(number: int, trial: FrozenTrial) -> Tried:
    attributes = trial.user_attrs
    value = trial.value
    assert value is not None  # of `_complete`
    return Tried(number=number, changes=attributes["changes"], value=value, cpu_s=attributes["cpu_s"])
