"""From the cells of a table to its numbers: rows with intervals, and what the product gains over others.

U is users, L labels, M metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from warmprompt.baselines.registry import MEMBERS
from warmprompt.evaluation.comparing import best_on_validation, comparison_rows, stack_users
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.results import Row
from warmprompt.evaluation.significance import (
    NUM_RESAMPLES,
    Doubles,
    average_within_user,
    bootstrap_means,
    holm,
    permutation_p_values,
)
from warmprompt.evidence.measured_table import MeasuredTable
from warmprompt.evidence.plan import EvidencePlan, ModelSpec
from warmprompt.rng import derive

AVERAGED_KS = (1, 3, 5, 10)
_AVERAGED = "NDCG@10"
_PAIR = 2
_NEXT_TO_NOTHING = 0.1


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The product against one other row at one K and metric, paired by user, seeds averaged within the user.

    Attributes:
        role: "best" (of the baselines but the blend, on validation users), "blend" or "other".
        other: The row that it is compared with.
        product_value, other_value: Means over the users of the seeds that both have.
        value, low, high: Difference of the means and its 95 % bootstrap interval.
        percent, percent_low, percent_high: The same of the gain over the other's mean, in percent.
        p: Two-sided paired permutation p-value.
        p_holm: Corrected over the hypotheses of the same table of gains; equal rows count once.
        seeds: The seeds that both have.
    """

    role: str
    other: str
    k: int
    metric: str
    product_value: float
    other_value: float
    value: float
    low: float
    high: float
    percent: float
    percent_low: float
    percent_high: float
    p: float
    p_holm: float
    num_users: int
    seeds: tuple[int, ...]

    @property
    def has_ratio(self) -> bool:
        """Whether the gain in percent has a meaning; over a model that scores next to nothing it has none."""
        return self.other_value >= _NEXT_TO_NOTHING * self.product_value


@dataclass(frozen=True, kw_only=True)
class MeanGain:
    """The product's gain in NDCG@10 over the best baselines, or over the blend, averaged over K = 1 to 10.

    Attributes:
        role: "best" or "blend".
        ks: The K averaged over.
        percent, low, high: Mean of the gains in percent and its 95 % bootstrap interval, over users who are
            drawn once for all K.
    """

    role: str
    ks: tuple[int, ...]
    percent: float
    low: float
    high: float


def rows(measured: MeasuredTable, *, num_resamples: int = NUM_RESAMPLES) -> tuple[Row, ...]:
    """Return the mean and interval of every model, K and metric over the seeds that the model has."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for model in measured.models:
        groups.setdefault(measured.seeds_of(model), []).append(model)
    label = measured.table.protocol.label
    found = [
        row
        for seeds, models in groups.items()
        for row in comparison_rows(measured.per_user, models, label, seeds=seeds, num_resamples=num_resamples)
    ]
    order = {model: position for position, model in enumerate(measured.models)}
    return tuple(sorted(found, key=lambda row: (order[row.model], row.k)))


def headline_gains(
    plan: EvidencePlan, measured: MeasuredTable, *, num_resamples: int = NUM_RESAMPLES
) -> tuple[Gain, ...]:
    """Return the product's gains over the best baseline of each cell, and over the blend.

    The best is selected per K and metric on validation users (`chosen_at`), among `baseline_candidates`.
    Holm corrects over all rows that are returned.
    """
    found = []
    for k in measured.ks:
        at_k = chosen_at(plan, measured, k)
        best = (
            {}
            if at_k is None
            else best_on_validation(measured.on_validation, baseline_candidates(plan, measured), at_k)
        )
        pairs = [("best", best[metric], metric) for metric in METRICS if metric in best]
        if measured.seeds_of(plan.blend):
            pairs += [("blend", plan.blend, metric) for metric in METRICS]
        found += _gains(measured, plan.product, k, pairs, num_resamples=num_resamples)
    return _corrected(found)


def further_gains(
    plan: EvidencePlan, measured: MeasuredTable, *, num_resamples: int = NUM_RESAMPLES
) -> tuple[Gain, ...]:
    """Return the product's gains over the other rows that the table names, corrected among themselves."""
    compare = measured.table.compare
    wanted = measured.models if "all" in compare else [name for name in measured.models if name in compare]
    others = [name for name in wanted if name != plan.product]
    if plan.product not in measured.models:
        return ()
    found = []
    for k in measured.ks:
        pairs = [("other", name, metric) for name in others for metric in METRICS]
        found += _gains(measured, plan.product, k, pairs, num_resamples=num_resamples)
    return _corrected(found)


def baseline_candidates(plan: EvidencePlan, measured: MeasuredTable) -> list[str]:
    """Return the baselines that the best is chosen from.

    They have all the product's seeds and are no blend of many (that of EASE and iALS counts as one model).
    A baseline that is shown again with settings of the plan's own counts once, as tuned. Choosing between two
    near-equal versions on few validation users would often pick the worse.
    """
    seeds = set(measured.seeds_of(plan.product))
    return [
        spec.name
        for spec in _baselines(plan, measured)
        if seeds and seeds <= set(measured.seeds_of(spec.name))
    ]


def chosen_at(plan: EvidencePlan, measured: MeasuredTable, k: int) -> int | None:
    """Return the K at which validation users choose the best baseline for K: itself, or the next smaller.

    Where histories are short, fewer validation than tested users carry a large K. None: there is no choice.
    """
    names = baseline_candidates(plan, measured)
    known = [at for name, at in measured.on_validation if name in names and at <= k]
    return max(known, default=None)


def mean_gains(
    plan: EvidencePlan, measured: MeasuredTable, gains: Sequence[Gain], *, num_resamples: int = NUM_RESAMPLES
) -> tuple[MeanGain, ...]:
    """Return the mean gains of the headline, as far as the table carries K = 1, 3, 5 and 10."""
    found = []
    for role in ("best", "blend"):
        selected = [
            one
            for one in gains
            if (one.role, one.metric) == (role, _AVERAGED) and one.k in AVERAGED_KS and isfinite(one.percent)
        ]
        if selected:
            means_R2K = bootstrap_means(
                _side_by_side(plan, measured, selected),
                derive(0, "mean gain", role),
                num_resamples=num_resamples,
            )
            percent_R = 100 * (means_R2K[:, 0::2] / means_R2K[:, 1::2] - 1).mean(axis=1)
            low, high = np.quantile(percent_R, [0.025, 0.975])
            percent = sum(one.percent for one in selected) / len(selected)
            ks = tuple(one.k for one in selected)
            found.append(MeanGain(role=role, ks=ks, percent=percent, low=float(low), high=float(high)))
    return tuple(found)


def _side_by_side(plan: EvidencePlan, measured: MeasuredTable, gains: Sequence[Gain]) -> Doubles:
    """Return each user's value of the product and of the other, gain after gain, (U, 2 G); 0 where none."""
    columns = [
        average_within_user([measured.per_user[model, seed, one.k] for seed in one.seeds])
        for one in gains
        for model in (plan.product, one.other)
    ]
    users = {user: row for row, user in enumerate(dict.fromkeys(user for of in columns for user in of))}
    values_U2G = np.zeros((len(users), len(columns)))
    metric = METRICS.index(_AVERAGED)
    for position, of in enumerate(columns):
        values_U2G[[users[user] for user in of], position] = [values[metric] for values in of.values()]
    return values_U2G


def _baselines(plan: EvidencePlan, measured: MeasuredTable) -> list[ModelSpec]:
    return [
        spec
        for spec in measured.table.models
        if spec.baseline is not None
        and spec.name != plan.product
        and not spec.shuffle
        and not is_blend(plan, spec)
        and not (spec.settings and spec.baseline in {other.name for other in measured.table.models})
    ]


def is_blend(plan: EvidencePlan, spec: ModelSpec) -> bool:
    """Return whether a row is a blend of more than two models, which no single baseline is."""
    return spec.name == plan.blend or len(MEMBERS.get(spec.baseline or "", ())) > _PAIR


def _gains(
    measured: MeasuredTable,
    product: str,
    k: int,
    pairs: Sequence[tuple[str, str, str]],
    *,
    num_resamples: int,
) -> list[Gain]:
    """Return the gains of one K over (role, other, metric), leaving out those without users in common."""
    found = []
    for other in dict.fromkeys(other for _, other, _ in pairs):
        seeds = tuple(
            seed
            for seed in measured.table.seeds
            if (product, seed, k) in measured.per_user and (other, seed, k) in measured.per_user
        )
        values_U2M = stack_users(measured.per_user, [product, other], k, seeds)
        if values_U2M is None:
            continue
        tested = _test(values_U2M, k, num_resamples)
        found += [
            replace(tested[METRICS.index(metric)], role=role, other=other, seeds=seeds)
            for role, name, metric in pairs
            if name == other
        ]
    return found


def _test(values_U2M: Doubles, k: int, num_resamples: int) -> list[Gain]:
    """Return one gain per metric; every comparison at one K meets the same resamples."""
    num_users, size = len(values_U2M), len(METRICS)
    means_R2M = bootstrap_means(
        values_U2M.reshape(num_users, -1), derive(0, "gain", k), num_resamples=num_resamples
    ).reshape(-1, 2, size)
    gaps_RM = means_R2M[:, 0] - means_R2M[:, 1]
    low, high = np.quantile(gaps_RM, [0.025, 0.975], axis=0)
    percent_RM = 100 * np.divide(
        gaps_RM, means_R2M[:, 1], out=np.full_like(gaps_RM, np.inf), where=means_R2M[:, 1] > 0
    )
    # Ordered, not interpolated: an infinite gain has no neighbour to average with.
    percent_low, percent_high = np.quantile(percent_RM, [0.025, 0.975], axis=0, method="nearest")
    gaps_UM = values_U2M[:, 0] - values_U2M[:, 1]
    p_values = permutation_p_values(gaps_UM, derive(0, "gain permutation", k), num_resamples=num_resamples)
    ours, theirs = values_U2M.mean(axis=0)
    return [
        Gain(
            role="",
            other="",
            k=k,
            metric=METRICS[m],
            product_value=float(ours[m]),
            other_value=float(theirs[m]),
            value=float(ours[m] - theirs[m]),
            low=float(low[m]),
            high=float(high[m]),
            percent=float(100 * (ours[m] / theirs[m] - 1)) if theirs[m] > 0 else float("inf"),
            percent_low=float(percent_low[m]),
            percent_high=float(percent_high[m]),
            p=float(p_values[m]),
            p_holm=1.0,
            num_users=num_users,
            seeds=(),
        )
        for m in range(size)
    ]


def _corrected(gains: Sequence[Gain]) -> tuple[Gain, ...]:
    """Return the gains with Holm's p-values; what cannot differ is no hypothesis, and equal rows are one.

    Without events several baselines are popularity, and the product is the same adapted or not.
    """
    keys = [(one.k, one.metric, one.other_value, one.value, one.low, one.high) for one in gains]
    family = list(dict.fromkeys(key for key, one in zip(keys, gains, strict=True) if _may_differ(one)))
    p_of = dict(zip(keys, (one.p for one in gains), strict=True))
    adjusted = dict(zip(family, holm(np.array([p_of[key] for key in family])), strict=True))
    return tuple(
        replace(one, p_holm=float(adjusted.get(key, 1.0))) for key, one in zip(keys, gains, strict=True)
    )


def _may_differ(gain: Gain) -> bool:
    return any((gain.value, gain.low, gain.high))
