"""Reverse stress tests: the smallest shock that does a stated harm. N is banks, B sets tried together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from warmprompt.errors import BadInputError
from warmprompt.risk.contagion.checks import (
    checked_capital,
    checked_matrix,
    checked_share,
    checked_vector,
    lost_on_default,
)
from warmprompt.risk.contagion.fixed_point import clear_by_fixed_point
from warmprompt.risk.contagion.furfine import cascade_together
from warmprompt.risk.contagion.obligations import NO_COSTS, DefaultCosts, Obligations

Harm = Literal["defaults", "default_share", "unpaid_share"]


@dataclass(frozen=True, kw_only=True)
class HarmTarget:
    """How much harm is looked for.

    Attributes:
        at_least: A number above 0; for shares at most 1.
        of: "defaults" counts banks in default, "default_share" divides by the number of banks,
            "unpaid_share" is what stays unpaid of all obligations.
    """

    at_least: float
    of: Harm = "defaults"

    def __post_init__(self) -> None:
        if self.of not in ("defaults", "default_share", "unpaid_share"):
            remedy = 'Give "defaults", "default_share" or "unpaid_share".'
            raise BadInputError(field="of", value=self.of, remedy=remedy)
        if self.of == "defaults" and not 0 < self.at_least < np.inf:
            raise BadInputError(field="at_least", value=self.at_least, remedy="Give a number above 0.")
        if self.of != "defaults":
            checked_share(self.at_least, "at_least", above_zero=True)


@dataclass(frozen=True, kw_only=True)
class SmallestScale:
    """Where the harm crosses its target.

    Attributes:
        scale: A scale at which the target is reached, or None if it is not reached at scale 1.
        below: A scale at which it is not, at most the precision away; None if it is reached at 0.
        harm: The harm at `scale`, or at scale 1 where `scale` is None.
        evaluations: How many scales were tried.
    """

    scale: float | None
    below: float | None
    harm: float
    evaluations: int


@dataclass(frozen=True, kw_only=True)
class FailingSet:
    """Banks whose joint failure reaches the target, found greedily.

    Attributes:
        banks: In the order in which they were added; none where failures at the start reach the target.
        failures: Banks failed in total, they themselves included, after each addition.
    """

    banks: tuple[int, ...]
    failures: tuple[int, ...]


def smallest_scale(
    harm: Callable[[float], float], target: float, *, precision: float = 1e-6
) -> SmallestScale:
    """Return the smallest scale in [0, 1] at which `harm` reaches `target`, by bisection.

    Args:
        harm: Must not fall as the scale rises; it may jump.
        target: At least this much harm.
        precision: Width in which the answer is enclosed, above 0.

    Raises:
        BadInputError: The precision or the target is not a number above 0.
    """
    for field, value in (("target", target), ("precision", precision)):
        if not 0 < value < np.inf:
            raise BadInputError(field=field, value=value, remedy="Give a number above 0.")
    at_none = harm(0.0)
    if at_none >= target:
        return SmallestScale(scale=0.0, below=None, harm=at_none, evaluations=1)
    reached = harm(1.0)
    if reached < target:
        return SmallestScale(scale=None, below=1.0, harm=reached, evaluations=2)
    low, high, evaluations = 0.0, 1.0, 2
    while high - low > precision:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        found = harm(middle)
        evaluations += 1
        low, high, reached = (low, middle, found) if found >= target else (middle, high, reached)
    return SmallestScale(scale=high, below=low, harm=reached, evaluations=evaluations)


def reverse_stress_scale(
    network: Obligations,
    assets: ArrayLike,
    *,
    target: HarmTarget,
    sensitivity: ArrayLike | None = None,
    costs: DefaultCosts = NO_COSTS,
    precision: float = 1e-6,
) -> SmallestScale:
    """Return the smallest loss of outside assets that does a stated harm when the network clears.

    At scale s bank i keeps 1 - s sensitivity_i of its outside assets. Payments fall with assets, in
    both models, so the harm never falls as s rises and bisection finds the smallest scale.

    Args:
        network: Who owes whom.
        assets: (N,), outside assets before the shock.
        target: The harm, as a number or a share.
        sensitivity: (N,) in [0, 1], such as each bank's holdings in the stressed sector; 1 when left out.
        costs: Recovery rates in default.
        precision: Width in which the answer is enclosed.

    Raises:
        BadInputError: As `clear_by_fixed_point`, or an argument is out of range.
        MismatchError: Another number of assets or sensitivities than banks.

    Source: Eisenberg & Noe 2001, lemma 5, for the monotonicity.
    """
    assets_N = network.assets(assets)
    felt_N = np.ones(network.num_banks)
    if sensitivity is not None:
        felt_N = checked_vector(sensitivity, network.num_banks, "sensitivity", highest=1.0)

    def measured(scale: float) -> float:
        cleared = clear_by_fixed_point(network, assets_N * (1 - scale * felt_N), costs=costs)
        if target.of == "unpaid_share":
            owed = network.owed_N.sum()
            return float(cleared.shortfall_N.sum() / owed) if owed > 0 else 0.0
        return cleared.num_defaults / (1 if target.of == "defaults" else max(1, network.num_banks))

    return smallest_scale(measured, target.at_least, precision=precision)


def smallest_failing_set(
    exposures: Any,
    capital: ArrayLike,
    *,
    num_failures: int,
    loss_given_default: float | ArrayLike = 1.0,
    batch_size: int = 256,
) -> FailingSet:
    """Return few banks whose joint failure brings down at least `num_failures` banks in all.

    Adds the bank that raises the number of failures of the threshold cascade most; among equals the
    one whose cascade loses most, then the first. The set is an upper bound: finding the smallest is
    hard, and since thresholds make banks fail together that fail none alone, greed carries no guarantee.

    Args:
        exposures: (N, N); rows lend to columns.
        capital: (N,); banks with none fail at the start, with whomever they bring down, and count.
        num_failures: Target, from 1 to the number of banks.
        loss_given_default: As in `furfine_cascade`.
        batch_size: Candidates tried together.

    Raises:
        BadInputError: As `furfine_cascade`, or the target is out of range.
        MismatchError: Another number of capitals than banks.
    """
    exposures_NN = checked_matrix(exposures, "exposures")
    num_banks = exposures_NN.shape[0]
    capital_N = checked_capital(capital, num_banks)
    losses_NN = lost_on_default(exposures_NN, loss_given_default)
    if not 1 <= num_failures <= num_banks:
        remedy = f"Give a number from 1 to {num_banks}, the number of banks."
        raise BadInputError(field="num_failures", value=num_failures, remedy=remedy)
    if batch_size < 1:
        raise BadInputError(field="batch_size", value=batch_size, remedy="Give a whole number above 0.")
    round_N1, _ = cascade_together(losses_NN, capital_N, np.zeros((num_banks, 1), dtype=bool))
    failed_N = round_N1[:, 0] >= 0
    banks: list[int] = []
    failures: list[int] = []
    while failed_N.sum() < num_failures:
        candidates = np.flatnonzero(~failed_N)
        best: tuple[int, float, int] = (0, 0.0, 0)
        best_failed_N = failed_N
        for start in range(0, len(candidates), batch_size):
            tried_B = candidates[start : start + batch_size]
            first_NB = np.repeat(failed_N[:, None], len(tried_B), axis=1)
            first_NB[tried_B, np.arange(len(tried_B))] = True
            round_NB, lost_NB = cascade_together(losses_NN, capital_N, first_NB)
            count_B, total_B = (round_NB >= 0).sum(axis=0), lost_NB.sum(axis=0)
            index = int(np.lexsort((tried_B, -total_B, -count_B))[0])
            found = (int(count_B[index]), float(total_B[index]), -int(tried_B[index]))
            if found > best:
                best, best_failed_N = found, round_NB[:, index] >= 0
        banks.append(-best[2])
        failures.append(best[0])
        failed_N = best_failed_N
    return FailingSet(banks=tuple(banks), failures=tuple(failures))
