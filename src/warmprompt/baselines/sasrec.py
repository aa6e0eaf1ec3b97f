"""SASRec: self-attention over the items in the order they came, trained to name the next one.

B is users in a batch, L places of a sequence (padded on the left), V items, D width, M negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from warmprompt.baselines.common import (
    check_positive,
    distinct,
    fitted,
    is_empty,
    popular_where,
    popularity_share,
)
from warmprompt.baselines.neural import MASKED, Epochs, adamw, in_batches, seeded, train_net, user_batches
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.errors import BadInputError
from warmprompt.rng import derive
from warmprompt.scoring.validation import draw_validation_episodes, mean_ndcg
from warmprompt.types import Floats, Ints, Support

_LENGTH = 50
_BATCH = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class SASRec:
    """A causal transformer over the last 50 items; the score is its newest state times the item vectors.

    Each epoch takes each training user's history up to a random event, so that short histories are met in
    training as they are in use: with windows of full length only, they rank worse. The loss is the softmax
    cross-entropy of every next item against items drawn evenly, the same ones for a whole batch: the
    original's binary loss with one negative is known to be overconfident and weaker. Events are read in the
    order given: a support's items come oldest first. Early stopping looks at the next item of validation
    users.

    Args:
        width: D, a multiple of `num_heads`.
        num_blocks: Transformer layers.
        num_heads: Attention heads.
        dropout: In embeddings, attention and layers, 0 to below 1.
        rate: Highest learning rate.
        num_negatives: M.
        num_epochs: Passes over the training users.

    Source: Kang & McAuley 2018; the loss after Klenitskiy & Vasilev 2023.
    """

    width: int = 64
    num_blocks: int = 2
    num_heads: int = 2
    dropout: float = 0.2
    rate: float = 2e-3
    num_negatives: int = 512
    num_epochs: int = 200
    net: Any = None
    share_V: Floats | None = None

    @property
    def name(self) -> str:
        """The row label in tables."""
        return "sasrec"

    @property
    def num_parameters(self) -> int:
        """Item and position vectors, and the layers."""
        return 0 if self.net is None else sum(one.numel() for one in self.net.parameters())

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> SASRec:
        """Train on the training users' histories in their order.

        Raises:
            BadInputError: A setting is out of range.
            NotFiniteError: Training diverged.
        """
        check_positive(width=self.width, num_blocks=self.num_blocks, num_negatives=self.num_negatives)
        if self.width % self.num_heads:
            raise BadInputError(
                field="width", value=self.width, remedy=f"Give a multiple of {self.num_heads}, the heads."
            )
        events = training.interactions
        users = np.flatnonzero(np.diff(events.offsets) >= 2)
        catalogue = np.flatnonzero(popularity(training) > 0)
        episodes = draw_validation_episodes(training, validation, seed=seed, order="time")
        with seeded(seed, "sasrec"):
            net = _Net(training.num_items, self)

            def loss(selected: NDArray[np.int64], epoch: int) -> Tensor:
                rng = derive(seed, "sasrec", "windows", epoch, int(selected[0]))
                windows = [
                    _window(events.items[events.events_of(int(user))], rng, _LENGTH + 1) for user in selected
                ]
                negatives = rng.choice(catalogue, size=self.num_negatives)
                return _loss(net, _left_padded(windows, _LENGTH + 1), torch.from_numpy(negatives))

            train_net(
                net,
                adamw(net, rate=self.rate),
                user_batches(users, _BATCH, seed=seed, name="sasrec"),
                loss,
                lambda: mean_ndcg(lambda supports: _scores(net, supports), episodes),
                Epochs(num_epochs=self.num_epochs),
            )
        return replace(self, net=net, share_V=popularity_share(training))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the newest state times the item vectors, (B, V); popularity where there is no history."""
        net, share_V = fitted(self.net, self.name), fitted(self.share_V, self.name)
        scores_BV = in_batches(lambda part: _scores(net, part), supports, len(share_V), size=256)
        return popular_where(is_empty(supports), scores_BV, share_V)


class _Net(nn.Module):
    """Item 0 of the table of vectors is padding; item v lies at v + 1."""

    def __init__(self, num_items: int, settings: SASRec) -> None:
        super().__init__()
        width = settings.width
        self.items = nn.Embedding(num_items + 1, width, padding_idx=0)
        self.positions = nn.Embedding(_LENGTH, width)
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=width**-0.5)
        self.drop = nn.Dropout(settings.dropout)
        layer = nn.TransformerEncoderLayer(
            width,
            settings.num_heads,
            dim_feedforward=2 * width,
            dropout=settings.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, settings.num_blocks, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows_BL: Tensor) -> Tensor:
        """Return the state after each position, (B, L, D); rows are item indexes + 1, 0 where padded."""
        length = rows_BL.shape[1]
        # Places count from the newest event, so that a window's length does not move them.
        positions_L = torch.arange(length - 1, -1, -1)
        states_BLD = self.drop(self.items(rows_BL) + self.positions(positions_L))
        # Every position may see itself: a row of nothing but padding stays finite.
        real_BL = rows_BL > 0
        shut_LL = torch.ones(length, length, dtype=torch.bool).triu(1)
        shut_BLL = shut_LL | (~real_BL[:, None, :] & ~torch.eye(length, dtype=torch.bool))
        heads = self.layers.layers[0].self_attn.num_heads
        states_BLD = self.layers(states_BLD, mask=shut_BLL.repeat_interleave(heads, dim=0))
        normed_BLD: Tensor = self.norm(states_BLD)
        return normed_BLD


def _loss(net: _Net, rows_BL: Tensor, negatives_M: Tensor) -> Tensor:
    states_BLD, target_BL = net(rows_BL[:, :-1]), rows_BL[:, 1:]
    real_BL = (target_BL > 0) & (rows_BL[:, :-1] > 0)
    states_ND, target_N = states_BLD[real_BL], target_BL[real_BL]
    right_N = (states_ND * net.items(target_N)).sum(1)
    wrong_NM = states_ND @ net.items(negatives_M + 1).T
    wrong_NM = wrong_NM.masked_fill(target_N[:, None] == negatives_M[None, :] + 1, MASKED)
    logits = torch.cat([right_N[:, None], wrong_NM], dim=1)
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


@torch.no_grad()
def _scores(net: _Net, supports: Sequence[Support]) -> Floats:
    rows_BL = _left_padded([distinct(one, ordered=True).items_K[-_LENGTH:] for one in supports], None)
    scores_BV: Floats = (net(rows_BL)[:, -1] @ net.items.weight[1:].T).numpy()
    return scores_BV


def _window(items: Ints, rng: np.random.Generator, length: int) -> Ints:
    end = int(rng.integers(2, len(items) + 1))
    return items[max(0, end - length) : end]


def _left_padded(sequences: Sequence[Ints], length: int | None) -> Tensor:
    """Return item indexes + 1, (B, L), zeros in front; L is the longest sequence where it is not given."""
    length = max([1, *map(len, sequences)]) if length is None else length
    rows_BL = torch.zeros(len(sequences), length, dtype=torch.long)
    for row, items in enumerate(sequences):
        if len(items):
            rows_BL[row, length - len(items) :] = torch.from_numpy(items.astype(np.int64)) + 1
    return rows_BL
