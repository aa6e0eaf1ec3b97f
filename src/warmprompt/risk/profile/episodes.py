"""Episodes: an entity, a moment, the last K payments before it and those that follow.

The moment is the cut. Support are the last K payments before the cut, with the labels that are due by
then; query are the payments of the same entity from the cut on. Nothing of the entity at or after the
cut is ever read for its features: the features of a query payment come from the support and from other
entities' payments before it.

E is episodes, K support payments (padded on the left), R query rows, F features, C context columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.risk.profile.features import Now, PaymentHistories, payment_features
from warmprompt.risk.profile.payments import DAY_S, Bools, Doubles, Longs, Payments
from warmprompt.rng import derive

HORIZON_S = 21 * DAY_S
MAX_SUPPORT = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Cuts:
    """Where episodes begin.

    Attributes:
        entity_E: Whose.
        time_E: The cut, seconds since 1970.
        num_E: K, the most payments that the support may hold.
    """

    entity_E: Longs
    time_E: Longs
    num_E: Longs

    def __len__(self) -> int:
        """E."""
        return len(self.entity_E)

    def with_num(self, k: int) -> Cuts:
        """Return the same cuts with another K for all."""
        return Cuts(entity_E=self.entity_E, time_E=self.time_E, num_E=np.full(len(self), k, dtype=np.int64))


@dataclass(frozen=True, kw_only=True, eq=False)
class Episodes:
    """Episodes in numbers.

    Attributes:
        cuts: Where they begin.
        history: What is visible at the cut; its rows are episodes.
        support_EKF: Features of the support payments, each from those before it alone.
        row_R: Position of each query payment in the table.
        episode_R: The episode it belongs to, in rising order.
        features_RF: Features of the query payments.
        fraud_R: Their labels, for training and judging.
    """

    cuts: Cuts
    history: PaymentHistories
    support_EKF: Doubles
    row_R: Longs
    episode_R: Longs
    features_RF: Doubles
    fraud_R: Bools

    def __len__(self) -> int:
        """E."""
        return len(self.cuts)


def draw_cuts(
    entities: Sequence[int] | Longs,
    *,
    days: tuple[int, int],
    start_s: int,
    per_entity: int,
    ks: Sequence[int],
    seed: int,
) -> Cuts:
    """Return random cuts, `per_entity` for each entity, at whole seconds of the days [first, last).

    Each cut has a K drawn from `ks`. Draws depend on seed and entity alone.
    """
    drawn = []
    for entity in entities:
        rng = derive(seed, "cuts", int(entity))
        times = start_s + rng.integers(days[0] * DAY_S, days[1] * DAY_S, size=per_entity)
        drawn += [(int(entity), int(time), int(rng.choice(ks))) for time in np.sort(times)]
    table = np.array(drawn, dtype=np.int64).reshape(-1, 3)
    return Cuts(entity_E=table[:, 0], time_E=table[:, 1], num_E=table[:, 2])


def build_episodes(
    payments: Payments, context_NC: Doubles, cuts: Cuts, *, horizon_s: int = HORIZON_S
) -> Episodes:
    """Return the episodes at these cuts; an entity without payments in the horizon has no query rows.

    Args:
        payments: The table.
        context_NC: From `counterparty_context`, row by row.
        cuts: Where to begin, K at most `MAX_SUPPORT`.
        horizon_s: Query payments lie in [cut, cut + horizon).

    Raises:
        BadInputError: K out of range.
        UnknownNameError: An entity without any payment in the table.
    """
    unknown = np.setdiff1d(cuts.entity_E, payments.entity_N)
    if len(unknown):
        raise UnknownNameError(
            field=payments.side, value=int(unknown[0]), remedy="It has no payment in the table; name another."
        )
    if len(cuts) and not (cuts.num_E.min() >= 0 and cuts.num_E.max() <= MAX_SUPPORT):
        raise BadInputError(field="K", value=int(cuts.num_E.max()), remedy=f"Give 0 to {MAX_SUPPORT}.")
    order_N = np.lexsort((payments.time_N, payments.entity_N))
    stride = int(payments.time_N[-1]) + horizon_s + 2
    index_N = payments.entity_N[order_N] * stride + payments.time_N[order_N]
    begin_E = np.searchsorted(index_N, cuts.entity_E * stride)
    cut_E = np.searchsorted(index_N, cuts.entity_E * stride + np.minimum(cuts.time_E, stride - horizon_s - 1))
    end_E = np.searchsorted(index_N, cuts.entity_E * stride + np.minimum(cuts.time_E + horizon_s, stride - 1))
    slot_K = np.arange(MAX_SUPPORT)
    from_E = np.maximum(begin_E, cut_E - cuts.num_E)
    place_EK = cut_E[:, None] - MAX_SUPPORT + slot_K
    mask_EK = place_EK >= from_E[:, None]
    index_EK = np.where(mask_EK, order_N[np.where(mask_EK, place_EK, 0)], 0)
    history = _history(payments, index_EK, mask_EK, cuts.time_E)
    count_E = end_E - cut_E
    episode_R = np.repeat(np.arange(len(cuts)), count_E)
    offset_R = np.arange(len(episode_R)) - np.repeat(np.cumsum(count_E) - count_E, count_E)
    row_R = order_N[cut_E[episode_R] + offset_R]
    return Episodes(
        cuts=cuts,
        history=history,
        support_EKF=_support_features(payments, context_NC, index_EK, mask_EK),
        row_R=row_R,
        episode_R=episode_R,
        features_RF=payment_features(_now(payments, context_NC, row_R), take_histories(history, episode_R)),
        fraud_R=payments.fraud_N[row_R],
    )


def as_they_came(
    payments: Payments, context_NC: Doubles, rows_R: Longs, *, num: int = MAX_SUPPORT
) -> tuple[Episodes, Longs]:
    """Return one episode per moment, for payments scored when they come, and each one's query row.

    The support is the last `num` payments before the payment itself: nothing goes stale, as in a stream.

    Args:
        payments: The table.
        context_NC: From `counterparty_context`, row by row.
        rows_R: Places of the payments in the table.
        num: K.
    """
    # Payments of one entity in the same second share what is visible.
    moments = np.unique(np.stack([payments.entity_N[rows_R], payments.time_N[rows_R]], axis=1), axis=0)
    cuts = Cuts(
        entity_E=moments[:, 0], time_E=moments[:, 1], num_E=np.full(len(moments), num, dtype=np.int64)
    )
    episodes = build_episodes(payments, context_NC, cuts, horizon_s=1)
    order = np.argsort(episodes.row_R)
    return episodes, order[np.searchsorted(episodes.row_R, rows_R, sorter=order)]


def take_histories(history: PaymentHistories, rows: Longs) -> PaymentHistories:
    """Return the histories of some rows."""
    return PaymentHistories(
        time_RK=history.time_RK[rows],
        amount_RK=history.amount_RK[rows],
        counterparty_RK=history.counterparty_RK[rows],
        mask_RK=history.mask_RK[rows],
        known_RK=history.known_RK[rows],
        fraud_RK=history.fraud_RK[rows],
    )


def _history(payments: Payments, index_RK: Longs, mask_RK: Bools, at_R: Longs) -> PaymentHistories:
    """Labels are due `label_delay_s` after their payment; one that is not due reads as False."""
    time_RK = np.where(mask_RK, payments.time_N[index_RK], 0)
    known_RK = mask_RK & (time_RK + payments.label_delay_s <= at_R[:, None])
    return PaymentHistories(
        time_RK=time_RK,
        amount_RK=np.where(mask_RK, payments.amount_minor_N[index_RK] / 100, 0.0),
        counterparty_RK=np.where(mask_RK, payments.counterparty_N[index_RK], -1),
        mask_RK=mask_RK,
        known_RK=known_RK,
        fraud_RK=known_RK & payments.fraud_N[index_RK],
    )


def _now(payments: Payments, context_NC: Doubles, rows_R: Longs) -> Now:
    return Now(
        time_R=payments.time_N[rows_R],
        amount_R=payments.amount_minor_N[rows_R] / 100,
        counterparty_R=payments.counterparty_N[rows_R],
        context_RC=context_NC[rows_R],
    )


def _support_features(payments: Payments, context_NC: Doubles, index_EK: Longs, mask_EK: Bools) -> Doubles:
    """Each support payment as it looked when it came: from the support payments before it."""
    parts = []
    for index in range(MAX_SUPPORT):
        before_EK = mask_EK & (np.arange(MAX_SUPPORT) < index)
        now = _now(payments, context_NC, index_EK[:, index])
        parts.append(payment_features(now, _history(payments, index_EK, before_EK, now.time_R)))
    stacked: Doubles = np.stack(parts, axis=1) * mask_EK[:, :, None]
    return stacked
