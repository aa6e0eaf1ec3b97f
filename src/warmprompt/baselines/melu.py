"""MeLU: meta-learned user preference estimation, whose decision layers take a few steps per user.

B is users in a batch, K support events (padded), V items, M negatives, A user and F item features, D
width of the vectors, W width of the decision layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional

from warmprompt.baselines.common import (
    check_positive,
    distinct,
    fitted,
    is_empty,
    popular_where,
    popularity_share,
)
from warmprompt.baselines.features import UserFeatures, people_of, read_items, read_users
from warmprompt.baselines.neural import (
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
from warmprompt.data.episodes import draw_episode
from warmprompt.rng import derive
from warmprompt.scoring.validation import draw_validation_episodes, mean_ndcg
from warmprompt.types import Floats, Support

_BATCH = 32
_SCORED = 32
_MAX_SUPPORT = 20
_NUM_NEGATIVES = 256

Layers = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class MeLU:
    """Vectors of attributes and items feed two decision layers; a user's own copy of those is adapted.

    The inner loop moves the decision layers alone, by gradient steps on the support; the outer loop
    moves everything by the query's loss at the adapted layers, to first order. The original regresses
    ratings; here a softmax separates an event from items drawn evenly, which is what ranking a
    whole catalogue asks for, and an item's vector carries a bias that starts at its log popularity.
    Without events and known attributes the score is popularity.

    Args:
        width: D.
        layer_width: W.
        num_steps: Inner steps, 0 or more.
        inner_rate: Size of an inner step, > 0.
        rate: Highest outer learning rate.
        num_epochs: Passes over the training users.

    Source: Lee, Im, Jang, Cho & Chung 2019, algorithm 1.
    """

    name: ClassVar[str] = "melu"

    width: int = 32
    layer_width: int = 64
    num_steps: int = 3
    inner_rate: float = 0.1
    rate: float = 3e-3
    num_epochs: int = 40
    net: Any = None
    features: UserFeatures | None = None
    share_V: Floats | None = None
    negatives_M: NDArray[np.int64] | None = None

    @property
    def num_parameters(self) -> int:
        """Vectors and the start of the decision layers."""
        return 0 if self.net is None else sum(one.numel() for one in self.net.parameters())

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> MeLU:
        """Train on episodes of the training users; keep what is best on validation users.

        Raises:
            BadInputError: A setting is out of range.
            NotFiniteError: Training diverged.
        """
        check_positive(width=self.width, layer_width=self.layer_width, inner_rate=self.inner_rate)
        features = read_users(training.users)
        people = people_of(training.users) or [{} for _ in range(training.num_users)]
        known_NA = torch.from_numpy(features.encode(people))
        users = np.flatnonzero(np.diff(training.interactions.offsets) >= 2)
        catalogue = np.flatnonzero(popularity(training) > 0)
        episodes = draw_validation_episodes(training, validation, seed=seed, max_users=300)
        # The same wrong answers for every new user: what one gets does not depend on the others.
        negatives_M = derive(seed, "melu", "negatives").choice(catalogue, size=_NUM_NEGATIVES)
        with seeded(seed, "melu"):
            net = _Net(training, len(features.columns), self)
            unfinished = replace(
                self,
                net=net,
                features=features,
                share_V=popularity_share(training),
                negatives_M=negatives_M,
            )

            def loss(selected: NDArray[np.int64], epoch: int) -> Tensor:
                rng = derive(seed, "melu", "negatives", epoch, int(selected[0]))
                wrong_M = torch.from_numpy(rng.choice(catalogue, size=_NUM_NEGATIVES))
                support, query = _episodes(training, selected, seed=seed, epoch=epoch)
                user_BD = known_NA[selected] @ net.people_AD
                layers = self._adapt(net, user_BD, support, wrong_M)
                losses = vmap(_event_loss, in_dims=(0, 0, 0, None, 0))
                return losses(layers, user_BD, net.items()[query[0]], net.items()[wrong_M], query[1]).mean()

            train_net(
                net,
                adamw(net, rate=self.rate),
                user_batches(users, _BATCH, seed=seed, name="melu"),
                loss,
                lambda: mean_ndcg(unfinished.score, episodes),
                Epochs(num_epochs=self.num_epochs),
            )
        return unfinished

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the adapted decision layers' scores of every item, (B, V)."""
        share_V = fitted(self.share_V, self.name)
        return in_batches(self._score, supports, len(share_V), size=_SCORED)

    def _score(self, supports: Sequence[Support]) -> Floats:
        net, share_V = fitted(self.net, self.name), fitted(self.share_V, self.name)
        features, negatives_M = fitted(self.features, self.name), fitted(self.negatives_M, self.name)
        known_BA = features.encode([support.attributes for support in supports])
        unknown_B = is_empty(supports) & ~known_BA.any(axis=1)
        items_BK, _, mask_BK = padded(supports)
        with torch.no_grad():
            user_BD = torch.from_numpy(known_BA) @ net.people_AD
        layers = self._adapt(net, user_BD, (items_BK, mask_BK), torch.from_numpy(negatives_M))
        with torch.no_grad():
            scores_BV = vmap(_decide, in_dims=(0, 0, None))(layers, user_BD, net.items())
        return popular_where(unknown_B, scores_BV.numpy(), share_V)

    def _adapt(self, net: _Net, user_BD: Tensor, support: tuple[Tensor, Tensor], wrong_M: Tensor) -> Layers:
        """Return each user's decision layers after the inner steps; steps are constants to the outer loop."""
        items_BK, mask_BK = support
        start = net.layers()
        size = len(user_BD)
        moved = {name: one.detach().expand(size, *one.shape) for name, one in start.items()}
        with torch.no_grad():
            right_BKD, wrong_MD, fixed_BD = net.items()[items_BK], net.items()[wrong_M], user_BD.detach()
            steps = vmap(grad(_event_loss), in_dims=(0, 0, 0, None, 0))
            for _ in range(self.num_steps):
                slope = steps(moved, fixed_BD, right_BKD, wrong_MD, mask_BK)
                moved = {name: one - self.inner_rate * slope[name] for name, one in moved.items()}
        # Equal in value to `moved`, with the slope of the start: first order.
        return {name: start[name] + (moved[name] - start[name].detach()) for name in start}


class _Net(nn.Module):
    """An item's vector is (D own and feature coordinates, 1 bias)."""

    def __init__(self, training: Dataset, num_user_features: int, settings: MeLU) -> None:
        super().__init__()
        width, inside = settings.width, settings.layer_width
        features = read_items(training.items)
        self.features_VF: Tensor
        self.register_buffer("features_VF", torch.from_numpy(features.toarray()), persistent=False)
        self.people_AD = nn.Parameter(0.1 * torch.randn(num_user_features, width))
        self.item_features_FD = nn.Parameter(0.1 * torch.randn(features.shape[1], width))
        self.own_VD = nn.Parameter(0.1 * torch.randn(training.num_items, width))
        self.bias_V = nn.Parameter(torch.from_numpy(log_share(training)))
        self.first = nn.Linear(2 * width, inside)
        self.second = nn.Linear(inside, inside)
        self.last = nn.Linear(inside, 1)

    def items(self) -> Tensor:
        """Return the items' vectors with their biases, (V, D + 1)."""
        vectors_VD = self.own_VD + self.features_VF @ self.item_features_FD
        return torch.cat([vectors_VD, self.bias_V[:, None]], dim=1)

    def layers(self) -> Layers:
        """Return the decision layers' start."""
        return {
            "first": self.first.weight,
            "first_bias": self.first.bias,
            "second": self.second.weight,
            "second_bias": self.second.bias,
            "last": self.last.weight,
        }


def _decide(layers: Mapping[str, Tensor], user_D: Tensor, items_VD: Tensor) -> Tensor:
    """Return one user's score of each item, (V,)."""
    width = len(user_D)
    user_W = layers["first"][:, :width] @ user_D + layers["first_bias"]
    one_VW = functional.relu(items_VD[:, :-1] @ layers["first"][:, width:].T + user_W)
    two_VW = functional.relu(one_VW @ layers["second"].T + layers["second_bias"])
    scores_V: Tensor = (two_VW @ layers["last"].T)[:, 0] + items_VD[:, -1]
    return scores_V


def _event_loss(
    layers: Mapping[str, Tensor],
    user_D: Tensor,
    right_KD: Tensor,
    wrong_MD: Tensor,
    mask_K: Tensor,
) -> Tensor:
    """Return one user's mean -log softmax of each event against the wrong items; 0 without events."""
    right_K = _decide(layers, user_D, right_KD)
    against = torch.logsumexp(_decide(layers, user_D, wrong_MD), dim=0)
    losses_K = torch.logaddexp(right_K, against) - right_K
    return torch.where(mask_K, losses_K, 0.0).sum() / mask_K.sum().clamp(min=1)


def _episodes(
    training: Dataset, users: NDArray[np.int64], *, seed: int, epoch: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return items (B, K) and masks (B, K) of supports and of queries."""
    events = training.interactions
    supports: list[Support] = []
    queries: list[Support] = []
    for user in users:
        episode = draw_episode(training, int(user), seed=seed, round_index=epoch, max_support=_MAX_SUPPORT)
        start = int(events.offsets[user])
        for parts, positions in ((supports, episode.support), (queries, episode.query)):
            items = events.items[start + positions]
            nothing = np.full(len(items), np.nan, dtype=np.float32)
            parts.append(
                distinct(Support(user=training.user_ids[int(user)], items_K=items, ratings_K=nothing))
            )
    support, query = padded(supports), padded(queries)
    return (support[0], support[2]), (query[0], query[2])
