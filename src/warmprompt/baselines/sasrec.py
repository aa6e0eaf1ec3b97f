"""SASRec: self-attention over the items in the order they came, trained to name the next one.

The layers and the loss are those of eSASRec. B is users in a batch, L positions of a sequence (padded on the
left), V items, D width, M negatives, N targets of a batch.
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
_FEED_FORWARD = 2  # hidden units of a layer per unit of width


@dataclass(frozen=True, kw_only=True, eq=False)
class SASRec:
    """A causal transformer over the last 50 items; the score is its newest state times the item vectors.

    The layers are LiGR's: attention and a SwiGLU network, each normed before and gated after. The loss is the
    sampled softmax of eSASRec: the cross-entropy of every next item against items drawn evenly. Here they are
    the same ones for a whole batch, not drawn per position, and a drawn target is masked. An event's position
    is read twice, from the newest and from the user's first. Each epoch takes from each training user either
    the first events or those up to a random event, so that short histories are met in training as they are in
    use. Events are read in the order given: a support's items come oldest first. Early stopping looks at the
    next item of validation users.

    Args:
        width: D, a multiple of `num_heads`.
        num_blocks: LiGR layers.
        num_heads: Attention heads.
        dropout: In embeddings, attention and layers, 0 to below 1.
        rate: Highest learning rate.
        num_negatives: M.
        from_start: Share of windows that are a user's first events, 0 to 1.
        num_epochs: Passes over the training users.

    Source: Kang & McAuley 2018 (the objective); Tikhonovich et al. 2025, eSASRec (layers and loss).
    """

    width: int = 64
    num_blocks: int = 2
    num_heads: int = 2
    dropout: float = 0.2
    rate: float = 2e-3
    num_negatives: int = 512
    from_start: float = 1.0
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
        if not 0 <= self.from_start <= 1:
            raise BadInputError(field="from_start", value=self.from_start, remedy="Give a share of 0 to 1.")
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
                    _window(events.items[events.events_of(int(user))], rng, self.from_start)
                    for user in selected
                ]
                negatives = rng.choice(catalogue, size=self.num_negatives)
                return _loss(net, *_left_padded(windows, _LENGTH + 1), torch.from_numpy(negatives))

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
        self.indices = nn.Embedding(_LENGTH, width)
        for table in (self.items, self.positions, self.indices):
            nn.init.normal_(table.weight, std=width**-0.5)
        self.drop = nn.Dropout(settings.dropout)
        self.layers = nn.ModuleList(
            _LiGR(width, settings.num_heads, settings.dropout) for _ in range(settings.num_blocks)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, rows_BL: Tensor, indices_BL: Tensor) -> Tensor:
        """Return the state after each position, (B, L, D).

        Args:
            rows_BL: Item indexes + 1, 0 where padded.
            indices_BL: How many events of the user came before each; from 49 on all are the same.
        """
        length = rows_BL.shape[1]
        # Positions count from the newest event, so that a window's length does not move them.
        positions_L = torch.arange(length - 1, -1, -1)
        located_BLD = self.positions(positions_L) + self.indices(indices_BL.clamp(max=_LENGTH - 1))
        states_BLD = self.drop(self.items(rows_BL) + located_BLD)
        # Every position may see itself: a row of nothing but padding stays finite.
        real_BL = rows_BL > 0
        shut_LL = torch.ones(length, length, dtype=torch.bool).triu(1)
        shut_BLL = shut_LL | (~real_BL[:, None, :] & ~torch.eye(length, dtype=torch.bool))
        for layer in self.layers:
            states_BLD = layer(states_BLD, shut_BLL)
        normed_BLD: Tensor = self.norm(states_BLD)
        return normed_BLD


class _LiGR(nn.Module):
    """One layer: x + sigmoid(G1 x) * attention(n), then x + sigmoid(G2 x) * W2 (silu(W1 n) * W3 n).

    n is the normed x of that step. Source: LiGR, arXiv 2502.03417; the network is SwiGLU (Shazeer 2020).
    """

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        hidden = _FEED_FORWARD * width
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gate1, self.gate2 = nn.Linear(width, width), nn.Linear(width, width)
        self.attention = nn.MultiheadAttention(width, num_heads, dropout, batch_first=True)
        self.linear1 = nn.Linear(width, hidden, bias=False)
        self.linear2 = nn.Linear(hidden, width, bias=False)
        self.linear3 = nn.Linear(width, hidden, bias=False)
        self.drop = nn.Dropout(dropout)

    def forward(self, states_BLD: Tensor, shut_BLL: Tensor) -> Tensor:
        """Return the states after the layer; True in the mask shuts a position off from another."""
        normed_BLD = self.norm1(states_BLD)
        mask = shut_BLL.repeat_interleave(self.attention.num_heads, dim=0)
        mixed_BLD, _ = self.attention(normed_BLD, normed_BLD, normed_BLD, attn_mask=mask, need_weights=False)
        states_BLD = states_BLD + torch.sigmoid(self.gate1(states_BLD)) * self.drop(mixed_BLD)
        normed_BLD = self.norm2(states_BLD)
        hidden = functional.silu(self.linear1(normed_BLD)) * self.linear3(normed_BLD)
        moved_BLD = self.drop(self.linear2(self.drop(hidden)))
        added_BLD: Tensor = states_BLD + torch.sigmoid(self.gate2(states_BLD)) * moved_BLD
        return added_BLD


def _loss(net: _Net, rows_BL: Tensor, indices_BL: Tensor, negatives_M: Tensor) -> Tensor:
    """Return the mean sampled softmax loss over all targets, in nats; a row's last item is target alone."""
    states_BLD, target_BL = net(rows_BL[:, :-1], indices_BL[:, :-1]), rows_BL[:, 1:]
    real_BL = (target_BL > 0) & (rows_BL[:, :-1] > 0)
    states_ND, target_N = states_BLD[real_BL], target_BL[real_BL]
    right_N = (states_ND * net.items(target_N)).sum(1)
    wrong_NM = states_ND @ net.items(negatives_M + 1).T
    wrong_NM = wrong_NM.masked_fill(target_N[:, None] == negatives_M[None, :] + 1, MASKED)
    logits = torch.cat([right_N[:, None], wrong_NM], dim=1)
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


@torch.no_grad()
def _scores(net: _Net, supports: Sequence[Support]) -> Floats:
    histories = [distinct(one, ordered=True).items_K for one in supports]
    windows = [(items[-_LENGTH:], max(0, len(items) - _LENGTH)) for items in histories]
    scores_BV: Floats = (net(*_left_padded(windows, None))[:, -1] @ net.items.weight[1:].T).numpy()
    return scores_BV


def _window(items: Ints, rng: np.random.Generator, from_start: float) -> tuple[Ints, int]:
    """Return some items of a history in their order, at most L + 1, and the index of the first."""
    end = int(rng.integers(2, len(items) + 1))
    if rng.random() < from_start:
        end = min(len(items), _LENGTH + 1)
    start = max(0, end - _LENGTH - 1)
    return items[start:end], start


def _left_padded(windows: Sequence[tuple[Ints, int]], length: int | None) -> tuple[Tensor, Tensor]:
    """Return item indexes + 1 and indices in the history, (B, L), zeros in front; None: L is the longest."""
    length = max([1, *(len(items) for items, _ in windows)]) if length is None else length
    rows_BL = torch.zeros(len(windows), length, dtype=torch.long)
    indices_BL = torch.zeros_like(rows_BL)
    for row, (items, start) in enumerate(windows):
        if len(items):
            rows_BL[row, length - len(items) :] = torch.from_numpy(items.astype(np.int64)) + 1
            indices_BL[row, length - len(items) :] = torch.arange(start, start + len(items))
    return rows_BL, indices_BL
