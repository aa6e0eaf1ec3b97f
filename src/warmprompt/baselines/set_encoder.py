"""A set encoder without a language model: attention over item vectors that start as iALS factors.

The strongest baseline on dense data. It is trained on episodes like those it is judged on: K events
drawn from 0 to 20 are the support, everything else of the user is to be found.

B is users in a batch, K support events (padded), V items, D factors, H heads, R rating levels.
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

from warmprompt.baselines.common import check_positive, fitted, is_empty, popular_where, popularity_share
from warmprompt.baselines.neural import (
    MASKED,
    Epochs,
    adamw,
    in_batches,
    log_share,
    padded,
    seeded,
    train_net,
    user_batches,
)
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.data.factors import fit_item_factors
from warmprompt.data.matrices import user_item_matrix
from warmprompt.rng import derive
from warmprompt.scoring.validation import draw_validation_episodes, mean_ndcg
from warmprompt.types import Floats, Support

_MAX_SUPPORT = 20
_NUM_HEADS = 4
_BATCH = 256
_FACTOR_ITERATIONS = 15
_LEVELS = 5
# The scale of the output vectors: makes user vectors of about length sqrt(D), which is what rates and
# normalisation suit.
_OUTPUT_SCALE = 0.08
# At the start a logit is `_SHARPNESS` times the folded-in iALS score plus `_PRIOR` times log popularity,
# which is near the best of such sums in likelihood on MovieLens-1M.
_SHARPNESS = 32.0
_PRIOR = 0.8
_BRANCH = 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class SetEncoder:
    """Read a support with 4-head attention and score all items by a product with output vectors.

    Input and output item vectors both start as the factors of iALS on the training events, and the path
    from the summed inputs to the user vector starts as iALS's own fold-in to first order, so training
    begins where iALS ends. The loss is the softmax cross-entropy of the rest of the user's history over
    the catalogue without the support. The weights kept are the best on validation users. An empty
    support gets popularity.

    Args:
        num_factors: D, a multiple of 4.
        regularization: Of the iALS that the vectors start from; see `fit_ials`.
        alpha: Of the same.
        rate: Highest learning rate of the network.
        vector_rate: Highest learning rate of the item vectors.
        dropout: Share of the user vector's coordinates dropped in training, 0 to below 1.
        use_ratings: 1 reads the support's ratings, in fifths of the data set's scale; 0 does not.
        num_models: Networks trained from different seeds, whose log-probabilities are averaged.
        num_epochs: Passes over the training users.

    Source: Zaheer et al. 2017 and Lee et al. 2019 for sets; Hu, Koren & Volinsky 2008 for the start.
    """

    name: ClassVar[str] = "set-encoder"

    num_factors: int = 128
    regularization: float = 100.0
    alpha: float = 10.0
    rate: float = 1e-3
    vector_rate: float = 3e-4
    dropout: float = 0.3
    use_ratings: int = 0
    num_models: int = 1
    num_epochs: int = 40
    nets: tuple[Any, ...] | None = None
    share_V: Floats | None = None
    scale: tuple[float, float] | None = None

    @property
    def num_parameters(self) -> int:
        """Item vectors and network, of all models."""
        return sum(one.numel() for net in self.nets or () for one in net.parameters())

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> SetEncoder:
        """Factorise, then train on episodes of the training users.

        Raises:
            BadInputError: A setting is out of range, or there are no events.
            NotFiniteError: Training diverged.
        """
        check_positive(rate=self.rate, vector_rate=self.vector_rate, num_models=self.num_models)
        scaled = replace(self, scale=training.rating_scale)
        numbers = range(self.num_models)
        nets = tuple(_fit_one(scaled, training, validation, seed=seed, number=number) for number in numbers)
        return replace(scaled, nets=nets, share_V=popularity_share(training))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return log p(item | support), (B, V); popularity where there is no history."""
        nets, share_V = fitted(self.nets, self.name), fitted(self.share_V, self.name)
        scores_BV = in_batches(
            lambda part: _log_probabilities(self, nets, part), supports, len(share_V), size=_BATCH
        )
        return popular_where(is_empty(supports), scores_BV, share_V)


def _fit_one(settings: SetEncoder, training: Dataset, validation: Dataset, *, seed: int, number: int) -> _Net:
    factors_VD = fit_item_factors(
        training,
        num_factors=settings.num_factors,
        regularization=settings.regularization,
        alpha=settings.alpha,
        num_iterations=_FACTOR_ITERATIONS,
        seed=seed + number,
    )
    yardstick = draw_validation_episodes(training, validation, seed=seed)
    name = f"set-encoder-{number}"
    with seeded(seed, name):
        net = _Net(factors_VD, log_share(training), settings)
        episodes = _Episodes(training, seed=seed, name=name)

        def loss(users: NDArray[np.int64], epoch: int) -> Tensor:
            supports, rest_BV, shut_BV = episodes.draw(users, epoch)
            items_BK, ratings_BK, mask_BK = padded(supports)
            logits_BV = net(items_BK, _levels(settings, ratings_BK), mask_BK)
            return functional.cross_entropy(logits_BV.masked_fill(shut_BV, MASKED), rest_BV)

        train_net(
            net,
            adamw(net, rate=settings.rate, slow=net.slow(), slow_rate=settings.vector_rate),
            user_batches(episodes.users, _BATCH, seed=seed, name=name),
            loss,
            lambda: mean_ndcg(lambda supports: _log_probabilities(settings, [net], supports), yardstick),
            Epochs(num_epochs=settings.num_epochs),
        )
    return net


@torch.no_grad()
def _log_probabilities(
    settings: SetEncoder, nets: Sequence[nn.Module], supports: Sequence[Support]
) -> Floats:
    items_BK, ratings_BK, mask_BK = padded(supports)
    levels_BK = _levels(settings, ratings_BK)
    logs = [functional.log_softmax(net(items_BK, levels_BK, mask_BK), dim=1) for net in nets]
    mean_BV: Floats = torch.stack(logs).mean(0).numpy()
    return mean_BV


def _levels(settings: SetEncoder, ratings_BK: Tensor) -> Tensor:
    """Return each rating's fifth of the scale, 1 to 5; 0 where there is none or none is to be read."""
    if not settings.use_ratings or settings.scale is None:
        return torch.zeros(ratings_BK.shape, dtype=torch.long)
    low, high = settings.scale
    index = (ratings_BK - low) / max(high - low, 1e-9) * (_LEVELS - 1)
    return index.nan_to_num(nan=-1.0).round().clamp(-1, _LEVELS - 1).long() + 1


class _Episodes:
    """Draws supports from training users; what is left of each history is to be found."""

    def __init__(self, training: Dataset, *, seed: int, name: str) -> None:
        self._events = training.interactions
        self._ids = training.user_ids
        self._seen: csr_matrix = user_item_matrix(training)
        self._seed, self._name = seed, name
        self._closed_V = torch.from_numpy(popularity(training) == 0)
        self.users: NDArray[np.int64] = np.flatnonzero(np.diff(self._events.offsets) >= 2)

    def draw(self, users: NDArray[np.int64], epoch: int) -> tuple[list[Support], Tensor, Tensor]:
        """Return supports, the weights of what is to be found (B, V) and who may not be ranked (B, V)."""
        rng = derive(self._seed, self._name, "episodes", epoch, int(users[0]))
        supports = [self._support(int(user), rng) for user in users]
        rest_BV = torch.from_numpy(self._seen[users].toarray())
        shut_BV = self._closed_V.repeat(len(users), 1)
        for row, support in enumerate(supports):
            selected = torch.from_numpy(support.items_K.astype(np.int64))
            rest_BV[row, selected] = 0.0
            shut_BV[row, selected] = True
        # A user who met one item again and again may have nothing left: such a row weighs nothing.
        return supports, rest_BV / rest_BV.sum(1, keepdim=True).clamp(min=1.0), shut_BV

    def _support(self, user: int, rng: np.random.Generator) -> Support:
        start, end = (int(offset) for offset in self._events.offsets[user : user + 2])
        largest = min(_MAX_SUPPORT, end - start - max(1, min(10, (end - start) // 2)))
        rows = start + rng.choice(end - start, size=int(rng.integers(0, largest + 1)), replace=False)
        ratings = self._events.ratings
        return Support(
            user=self._ids[user],
            items_K=self._events.items[rows],
            ratings_K=np.full(len(rows), np.nan, np.float32) if ratings is None else ratings[rows],
        )


class _Net(nn.Module):
    """Fold-in path, attention path and a small network on top; see `SetEncoder`."""

    def __init__(self, factors_VD: Floats, log_share_V: Floats, settings: SetEncoder) -> None:
        super().__init__()
        start_VD = torch.from_numpy(factors_VD)
        width = start_VD.shape[1]
        known = start_VD.abs().sum(1) > 0
        rms = float(start_VD[known].square().mean().sqrt())
        identity = torch.eye(width)
        # (Y'Y + r I)^-1 alpha y: the user vector of one event, its own weight in Y'Y left out.
        fold_DD = settings.alpha * torch.linalg.inv(
            start_VD.T @ start_VD + settings.regularization * identity
        )
        counts = torch.arange(_MAX_SUPPORT + 1).clamp(min=1).float()
        self.input_VD = nn.Parameter(start_VD / rms)
        self.output_VD = nn.Parameter(start_VD / rms * _OUTPUT_SCALE)
        self.bias_V = nn.Parameter(torch.from_numpy(log_share_V) * _PRIOR)
        self.fold_DD = nn.Parameter(_SHARPNESS / _OUTPUT_SCALE * rms**2 * fold_DD)
        self.gain_K = nn.Parameter(counts**0.27)
        self.cold_D = nn.Parameter(torch.zeros(width))
        self.level_gain_R = nn.Parameter(torch.ones(_LEVELS + 1, 1))
        self.level_shift_RD = nn.Parameter(torch.zeros(_LEVELS + 1, width))
        self.event_norm, self.set_norm, self.user_norm = (nn.LayerNorm(width) for _ in range(3))
        self.seed_HD = nn.Parameter(0.02 * torch.randn(_NUM_HEADS, width))
        self.ask = nn.Linear(width, _NUM_HEADS * width, bias=False)
        nn.init.normal_(self.ask.weight, std=0.02)
        self.value_HDD = nn.Parameter(torch.zeros(_NUM_HEADS, width, width))
        last = nn.Linear(2 * width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.refine = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(settings.dropout), last
        )
        self.drop = nn.Dropout(settings.dropout)

    def slow(self) -> list[nn.Parameter]:
        """Return what starts from iALS and popularity and must not be forgotten fast."""
        return [self.input_VD, self.output_VD, self.bias_V]

    def forward(self, items_BK: Tensor, levels_BK: Tensor, mask_BK: Tensor) -> Tensor:
        """Return one logit per item, (B, V)."""
        events_BKD = self.input_VD[items_BK] * self.level_gain_R[levels_BK] + self.level_shift_RD[levels_BK]
        events_BKD = events_BKD * mask_BK[:, :, None]
        count_B = mask_BK.sum(1)
        sum_BD = events_BKD.sum(1) / count_B.clamp(min=1)[:, None].sqrt()
        user_BD = self.gain_K[count_B.clamp(max=_MAX_SUPPORT)][:, None] * (sum_BD @ self.fold_DD)
        user_BD = user_BD + _BRANCH * self._attend(events_BKD, sum_BD, mask_BK)
        user_BD = user_BD + _BRANCH * self.refine(self.user_norm(user_BD))
        user_BD = torch.where((count_B == 0)[:, None], self.cold_D, user_BD)
        logits_BV: Tensor = self.drop(user_BD) @ self.output_VD.T + self.bias_V
        return logits_BV

    def _attend(self, events_BKD: Tensor, sum_BD: Tensor, mask_BK: Tensor) -> Tensor:
        """Return what the heads read: each asks by a learned seed and by the set as a whole."""
        width = events_BKD.shape[2]
        normed_BKD = self.event_norm(events_BKD)
        asked_BHD = self.seed_HD + self.ask(self.set_norm(sum_BD)).view(-1, _NUM_HEADS, width)
        heat_BHK = asked_BHD @ normed_BKD.transpose(1, 2) / width**0.5
        weight_BHK = heat_BHK.masked_fill(~mask_BK[:, None, :], MASKED).softmax(2)
        read_BD: Tensor = torch.einsum("bhd,hde->be", weight_BHK @ normed_BKD, self.value_HDD)
        return read_BD
