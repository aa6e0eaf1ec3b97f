"""Several baselines searched together within one budget of processor seconds, each given its fair share.

The next trial goes to the baseline that has spent least so far. Cheap ones therefore try their grid quickly
and leave the rest of the budget to the others. Each baseline's first trial is its defaults, so that what a
search finds is never worse on the users it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from warmprompt.baselines.expert import ExpertRanker
from warmprompt.baselines.registry import BASELINES, MEMBERS, SEARCH_SPACES
from warmprompt.baselines.tuning import (
    MIN_TRIALS,
    Chosen,
    Search,
    Trial,
    next_trial,
    num_wanted,
    read_trials,
    write_trials,
)

MAX_TRIALS = 2 * MIN_TRIALS
"""Trials per baseline at most: twice the least that the protocol asks for."""


def searchable(names: Sequence[str]) -> tuple[str, ...]:
    """Return what has a search space among these baselines and the members of the blends among them."""
    every = [each for name in names for each in MEMBERS.get(name, (name,))]
    return tuple(name for name in dict.fromkeys(every) if SEARCH_SPACES.get(name))


def defaults_of(name: str) -> dict[str, float]:
    """Return the default of each setting in a baseline's search space."""
    built = BASELINES[name]()
    given = built.settings if isinstance(built, ExpertRanker) else vars(built)
    return {setting: given[setting] for setting in SEARCH_SPACES[name]}


def tune_within(
    budget_s: float,
    names: Sequence[str],
    evaluate: Callable[[str, Chosen], float],
    *,
    folder: Path | None = None,
    progress: Callable[[str, Trial], None] = lambda _name, _trial: None,
) -> dict[str, tuple[Trial, ...]]:
    """Return the trials of each baseline, as many as a budget of processor time allows.

    A trial that has begun is finished; none begins that would, by the mean of its baseline's earlier ones,
    end after the budget. What lies in the folder counts as spent, so that a second call pays nothing again.

    Args:
        budget_s: Processor seconds of all trials together; 0 or less allows none.
        names: Baselines with a search space.
        evaluate: The objective of a baseline's settings; larger is better.
        folder: Keeps a file of trials per baseline; None keeps nothing.
        progress: Receives the baseline and each new trial.

    Raises:
        NotFiniteError: The objective of a trial is NaN or infinite.
        IntegrityError, MismatchError: A file in the folder holds something else, or another search.
    """
    searches = {name: Search(num_trials=MAX_TRIALS, first=defaults_of(name)) for name in names}
    rows = {name: None if folder is None else folder / f"{name}.jsonl" for name in names}
    trials = {name: read_trials(rows[name], SEARCH_SPACES[name], searches[name]) for name in names}
    while True:
        left_s = budget_s - sum(map(spent_on, trials.values()))
        able = [
            name
            for name in names
            if len(trials[name]) < num_wanted(SEARCH_SPACES[name], searches[name])
            and left_s > _expected(trials[name])
        ]
        if not able:
            return trials
        name = min(able, key=lambda each: spent_on(trials[each]))
        trial = next_trial(
            SEARCH_SPACES[name],
            trials[name],
            lambda settings, _share, name=name: (name, settings),  # type: ignore[misc]
            lambda model: evaluate(*model),
            searches[name],
        )
        trials[name] = (*trials[name], trial)
        if (file := rows[name]) is not None:
            write_trials(file, trials[name])
        progress(name, trial)


def spent_on(trials: Sequence[Trial]) -> float:
    """Return the processor seconds of some trials; of those that were not measured, wall seconds."""
    return sum(trial.seconds if trial.cpu_s is None else trial.cpu_s for trial in trials)


def _expected(trials: Sequence[Trial]) -> float:
    return spent_on(trials) / len(trials) if trials else 0.0
