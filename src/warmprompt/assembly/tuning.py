"""The baselines' settings for a table: searched on own validation users, recorded earlier, or defaults.

A search is on episodes of the protocol that is measured, on the validation users of the run's own split. Its
trials are kept inside the run, under what they depend on, so that measuring again does not pay again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from warmprompt.backbone.text import embed_texts
from warmprompt.baselines.budget import defaults_of, searchable, spent_on, tune_within
from warmprompt.baselines.registry import MEMBERS, SEARCH_SPACES, baseline
from warmprompt.baselines.tuned import TUNED, TUNED_IN_TIME, tuned_settings
from warmprompt.baselines.tuning import Trial, best_of
from warmprompt.data.dataset import Dataset
from warmprompt.data.verbalise import item_texts
from warmprompt.errors import StorageError
from warmprompt.evaluation.protocols import IN_TIME, VERSION, EvaluationTask, ProtocolSettings, build_task
from warmprompt.evaluation.results import BaselineSettings, Tuning
from warmprompt.evaluation.validating import mean_ndcg_on
from warmprompt.files import write_atomic
from warmprompt.training.progress import ProgressCallback, no_progress
from warmprompt.training.start import users_hash

FAIR = ("toppop", "itemknn", "userknn", "ease", "ials", "blend")
"""What a run is compared with where nobody names baselines: the closed forms and their blend."""

MAX_BUDGET_S = 600.0
"""Processor seconds that a search takes at most, unless more is asked for."""

_EASE_BYTES = 40
"""Memory of EASE's fit per pair of items: five matrices of doubles at its peak."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What the baselines of a table are built with.

    Attributes:
        settings: Per baseline, what `registry.baseline` is given.
        rows: The same for the table, members of blends one by one.
        tuning: The search.
    """

    settings: Mapping[str, Mapping[str, Any]]
    rows: tuple[BaselineSettings, ...]
    tuning: Tuning


def fair_baselines(num_items: int, memory_bytes: int | None = None) -> tuple[str, ...]:
    """Return the baselines to compare with by default; those with EASE only where its fit fits in memory.

    Args:
        num_items: Items of the data set.
        memory_bytes: Of the machine, half of which may be taken; its own without it.
    """
    if memory_bytes is None:
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 2 * _EASE_BYTES * num_items**2 <= memory_bytes:
        return FAIR
    return tuple(name for name in FAIR if "ease" not in MEMBERS.get(name, (name,)))


def default_budget_s(dataset: Dataset, manifest: Mapping[str, Any], protocol: str = "random") -> float:
    """Return as many processor seconds as the run's training took, ten minutes at most.

    0 for data sets whose settings were searched and recorded earlier, under a time-ordered protocol on
    episodes of its own.
    """
    on_its_own = protocol not in IN_TIME or protocol in TUNED_IN_TIME.get(dataset.name, {})
    if dataset.name in TUNED and on_its_own:
        return 0.0
    return min(MAX_BUDGET_S, float(manifest.get("train_cpu_s", manifest["train_s"])))


def choose_settings(
    names: Sequence[str],
    dataset: Dataset,
    protocol: ProtocolSettings,
    tuning: Tuning,
    *,
    folder: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> Chosen:
    """Return the settings of each baseline, after a search where `tuning` allows one.

    Args:
        names: Baselines.
        dataset: All users; those who are tested are not looked at.
        protocol: What is measured afterwards; the search is on its episodes, of validation users.
        tuning: Budget, seed of the split, and the K that are measured; 0 is left out where there are others.
        folder: Keeps the trials; None keeps nothing.
        progress: Receives each trial that is better than those before.

    Raises:
        NotFiniteError, IntegrityError, MismatchError: As `tune_within`.
    """
    ks = tuple(k for k in tuning.ks if k) or tuning.ks
    tuning = replace(tuning, ks=ks, num_users=0)
    vectors = cache(lambda: embed_texts(item_texts(dataset)))
    trials: dict[str, tuple[Trial, ...]] = {}
    able = searchable(names)
    if tuning.budget_s > 0 and able:
        task = build_task(dataset, replace(protocol, users="validation", ks=ks), seed=tuning.seed)
        ks = tuple(k for k, cases in task.cases.items() if cases)
        tuning = replace(tuning, ks=ks, num_users=max(map(len, task.cases.values()), default=0))
        if ks:
            trials = _search(able, task, tuning, vectors, _kept(folder, dataset, task, progress), progress)
        else:
            progress("no validation user has enough events: the baselines keep their defaults")
    data = dataset.name
    found = {name: _found(data, name, protocol.protocol, trials.get(name, ())) for name in able}

    def settings_of(name: str) -> dict[str, Any]:
        if name in MEMBERS:
            known = [member for member in MEMBERS[name] if member in found]
            return {"members": {member: dict(found[member].settings) for member in known}}
        own = dict(found[name].settings) if name in found else tuned_settings(data, name, protocol.protocol)
        return own | ({"vectors_VX": vectors()} if name == "content-vectors" else {})

    return Chosen(
        settings={name: settings_of(name) for name in names}, rows=tuple(found.values()), tuning=tuning
    )


def _search(
    names: Sequence[str],
    task: EvaluationTask,
    tuning: Tuning,
    vectors: Any,
    folder: Path | None,
    progress: ProgressCallback,
) -> dict[str, tuple[Trial, ...]]:
    progress(
        f"tuning {', '.join(names)} on {tuning.num_users} validation users, "
        f"within {tuning.budget_s:.0f} s of processor time"
    )

    def evaluate(name: str, settings: Mapping[str, float]) -> float:
        extra = {"vectors_VX": vectors()} if name == "content-vectors" else {}
        return mean_ndcg_on(baseline(name, **settings, **extra), task)

    best: dict[str, float] = {}

    def tell(name: str, trial: Trial) -> None:
        if trial.values[-1] <= best.get(name, -1.0):
            return
        best[name] = trial.values[-1]
        shown = ", ".join(f"{key} {value:g}" for key, value in trial.settings.items())
        progress(f"tuning {name}, trial {trial.number + 1}: {shown}: NDCG@10 {trial.values[-1]:.4f}")

    return tune_within(tuning.budget_s, names, evaluate, folder=folder, progress=tell)


def _found(data: str, name: str, protocol: str, trials: Sequence[Trial]) -> BaselineSettings:
    """Return the best of some trials; without any, what was recorded for the data set, else the defaults."""
    defaults = defaults_of(name)
    if not trials:
        recorded = tuned_settings(data, name, protocol)
        source = "recorded" if recorded else "defaults"
        return BaselineSettings(baseline=name, source=source, settings={**defaults, **recorded})
    best = best_of(trials)
    return BaselineSettings(
        baseline=name,
        source="searched",
        settings=best.settings,
        num_trials=len(trials),
        cpu_s=round(spent_on(trials), 3),
        value=best.values[-1],
        default_value=next((one.values[-1] for one in trials if one.settings == defaults), None),
    )


def _kept(
    folder: Path | None, dataset: Dataset, task: EvaluationTask, progress: ProgressCallback
) -> Path | None:
    """Return the folder for the trials of exactly this search, None where nothing can be written."""
    if folder is None:
        return None
    about = {
        "protocol": {**asdict(task.settings), "ks": list(task.cases), "version": VERSION},
        "seed": task.seed,
        "data": {"name": dataset.name, "content_hash": dataset.content_hash},
        "users": users_hash(task.training, task.validation),
        "spaces": SEARCH_SPACES,
    }
    text = json.dumps(about, indent=1, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    index = folder / f"{task.settings.protocol}-{key}"
    try:
        write_atomic(index / "about.json", text.encode())
    except StorageError as error:
        progress(f"the trials of this search are not kept: {error.line()}")
        return None
    return index
