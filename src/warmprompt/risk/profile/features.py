"""A payment in numbers: the handbook's features, and how it compares with what its entity usually does.

Both are computed from the same visible history, the entity's last K payments, and from nothing else of
that entity. R is rows (payments to score), K visible payments (padded), F features, C context columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from warmprompt.risk.profile.payments import DAY_S, WINDOWS_S, Bools, Doubles, Longs

HANDBOOK_NAMES = (
    "amount",
    "weekend",
    "night",
    "own_count_1d",
    "own_count_7d",
    "own_count_30d",
    "own_mean_1d",
    "own_mean_7d",
    "own_mean_30d",
    "counterparty_count_1d",
    "counterparty_count_7d",
    "counterparty_count_30d",
    "counterparty_risk_1d",
    "counterparty_risk_7d",
    "counterparty_risk_30d",
)
PROFILE_NAMES = (
    "log_amount",
    "hour_sin",
    "hour_cos",
    "num_visible",
    "usual_log_amount",
    "above_usual",
    "above_largest",
    "spread",
    "hours_from_usual",
    "days_since_last",
    "counterparty_seen",
    "above_counterparty",
    "num_labelled",
    "num_frauds",
    "num_unusual_14d",
    "counterparty_frauds",
    "counterparty_count_3d",
    "counterparty_count_14d",
    "counterparty_count_21d",
    "counterparty_risk_3d",
    "counterparty_risk_14d",
    "counterparty_risk_21d",
)
NUM_HANDBOOK = len(HANDBOOK_NAMES)
FEATURE_NAMES = HANDBOOK_NAMES + PROFILE_NAMES

# The usual amount is a mean that starts from the population's, worth two payments of log-amount 3.7 (40).
_POPULATION_LOG = 3.7
_POPULATION_WEIGHT = 2.0
_UNUSUAL = np.log(2.5)
_TURN = 2 * np.pi / DAY_S


@dataclass(frozen=True, kw_only=True, eq=False)
class Now:
    """Payments to score.

    Attributes:
        time_R: Seconds since 1970.
        amount_R: Currency units.
        counterparty_R: Ids.
        context_RC: From `counterparty_context`.
    """

    time_R: Longs
    amount_R: Doubles
    counterparty_R: Longs
    context_RC: Doubles


@dataclass(frozen=True, kw_only=True, eq=False)
class PaymentHistories:
    """What is visible of each payment's entity, oldest first, padded anywhere.

    Attributes:
        time_RK: Seconds since 1970, none later than the payment.
        amount_RK: Currency units.
        counterparty_RK: Ids.
        mask_RK: False at padding.
        known_RK: True where the label is known by now.
        fraud_RK: The label; read only where it is known.
    """

    time_RK: Longs
    amount_RK: Doubles
    counterparty_RK: Longs
    mask_RK: Bools
    known_RK: Bools
    fraud_RK: Bools


def payment_features(now: Now, history: PaymentHistories) -> Doubles:
    """Return the features of each payment, (R, F), `FEATURE_NAMES` in order; all finite."""
    return np.concatenate([_handbook(now, history), _profile(now, history)], axis=1)


def _handbook(now: Now, history: PaymentHistories) -> Doubles:
    """Return the handbook's fifteen features; its own windows include the payment itself.

    Source: Le Borgne, Siblini, Lebichot & Bontempi 2022, chapter 3, section 4.
    """
    day_R = now.time_R // DAY_S
    # 1970-01-01 was a Thursday, weekday 3 of a week that begins on Monday.
    weekend_R = (day_R + 3) % 7 >= 5
    night_R = now.time_R % DAY_S < 7 * 3600  # the handbook's hour <= 6
    counts, means = [], []
    for window in WINDOWS_S:
        inside_RK = history.mask_RK & (history.time_RK > now.time_R[:, None] - window)
        count_R = 1.0 + inside_RK.sum(axis=1)
        counts.append(count_R)
        means.append((now.amount_R + (history.amount_RK * inside_RK).sum(axis=1)) / count_R)
    own = [now.amount_R, weekend_R.astype(np.float64), night_R.astype(np.float64), *counts, *means]
    return np.concatenate([np.stack(own, axis=1), now.context_RC[:, :6]], axis=1)


def _profile(now: Now, history: PaymentHistories) -> Doubles:
    mask_RK = history.mask_RK
    num_R = mask_RK.sum(axis=1).astype(np.float64)
    log_R = np.log1p(now.amount_R)
    logs_RK = np.log1p(history.amount_RK) * mask_RK
    weight_R = num_R + _POPULATION_WEIGHT
    usual_R = (logs_RK.sum(axis=1) + _POPULATION_WEIGHT * _POPULATION_LOG) / weight_R
    away_RK = (logs_RK - usual_R[:, None]) * mask_RK
    spread_R = np.sqrt(((away_RK**2).sum(axis=1) + _POPULATION_WEIGHT * 0.25) / weight_R)
    largest_R = np.where(num_R > 0, logs_RK.max(axis=1, initial=0.0), usual_R)
    last_R = np.where(mask_RK, history.time_RK, -1).max(axis=1, initial=-1)
    since_R = np.where(num_R > 0, np.minimum((now.time_R - last_R) / DAY_S, 60.0), 60.0)
    seen_RK = mask_RK & (history.counterparty_RK == now.counterparty_R[:, None])
    fraud_RK = mask_RK & history.known_RK & history.fraud_RK
    recent_RK = mask_RK & (history.time_RK > now.time_R[:, None] - 14 * DAY_S)
    hour_R = (now.time_R % DAY_S) * _TURN
    columns = [
        log_R,
        np.sin(hour_R),
        np.cos(hour_R),
        num_R,
        usual_R,
        log_R - usual_R,
        log_R - largest_R,
        spread_R,
        _hours_from_usual(now, history),
        since_R,
        seen_RK.any(axis=1),
        log_R - now.context_RC[:, 6],
        (mask_RK & history.known_RK).sum(axis=1),
        fraud_RK.sum(axis=1),
        (recent_RK & (away_RK > _UNUSUAL)).sum(axis=1),
        (fraud_RK & seen_RK).sum(axis=1),
    ]
    stacked = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
    return np.concatenate([stacked, now.context_RC[:, 7:]], axis=1)


def _hours_from_usual(now: Now, history: PaymentHistories) -> Doubles:
    """Return the hours between the time of day and the entity's mean time of day, 0 to 12; 6 without any."""
    angles_RK = (history.time_RK % DAY_S) * _TURN
    sin_R = (np.sin(angles_RK) * history.mask_RK).sum(axis=1)
    cos_R = (np.cos(angles_RK) * history.mask_RK).sum(axis=1)
    away_R = (now.time_R % DAY_S) * _TURN - np.arctan2(sin_R, cos_R)
    hours_R = np.abs((away_R + np.pi) % (2 * np.pi) - np.pi) * 12 / np.pi
    return np.where(history.mask_RK.any(axis=1), hours_R, 6.0)
