"""From scores to probabilities with an interval, and to a decision that may abstain.

Two guarantees, both under exchangeability of calibration and later payments:

- Venn-Abers: of the pair [p_low, p_high] one member is a calibrated probability of fraud (Vovk, Petej &
  Fedorova 2015), computed with MAPIE on scores cut into levels that are finest at the top;
- label-conditional split conformal sets: of the frauds, and of the genuine payments, a share of `level`
  each has its true label in the set (Vovk, Gammerman & Shafer 2005, section 4.5). With under one
  percent of fraud a set that ignored the label's class would be right 99 % of the time by saying "genuine".

Neither holds when the mix of frauds changes. `calibrated_anew` therefore fits both again as labels come due.

n is calibration payments, L levels, R payments to judge.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from warmprompt.errors import BadInputError
from warmprompt.risk.profile.payments import DAY_S, Bools, Doubles, Longs

_NUM_LEVELS = 150


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdicts:
    """What is said of payments.

    Attributes:
        p_R: Calibrated probability of fraud.
        says_fraud_R: Whether "fraud" is in the set.
        says_genuine_R: Whether "genuine" is.
    """

    p_R: Doubles
    says_fraud_R: Bools
    says_genuine_R: Bools


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Step functions of the score.

    Attributes:
        edges: Scores where levels begin, rising, (L - 1,).
        low_L: Lower member of the Venn-Abers pair per level.
        high_L: Upper member.
        fraud_from: "fraud" is in the set from this score on.
        genuine_to: "genuine" is in the set up to this score.
        level: Coverage asked for.
    """

    edges: Doubles
    low_L: Doubles
    high_L: Doubles
    fraud_from: float
    genuine_to: float
    level: float

    def probabilities(self, scores_R: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """Return p_risk and the pair around it; p = p1 / (1 - p0 + p1) (Vovk et al. 2015, eq. 5)."""
        rank_R = np.searchsorted(self.edges, scores_R, side="right")
        low_R, high_R = self.low_L[rank_R], self.high_L[rank_R]
        return high_R / (1 - low_R + high_R), low_R, high_R

    def sets(self, scores_R: Doubles) -> tuple[Bools, Bools]:
        """Return whether "fraud" and whether "genuine" is in each payment's set."""
        return scores_R >= self.fraud_from, scores_R <= self.genuine_to

    def verdicts(self, scores_R: Doubles) -> Verdicts:
        """Return probabilities and sets together."""
        says_fraud_R, says_genuine_R = self.sets(scores_R)
        return Verdicts(
            p_R=self.probabilities(scores_R)[0], says_fraud_R=says_fraud_R, says_genuine_R=says_genuine_R
        )


def fit_calibration(
    scores_n: Doubles, fraud_n: Bools, *, level: float = 0.9, per_genuine: int = 1
) -> Calibration:
    """Fit both step functions to payments that no model has been fitted or tuned on.

    Args:
        scores_n: Log-odds.
        fraud_n: Labels.
        level: Coverage of the sets within each class.
        per_genuine: How many genuine payments each one given represents, where they were drawn from more:
            probabilities count it so often. Sets are fitted within a class and need no such count.

    Raises:
        BadInputError: A score that is not finite, a level out of range, or too few payments of a class
            for the level.
    """
    if not 0 < level < 1:
        raise BadInputError(field="level", value=level, remedy="Give a number between 0 and 1.")
    if not np.isfinite(scores_n).all():
        raise BadInputError(field="calibration scores", value="not finite", remedy="Check the model.")
    num_fraud = int(fraud_n.sum())
    least = int(np.ceil(level / (1 - level) - 1e-9))  # 0.9 / 0.1 is a little above 9
    if min(num_fraud, len(fraud_n) - num_fraud) < least:
        raise BadInputError(
            field="calibration payments",
            value=f"{num_fraud} frauds of {len(fraud_n)}",
            remedy=f"Give at least {least} of each class.",
        )
    if per_genuine < 1:
        raise BadInputError(field="per_genuine", value=per_genuine, remedy="Give at least 1.")
    every_n = np.repeat(np.arange(len(scores_n)), np.where(fraud_n, 1, per_genuine))
    shares = 1 - np.geomspace(1.0, 3 / len(every_n), _NUM_LEVELS)
    edges = np.unique(np.quantile(scores_n[every_n], shares[1:]))
    index_n = np.searchsorted(edges, scores_n[every_n], side="right")
    low_L, high_L = _venn_abers(index_n, fraud_n[every_n], len(edges) + 1)
    return Calibration(
        edges=edges,
        low_L=low_L,
        high_L=high_L,
        fraud_from=-_conformal_quantile(-scores_n[fraud_n], level),
        genuine_to=_conformal_quantile(scores_n[~fraud_n], level),
        level=level,
    )


def calibrated_anew(  # noqa: PLR0913 - settings by keyword
    scores_R: Doubles,
    time_R: Longs,
    past: tuple[Doubles, Bools, Longs],
    *,
    label_delay_s: int,
    every_s: int = 7 * DAY_S,
    window_s: int = 35 * DAY_S,
    begin_s: int | None = None,
    level: float = 0.9,
) -> Verdicts:
    """Judge payments in order of time by calibrations that are fitted again at regular times.

    The first is fitted at the midnight before the first payment, the next `every_s` later, and so on; each to
    the payments of `past` from the last `window_s` whose labels are due then, and to nothing later.

    Args:
        scores_R: Of the payments to judge.
        time_R: When they came, seconds.
        past: Scores, labels and times of payments that no model has been fitted or tuned on.
        label_delay_s: How long a label takes.
        every_s: From one calibration to the next.
        window_s: How far back from the last label that is due.
        begin_s: When the first calibration is due, cut to midnight; None takes the first payment to judge.
        level: Coverage within each class.

    Raises:
        BadInputError: As in `fit_calibration`; too few labels in a window.
    """
    scores_n, fraud_n, time_n = past
    begin = int(time_R.min() if begin_s is None else begin_s) // DAY_S * DAY_S
    period_R = (time_R - begin) // every_s
    p_R, says_fraud_R, says_genuine_R = np.empty(len(time_R)), *np.empty((2, len(time_R)), dtype=np.bool_)
    for period in np.unique(period_R):
        due_s = begin + int(period) * every_s - label_delay_s
        known = (time_n <= due_s) & (time_n > due_s - window_s)
        found = fit_calibration(scores_n[known], fraud_n[known], level=level)
        here = period_R == period
        verdicts = found.verdicts(scores_R[here])
        p_R[here] = verdicts.p_R
        says_fraud_R[here], says_genuine_R[here] = verdicts.says_fraud_R, verdicts.says_genuine_R
    return Verdicts(p_R=p_R, says_fraud_R=says_fraud_R, says_genuine_R=says_genuine_R)


def _conformal_quantile(badness: Doubles, level: float) -> float:
    """Return the ceil((n + 1) level)-th smallest value: at least `level` of exchangeable ones lie below."""
    rank = int(np.ceil((len(badness) + 1) * level - 1e-9))
    return float(np.sort(badness)[min(rank, len(badness)) - 1])


def _venn_abers(index_n: np.ndarray, fraud_n: Bools, num_levels: int) -> tuple[Doubles, Doubles]:
    from mapie.calibration import VennAbersCalibrator

    passing = _PassThrough(num_levels)
    every = np.arange(num_levels, dtype=np.float64).reshape(-1, 1)
    # MAPIE divides by widths of 0 and skips what comes of it.
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        fitted = VennAbersCalibrator(estimator=passing, cv="prefit").fit(
            index_n.reshape(-1, 1).astype(np.float64), fraud_n.astype(np.int64)
        )
        _, pair = fitted.predict_proba(every, p0_p1_output=True)
    pair = np.asarray(pair, dtype=np.float64)
    return pair.min(axis=1), pair.max(axis=1)


class _PassThrough(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What MAPIE asks for: a fitted classifier whose probability is the level itself."""

    def __init__(self, num_levels: int = 2) -> None:
        self.num_levels = num_levels
        self.classes_ = np.array([0, 1])
        self.n_features_in_ = 1

    def fit(self, _x: Any, _y: Any) -> _PassThrough:
        """Do nothing."""
        return self

    def predict_proba(self, x: Any) -> Doubles:
        """Return the level as a share of the highest."""
        share = np.asarray(x, dtype=np.float64)[:, 0] / max(1, self.num_levels - 1)
        return np.stack([1 - share, share], axis=1)
