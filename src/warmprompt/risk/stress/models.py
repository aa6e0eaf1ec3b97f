"""Four models of contagion by name, all asked: banks lose this much, who fails then? N is banks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.contagion import (
    DefaultCosts,
    Impacts,
    clear_by_fixed_point,
    clearing_impacts,
    debtrank_impacts,
    furfine_cascade,
    furfine_impacts,
    linear_debtrank,
    obligations,
)
from warmprompt.risk.contagion.checks import Bools, Counts, Doubles, lost_on_default
from warmprompt.risk.contagion.debtrank import FULL, leverage
from warmprompt.risk.stress.books import Books

MODELS = {
    "debtrank": "linear DebtRank (Bardoscia et al. 2015)",
    "threshold": "threshold cascade (Furfine 2003)",
    "eisenberg-noe": "clearing (Eisenberg & Noe 2001)",
    "rogers-veraart": "clearing with costs of default (Rogers & Veraart 2013)",
}
CLEARING = ("eisenberg-noe", "rogers-veraart")
# Impacts rank banks; stress to six digits is enough for that.
_TOLERANCE = 1e-6
# Rounds of DebtRank that are counted one by one; banks that reach full stress later come in one more.
_MOST_ROUNDS = 200


@dataclass(frozen=True, kw_only=True)
class ContagionSettings:
    """Which model, and what a failed bank's claims are worth; a column of the balance sheet comes first.

    Attributes:
        name: One of `MODELS`.
        loss_given_default: Share of a claim on a failed bank that is lost, for the first two.
        alpha: Recovery of a failed bank's outside assets, for "rogers-veraart".
        beta: Recovery of what a failed bank receives, for "rogers-veraart".
    """

    name: str = "debtrank"
    loss_given_default: float = 1.0
    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in MODELS:
            remedy = f"Name one of {', '.join(MODELS)}."
            raise BadInputError(field="model", value=self.name, remedy=remedy)
        for name in ("loss_given_default", "alpha", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInputError(field=name, value=getattr(self, name), remedy="Give a share from 0 to 1.")


@dataclass(frozen=True, kw_only=True, eq=False)
class ShockOutcome:
    """What a shock does.

    Attributes:
        round_N: 0 for banks that the shock itself brings down, r for those that fail in round r of the
            contagion, -1 for those that do not fail.
        losses_N: What each bank loses on claims on other banks.
        destroyed_N: Costs of default, borne by a failed bank's creditors.
    """

    round_N: Counts
    losses_N: Doubles
    destroyed_N: Doubles

    @property
    def failed_N(self) -> Bools:
        """Who fails."""
        return self.round_N >= 0


# Maps what banks lose at the start, and which lose everything, to what follows.
Answer = Callable[[Doubles, Bools], ShockOutcome]


@dataclass(frozen=True, kw_only=True, eq=False)
class ContagionModel:
    """A model with a set of books.

    Attributes:
        answer: What a shock does.
        impacts: What each single failure does.
    """

    answer: Answer
    impacts: Callable[[], Impacts]


def model_of(books: Books, settings: ContagionSettings) -> ContagionModel:
    """Return the model that the settings name.

    Raises:
        BadInputError: Rates that this model does not know, or none for one that is about them.
    """
    given = {*books.rates} | {
        name for name in ("loss_given_default", "alpha", "beta") if getattr(settings, name) != 1
    }
    costly = given & {"alpha", "beta"}
    if settings.name in CLEARING and "loss_given_default" in given:
        remedy = "Leave it out: clearing finds what claims are worth; or choose debtrank or threshold."
        raise BadInputError(field="loss_given_default", value=settings.name, remedy=remedy)
    if settings.name != "rogers-veraart" and costly:
        remedy = "Leave recovery rates out, or choose rogers-veraart."
        raise BadInputError(field=" and ".join(sorted(costly)), value=settings.name, remedy=remedy)
    if settings.name == "rogers-veraart" and not costly:
        remedy = "Give alpha or beta below 1, or choose eisenberg-noe, which has no costs of default."
        raise BadInputError(field="alpha, beta", value="1, 1", remedy=remedy)
    return _clearing(books, settings) if settings.name in CLEARING else _exposures(books, settings)


def _exposures(books: Books, settings: ContagionSettings) -> ContagionModel:
    exposures_NN = books.network.matrix.T.tocsr().astype(np.float64)
    capital_N, num_banks = books.capital_N, books.network.num_nodes
    lost = books.rates.get("loss_given_default", settings.loss_given_default)
    sound_N = np.maximum(capital_N, 0.0)
    nothing_N = np.zeros(num_banks)
    leverage_NN = leverage(lost_on_default(exposures_NN, lost), capital_N)

    def spread(loss_N: Doubles, fails_N: Bools) -> ShockOutcome:
        share_N = np.ones(num_banks)
        np.divide(loss_N, capital_N, out=share_N, where=(capital_N > loss_N) & ~fails_N)
        end = linear_debtrank(exposures_NN, capital_N, share_N, loss_given_default=lost)
        reached_N = np.where(share_N >= 1, 0, -1)
        stress_N = share_N
        for number in range(1, _MOST_ROUNDS + 1):
            if np.array_equal(reached_N >= 0, end.defaulted_N):
                break
            stress_N = np.minimum(1.0, share_N + leverage_NN @ stress_N)
            reached_N[(stress_N >= FULL) & end.defaulted_N & (reached_N < 0)] = number
        reached_N[end.defaulted_N & (reached_N < 0)] = _MOST_ROUNDS + 1
        return ShockOutcome(
            round_N=reached_N, losses_N=end.losses_N - sound_N * share_N, destroyed_N=nothing_N
        )

    def cascade(loss_N: Doubles, fails_N: Bools) -> ShockOutcome:
        end = furfine_cascade(
            exposures_NN, capital_N - loss_N, np.flatnonzero(fails_N).tolist(), loss_given_default=lost
        )
        return ShockOutcome(round_N=end.round_N, losses_N=end.losses_N, destroyed_N=nothing_N)

    if settings.name == "threshold":
        return ContagionModel(
            answer=cascade,
            impacts=lambda: furfine_impacts(exposures_NN, capital_N, loss_given_default=lost),
        )
    return ContagionModel(
        answer=spread,
        impacts=lambda: debtrank_impacts(
            exposures_NN, capital_N, loss_given_default=lost, tolerance=_TOLERANCE
        ),
    )


def _clearing(books: Books, settings: ContagionSettings) -> ContagionModel:
    network = obligations(books.network.matrix.astype(np.float64), to_outside=books.outside_N)
    costs = DefaultCosts(
        alpha=books.rates.get("alpha", settings.alpha), beta=books.rates.get("beta", settings.beta)
    )
    claims_N = books.network.incoming.astype(float)

    def cleared(loss_N: Doubles, fails_N: Bools) -> ShockOutcome:
        left_N = np.where(fails_N, 0.0, np.maximum(books.assets_N - loss_N, 0.0))
        end = clear_by_fixed_point(network, left_N, costs=costs)
        return ShockOutcome(
            round_N=end.round_N - 1,
            losses_N=np.maximum(claims_N - end.received_N, 0.0),
            destroyed_N=end.lost_N,
        )

    return ContagionModel(
        answer=cleared, impacts=lambda: clearing_impacts(network, books.assets_N, costs=costs)
    )
