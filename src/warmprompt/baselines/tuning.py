"""Search for settings: Optuna's TPE over a written grid, resumable, halving what is expensive.

The search knows no model, no data and no protocol: it takes a grid, a factory and a function that
evaluates what the factory makes. Whoever calls it evaluates on validation users only.

Each trial proposes by a sampler of its own, seeded by the trial's number and given all earlier
trials. A search that was killed and resumed therefore finds what an uninterrupted one finds.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from warmprompt.errors import BadInputError, IntegrityError, MismatchError, NotFiniteError
from warmprompt.files import write_atomic
from warmprompt.rng import derive_seed

Space = Mapping[str, Sequence[float]]
Chosen = Mapping[str, float]
Model = TypeVar("Model")

MIN_TRIALS = 20
_MAX_REPEATS = 50


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One row of a search.

    Attributes:
        number: Counted from 0.
        settings: What was tried.
        values: Objective per rung, in the order of the rungs; shorter where the trial was stopped.
        stopped: Whether it was stopped before the last rung.
        seconds: Wall time of the trial.
        cpu_s: Its processor time, all threads together, seconds; None where it was not measured.
    """

    number: int
    settings: dict[str, float]
    values: tuple[float, ...]
    stopped: bool
    seconds: float
    cpu_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Search:
    """How to search.

    Attributes:
        num_trials: Different settings tried, unless the grid holds fewer; at least 20.
        seed: Derives every proposal.
        rungs: Rising shares of the full budget, the last one 1. A trial goes on to the next rung if it is
            among the best 1 / `reduction` of all that reached this one; (1,) stops nothing.
        reduction: Above 1.
        first: What the first trial tries, such as the defaults, if all of it is in the space.
    """

    num_trials: int = MIN_TRIALS
    seed: int = 0
    rungs: tuple[float, ...] = (1.0,)
    reduction: float = 3.0
    first: Chosen | None = None

    def __post_init__(self) -> None:
        if self.num_trials < MIN_TRIALS:
            raise BadInputError(
                field="num_trials", value=self.num_trials, remedy=f"Give {MIN_TRIALS} or more."
            )
        if list(self.rungs) != sorted(set(self.rungs)) or not self.rungs or self.rungs[0] <= 0:
            raise BadInputError(field="rungs", value=self.rungs, remedy="Give rising shares above 0.")
        if self.rungs[-1] != 1:
            raise BadInputError(field="rungs", value=self.rungs, remedy="End with 1, the full budget.")
        if self.reduction <= 1:
            raise BadInputError(field="reduction", value=self.reduction, remedy="Give a number above 1.")


def search_settings(
    space: Space,
    factory: Callable[[Chosen, float], Model],
    evaluate: Callable[[Model], float],
    search: Search | None = None,
    *,
    rows: Path | None = None,
    progress: Callable[[Trial], None] = lambda _: None,
) -> tuple[Trial, ...]:
    """Return every trial of a search for the settings that make `evaluate` largest, in order.

    Args:
        space: Values per setting, in a sensible order; every combination is a possible trial.
        factory: Makes what is evaluated from the settings and a share of the full budget (epochs).
        evaluate: The objective; larger is better.
        search: Number of trials, seed, rungs.
        rows: JSON lines file: what it holds is not tried again, every trial is added at once.
        progress: Called after each new trial.

    Raises:
        BadInputError: The space is empty or a setting has no value.
        NotFiniteError: The objective of a trial is NaN or infinite.
        IntegrityError: The file holds something else than trials.
        MismatchError: The file's trials are of another space or other rungs.
    """
    search = search or Search()
    trials = list(read_trials(rows, space, search))
    while len(trials) < num_wanted(space, search):
        trials.append(next_trial(space, trials, factory, evaluate, search))
        if rows is not None:
            write_trials(rows, trials)
        progress(trials[-1])
    return tuple(trials)


def num_wanted(space: Space, search: Search) -> int:
    """Return how many trials a search ends with: fewer than asked for where the grid holds fewer.

    Raises:
        BadInputError: The space is empty or a setting has no value.
    """
    if not space or not all(len(values) for values in space.values()):
        raise BadInputError(field="space", value=dict(space), remedy="Give at least one value per setting.")
    return min(search.num_trials, math.prod(len(values) for values in space.values()))


def next_trial(
    space: Space,
    trials: Sequence[Trial],
    factory: Callable[[Chosen, float], Model],
    evaluate: Callable[[Model], float],
    search: Search,
) -> Trial:
    """Propose settings not tried yet, try them, and return the trial; arguments as `search_settings`.

    Raises:
        NotFiniteError: The objective is NaN or infinite.
    """
    start, start_cpu = time.perf_counter(), time.process_time()
    settings = _propose(space, trials, search)
    values = _climb(settings, trials, factory, evaluate, search)
    return Trial(
        number=len(trials),
        settings=settings,
        values=values,
        stopped=len(values) < len(search.rungs),
        seconds=time.perf_counter() - start,
        cpu_s=time.process_time() - start_cpu,
    )


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the highest value among those on the full budget; the earliest of equals.

    Raises:
        BadInputError: No trial reached the full budget.
    """
    whole = [trial for trial in trials if not trial.stopped]
    if not whole:
        raise BadInputError(field="trials", value=len(trials), remedy="None was finished; search on.")
    return max(whole, key=lambda trial: (trial.values[-1], -trial.number))


def read_trials(rows: Path | None, space: Space, search: Search) -> tuple[Trial, ...]:
    """Return the trials that a search wrote, none where there is no file.

    Raises:
        IntegrityError: The file holds something else than trials.
        MismatchError: The file's trials are of another space or other rungs.
    """
    if rows is None or not rows.exists():
        return ()
    trials = []
    for number, line in enumerate(rows.read_text("utf-8").splitlines()):
        try:
            entry: dict[str, Any] = json.loads(line)
            trial = Trial(**{**entry, "values": tuple(entry["values"])})
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                field=f"{rows}, line {number + 1}", value=line, remedy="Delete the file and search again."
            ) from error
        fits = set(trial.settings) == set(space) and all(
            trial.settings[name] in space[name] for name in space
        )
        if not fits or len(trial.values) > len(search.rungs) or trial.number != number:
            raise MismatchError(
                field=f"{rows}, line {number + 1}",
                value=line,
                remedy="It is of another search; name another file.",
            )
        trials.append(trial)
    return tuple(trials)


def write_trials(rows: Path, trials: Sequence[Trial]) -> None:
    """Write the trials of a search as JSON lines, whole or not at all."""
    write_atomic(rows, "".join(json.dumps(asdict(each)) + "\n" for each in trials).encode())


def _propose(space: Space, trials: Sequence[Trial], search: Search) -> dict[str, float]:
    """Return settings not tried before: the first, or by TPE, or at random where TPE repeats itself."""
    import optuna

    first = search.first or {}
    if not trials and set(first) == set(space) and all(first[name] in space[name] for name in space):
        # As the grid spells them: 5000.0 and 5000 would count as two settings.
        return {name: next(value for value in space[name] if value == first[name]) for name in space}
    tried = {_key(trial.settings) for trial in trials}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = derive_seed(search.seed, "tuning", len(trials)) % 2**32
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    # Places in a list of values, so that the sampler knows their order.
    indices: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.IntDistribution(0, len(values) - 1) for name, values in space.items()
    }
    for trial in trials:
        params = {name: list(space[name]).index(trial.settings[name]) for name in space}
        study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions=indices,
                intermediate_values=dict(enumerate(trial.values)),
                value=None if trial.stopped else trial.values[-1],
                state=optuna.trial.TrialState.PRUNED if trial.stopped else optuna.trial.TrialState.COMPLETE,
            )
        )
    for attempt in range(_MAX_REPEATS):
        if attempt == _MAX_REPEATS // 2:
            study.sampler = optuna.samplers.RandomSampler(seed=seed)
        asked = study.ask(indices)
        settings = {name: space[name][asked.params[name]] for name in space}
        if _key(settings) not in tried:
            return settings
    return _first_untried(space, tried)


def _first_untried(space: Space, tried: set[str]) -> dict[str, float]:
    settings: list[dict[str, float]] = [{}]
    for name, values in space.items():
        settings = [{**one, name: value} for one in settings for value in values]
    return next(one for one in settings if _key(one) not in tried)


def _climb(
    settings: Chosen,
    trials: Sequence[Trial],
    factory: Callable[[Chosen, float], Model],
    evaluate: Callable[[Model], float],
    search: Search,
) -> tuple[float, ...]:
    """Return the objective on rising budgets, up to the rung where the trial is no longer among the best."""
    values: list[float] = []
    for rung, budget in enumerate(search.rungs):
        value = float(evaluate(factory(settings, budget)))
        if not math.isfinite(value):
            raise NotFiniteError(
                field="objective", value=dict(settings), remedy="Take these values out of the search space."
            )
        values.append(value)
        others = [trial.values[rung] for trial in trials if len(trial.values) > rung]
        better = sum(other > value for other in others)
        if better >= max(1.0, (len(others) + 1) / search.reduction):
            break
    return tuple(values)


def _key(settings: Chosen) -> str:
    return json.dumps(dict(settings), sort_keys=True)
