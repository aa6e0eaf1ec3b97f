"""From a user vector to scores and losses: everything learned that is not the language model.

    user vector  z = start + text_head features(text) + displacement(prompt)
    item vector  v = learned + text_map text        (support side and catalogue side)
    score        z . v + popularity
    item without events:   v = new_map text,  popularity = new_popularity . text + new_level

Parameters are a flat dictionary of tensors, passed in and returned, so that learners are
functions and checkpoints are dictionaries. What they give every user alike is a `Catalogue`.

B is users, K events of a user (padded), V items, D factors, X width of item text vectors,
T text features, S inner steps, P prompt vectors, H hidden width, R rating levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from warmprompt.data.episodes import EventBatch
from warmprompt.data.feedback import PUSHING_SHARE
from warmprompt.types import Floats, fields_only, short_repr

Params = Mapping[str, Tensor]

# Ratings in the lowest quarter of the scale push away by at least this weight at the very bottom. Left to
# the events of training users alone, the push would turn into a pull: people rate low what they chose
# to progress, and go on to progress more like it.
LEAST_DISLIKE = 0.3
# Of items without events; models trained without item texts, or by earlier versions, have none of them.
NEW_MAP = "items.new_map"
NEW_POPULARITY = "items.new_popularity"
NEW_LEVEL = "items.new_level"
NOTHING = torch.zeros(0)


class Model(Protocol):
    """Parameters, and what they give all users alike."""

    @property
    def params(self) -> Params:
        """Learned."""

    def detached(self) -> Model:
        """Return the same values as constants."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CatalogueData:
    """What is known of the items and never changes.

    Attributes:
        item_text_VX: Text vectors of all readers side by side, each of unit length; zeros without text.
        log_popularity_V: log(1 + events of training users); for items without any, predicted from text.
        warm_V: 1 for items with an event of a training user, else 0.
        rating_levels_R: Distinct ratings in rising order, scaled to 0..1; empty without ratings.
        rating_range: (lowest, highest) of the data set's scale, (2,).
        text_widths_B: Columns of each reader; empty stands for one reader.
        word_hashes_W: Words that the reader "tfidf" knows, as in `experts.tfidf`; empty without it.
        word_idf_W: Their inverse document frequency.
        word_map_WC: From a text's TF-IDF vector to that reader's columns.
    """

    item_text_VX: Tensor
    log_popularity_V: Tensor
    warm_V: Tensor
    rating_levels_R: Tensor
    rating_range: Tensor
    text_widths_B: Tensor = NOTHING
    word_hashes_W: Tensor = NOTHING
    word_idf_W: Tensor = NOTHING
    word_map_WC: Tensor = NOTHING

    __repr__ = short_repr

    @property
    def num_warm(self) -> int:
        """Items with an event of a training user."""
        return int(self.warm_V.sum())

    def at(self, params: Params) -> Catalogue:
        """Return the catalogue of these parameters, differentiable in them."""
        return make_catalogue(params, self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Events:
    """An `EventBatch` as tensors, ratings mapped to 0..1 of the scale."""

    items_BK: Tensor
    ratings_BK: Tensor
    mask_BK: Tensor
    strengths_BK: Tensor | None = None

    __repr__ = short_repr


def to_events(batch: EventBatch, data: CatalogueData) -> Events:
    """Move events to the items' device and scale their ratings; NaN stays where none is given."""
    device = data.warm_V.device
    low, high = data.rating_range.tolist()
    ratings_BK = torch.as_tensor(batch.ratings_BK, device=device)
    return Events(
        items_BK=torch.as_tensor(batch.items_BK, device=device),
        ratings_BK=(ratings_BK - low) / (high - low) if high > low else torch.full_like(ratings_BK, math.nan),
        mask_BK=torch.as_tensor(batch.mask_BK, device=device),
        strengths_BK=None
        if batch.strengths_BK is None
        else torch.as_tensor(batch.strengths_BK, device=device),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Catalogue:
    """What parameters give every user alike: computed once, then read by each adaptation and ranking.

    Attributes:
        params: Learned.
        data: Of the items.
        support_VD: Vectors that a user's events push along.
        vectors_VD: Vectors that are ranked.
        popularity_V: The part of scores that is the same for everybody.
        level_weights_R: What an event of each rating level weighs.
        mean_D: Mean support vector under the scores of a user at the common start.
        spread_DD: Mean outer product of the support vectors of items with events.
        num_warm: Items with an event of a training user.
    """

    params: Params
    data: CatalogueData
    support_VD: Tensor
    vectors_VD: Tensor
    popularity_V: Tensor
    level_weights_R: Tensor
    mean_D: Tensor
    spread_DD: Tensor
    num_warm: int

    __repr__ = short_repr
    __getstate__ = fields_only

    @cached_property
    def arrays(self) -> dict[str, Floats]:
        """Copies in NumPy of all values that are not per item, by name; without gradients on a processor."""
        own = {name: value for name, value in self.params.items() if not name.startswith("items.")}
        own |= {"mean_D": self.mean_D, "level_weights_R": self.level_weights_R}
        own |= {name: getattr(self.data, name) for name in ("rating_levels_R", "rating_range")}
        return {name: value.numpy().copy() for name, value in own.items()}

    def detached(self) -> Catalogue:
        """Return the same values as constants."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        own |= {name: value.detach() for name, value in own.items() if isinstance(value, Tensor)}
        return Catalogue(**{**own, "params": {name: value.detach() for name, value in self.params.items()}})


def make_catalogue(
    params: Params, data: CatalogueData, *, log_stands_V: Tensor | None = None, num_warm: int | None = None
) -> Catalogue:
    """Return everything that parameters give all users alike; gradients flow through it.

    Args:
        params: Learned.
        data: Of the items, or of a sample of them.
        log_stands_V: Of a sample, the logarithm of how many items each stands for.
        num_warm: Of a sample, the items with a training event among all.
    """
    text_VD = text_vectors(params, data)
    support_VD = support_vectors(params, data, text_VD=text_VD)
    popularity_V, warm_VD = popularity_scores(params, data), support_VD * data.warm_V[:, None]
    if log_stands_V is not None:
        popularity_V, warm_VD = popularity_V + log_stands_V, warm_VD * (0.5 * log_stands_V).exp()[:, None]
    num_warm = data.num_warm if num_warm is None else num_warm
    scores_V = support_VD @ params["prior.start"] + popularity_V
    share_V = scores_V.masked_fill(data.warm_V == 0, -math.inf).softmax(0)
    return Catalogue(
        params=params,
        data=data,
        support_VD=support_VD,
        vectors_VD=catalogue_vectors(params, data, text_VD=text_VD),
        popularity_V=popularity_V,
        level_weights_R=level_weights(params, data),
        mean_D=share_V @ support_VD,
        spread_DD=warm_VD.T @ warm_VD / num_warm,
        num_warm=num_warm,
    )


def text_vectors(params: Params, data: CatalogueData) -> Tensor:
    """Return where the first reader's text vectors put the items, (V, D)."""
    return data.item_text_VX[:, : len(params["items.text_map"])] @ params["items.text_map"]


def support_vectors(params: Params, data: CatalogueData, *, text_VD: Tensor | None = None) -> Tensor:
    """Return the vectors that a user's events push along, (V, D); `text_VD` is texts times their map."""
    text_VD = text_vectors(params, data) if text_VD is None else text_VD
    return (params["items.learned"] + params["items.support_offset"]) * data.warm_V[:, None] + text_VD


def catalogue_vectors(params: Params, data: CatalogueData, *, text_VD: Tensor | None = None) -> Tensor:
    """Return the vectors that are ranked, (V, D); where there is a map for new items, they go by it."""
    text_VD = text_vectors(params, data) if text_VD is None else text_VD
    vectors_VD = params["items.learned"] * data.warm_V[:, None] + text_VD
    if NEW_MAP not in params:
        return vectors_VD
    return torch.where(data.warm_V[:, None] > 0, vectors_VD, data.item_text_VX @ params[NEW_MAP])


def popularity_scores(params: Params, data: CatalogueData) -> Tensor:
    """Return the part of the scores that is the same for everybody, (V,)."""
    learned_V = params["items.bias"] * data.warm_V
    scores_V = params["popularity.weight"] * data.log_popularity_V + learned_V
    if NEW_POPULARITY not in params:
        return scores_V
    new_V = data.item_text_VX @ params[NEW_POPULARITY] + params[NEW_LEVEL]
    return torch.where(data.warm_V > 0, scores_V, new_V)


def score_catalogue(catalogue: Catalogue, users_BD: Tensor) -> Tensor:
    """Return the scores of all items for each user vector, (B, V), in one matrix product."""
    return users_BD @ catalogue.vectors_VD.T + catalogue.popularity_V


def evidence_weights(catalogue: Catalogue, events: Events) -> Tensor:
    """Return what each event weighs, (B, K): positive pulls the item nearer, negative pushes it away.

    Ratings in the lowest quarter of the scale push, all others pull; between the levels linearly. An
    event without a rating weighs 1, padding 0. The strength of an event multiplies its weight.
    """
    levels_R, weights_R = catalogue.data.rating_levels_R, catalogue.level_weights_R
    plain_BK = events.mask_BK.float()
    if events.strengths_BK is not None:
        plain_BK = plain_BK * events.strengths_BK
    if len(levels_R) == 0:
        return plain_BK
    known_BK = torch.isfinite(events.ratings_BK)
    ratings_BK = torch.where(known_BK, events.ratings_BK, torch.ones_like(events.ratings_BK))
    ratings_BK = ratings_BK.clamp(float(levels_R[0]), float(levels_R[-1])).contiguous()
    above_BK = torch.searchsorted(levels_R, ratings_BK).clamp(1, max(1, len(levels_R) - 1))
    above_BK = above_BK.clamp(max=len(levels_R) - 1)
    below_BK = (above_BK - 1).clamp(min=0)
    width_BK = (levels_R[above_BK] - levels_R[below_BK]).clamp(min=1e-6)
    share_BK = (ratings_BK - levels_R[below_BK]) / width_BK
    mixed_BK = weights_R[below_BK] + share_BK * (weights_R[above_BK] - weights_R[below_BK])
    return torch.where(known_BK, mixed_BK, torch.ones_like(mixed_BK)) * plain_BK


def level_weights(params: Params, data: CatalogueData) -> Tensor:
    """Return the weight of each rating level, (R,); the sign is fixed, the size is learned."""
    size_R = F.softplus(params["ratings.size"])
    levels_R = data.rating_levels_R
    least_R = LEAST_DISLIKE * (1 - levels_R / PUSHING_SHARE)
    return torch.where(levels_R < PUSHING_SHARE, -(least_R + size_R), size_R)


def support_loss(catalogue: Catalogue, events: Events, users_BD: Tensor) -> Tensor:
    """Return how badly each user vector explains that user's events, (B,), in nats.

    An event that pulls costs -log softmax of the item over the catalogue. One that pushes costs
    -log(1 - p) with p = sigmoid(score - log mean exp score), the odds that the user prefers the item to
    the average one. Weighted mean over the user's events times K / (K + kappa): the more events, the
    further the prompt goes; 0 without events.
    """
    logits_BV = users_BD @ catalogue.support_VD.T + catalogue.popularity_V
    logits_BV = logits_BV.masked_fill(catalogue.data.warm_V == 0, -math.inf)
    level_B1 = torch.logsumexp(logits_BV, dim=1, keepdim=True)
    own_BK = torch.einsum("bd,bkd->bk", users_BD, catalogue.support_VD[events.items_BK])
    own_BK = own_BK + catalogue.popularity_V[events.items_BK]
    weights_BK = evidence_weights(catalogue, events)
    pull_BK = weights_BK.clamp(min=0) * (level_B1 - own_BK)
    push_BK = (-weights_BK).clamp(min=0) * F.softplus(own_BK - level_B1 + math.log(catalogue.num_warm))
    num_B = events.mask_BK.sum(1)
    # Sum / K * K / (K + kappa) = sum / (K + kappa).
    return (pull_BK + push_BK).sum(1) / (num_B + catalogue.params["support.log_kappa"].exp())


def query_loss(catalogue: Catalogue, support: Events, query: Events, users_BD: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of each user's query events, (B,), in nats.

    A softmax over the warm catalogue without the support items, as ranking does it. Query items that
    no training user has seen do not count; a user with none but those loses 0.
    """
    scores_BV = score_catalogue(catalogue, users_BD)
    hidden_BV = (catalogue.data.warm_V == 0).expand(len(users_BD), -1).clone()
    known_BK = torch.where(support.mask_BK, support.items_BK, torch.full_like(support.items_BK, -1))
    rows_B1 = torch.arange(len(users_BD), device=users_BD.device)[:, None].expand_as(known_BK)
    hidden_BV[rows_B1[known_BK >= 0], known_BK[known_BK >= 0]] = True
    log_p_BV = torch.log_softmax(scores_BV.masked_fill(hidden_BV, -math.inf), dim=1)
    counts_BQ = query.mask_BK & ~hidden_BV.gather(1, query.items_BK)
    own_BQ = log_p_BV.gather(1, query.items_BK).masked_fill(~counts_BQ, 0.0)
    return -own_BQ.sum(1) / counts_BQ.sum(1).clamp(min=1)


def ridge_users(catalogue: Catalogue, events: Events, prior_BD: Tensor) -> Tensor:
    """Return user vectors by ridge regression around the prior, (B, D): no gradient is needed.

    Minimises sum_k c_k (y_k - z.v_k)^2 + a sum_i (z.v_i)^2 / V + l |z - prior|^2 with c the size of an
    event's weight, y its sign times a target t, and a, l and t learned.

    Source: Bertinetto et al. 2019 (R2-D2), section 3.3, with the confidence weights and the pull to zero
    over the catalogue of Hu, Koren & Volinsky 2008, eq. 4.
    """
    params = catalogue.params
    own_BKD = catalogue.support_VD[events.items_BK]
    weights_BK = evidence_weights(catalogue, events)
    spread_DD = catalogue.spread_DD * params["ridge.log_spread"].exp()
    near_DD = torch.eye(prior_BD.shape[1]).to(prior_BD) * params["ridge.log_prior"].exp()
    left_BDD = torch.einsum("bk,bkd,bke->bde", weights_BK.abs(), own_BKD, own_BKD) + spread_DD + near_DD
    right_BD = torch.einsum("bk,bkd->bd", weights_BK, own_BKD) * params["ridge.log_target"].exp()
    solved_BD: Tensor = torch.linalg.solve(left_BDD, right_BD + prior_BD @ near_DD)
    return solved_BD
