"""Mult-VAE: a variational autoencoder of histories with a multinomial likelihood.

B is users in a batch, V items, H hidden width, Z latent width.
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
from warmprompt.baselines.neural import Epochs, adamw, in_batches, seeded, train_net, user_batches
from warmprompt.data.dataset import Dataset
from warmprompt.data.matrices import user_item_matrix
from warmprompt.errors import BadInputError
from warmprompt.scoring.validation import draw_validation_episodes, mean_ndcg
from warmprompt.types import Floats, Support

_BATCH = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class MultVAE:
    """Encode a history into a Gaussian, decode its mean into a distribution over the catalogue.

    The network is V - H - Z - H - V with tanh, the input a history scaled to length 1. The loss is
    -sum_v x_v log p_v + beta * KL(q(z | x) | N(0, 1)), with beta rising from 0 over the first half of
    the epochs. A new user's support is encoded like any history; dropout of the input is what prepares
    the model for histories far shorter than those it was trained on.

    Args:
        num_hidden: H.
        num_latent: Z.
        beta: Highest weight of the divergence, >= 0.
        dropout: Share of a training history left out of the input, 0 to below 1.
        rate: Highest learning rate.
        num_epochs: Passes over the training users.

    Source: Liang, Krishnan, Hoffman & Jebara 2018, eq. 4 to 7.
    """

    name: ClassVar[str] = "multvae"

    num_hidden: int = 300
    num_latent: int = 100
    beta: float = 0.2
    dropout: float = 0.8
    rate: float = 1e-3
    num_epochs: int = 80
    net: Any = None
    share_V: Floats | None = None

    @property
    def num_parameters(self) -> int:
        """Both halves of the network."""
        return 0 if self.net is None else sum(one.numel() for one in self.net.parameters())

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> MultVAE:
        """Train on the training users' whole histories; keep what is best on validation users.

        Raises:
            BadInputError: A setting is out of range.
            NotFiniteError: Training diverged.
        """
        check_positive(num_hidden=self.num_hidden, num_latent=self.num_latent, rate=self.rate)
        if not 0 <= self.dropout < 1 or self.beta < 0:
            raise BadInputError(
                field="dropout, beta",
                value=(self.dropout, self.beta),
                remedy="Give 0 to below 1, and 0 or more.",
            )
        seen = user_item_matrix(training)
        users = np.flatnonzero(np.diff(seen.indptr) > 0)
        episodes = draw_validation_episodes(training, validation, seed=seed)
        with seeded(seed, "multvae"):
            net = _Net(training.num_items, self.num_hidden, self.num_latent, self.dropout)
            train_net(
                net,
                adamw(net, rate=self.rate),
                user_batches(users, _BATCH, seed=seed, name="multvae"),
                lambda selected, epoch: self._loss(net, seen, selected, epoch),
                lambda: mean_ndcg(lambda supports: _logits(net, supports), episodes),
                Epochs(num_epochs=self.num_epochs),
            )
        return replace(self, net=net, share_V=popularity_share(training))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the logits of the decoded mean, (B, V); popularity where there is no history."""
        net, share_V = fitted(self.net, self.name), fitted(self.share_V, self.name)
        scores_BV = in_batches(lambda part: _logits(net, part), supports, len(share_V), size=_BATCH)
        return popular_where(is_empty(supports), scores_BV, share_V)

    def _loss(self, net: _Net, seen: csr_matrix, users: NDArray[np.int64], epoch: int) -> Tensor:
        history_BV = torch.from_numpy(seen[users].toarray())
        logits_BV, mean_BZ, log_variance_BZ = net(history_BV)
        likelihood_B = -(history_BV * functional.log_softmax(logits_BV, dim=1)).sum(1)
        divergence_B = 0.5 * (log_variance_BZ.exp() + mean_BZ.square() - 1.0 - log_variance_BZ).sum(1)
        rising = min(1.0, 2.0 * epoch / max(1, self.num_epochs))
        loss: Tensor = (likelihood_B + self.beta * rising * divergence_B).mean()
        return loss


class _Net(nn.Module):
    def __init__(self, num_items: int, num_hidden: int, num_latent: int, dropout: float) -> None:
        super().__init__()
        self.num_items = num_items
        self.drop = nn.Dropout(dropout)
        self.encode = nn.Sequential(
            nn.Linear(num_items, num_hidden), nn.Tanh(), nn.Linear(num_hidden, 2 * num_latent)
        )
        self.decode = nn.Sequential(
            nn.Linear(num_latent, num_hidden), nn.Tanh(), nn.Linear(num_hidden, num_items)
        )

    def forward(self, history_BV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, V), and mean and log-variance (B, Z) of the latent Gaussian."""
        scaled_BV = self.drop(functional.normalize(history_BV, dim=1))
        mean_BZ, log_variance_BZ = self.encode(scaled_BV).chunk(2, dim=1)
        drawn_BZ = mean_BZ
        if self.training:
            drawn_BZ = mean_BZ + torch.randn_like(mean_BZ) * (0.5 * log_variance_BZ).exp()
        return self.decode(drawn_BZ), mean_BZ, log_variance_BZ


@torch.no_grad()
def _logits(net: _Net, supports: Sequence[Support]) -> Floats:
    history_BV = torch.from_numpy(support_matrix(supports, net.num_items).toarray())
    logits_BV: Floats = net(history_BV)[0].numpy()
    return logits_BV
