"""LightFM's hybrid model: users and items are sums of the vectors of their features and of their own.

The model is LightFM's and the code is ours: the library cannot fold in a new user, and the wheel of its
maintained fork (lightfm-next 1.18.7) fails to load with glibc 2.36. B is users in a batch, V
items, D width, A user features, F item features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional

from warmprompt.baselines.common import (
    check_positive,
    fitted,
    is_empty,
    popular_where,
    popularity_share,
    support_matrix,
)
from warmprompt.baselines.features import UserFeatures, people_of, read_items, read_users
from warmprompt.baselines.neural import (
    Epochs,
    adamw,
    in_batches,
    log_share,
    seeded,
    train_net,
    user_batches,
)
from warmprompt.data.dataset import Dataset
from warmprompt.data.matrices import user_item_matrix
from warmprompt.scoring.validation import draw_validation_episodes, mean_ndcg
from warmprompt.types import Floats, Support

_BATCH = 256
_FOLD_STEPS = 30
_FOLD_RATE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Hybrid:
    """Score = (sum of the user's feature vectors + own vector) . (item's feature vectors + own) + bias.

    Training minimises each user's mean -log softmax of the items met, over the catalogue, plus
    own_l2 / (2 n) |own vector|^2 for a user with n events: the softmax takes the place of LightFM's
    sampled losses. A new user has the vectors of the known attributes at once; the own vector minimises
    the same expression on the support with everything else fixed, by 30 steps of Adam from 0. Without
    events and known attributes the score is popularity.

    Args:
        width: D.
        own_l2: Penalty on users' own vectors, > 0.
        rate: Highest learning rate.
        num_epochs: Passes over the training users.

    Source: Kula 2015, eq. 1 and 2.
    """

    name: ClassVar[str] = "lightfm"

    width: int = 64
    own_l2: float = 10.0
    rate: float = 1e-2
    num_epochs: int = 60
    net: Any = None
    features: UserFeatures | None = None
    share_V: Floats | None = None

    @property
    def num_parameters(self) -> int:
        """Vectors and biases of items and features; training users' own vectors are not kept."""
        return 0 if self.net is None else sum(one.numel() for one in self.net.parameters())

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> Hybrid:
        """Train on the training users' whole histories; keep what is best on validation users.

        Raises:
            BadInputError: A setting is out of range.
            NotFiniteError: Training diverged.
        """
        check_positive(width=self.width, own_l2=self.own_l2, rate=self.rate)
        features = read_users(training.users)
        known_NA = torch.from_numpy(features.encode(people_of(training.users)))
        known_NA = known_NA if len(known_NA) else torch.zeros(training.num_users, 0)
        seen = user_item_matrix(training)
        users = np.flatnonzero(np.diff(seen.indptr) > 0)
        # Folding in is the dear part of a look.
        episodes = draw_validation_episodes(training, validation, seed=seed, max_users=200)
        with seeded(seed, "lightfm"):
            net = _Net(training, len(features.columns), self.width)
            own = nn.Embedding(training.num_users, self.width)
            nn.init.zeros_(own.weight)
            both = nn.ModuleList([net, own])
            unfinished = replace(self, net=net, features=features, share_V=popularity_share(training))
            train_net(
                both,
                adamw(both, rate=self.rate),
                user_batches(users, _BATCH, seed=seed, name="lightfm"),
                lambda selected, _: self._loss(net, own, seen, known_NA, selected),
                lambda: mean_ndcg(unfinished.score, episodes),
                Epochs(num_epochs=self.num_epochs, look_every=10),
            )
        return unfinished

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the product of user and item vectors plus bias, (B, V)."""
        share_V = fitted(self.share_V, self.name)
        return in_batches(self._score, supports, len(share_V), size=_BATCH)

    def _score(self, supports: Sequence[Support]) -> Floats:
        net, share_V = fitted(self.net, self.name), fitted(self.share_V, self.name)
        features = fitted(self.features, self.name)
        known_BA = features.encode([support.attributes for support in supports])
        history = support_matrix(supports, len(share_V))
        unknown_B = is_empty(supports) & ~known_BA.any(axis=1)
        with torch.no_grad():
            items_VD, bias_V = net.items(), net.biases()
            base_BD = torch.from_numpy(known_BA) @ net.user_features_AD
        own_BD = _fold_in(base_BD, history, items_VD, bias_V, own_l2=self.own_l2)
        scores_BV = ((base_BD + own_BD) @ items_VD.T + bias_V).numpy()
        return popular_where(unknown_B, scores_BV, share_V)

    def _loss(
        self, net: _Net, own: nn.Embedding, seen: csr_matrix, known_NA: Tensor, users: NDArray[np.int64]
    ) -> Tensor:
        own_BD = own(torch.from_numpy(users))
        user_BD = known_NA[users] @ net.user_features_AD + own_BD
        history_BV = torch.from_numpy(seen[users].toarray())
        logits_BV = user_BD @ net.items().T + net.biases()
        return _user_losses(logits_BV, history_BV, own_BD, own_l2=self.own_l2).mean()


class _Net(nn.Module):
    def __init__(self, training: Dataset, num_user_features: int, width: int) -> None:
        super().__init__()
        features = read_items(training.items)
        self.features_VF: Tensor
        self.register_buffer("features_VF", torch.from_numpy(features.toarray()), persistent=False)
        self.user_features_AD = nn.Parameter(torch.zeros(num_user_features, width))
        self.item_features_FD = nn.Parameter(0.1 * torch.randn(features.shape[1], width))
        self.own_VD = nn.Parameter(0.1 * torch.randn(training.num_items, width))
        self.feature_bias_F = nn.Parameter(torch.zeros(features.shape[1]))
        self.bias_V = nn.Parameter(torch.from_numpy(log_share(training)))

    def items(self) -> Tensor:
        """Return the items' vectors, (V, D)."""
        return self.own_VD + self.features_VF @ self.item_features_FD

    def biases(self) -> Tensor:
        """Return the items' biases, (V,)."""
        return self.bias_V + self.features_VF @ self.feature_bias_F


def _user_losses(logits_BV: Tensor, history_BV: Tensor, own_BD: Tensor, *, own_l2: float) -> Tensor:
    num_B = history_BV.sum(1).clamp(min=1.0)
    fit_B = -(history_BV * functional.log_softmax(logits_BV, dim=1)).sum(1) / num_B
    return fit_B + 0.5 * own_l2 / num_B * own_BD.square().sum(1)


@torch.enable_grad()
def _fold_in(
    base_BD: Tensor, history: csr_matrix, items_VD: Tensor, bias_V: Tensor, *, own_l2: float
) -> Tensor:
    """Return the own vectors of new users, (B, D); 0 for those without events. No user sees another."""
    own_BD = torch.zeros_like(base_BD)
    rows = np.flatnonzero(np.diff(history.indptr) > 0)
    if not len(rows):
        return own_BD
    history_RV = torch.from_numpy(history[rows].toarray())
    base_RD = base_BD[rows]
    moved_RD = torch.zeros_like(base_RD, requires_grad=True)
    optimizer = torch.optim.Adam([moved_RD], lr=_FOLD_RATE)
    for _ in range(_FOLD_STEPS):
        logits_RV = (base_RD + moved_RD) @ items_VD.T + bias_V
        (moved_RD.grad,) = torch.autograd.grad(
            _user_losses(logits_RV, history_RV, moved_RD, own_l2=own_l2).sum(), [moved_RD]
        )
        optimizer.step()
    own_BD[rows] = moved_RD.detach()
    return own_BD
