"""A profiler judged on payments as they came: ranking, calibration, sets, and drift over time.

Each payment is scored with its entity's last payments before it and the labels due by then, as a stream
would be, but in batches. R is payments to judge, N payments of the table, C context columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.profile.calibration import Verdicts
from warmprompt.risk.profile.drift import LEAST_VALUES, DriftWatch
from warmprompt.risk.profile.episodes import as_they_came
from warmprompt.risk.profile.metrics import judge, reliability_by
from warmprompt.risk.profile.payments import Bools, Doubles, Longs, Payments, counterparty_context
from warmprompt.risk.profile.profiler import Profiler
from warmprompt.risk.profile.training import score_episodes
from warmprompt.rng import derive

_LEAST_IN_BIN = 20


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What `DriftWatch` found in one stream of numbers.

    Attributes:
        num_values: Numbers seen.
        alarms_s: When it raised an alarm, seconds since 1970.
    """

    num_values: int
    alarms_s: tuple[int, ...]

    def __str__(self) -> str:
        """Say it in words."""
        if self.num_values < LEAST_VALUES:
            return f"too few payments ({self.num_values}; {LEAST_VALUES} at least)"
        return f"{len(self.alarms_s) or 'no'} alarm{'s' * (len(self.alarms_s) > 1)} in {self.num_values:,}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """How a profiler did.

    Attributes:
        num_entities: Whose payments were judged.
        metrics: Of `metrics.METRICS`, without card precision.
        p_R: Calibrated probability of each payment, in order of time.
        fraud_R: Its label.
        reliability: Rows (mean p, share of fraud, payments).
        drift: Of p_risk as payments come, and of the squared error as labels come due.
    """

    num_entities: int
    metrics: Mapping[str, float]
    p_R: Doubles
    fraud_R: Bools
    reliability: list[tuple[float, float, int]]
    drift: Mapping[str, Drift]


def audit_profiler(
    profiler: Profiler,
    payments: Payments,
    *,
    last: int,
    most_entities: int | None = None,
    leave_out: Collection[str] = (),
    seed: int = 0,
) -> Audit:
    """Judge the last payments of each entity that the profiler has not been fitted to.

    Args:
        profiler: Trained and calibrated.
        payments: With labels.
        last: At most so many payments of each entity.
        most_entities: At most so many, drawn at random; None takes all.
        leave_out: Marks of entities not to judge, from `marks_of`.
        seed: Of the draw.

    Raises:
        BadInputError: `last` or `most_entities` below 1, no entity left, or payments of one class only.
    """
    for name, least in (("payments per entity", last), ("number of entities", most_entities)):
        if least is not None and least < 1:
            raise BadInputError(field=name, value=least, remedy="Give at least 1.")
    left = [entity for entity, mark in marks_of(payments).items() if mark not in leave_out]
    if not left:
        remedy = "All of them were used to train or calibrate the profiler; give others."
        raise BadInputError(field=f"{payments.side}s", value="none to judge", remedy=remedy)
    judged = derive(seed, "judged").permutation(left)[:most_entities]
    rows_R = _last_rows(payments.entity_N, judged, last)
    fraud_R, time_R = payments.fraud_N[rows_R], payments.time_N[rows_R]
    frauds = int(fraud_R.sum())
    if not 0 < frauds < len(rows_R):
        remedy = "Both classes are needed; give more payments or more customers."
        raise BadInputError(
            field="payments to judge", value=f"{frauds} frauds of {len(rows_R)}", remedy=remedy
        )
    scores_R, verdicts = score_rows(profiler, payments, counterparty_context(payments), rows_R)
    metrics = judge(scores_R, fraud_R, time_R, payments.entity_N[rows_R], verdicts)
    # Last payments of each are spread over days, so no day has all entities to pick the riskiest from.
    del metrics["CP@100"]
    return Audit(
        num_entities=len(judged),
        metrics=metrics,
        p_R=verdicts.p_R,
        fraud_R=fraud_R,
        reliability=_reliability(verdicts.p_R, fraud_R),
        drift=drift_of(
            verdicts.p_R, fraud_R, time_R, now_s=int(payments.time_N[-1]), delay_s=payments.label_delay_s
        ),
    )


def score_rows(
    profiler: Profiler, payments: Payments, context_NC: Doubles, rows_R: Longs
) -> tuple[Doubles, Verdicts]:
    """Return the score of some payments of a table as they came, and what is said of them.

    Args:
        profiler: Trained and calibrated.
        payments: The table.
        context_NC: From `counterparty_context`.
        rows_R: Places in the table.
    """
    episodes, indices = as_they_came(payments, context_NC, rows_R)
    scores_R = score_episodes(profiler.model, episodes)[indices]
    known_R = episodes.history.mask_RK.sum(axis=1)[episodes.episode_R[indices]]
    p_R, says_fraud_R, says_genuine_R = np.empty(len(rows_R)), *np.empty((2, len(rows_R)), dtype=np.bool_)
    least = np.array(sorted(profiler.calibrations))
    reached_R = least[np.searchsorted(least, known_R, side="right") - 1]
    for k in np.unique(reached_R):
        here = reached_R == k
        said = profiler.calibrations[int(k)].verdicts(scores_R[here])
        p_R[here], says_fraud_R[here], says_genuine_R[here] = said.p_R, said.says_fraud_R, said.says_genuine_R
    return scores_R, Verdicts(p_R=p_R, says_fraud_R=says_fraud_R, says_genuine_R=says_genuine_R)


def drift_of(p_R: Doubles, fraud_R: Bools, time_R: Longs, *, now_s: int, delay_s: int) -> dict[str, Drift]:
    """Follow p_risk as payments come and the squared error as labels come due.

    Args:
        p_R: Probabilities in order of time.
        fraud_R: Labels; read only where due at `now_s`.
        time_R: When payments came.
        now_s: Until when labels count.
        delay_s: How long a label takes.
    """
    due_R = time_R + delay_s <= now_s
    return {
        "p_risk": _watched(p_R, time_R),
        "squared error": _watched((p_R - fraud_R)[due_R] ** 2, time_R[due_R] + delay_s),
    }


def marks_of(payments: Payments) -> dict[int, str]:
    """Return a mark per entity, by which it is known again: a hash of its id and its first payment."""
    entities, first = np.unique(payments.entity_N, return_index=True)
    records = zip(
        entities.tolist(),
        payments.time_N[first].tolist(),
        payments.counterparty_N[first].tolist(),
        payments.amount_minor_N[first].tolist(),
        strict=True,
    )
    return {one[0]: hashlib.sha256(repr(one).encode()).hexdigest()[:16] for one in records}


def _last_rows(entity_N: Longs, entities: Longs, last: int) -> Longs:
    """Return the indices of each entity's last payments, in the table's order of time."""
    kept = np.isin(entity_N, entities)
    order = np.lexsort((np.arange(len(entity_N)), entity_N))
    order = order[kept[order]]
    own = entity_N[order]
    ends = np.searchsorted(own, own, side="right")
    return np.sort(order[np.arange(len(order)) >= ends - last])


def _reliability(p_R: Doubles, fraud_R: Bools) -> list[tuple[float, float, int]]:
    """Return bins of which each holds half the payments of the one below: frauds are at the top."""
    num = max(1, int(np.log2(max(len(p_R) / _LEAST_IN_BIN, 1))))
    edges = np.unique(np.quantile(p_R, 1 - 0.5 ** np.arange(1, num + 1)))
    return reliability_by(edges, p_R, fraud_R)


def _watched(values: Doubles, time_R: Longs) -> Drift:
    watch = DriftWatch()
    alarms = [
        int(at)
        for value, at in zip(values.tolist(), time_R.tolist(), strict=True)
        if watch.update(value).alarm
    ]
    return Drift(num_values=len(values), alarms_s=tuple(alarms))
