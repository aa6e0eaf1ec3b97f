"""Fit rankers per seed, rank for cold users, and gather rows, costs and paired differences.

A ranker is handed the training and validation views and the supports; the
queries never leave this file. B is users, V items, U users of a table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError, FaultError, MismatchError, UnknownNameError
from warmprompt.evaluation.cases import Case
from warmprompt.evaluation.comparing import comparison_rows, differences_of
from warmprompt.evaluation.machine import describe_machine
from warmprompt.evaluation.metrics import user_metrics
from warmprompt.evaluation.protocols import EvaluationTask, ProtocolSettings, build_task
from warmprompt.evaluation.results import Cost, Results, SeedCounts
from warmprompt.evaluation.significance import NUM_RESAMPLES, Doubles
from warmprompt.scoring.ranking import check_finite, ranks, ranks_against
from warmprompt.types import Floats, Ranker, Support, UserId

BATCH = 256
NUM_TIMED = 50
TIMED_K = 10

Factory = Callable[[], Ranker]
OnScores = Callable[[str, EvaluationTask, Sequence[Case], Floats], None]
"""Handed a row label, the task, some of its cases and their scores of every item, (B, V)."""
PerUserOf = dict[UserId, Doubles]


@dataclass(frozen=True, kw_only=True)
class EvaluationProgress:
    """One step of an evaluation: `done` of `total` after `what` ("fitted ease, seed 0")."""

    done: int
    total: int
    what: str


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """How to evaluate, besides the protocol.

    Attributes:
        seeds: Split seeds; each ranker is built and fitted anew per seed.
        product: The model whose differences to all others are tested, by its key in `factories`.
        variants: Further keys that are the product in another form, such as not adapted: rows of the
            table, and never its best baseline.
        num_resamples: Bootstrap and permutation resamples.
        batch: Users scored at once, at most 256.
        num_timed: Users timed alone for the cost columns.
    """

    seeds: tuple[int, ...] = (0,)
    product: str | None = None
    variants: tuple[str, ...] = ()
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
    plan: EvaluationPlan,
    *,
    on_scores: OnScores | None = None,
    progress: Callable[[EvaluationProgress], None] = lambda _: None,
) -> Results:
    """Return every ranker's metrics per K and seed, with intervals, costs and paired differences.

    Args:
        factories: Row label to a function that builds an unfitted ranker.
        dataset: All users; `build_task` parts them per seed.
        settings: The protocol.
        plan: Seeds, the product's label, sizes.
        on_scores: Handed every batch of tested users' scores, for lists and metrics beyond these.
        progress: Called after each fit and each scored K.

    Raises:
        UnknownNameError: `plan.product` or one of `plan.variants` is not among `factories`.
        BadInputError: No tested user is left at any K; raised before anything is fitted.
        NotFiniteError: A ranker gave a NaN or infinite score; names ranker, seed and K.
        MismatchError: A ranker gave scores of the wrong shape.
    """
    for label in _own(plan):
        if label not in factories:
            raise UnknownNameError(
                field="product", value=label, remedy=f"Choose one of {', '.join(factories)}."
            )
    tasks = [build_task(dataset, settings, seed=seed) for seed in plan.seeds]
    for task in tasks:
        _check_cases(task)
    report = _Counter(progress, sum(len(factories) * (1 + len(task.cases)) for task in tasks))
    per_user: dict[tuple[str, int, int], PerUserOf] = {}
    on_validation: dict[tuple[str, int], Doubles] = {}
    costs = []
    for index, task in enumerate(tasks):
        selection = _selection_task(dataset, settings, plan, task) if index == 0 else None
        for label, build in factories.items():
            start = time.perf_counter()
            ranker = build().fit(task.training, task.validation, seed=task.seed)
            fit_s = time.perf_counter() - start
            report(f"fitted {label}, seed {task.seed}")
            for k, cases in task.cases.items():
                watch = None if on_scores is None else partial(on_scores, label, task)
                per_user[label, task.seed, k] = score_cases(
                    ranker, task, cases, label=label, batch=plan.batch, on_scores=watch
                )
                report(f"ranked {label}, seed {task.seed}, K = {k}")
            costs.append(
                measure_cost(
                    ranker, task, label=label, fit_s=fit_s, batch=plan.batch, num_timed=plan.num_timed
                )
            )
            for k, cases in (selection.cases if selection and label not in _own(plan) else {}).items():
                values = list(score_cases(ranker, task, cases, label=label, batch=plan.batch).values())
                if values:
                    on_validation[label, k] = np.mean(values, axis=0)
    return Results(
        dataset=dataset.name,
        content_hash=dataset.content_hash,
        settings={"label": settings.label, **_plain(asdict(settings)), **_plain(asdict(plan))},
        machine=describe_machine(),
        commit=None,
        rows=tuple(
            replace(row, is_product=row.model in _own(plan))
            for seed in (*plan.seeds, None)
            for row in comparison_rows(
                per_user,
                list(factories),
                settings.label,
                seeds=plan.seeds if seed is None else (seed,),
                seed=seed,
                num_resamples=plan.num_resamples,
            )
        ),
        differences=()
        if plan.product is None
        else differences_of(
            per_user,
            on_validation,
            plan.product,
            [label for label in factories if label != plan.product],
            variants=plan.variants,
            seeds=plan.seeds,
            num_resamples=plan.num_resamples,
        ),
        costs=tuple(costs),
        counts=tuple(SeedCounts(seed=task.seed, **asdict(task.counts)) for task in tasks),
        per_user=per_user,
    )


def _own(plan: EvaluationPlan) -> tuple[str, ...]:
    """Return the rows that are the product's."""
    return plan.variants if plan.product is None else (plan.product, *plan.variants)


def _check_cases(task: EvaluationTask) -> None:
    """Raise BadInputError where no tested user has a case at any K."""
    if any(task.cases.values()):
        return
    if any(task.counts.users_without_positive.values()):
        raise BadInputError(
            field="min_rating",
            value=task.settings.min_rating,
            remedy="No tested user has a query event rated so high; lower it.",
        )
    raise BadInputError(
        field="k", value=task.settings.ks, remedy="The history of every tested user is too short; lower K."
    )


def score_cases(
    ranker: Ranker,
    task: EvaluationTask,
    cases: Sequence[Case],
    *,
    label: str,
    batch: int = BATCH,
    on_scores: Callable[[Sequence[Case], Floats], None] | None = None,
) -> PerUserOf:
    """Return each user's metrics, in the order of `METRICS`; the ranker sees the supports alone.

    `on_scores` is handed the cases of each batch and their scores, (B, V).

    Raises:
        NotFiniteError: A score is NaN or infinite.
        MismatchError: The scores have the wrong shape.
    """
    found: PerUserOf = {}
    for start in range(0, len(cases), batch):
        part = cases[start : start + batch]
        supports = [case.support for case in part]
        where = f"scores of {label}, seed {task.seed}, K = {part[0].k}, users from {part[0].support.user!r}"
        scores_BV = _scores(ranker, supports, len(task.candidates_V), where)
        metrics = _metrics(scores_BV, task, part)
        if on_scores is not None:
            on_scores(part, scores_BV)
        found.update(zip((support.user for support in supports), metrics, strict=True))
    return found


def measure_cost(
    ranker: Ranker,
    task: EvaluationTask,
    *,
    label: str,
    fit_s: float,
    batch: int = BATCH,
    num_timed: int = NUM_TIMED,
) -> Cost:
    """Time scoring at K = 10, or at the largest K below it that has cases.

    Args:
        ranker: Fitted.
        task: Whose users are timed.
        label: The ranker's row label.
        fit_s: What `fit` took, seconds.
        batch: Users scored at once.
        num_timed: Users timed alone.

    Raises:
        BadInputError: No K has a case.
    """
    filled = [k for k, cases in task.cases.items() if cases]
    if not filled:
        raise BadInputError(
            field="k", value=tuple(task.cases), remedy="Every tested user is too short; lower K."
        )
    k = max((k for k in filled if k <= TIMED_K), default=min(filled))
    supports = [case.support for case in task.cases[k]]
    together = supports[:batch]
    ranker.score(supports[:1])
    alone_ms, alone_cpu_ms = [], []
    for support in supports[:num_timed]:
        start, start_cpu = time.perf_counter(), time.process_time()
        ranker.score([support])
        alone_ms.append(1000 * (time.perf_counter() - start))
        alone_cpu_ms.append(1000 * (time.process_time() - start_cpu))
    start = time.perf_counter()
    ranker.score(together)
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
        users_per_s=len(together) / together_s,
        batch=len(together),
        p50_cpu_ms=float(np.percentile(alone_cpu_ms, 50)),
    )


def _scores(ranker: Ranker, supports: Sequence[Support], num_items: int, where: str) -> Floats:
    scores_BV = np.asarray(ranker.score(supports))
    if scores_BV.shape != (len(supports), num_items):
        remedy = f"A ranker scores every item for each user: {(len(supports), num_items)}."
        raise MismatchError(field=where, value=scores_BV.shape, remedy=remedy)
    check_finite(scores_BV, field=where)
    return scores_BV


def _metrics(scores_BV: Floats, task: EvaluationTask, cases: Sequence[Case]) -> Doubles:
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


def _selection_task(
    dataset: Dataset, settings: ProtocolSettings, plan: EvaluationPlan, task: EvaluationTask
) -> EvaluationTask | None:
    """Return the first seed's validation cases, on which the best baseline of each cell is selected."""
    if plan.product is None:
        return None
    return build_task(dataset, replace(settings, users="validation", ks=tuple(task.cases)), seed=task.seed)


def _plain(settings: Mapping[str, object]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


class _Counter:
    """Counts the steps that the progress callback is called with."""

    def __init__(self, progress: Callable[[EvaluationProgress], None], total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, what: str) -> None:
        self._done += 1
        self._progress(EvaluationProgress(done=self._done, total=self._total, what=what))
