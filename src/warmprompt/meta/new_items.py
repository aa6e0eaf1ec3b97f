"""Where items without events go: a map of their own, from text to vector and popularity.

While a model is trained, an item's text and its learned vector share what they explain, so text alone is
never asked to rank. Afterwards this map is: at each step half of the items, drawn anew, are ranked by their
text alone against the others where they are. Everything but the map stays as it was, so items with
events rank exactly as before.

Source: withholding learned vectors in training is DropoutNet's idea (Volkovs, Yu & Poutanen 2017); here the
map alone learns, for users whose vectors are already adapted.

N is episodes, V items, X width of item text vectors, D factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from warmprompt.data.dataset import Dataset
from warmprompt.data.episodes import Order, batch_episodes, draw_episode
from warmprompt.meta.initial import ridge
from warmprompt.meta.learner import Learner
from warmprompt.meta.model import (
    NEW_LEVEL,
    NEW_MAP,
    NEW_POPULARITY,
    CatalogueData,
    Events,
    Params,
    catalogue_vectors,
    make_catalogue,
    popularity_scores,
    text_vectors,
    to_events,
)
from warmprompt.meta.predict import adapt_linearly
from warmprompt.rng import derive, derive_seed

_KS = (0, 1, 3, 5, 10, 20)
_NUM_EPISODES = 24_000
# Of one user's few events, more draws are the same episodes again; from 250 users on this limits nothing.
_MAX_ROUNDS = 16
_NUM_QUERY = 50
_ROUND = -3
_BATCH = 256
_RATE = 0.002
_VECTOR_RIDGE = 0.3
_POPULARITY_RIDGE = 1.0
_WITHHELD = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class AdaptedEpisodes:
    """Training users after some of their events, and what else they chose.

    Attributes:
        users_ND: User vectors, adapted to the supports.
        support: Never ranked.
        query: To be found.
    """

    users_ND: Tensor
    support: Events
    query: Events


def draw_adapted_episodes(  # noqa: PLR0913 - the model, its users and how episodes are drawn, by keyword
    params: Params,
    data: CatalogueData,
    training: Dataset,
    *,
    features_T: Tensor,
    learner: Learner,
    seed: int,
    order: Order = "random",
    num_episodes: int = _NUM_EPISODES,
) -> AdaptedEpisodes:
    """Draw episodes of every K, and adapt to their supports in the linear response.

    Args:
        params: Learned.
        data: Of the items.
        training: Events of training users.
        features_T: Text features of the empty text.
        learner: As in `meta.predict.adapt_users`.
        seed: The run's seed.
        order: How episodes are drawn.
        num_episodes: In all, about, and at most 16 of a user for each K; users are drawn anew for each K.
    """
    eligible = np.flatnonzero(np.diff(training.interactions.offsets) >= 2)
    per_k = max(1, num_episodes // len(_KS))
    episodes = []
    for index, k in enumerate(_KS):
        rounds = min(-(-per_k // len(eligible)), _MAX_ROUNDS)
        rng = derive(seed, "new items", k)
        drawn = np.concatenate([rng.permutation(eligible) for _ in range(rounds)])[:per_k]
        for position, user in enumerate(drawn.tolist()):
            episode = draw_episode(
                training,
                user,
                seed=seed,
                # One user may be drawn several times; each time is a round of its own.
                round_index=_ROUND - index - len(_KS) * (position // len(eligible)),
                max_support=k,
                num_support=k,
                order=order,
                num_query=_NUM_QUERY,
            )
            if len(episode.support) == k:
                episodes.append(episode)
    batch = batch_episodes(training, episodes)
    support, query = to_events(batch.support, data), to_events(batch.query, data)
    supports = (
        batch_episodes(training, episodes[begin : begin + _BATCH]).support
        for begin in range(0, len(episodes), _BATCH)
    )
    catalogue = make_catalogue(params, data)
    users = [
        adapt_linearly(
            catalogue,
            learner,
            features_BT=features_T.expand(one.num_users, -1),
            events=one,
        )
        for one in supports
    ]
    return AdaptedEpisodes(users_ND=torch.cat(users).detach(), support=support, query=query)


def fit_new_items(
    params: Params,
    data: CatalogueData,
    episodes: AdaptedEpisodes,
    *,
    seed: int,
    scales_X: Tensor | None = None,
    known_V: Tensor | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Yield the map before the first pass over the episodes, and after each; the caller stops it.

    The start is the ridge regression of the items' vectors and popularity scores on their texts. The loss
    is the negative log-likelihood of query items in a softmax over the known items less the support.

    Args:
        params: Learned; stay as they are.
        data: Of the items.
        episodes: From `draw_adapted_episodes`.
        seed: The run's seed.
        scales_X: What each column of the texts is multiplied by while the map learns: the larger, the less
            regularised, and the faster it learns. The map yielded takes texts as they are. None is 1.
        known_V: Items that may be looked at, boolean; None takes all with events.
    """
    warm_V = data.warm_V > 0
    items_I = torch.nonzero(warm_V if known_V is None else warm_V & known_V)[:, 0]
    scales_X = torch.ones_like(data.item_text_VX[0]) if scales_X is None else scales_X
    texts_IX = data.item_text_VX[items_I] * scales_X
    with torch.no_grad():
        own_ID = catalogue_vectors(params, data)[items_I]
        own_I = popularity_scores(params, data)[items_I]
    map_XD, popular_X, level = (one.clone().requires_grad_() for one in _start(texts_IX, own_ID, own_I))
    position_V = torch.full((len(warm_V),), -1, dtype=torch.long, device=items_I.device)
    position_V[items_I] = torch.arange(len(items_I), device=items_I.device)
    rng = torch.Generator().manual_seed(derive_seed(seed, "new items"))
    learned = [map_XD, popular_X, level]
    optimizer = torch.optim.Adam(learned, lr=_RATE)
    while True:
        yield {
            NEW_MAP: scales_X[:, None] * map_XD.detach(),
            NEW_POPULARITY: scales_X * popular_X.detach(),
            NEW_LEVEL: level.detach().clone(),
        }
        order_N = torch.randperm(len(episodes.users_ND), generator=rng)
        for begin in range(0, len(order_N), _BATCH):
            rows = order_N[begin : begin + _BATCH].to(items_I.device)
            withheld = torch.nonzero(torch.rand(len(items_I), generator=rng) < _WITHHELD)[:, 0]
            withheld = withheld.to(items_I.device)
            texts_WX = texts_IX[withheld]
            vectors_ID = own_ID.index_copy(0, withheld, texts_WX @ map_XD)
            popularity_I = own_I.index_copy(0, withheld, texts_WX @ popular_X + level)
            scores_BI = episodes.users_ND[rows] @ vectors_ID.T + popularity_I
            loss = _loss(scores_BI, position_V, episodes, rows)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


@torch.no_grad()
def with_other_texts(
    params: Params, data: CatalogueData, blocks: Sequence[Tensor]
) -> tuple[dict[str, Tensor], CatalogueData]:
    """Return the same model over other features of the items' texts, with no map for new items yet.

    Items with events keep their vectors, with what the former texts gave them; others have none. The
    features of each reader are a block, (V, its columns).
    """
    learned_VD = params["items.learned"] + text_vectors(params, data)
    kept = {name: value for name, value in params.items() if name not in (NEW_MAP, NEW_POPULARITY, NEW_LEVEL)}
    no_map_XD = learned_VD.new_zeros(blocks[0].shape[1], learned_VD.shape[1])
    other = {**kept, "items.learned": learned_VD, "items.text_map": no_map_XD}
    text_VX = torch.cat(list(blocks), dim=1).to(data.item_text_VX)
    widths_B = torch.tensor([block.shape[1] for block in blocks])
    return other, replace(data, item_text_VX=text_VX, text_widths_B=widths_B)


def _start(texts_IX: Tensor, own_ID: Tensor, own_I: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    texts, vectors, popular = (one.cpu().numpy() for one in (texts_IX, own_ID, own_I[:, None]))
    map_XD, _ = ridge(texts, vectors, center=False, weight=_VECTOR_RIDGE)
    popular_X1, mean_1 = ridge(texts, popular, center=True, weight=_POPULARITY_RIDGE)
    found = (map_XD, popular_X1[:, 0], mean_1[0])
    on_cpu = (torch.as_tensor(one, dtype=torch.float32) for one in found)
    first, second, third = (one.to(texts_IX.device) for one in on_cpu)
    return first, second, third


def _loss(scores_BI: Tensor, position_V: Tensor, episodes: AdaptedEpisodes, rows: Tensor) -> Tensor:
    """Return the mean over users of the mean negative log-likelihood of their query items, in nats."""
    shown_BK = position_V[episodes.support.items_BK[rows]]
    hidden_BK = episodes.support.mask_BK[rows] & (shown_BK >= 0)
    hidden_BI = torch.zeros_like(scores_BI, dtype=torch.bool)
    row_B1 = torch.arange(len(rows), device=scores_BI.device)[:, None]
    hidden_BI[row_B1.expand_as(shown_BK)[hidden_BK], shown_BK[hidden_BK]] = True
    log_p_BI = torch.log_softmax(scores_BI.masked_fill(hidden_BI, -torch.inf), dim=1)
    wanted_BQ = position_V[episodes.query.items_BK[rows]]
    counts_BQ = episodes.query.mask_BK[rows] & (wanted_BQ >= 0)
    wanted_BQ = wanted_BQ.clamp(min=0)
    counts_BQ = counts_BQ & ~hidden_BI.gather(1, wanted_BQ)
    found_BQ = log_p_BI.gather(1, wanted_BQ).masked_fill(~counts_BQ, 0.0)
    loss_B = -found_BQ.sum(1) / counts_BQ.sum(1).clamp(min=1)
    return loss_B.mean()
