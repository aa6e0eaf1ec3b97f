"""How well risks rank and how true they are, and intervals that are paired by entity.

R is payments, E entities, S resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from warmprompt.risk.profile.calibration import Verdicts
from warmprompt.risk.profile.payments import DAY_S, Bools, Doubles, Longs

NUM_BINS = 15
METRICS = ("AP", "AUC", "CP@100", "Brier", "ECE", "cover", "cover fraud", "cover genuine", "unsure")


def judge(
    scores_R: Doubles,
    fraud_R: Bools,
    time_R: Longs,
    entity_R: Longs,
    verdicts: Verdicts | None,
) -> dict[str, float]:
    """Return every metric of `METRICS`; calibrated ones are NaN without verdicts.

    AP, AUC and card precision are of scores, the others of calibrated probabilities and sets.
    """
    found = {
        "AP": float(average_precision_score(fraud_R, scores_R)),
        "AUC": float(roc_auc_score(fraud_R, scores_R)),
        "CP@100": card_precision(scores_R, fraud_R, time_R, entity_R),
    }
    if verdicts is None:
        return found | dict.fromkeys(METRICS[3:], float("nan"))
    p_R, says_fraud_R, says_genuine_R = verdicts.p_R, verdicts.says_fraud_R, verdicts.says_genuine_R
    return found | {
        "Brier": float(np.mean((p_R - fraud_R) ** 2)),
        "ECE": calibration_error(p_R, fraud_R),
        "cover": float(np.where(fraud_R, says_fraud_R, says_genuine_R).mean()),
        "cover fraud": float(says_fraud_R[fraud_R].mean()),
        "cover genuine": float(says_genuine_R[~fraud_R].mean()),
        "unsure": float((says_fraud_R == says_genuine_R).mean()),
    }


def calibration_error(p_R: Doubles, fraud_R: Bools, *, num_bins: int = NUM_BINS) -> float:
    """Return the expected calibration error over bins of equal width, weighted by their payments.

    Source: Guo, Pleiss, Sun & Weinberger 2017, eq. 3.
    """
    index_R = np.minimum((p_R * num_bins).astype(np.int64), num_bins - 1)
    gaps = np.bincount(index_R, weights=fraud_R - p_R, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(p_R))


def reliability_by(edges: Doubles, p_R: Doubles, fraud_R: Bools) -> list[tuple[float, float, int]]:
    """Return (mean p, share of fraud, payments) of each bin that holds any; `edges` rise."""
    index_R = np.searchsorted(edges, p_R)
    return [
        (
            float(p_R[index_R == one].mean()),
            float(fraud_R[index_R == one].mean()),
            int((index_R == one).sum()),
        )
        for one in np.unique(index_R)
    ]


def card_precision(
    scores_R: Doubles, fraud_R: Bools, time_R: Longs, entity_R: Longs, *, k: int = 100
) -> float:
    """Return the share of truly compromised entities among the k riskiest of a day, mean over days.

    An entity's risk on a day is its riskiest payment's; days with fewer than k entities divide by k too.

    Source: Fraud Detection Handbook, chapter 4, section 5 (card precision top-k), without the removal of
    cards found on earlier days.
    """
    days = time_R // DAY_S
    found = []
    for day in np.unique(days):
        today = days == day
        entities, position = np.unique(entity_R[today], return_inverse=True)
        worst = np.full(len(entities), -np.inf)
        np.maximum.at(worst, position, scores_R[today])
        compromised = np.bincount(position, weights=fraud_R[today]) > 0
        top = np.argsort(-worst, kind="stable")[:k]
        found.append(compromised[top].sum() / k)
    return float(np.mean(found))


def weighted_average_precision(
    scores_R: Doubles, fraud_R: Bools, entity_R: Longs
) -> Callable[[Doubles], float]:
    """Return a function from entity weights (E,) to average precision, sorted once for many resamples.

    Tied scores count as one threshold, as in scikit-learn. `entity_R` numbers entities from 0.
    """
    order = np.argsort(-scores_R, kind="stable")
    ranked, frauds, entities = scores_R[order], fraud_R[order].astype(np.float64), entity_R[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)

    def value(weights_E: Doubles) -> float:
        weights_R = weights_E[entities]
        caught = np.cumsum(weights_R * frauds)[last]
        flagged = np.cumsum(weights_R)[last]
        if caught[-1] == 0:
            return 0.0
        precision = np.divide(caught, flagged, out=np.zeros_like(caught), where=flagged > 0)
        return float((np.diff(caught, prepend=0.0) * precision).sum() / caught[-1])

    return value


def paired_intervals(
    runs: Sequence[Mapping[str, Callable[[Doubles], float]]],
    num_entities: int,
    product: str,
    *,
    rng: np.random.Generator,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, tuple[float, float, float]]:
    """Return (difference, low, high) of the product's average precision minus each other model's.

    Entities are drawn with replacement, the same for every model and every run (seed), and average
    precision is averaged over runs before the difference is taken.

    Args:
        runs: Per seed, model to its function from `weighted_average_precision`.
        num_entities: E, over all seeds.
        product: The model that the others are compared with.
        rng: Draws the resamples.
        num_resamples: S.
        level: Of the percentile interval.

    Source: Efron & Tibshirani 1993, chapter 13, with entities as the unit.
    """
    models = list(runs[0])

    def means(weights_E: Doubles) -> Doubles:
        values: Doubles = np.array([[run[model](weights_E) for model in models] for run in runs])
        return np.asarray(values.mean(axis=0))

    observed = means(np.ones(num_entities))
    drawn = np.stack(
        [
            means(
                np.bincount(rng.integers(num_entities, size=num_entities), minlength=num_entities).astype(
                    np.float64
                )
            )
            for _ in range(num_resamples)
        ]
    )
    own = models.index(product)
    tail = (1 - level) / 2
    found = {}
    for position, model in enumerate(models):
        if model != product:
            low, high = np.quantile(drawn[:, own] - drawn[:, position], [tail, 1 - tail])
            found[model] = (float(observed[own] - observed[position]), float(low), float(high))
    return found


def coverage_interval(
    runs: Sequence[tuple[Bools, Longs]],
    num_entities: int,
    *,
    rng: np.random.Generator,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Return (share covered, low, high), the mean over runs; entities are drawn with replacement.

    An entity's payments stay together, as one compromised card makes several frauds with similar scores. The
    entities are those judged; what the calibration's own sample adds is not in the interval.

    Args:
        runs: Per seed, whether each payment is covered, and its entity, numbered from 0.
        num_entities: E, over all seeds.
        rng: Draws the resamples.
        num_resamples: S.
        level: Of the percentile interval.

    Source: as `paired_intervals`.
    """
    covered = np.stack(
        [np.bincount(entity, weights=inside, minlength=num_entities) for inside, entity in runs]
    )
    counted = np.stack([np.bincount(entity, minlength=num_entities) for _, entity in runs])

    def mean(weights_E: Doubles) -> float:
        return float(np.mean((covered @ weights_E) / (counted @ weights_E)))

    drawn = [
        mean(np.bincount(rng.integers(num_entities, size=num_entities), minlength=num_entities).astype(float))
        for _ in range(num_resamples)
    ]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return mean(np.ones(num_entities)), float(low), float(high)
