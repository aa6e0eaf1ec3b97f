"""From users' metrics to rows of tables: means with intervals, and paired differences.

U is users, L labels (models), M metrics.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.results import Difference, PerUser, Row
from warmprompt.evaluation.significance import (
    NUM_RESAMPLES,
    Doubles,
    average_within_user,
    bootstrap_intervals,
    holm,
    permutation_p_values,
)
from warmprompt.rng import derive

OnValidation = Mapping[tuple[str, int], Doubles]


def comparison_rows(  # noqa: PLR0913 - whose rows, and by keyword how they are made
    per_user: PerUser,
    labels: Sequence[str],
    protocol: str,
    *,
    seeds: Sequence[int],
    seed: int | None = None,
    metrics: Sequence[str] = METRICS,
    num_resamples: int = NUM_RESAMPLES,
) -> list[Row]:
    """Return a row per model, K and metric: the mean over users with its 95 % interval.

    Args:
        per_user: Each user's metrics per (label, seed, K), in the order of `metrics`.
        labels: Models; under each seed all of them have the same users.
        protocol: The protocol's label.
        seeds: Averaged within the user.
        seed: What the rows are called: a seed, or None for the mean over several.
        metrics: Names of the users' values.
        num_resamples: Of the bootstrap.
    """
    rows = []
    for k in sorted({k for label, _, k in per_user if label in labels}):
        values_ULM = stack_users(per_user, labels, k, seeds)
        if values_ULM is None:
            continue
        flat = values_ULM.reshape(len(values_ULM), -1)
        rng = derive(0, "bootstrap", k, "all" if seed is None else seed)
        low, high = bootstrap_intervals(flat, rng, num_resamples=num_resamples)
        cells = [(label, metric) for label in labels for metric in metrics]
        rows += [
            Row(
                model=label,
                protocol=protocol,
                k=k,
                seed=seed,
                metric=metric,
                value=float(flat[:, cell].mean()),
                low=float(low[cell]),
                high=float(high[cell]),
                num_users=len(flat),
            )
            for cell, (label, metric) in enumerate(cells)
        ]
    return rows


def differences_of(  # noqa: PLR0913 - what is compared, and by keyword how
    per_user: PerUser,
    on_validation: OnValidation,
    product: str,
    others: Sequence[str],
    *,
    variants: Collection[str] = (),
    seeds: Sequence[int],
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[Difference, ...]:
    """Return the product's difference to every other model, p-values corrected by Holm over all of them.

    Args:
        per_user: Each user's metrics per (label, seed, K).
        on_validation: Mean metrics of the validation users, (M,), per (label, K), for the mark "best".
        product: The label compared.
        others: The labels it is compared with.
        variants: Those of `others` that are the product itself in another form: never "best".
        seeds: Averaged within the user.
        num_resamples: Of bootstrap and permutation.
    """
    found = []
    for k in sorted({k for _, _, k in per_user}):
        values_ULM = stack_users(per_user, [product, *others], k, seeds)
        if values_ULM is None or not others:
            continue
        gaps = (values_ULM[:, :1] - values_ULM[:, 1:]).reshape(len(values_ULM), -1)
        low, high = bootstrap_intervals(gaps, derive(0, "difference", k), num_resamples=num_resamples)
        p_values = permutation_p_values(gaps, derive(0, "permutation", k), num_resamples=num_resamples)
        best = best_on_validation(on_validation, [label for label in others if label not in variants], k)
        cells = [(other, column) for other in range(len(others)) for column in range(len(METRICS))]
        found += [
            Difference(
                product=product,
                baseline=others[other],
                k=k,
                metric=METRICS[column],
                value=float(gaps[:, cell].mean()),
                low=float(low[cell]),
                high=float(high[cell]),
                p=float(p_values[cell]),
                p_holm=1.0,
                best=best.get(METRICS[column]) == others[other],
                is_product=others[other] in variants,
                num_users=len(gaps),
            )
            for cell, (other, column) in enumerate(cells)
        ]
    adjusted = holm(np.array([row.p for row in found]))
    return tuple(replace(row, p_holm=float(p)) for row, p in zip(found, adjusted, strict=True))


def best_on_validation(on_validation: OnValidation, labels: Sequence[str], k: int) -> dict[str, str]:
    """Return per metric the label with the highest mean on validation users, the first of equals."""
    known = [label for label in labels if (label, k) in on_validation]
    if not known:
        return {}
    indices = np.argmax([on_validation[label, k] for label in known], axis=0)
    return {metric: known[int(index)] for metric, index in zip(METRICS, indices, strict=True)}


def stack_users(per_user: PerUser, labels: Sequence[str], k: int, seeds: Sequence[int]) -> Doubles | None:
    """Return the users' metrics, seeds averaged within the user, (U, L, M); None without users."""
    of_labels = [
        average_within_user([per_user[label, seed, k] for seed in seeds if (label, seed, k) in per_user])
        for label in labels
    ]
    users = list(of_labels[0]) if of_labels else []
    if not users:
        return None
    return np.array([[of_label[user] for of_label in of_labels] for user in users])
