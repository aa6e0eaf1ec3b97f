"""What those training users choose who would have made the user's events.

Training users are an empirical prior over tastes. Each is a distribution over items: their events, smoothed
by the model's scores after their whole history. A new user's events weigh these distributions by Bayes' rule,
and their weighted mean predicts the next choice:

    p(i | u) = (1 - a) [i in H_u] / |H_u| + a (.97 softmax_i(z_u . v_i + s_i) + .03 n_i / n)
    w_u ~ (prod_k p(i_k | u))^tau,    tau = (1 + kappa) / (K + kappa)
    p(i | i_1 .. i_K) = sum_u w_u p(i | u)

Without smoothing one event outside a history would rule its owner out. Without tempering (tau < 1) twenty
events would leave a handful of users, because choices are not independent given the model's scores.

Source: nonparametric maximum likelihood of a mixing distribution (Laird 1978), here with known atoms;
tempered as in generalised Bayes (Bissiri, Holmes & Walker 2016). U is training users, V items, K events of a
user, D factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from scipy.special import softmax

from warmprompt.data.dataset import Dataset, take_users
from warmprompt.experts.histories import UserItems
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.experts.user_neighbours import histories_of
from warmprompt.rng import derive
from warmprompt.types import Floats, Ints, fields_only, short_repr

MAX_CELLS = 60_000_000
"""Training users times items of the table of choices: 240 MB, thrice that while it is made."""
KAPPA = 6.0
MODEL_SHARE = 0.7
_POPULAR_SHARE = 0.03


@dataclass(frozen=True, kw_only=True, eq=False)
class UserPosterior:
    """Training users as distributions over items.

    Attributes:
        histories: Of the training users that are weighed.
        users_UD: Their user vectors after their whole histories.
        items_VD: Item vectors.
        popularity_V: Popularity scores.
        model_share: How much of a distribution is the model's, above 0, below 1; the rest is their events.
        kappa: How little K events count beyond the first, 0 or more; see the top of the file.
    """

    name: ClassVar[str] = "user_posterior"
    from_events: ClassVar[bool] = True

    histories: UserItems
    users_UD: Floats
    items_VD: Floats
    popularity_V: Floats
    model_share: float = MODEL_SHARE
    kappa: float = KAPPA

    __repr__ = short_repr
    __getstate__ = fields_only

    @classmethod
    def fit(cls, training: Dataset, context: FitContext) -> Self:
        """Adapt to the history of every training user, or of a random sample that fits `MAX_CELLS`."""
        num_kept = max(1, MAX_CELLS // max(1, training.num_items))
        if training.num_users > num_kept:
            context.progress(
                f"user_posterior weighs {num_kept:,} of {training.num_users:,} training users, drawn at "
                f"random: times {training.num_items:,} items they fill {MAX_CELLS:,} numbers"
            )
            drawn = derive(context.seed, "posterior").permutation(training.num_users)[:num_kept]
            training = take_users(training, np.sort(drawn))
        return cls(
            histories=UserItems.of(training),
            users_UD=context.user_vectors(training),
            items_VD=context.catalogue_VD,
            popularity_V=context.popularity_V,
        )

    @property
    def num_items(self) -> int:
        """V of the training data."""
        return self.histories.num_items

    def score(self, users: UserBatch) -> Floats:
        """Return the percentage of the next choice that each item has, (B, V)."""
        scores_BV = np.zeros((len(users), self.num_items), dtype=np.float32)
        for row, items_K in enumerate(users.liked):
            scores_BV[row] = np.float32(100) * self.predict(items_K[items_K < self.num_items])
        return scores_BV

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        return {
            "num_items": np.array(self.num_items),
            "offsets_U": self.histories.offsets_U,
            "items": self.histories.items,
            "users_UD": self.users_UD,
            "items_VD": self.items_VD,
            "popularity_V": self.popularity_V,
            "model_share": np.array(self.model_share),
            "kappa": np.array(self.kappa),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        return cls(
            histories=histories_of(arrays),
            users_UD=arrays["users_UD"],
            items_VD=arrays["items_VD"],
            popularity_V=arrays["popularity_V"],
            model_share=float(arrays["model_share"]),
            kappa=float(arrays["kappa"]),
        )

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the same expert: no training user chose an item that was added later."""
        del texts, text_NX
        return self

    @cached_property
    def choices_VU(self) -> Floats:
        """Each training user's distribution, (V, U); columns sum to 1, items without events have 0."""
        owned, share = self.histories, self.model_share
        scores_UV = self.users_UD @ self.items_VD.T + self.popularity_V
        scores_UV[:, owned.counts_V == 0] = -np.inf
        choices_UV = softmax(scores_UV, axis=1)
        choices_UV *= np.float32(share * (1 - _POPULAR_SHARE))
        choices_UV += (share * _POPULAR_SHARE * owned.counts_V / owned.counts_V.sum()).astype(np.float32)
        owners = np.repeat(np.arange(len(owned.lengths_U)), owned.lengths_U)
        choices_UV[owners, owned.items] += ((1 - share) / owned.lengths_U[owners]).astype(np.float32)
        return np.ascontiguousarray(choices_UV.T)

    def weights(self, items_K: Ints) -> Floats:
        """Return how likely each training user is to have made these events, (U,); they sum to 1."""
        choices_KU = self.choices_VU[items_K]
        tau = (1 + self.kappa) / (len(items_K) + self.kappa)
        weights_U: Floats = softmax(np.float32(tau) * np.log(choices_KU).sum(axis=0)).astype(np.float32)
        return weights_U

    def predict(self, items_K: Ints) -> Floats:
        """Return the probability that each item is chosen next, (V,); 0 for all where no event counts.

        Args:
            items_K: The user's items, distinct; those without training events are passed over.
        """
        known_K = items_K[self.choices_VU[items_K].any(axis=1)] if len(items_K) else items_K
        if not len(known_K):
            return np.zeros(self.num_items, dtype=np.float32)
        predicted_V: Floats = self.choices_VU @ self.weights(known_K)
        return predicted_V
