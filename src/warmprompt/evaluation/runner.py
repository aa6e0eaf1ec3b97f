"""Fit rankers per seed, rank for cold users, and gather rows, costs and paired differences.

A ranker is handed the training and validation views and the supports; the
queries never leave this file. B is users, V items, U users of a table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError, FaultError, MismatchError, UnknownNameError
from warmprompt.evaluation.cases import Case
from warmprompt.evaluation.machine import describe_machine
from warmprompt.evaluation.metrics import METRICS, user_metrics
from warmprompt.evaluation.protocols import ProtocolSettings, Task, build_task
from warmprompt.evaluation.results import Cost, Difference, PerUser, Results, Row, SeedCounts
from warmprompt.evaluation.significance import (
    NUM_RESAMPLES,
    Doubles,
    average_within_user,
    bootstrap_intervals,
    holm,
    permutation_p_values,
)
from warmprompt.rng import derive
from warmprompt.scoring.ranking import check_finite, ranks, ranks_against
from warmprompt.types import Floats, Ranker, Support, UserId

BATCH = 256
NUM_TIMED = 50
TIMED_K = 10

Factory = Callable[[], Ranker]
PerUserOf = dict[UserId, Doubles]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One step of an evaluation: `done` of `total` after `what` ("fitted ease, seed 0")."""

    done: int
    total: int
    what: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to evaluate, beside the protocol.

    Attributes:
        seeds: Split seeds; each ranker is built and fitted anew per seed.
        product: The model whose differences to all others are tested, by its key in `factories`.
        num_resamples: Bootstrap and permutation resamples.
        batch: Users scored at once, at most 256.
        num_timed: Users timed alone for the cost columns.
    """

    seeds: tuple[int, ...] = (0,)
    product: str | None = None
    num_resamples: int = NUM_RESAMPLES
    batch: int = BATCH
    num_timed: int = NUM_TIMED

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise BadInputError(field="seeds", value=self.seeds, remedy="Give at least one seed, each once.")
        if not 1 <= self.batch <= BATCH:
            raise BadInputError(field="batch", value=self.batch, remedy=f"Give 1 to {BATCH}.")
        if self.num_resamples < 1 or self.num_timed < 1:
            raise BadInputError(
                field="num_resamples, num_timed",
                value=(self.num_resamples, self.num_timed),
                remedy="Give 1 or more.",
            )


def evaluate(
    factories: Mapping[str, Factory],
    dataset: Dataset,
    settings: ProtocolSettings,
    plan: Plan,
    *,
    commit: str | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Results:
    """Return every ranker's metrics per K and seed, with intervals, costs and paired differences.

    Args:
        factories: Row label to a function that builds an unfitted ranker.
        dataset: All users; `build_task` parts them per seed.
        settings: The protocol.
        plan: Seeds, the product's label, sizes.
        commit: The code's version, for the report.
        progress: Called after each fit and each scored K.

    Raises:
        UnknownNameError: `plan.product` is not among `factories`.
        NotFiniteError: A ranker gave a NaN or infinite score; names ranker, seed and K.
        MismatchError: A ranker gave scores of the wrong shape.
    """
    if plan.product is not None and plan.product not in factories:
        raise UnknownNameError(
            field="product", value=plan.product, remedy=f"Choose one of {', '.join(factories)}."
        )
    tasks = [build_task(dataset, settings, seed=seed) for seed in plan.seeds]
    report = _Counter(progress, sum(len(factories) * (1 + len(task.cases)) for task in tasks))
    per_user: dict[tuple[str, int, int], PerUserOf] = {}
    on_validation: dict[tuple[str, int], Doubles] = {}
    costs = []
    for place, task in enumerate(tasks):
        selection = _selection_task(dataset, settings, plan, task) if place == 0 else None
        for label, build in factories.items():
            start = time.perf_counter()
            ranker = build().fit(task.training, task.validation, seed=task.seed)
            fit_s = time.perf_counter() - start
            report(f"fitted {label}, seed {task.seed}")
            for k, cases in task.cases.items():
                per_user[label, task.seed, k] = score_cases(
                    ranker, task, cases, label=label, batch=plan.batch
                )
                report(f"ranked {label}, seed {task.seed}, K = {k}")
            costs.append(_cost(ranker, task, plan, label, fit_s))
            for k, cases in (selection.cases if selection and label != plan.product else {}).items():
                values = list(score_cases(ranker, task, cases, label=label, batch=plan.batch).values())
                if values:
                    on_validation[label, k] = np.mean(values, axis=0)
    return Results(
        dataset=dataset.name,
        content_hash=dataset.content_hash,
        settings={"label": settings.label, **_plain(asdict(settings)), **_plain(asdict(plan))},
        machine=describe_machine(),
        commit=commit,
        rows=tuple(_rows(per_user, list(factories), settings, plan)),
        differences=tuple(_differences(per_user, on_validation, list(factories), plan)),
        costs=tuple(costs),
        counts=tuple(SeedCounts(seed=task.seed, **asdict(task.counts)) for task in tasks),
        per_user=per_user,
    )


def score_cases(
    ranker: Ranker, task: Task, cases: Sequence[Case], *, label: str, batch: int = BATCH
) -> PerUserOf:
    """Return each user's metrics, in the order of `METRICS`; the ranker sees the supports alone.

    Raises:
        NotFiniteError: A score is NaN or infinite.
        MismatchError: The scores have the wrong shape.
    """
    found: PerUserOf = {}
    for start in range(0, len(cases), batch):
        part = cases[start : start + batch]
        supports = [case.support for case in part]
        where = f"scores of {label}, seed {task.seed}, K = {part[0].k}, users from {part[0].support.user!r}"
        metrics = _metrics(_scores(ranker, supports, len(task.candidates_V), where), task, part)
        found.update(zip((support.user for support in supports), metrics, strict=True))
    return found


def _scores(ranker: Ranker, supports: Sequence[Support], num_items: int, where: str) -> Floats:
    scores_BV = np.asarray(ranker.score(supports))
    if scores_BV.shape != (len(supports), num_items):
        remedy = f"A ranker scores every item for each user: {(len(supports), num_items)}."
        raise MismatchError(field=where, value=scores_BV.shape, remedy=remedy)
    check_finite(scores_BV, field=where)
    return scores_BV


def _metrics(scores_BV: Floats, task: Task, cases: Sequence[Case]) -> Doubles:
    queries = [case.query for case in cases]
    supports = [case.support.items_K for case in cases]
    if task.settings.candidates == "sampled100":
        others = [_negatives_of(case) for case in cases]
        found = ranks_against(scores_BV, queries, others)
        # A positive outside the candidates is a miss here as it is in the full ranking.
        found = [
            np.where(task.candidates_V[query], ranks_Q, np.inf)
            for query, ranks_Q in zip(queries, found, strict=True)
        ]
        return user_metrics(found, each_alone=True)
    candidates = task.candidates_V
    if task.settings.candidates == "query-only":
        candidates = np.zeros(scores_BV.shape, dtype=bool)
        for row, case in zip(candidates, cases, strict=True):
            row[case.held_out] = task.candidates_V[case.held_out]
    return user_metrics(ranks(scores_BV, queries, excluded=supports, candidates=candidates))


def _negatives_of(case: Case) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    if case.negatives is None:
        raise FaultError(
            field="case", value=case.support.user, remedy="Build the task with sampled100 candidates."
        )
    return case.negatives


def _selection_task(dataset: Dataset, settings: ProtocolSettings, plan: Plan, task: Task) -> Task | None:
    """Return the first seed's validation cases, on which the best baseline of each cell is chosen."""
    if plan.product is None:
        return None
    return build_task(dataset, replace(settings, users="validation", ks=tuple(task.cases)), seed=task.seed)


def _cost(ranker: Ranker, task: Task, plan: Plan, label: str, fit_s: float) -> Cost:
    """Time scoring at K = 10, or at the largest K below it that has cases."""
    filled = [k for k, cases in task.cases.items() if cases]
    if not filled:
        raise BadInputError(
            field="k", value=tuple(task.cases), remedy="Every tested user is too short; lower K."
        )
    k = max((k for k in filled if k <= TIMED_K), default=min(filled))
    supports = [case.support for case in task.cases[k]]
    batch = supports[: plan.batch]
    ranker.score(supports[:1])
    alone_ms = []
    for support in supports[: plan.num_timed]:
        start = time.perf_counter()
        ranker.score([support])
        alone_ms.append(1000 * (time.perf_counter() - start))
    start = time.perf_counter()
    ranker.score(batch)
    together_s = time.perf_counter() - start
    return Cost(
        model=label,
        seed=task.seed,
        num_parameters=ranker.num_parameters,
        fit_s=fit_s,
        k=k,
        p50_ms=float(np.percentile(alone_ms, 50)),
        p99_ms=float(np.percentile(alone_ms, 99)),
        num_timed=len(alone_ms),
        users_per_s=len(batch) / together_s,
        batch=len(batch),
    )


def _rows(per_user: PerUser, labels: Sequence[str], settings: ProtocolSettings, plan: Plan) -> list[Row]:
    """Return a row per model, K, seed and metric, and one over all seeds (seed None) per model, K, metric."""
    rows = []
    for seed in (*plan.seeds, None):
        for k in settings.ks:
            values_ULM = _stack(per_user, labels, k, plan.seeds if seed is None else (seed,))
            if values_ULM is None:
                continue
            flat = values_ULM.reshape(len(values_ULM), -1)
            rng = derive(0, "bootstrap", k, "all" if seed is None else seed)
            low, high = bootstrap_intervals(flat, rng, num_resamples=plan.num_resamples)
            cells = [(label, metric) for label in labels for metric in METRICS]
            for cell, (label, metric) in enumerate(cells):
                rows.append(
                    Row(
                        model=label,
                        protocol=settings.label,
                        k=k,
                        seed=seed,
                        metric=metric,
                        value=float(flat[:, cell].mean()),
                        low=float(low[cell]),
                        high=float(high[cell]),
                        num_users=len(flat),
                    )
                )
    return rows


def _differences(
    per_user: PerUser, on_validation: Mapping[tuple[str, int], Doubles], labels: Sequence[str], plan: Plan
) -> list[Difference]:
    if plan.product is None:
        return []
    others = [label for label in labels if label != plan.product]
    found = []
    for k in sorted({k for _, _, k in per_user}):
        values_ULM = _stack(per_user, [plan.product, *others], k, plan.seeds)
        if values_ULM is None or not others:
            continue
        gaps = (values_ULM[:, :1] - values_ULM[:, 1:]).reshape(len(values_ULM), -1)
        low, high = bootstrap_intervals(gaps, derive(0, "difference", k), num_resamples=plan.num_resamples)
        p_values = permutation_p_values(gaps, derive(0, "permutation", k), num_resamples=plan.num_resamples)
        chosen = [on_validation[label, k] for label in others if (label, k) in on_validation]
        best = np.argmax(chosen, axis=0) if chosen else np.full(len(METRICS), -1)
        cells = [(other, column) for other in range(len(others)) for column in range(len(METRICS))]
        for cell, (other, column) in enumerate(cells):
            found.append(
                Difference(
                    product=plan.product,
                    baseline=others[other],
                    k=k,
                    metric=METRICS[column],
                    value=float(gaps[:, cell].mean()),
                    low=float(low[cell]),
                    high=float(high[cell]),
                    p=float(p_values[cell]),
                    p_holm=1.0,
                    best=bool(best[column] == other),
                    num_users=len(gaps),
                )
            )
    adjusted = holm(np.array([row.p for row in found]))
    return [replace(row, p_holm=float(p)) for row, p in zip(found, adjusted, strict=True)]


def _stack(per_user: PerUser, labels: Sequence[str], k: int, seeds: Sequence[int]) -> Doubles | None:
    """Return the users' metrics, seeds averaged within the user, (U, labels, metrics); None without users."""
    of_labels = [
        average_within_user([per_user[label, seed, k] for seed in seeds if (label, seed, k) in per_user])
        for label in labels
    ]
    users = list(of_labels[0]) if of_labels else []
    if not users:
        return None
    return np.array([[of_label[user] for of_label in of_labels] for user in users])


def _plain(settings: Mapping[str, object]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


class _Counter:
    """Counts the steps that the progress callback is told of."""

    def __init__(self, progress: Callable[[Progress], None], total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, what: str) -> None:
        self._done += 1
        self._progress(Progress(done=self._done, total=self._total, what=what))
