"""Who of the training users would have made these events, and what those people choose.

Training users are an empirical prior over tastes. Each is a distribution over items: what they did, smoothed
by what the model believes of them after their whole history. A new user's events weigh these people by
Bayes' rule, and the weighted mean of their distributions predicts what comes next:

    p(i | u) = (1 - a) [i in H_u] / |H_u| + a (.97 softmax_i(z_u . v_i + s_i) + .03 n_i / n)
    w_u ~ (prod_k p(i_k | u))^tau,    tau = (1 + kappa) / (K + kappa)
    p(i | i_1 .. i_K) = sum_u w_u p(i | u)

Without the smoothing one event outside a history would rule its owner out; without the tempering (tau < 1)
twenty events would leave a handful of people, for what a person chooses is not independent given the model's
belief. U is training users, V items, K events, D factors.

Source: nonparametric maximum likelihood of a mixing distribution (Laird 1978), here with known atoms;
tempered as in generalised Bayes (Bissiri, Holmes & Walker 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from warmprompt.types import Floats, Ints, fields_only, short_repr

MAX_CELLS = 60_000_000
"""Training users times items above which no table of their choices is made: 240 MB, thrice that meanwhile."""
KAPPA = 6.0
BELIEF_SHARE = 0.7
_POPULAR_SHARE = 0.03


@dataclass(frozen=True, kw_only=True, eq=False)
class Believed:
    """What the model believes of training users after their whole histories.

    Attributes:
        users_UD: Their vectors.
        items_VD: Item vectors.
        level_V: Added to each item's scores.
        belief_share: How much of a distribution is belief, above 0, below 1; the rest is what they did.
        kappa: How little K events say more than one, 0 or more; see the top of the file.
    """

    users_UD: Floats
    items_VD: Floats
    level_V: Floats
    belief_share: float = BELIEF_SHARE
    kappa: float = KAPPA

    __repr__ = short_repr


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """Training users as distributions over items, ready to be weighed.

    Attributes:
        believed: From the model.
        offsets_U: Where each training user's items begin, (U + 1,).
        items: Their items, distinct per user.
    """

    believed: Believed
    offsets_U: NDArray[np.int64]
    items: Ints

    __repr__ = short_repr
    __getstate__ = fields_only

    @cached_property
    def choices_VU(self) -> Floats:
        """What each training user would choose, (V, U); columns sum to 1, items without events have 0."""
        told, lengths_U = self.believed, np.diff(self.offsets_U)
        counts_V = np.bincount(self.items, minlength=len(told.level_V))
        scores_UV = told.users_UD @ told.items_VD.T + told.level_V
        scores_UV[:, counts_V == 0] = -np.inf
        choices_UV = softmax(scores_UV, axis=1)
        choices_UV *= np.float32(told.belief_share * (1 - _POPULAR_SHARE))
        choices_UV += (told.belief_share * _POPULAR_SHARE * counts_V / counts_V.sum()).astype(np.float32)
        owners = np.repeat(np.arange(len(lengths_U)), lengths_U)
        choices_UV[owners, self.items] += ((1 - told.belief_share) / lengths_U[owners]).astype(np.float32)
        return np.ascontiguousarray(choices_UV.T)

    def weights(self, items_K: Ints) -> Floats:
        """Return how likely each training user is the one who made these events, (U,); they sum to 1."""
        choices_KU = self.choices_VU[items_K]
        tau = (1 + self.believed.kappa) / (len(items_K) + self.believed.kappa)
        logits_U = np.float32(tau) * np.log(choices_KU).sum(axis=0)
        weights_U: Floats = softmax(logits_U).astype(np.float32)
        return weights_U

    def predict(self, items_K: Ints) -> Floats:
        """Return the probability that each item is chosen next, (V,); 0 for all where no event counts.

        Args:
            items_K: The user's items, distinct; those that no training user has met say nothing.
        """
        met_K = items_K[self.choices_VU[items_K].any(axis=1)] if len(items_K) else items_K
        if not len(met_K):
            return np.zeros(len(self.choices_VU), dtype=np.float32)
        predicted_V: Floats = self.choices_VU @ self.weights(met_K)
        return predicted_V
