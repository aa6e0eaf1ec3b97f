"""The objective of every search for settings: how well a ranker does on validation users."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.protocols import EvaluationTask
from warmprompt.evaluation.runner import score_cases
from warmprompt.types import Ranker

_NDCG = METRICS.index("NDCG@10")


def mean_ndcg_on(build: Callable[[], Ranker], task: EvaluationTask) -> float:
    """Fit a ranker and return its NDCG@10 averaged over users, then over the K of the task."""
    ranker = build().fit(task.training, task.validation, seed=task.seed)
    found = [
        np.mean(list(score_cases(ranker, task, cases, label="trial").values()), axis=0)[_NDCG]
        for cases in task.cases.values()
        if cases
    ]
    return float(np.mean(found))
