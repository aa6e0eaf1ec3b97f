"""From a user vector to scores and losses: everything learned that is not the language model.

    user vector  z = start + text_head features(text) + displacement(prompt)
    item vector  v = learned + text_map text        (support side and catalogue side)
    score        z . v + popularity
    item without events:   v = new_map text,  popularity = new_popularity . text + new_level

Parameters are a flat dictionary of tensors, passed in and returned, so that learners are
functions and checkpoints are dictionaries.

B is users, K events of a user (padded), V items, D factors, X width of item text vectors,
T text features, S inner steps, P prompt vectors, H hidden width, R rating levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from warmprompt.data.episodes import EventBatch
from warmprompt.data.feedback import PUSHING_SHARE
from warmprompt.types import short_repr

Params = Mapping[str, Tensor]

# Ratings in the lowest quarter of the scale push away by at least this weight at the very bottom. Left to
# the events of training users alone, the push would turn into a pull: people rate low what they chose
# to watch, and go on to watch more like it.
LEAST_DISLIKE = 0.3
_TEXT_PART = "items.text_part"
# Of items without events; models trained without item texts, or by earlier versions, have none of them.
NEW_MAP = "items.new_map"
NEW_POPULARITY = "items.new_popularity"
NEW_LEVEL = "items.new_level"


@dataclass(frozen=True, kw_only=True, eq=False)
class Constants:
    """What training needs and never changes.

    Attributes:
        item_text_VX: Text vectors by a frozen model, unit length; zeros without text.
        log_popularity_V: log(1 + events of training users); for items without any, predicted from text.
        warm_V: 1 for items with an event of a training user, else 0.
        rating_levels_R: Distinct ratings in rising order, scaled to 0..1; empty without ratings.
        rating_range: (lowest, highest) of the data set's scale, (2,).
    """

    item_text_VX: Tensor
    log_popularity_V: Tensor
    warm_V: Tensor
    rating_levels_R: Tensor
    rating_range: Tensor

    __repr__ = short_repr

    @property
    def num_warm(self) -> int:
        """Items with an event of a training user."""
        return int(self.warm_V.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Events:
    """An `EventBatch` as tensors, ratings mapped to 0..1 of the scale."""

    items_BK: Tensor
    ratings_BK: Tensor
    mask_BK: Tensor
    strengths_BK: Tensor | None = None

    __repr__ = short_repr


def to_events(batch: EventBatch, constants: Constants) -> Events:
    """Move events to the constants' device and scale their ratings; NaN stays where none is given."""
    device = constants.warm_V.device
    low, high = constants.rating_range.tolist()
    ratings_BK = torch.as_tensor(batch.ratings_BK, device=device)
    return Events(
        items_BK=torch.as_tensor(batch.items_BK, device=device),
        ratings_BK=(ratings_BK - low) / (high - low) if high > low else torch.full_like(ratings_BK, math.nan),
        mask_BK=torch.as_tensor(batch.mask_BK, device=device),
        strengths_BK=None
        if batch.strengths_BK is None
        else torch.as_tensor(batch.strengths_BK, device=device),
    )


def support_vectors(params: Params, constants: Constants) -> Tensor:
    """Return the vectors that a user's events push along, (V, D)."""
    learned = params["items.learned"] + params["items.support_offset"]
    return learned * constants.warm_V[:, None] + _text_part(params, constants)


def catalogue_vectors(params: Params, constants: Constants) -> Tensor:
    """Return the vectors that are ranked, (V, D); where there is a map for new items, they go by it."""
    learned = params["items.learned"] * constants.warm_V[:, None]
    vectors_VD = learned + _text_part(params, constants)
    if NEW_MAP not in params:
        return vectors_VD
    return torch.where(constants.warm_V[:, None] > 0, vectors_VD, constants.item_text_VX @ params[NEW_MAP])


def with_text_part(params: Params, constants: Constants) -> dict[str, Tensor]:
    """Return the parameters and what texts give the item vectors, which both sides then need not compute."""
    return {**params, _TEXT_PART: constants.item_text_VX @ params["items.text_map"]}


def _text_part(params: Params, constants: Constants) -> Tensor:
    known_VD = params.get(_TEXT_PART)
    return constants.item_text_VX @ params["items.text_map"] if known_VD is None else known_VD


def popularity_scores(params: Params, constants: Constants) -> Tensor:
    """Return the part of the scores that is the same for everybody, (V,)."""
    learned_V = params["items.bias"] * constants.warm_V
    scores_V = params["popularity.weight"] * constants.log_popularity_V + learned_V
    if NEW_POPULARITY not in params:
        return scores_V
    new_V = constants.item_text_VX @ params[NEW_POPULARITY] + params[NEW_LEVEL]
    return torch.where(constants.warm_V > 0, scores_V, new_V)


def score_catalogue(params: Params, constants: Constants, users_BD: Tensor) -> Tensor:
    """Return the scores of all items for each user vector, (B, V), in one matrix product."""
    return users_BD @ catalogue_vectors(params, constants).T + popularity_scores(params, constants)


def evidence_weights(params: Params, constants: Constants, events: Events) -> Tensor:
    """Return what each event weighs, (B, K): positive pulls the item nearer, negative pushes it away.

    Ratings in the lowest quarter of the scale push, all others pull; between the levels linearly. An
    event without a rating weighs 1, padding 0. The strength of an event multiplies its weight.
    """
    levels_R = constants.rating_levels_R
    plain_BK = events.mask_BK.float()
    if events.strengths_BK is not None:
        plain_BK = plain_BK * events.strengths_BK
    if len(levels_R) == 0:
        return plain_BK
    weights_R = level_weights(params, constants)
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


def level_weights(params: Params, constants: Constants) -> Tensor:
    """Return the weight of each rating level, (R,); the sign is fixed, the size is learned."""
    size_R = F.softplus(params["ratings.size"])
    levels_R = constants.rating_levels_R
    least_R = LEAST_DISLIKE * (1 - levels_R / PUSHING_SHARE)
    return torch.where(levels_R < PUSHING_SHARE, -(least_R + size_R), size_R)


def support_loss(params: Params, constants: Constants, events: Events, users_BD: Tensor) -> Tensor:
    """Return how badly each user vector explains that user's events, (B,), in nats.

    An event that pulls costs -log softmax of the item over the catalogue. One that pushes costs
    -log(1 - p) with p = sigmoid(score - log mean exp score), the odds that the user prefers the item to
    the average one. Weighted mean over the user's events times K / (K + kappa): the more events, the
    further the prompt goes; 0 without events.
    """
    vectors_VD = support_vectors(params, constants)
    logits_BV = users_BD @ vectors_VD.T + popularity_scores(params, constants)
    logits_BV = logits_BV.masked_fill(constants.warm_V == 0, -math.inf)
    level_B1 = torch.logsumexp(logits_BV, dim=1, keepdim=True)
    own_BKD = vectors_VD[events.items_BK]
    own_BK = torch.einsum("bd,bkd->bk", users_BD, own_BKD)
    own_BK = own_BK + popularity_scores(params, constants)[events.items_BK]
    weights_BK = evidence_weights(params, constants, events)
    pull_BK = weights_BK.clamp(min=0) * (level_B1 - own_BK)
    push_BK = (-weights_BK).clamp(min=0) * F.softplus(own_BK - level_B1 + math.log(constants.num_warm))
    num_B = events.mask_BK.sum(1)
    # Sum / K * K / (K + kappa) = sum / (K + kappa).
    return (pull_BK + push_BK).sum(1) / (num_B + params["support.log_kappa"].exp())


def query_loss(
    params: Params, constants: Constants, support: Events, query: Events, users_BD: Tensor
) -> Tensor:
    """Return the mean negative log-likelihood of each user's query events, (B,), in nats.

    A softmax over the warm catalogue without the support items, as ranking does it. Query items that
    no training user has seen do not count; a user with none but those loses 0.
    """
    scores_BV = score_catalogue(params, constants, users_BD)
    hidden_BV = (constants.warm_V == 0).expand(len(users_BD), -1).clone()
    known_BK = torch.where(support.mask_BK, support.items_BK, torch.full_like(support.items_BK, -1))
    rows_B1 = torch.arange(len(users_BD), device=users_BD.device)[:, None].expand_as(known_BK)
    hidden_BV[rows_B1[known_BK >= 0], known_BK[known_BK >= 0]] = True
    log_p_BV = torch.log_softmax(scores_BV.masked_fill(hidden_BV, -math.inf), dim=1)
    counts_BQ = query.mask_BK & ~hidden_BV.gather(1, query.items_BK)
    own_BQ = log_p_BV.gather(1, query.items_BK).masked_fill(~counts_BQ, 0.0)
    return -own_BQ.sum(1) / counts_BQ.sum(1).clamp(min=1)


def ridge_users(params: Params, constants: Constants, events: Events, prior_BD: Tensor) -> Tensor:
    """Return user vectors by ridge regression around the prior, (B, D): no gradient is needed.

    Minimises sum_k c_k (y_k - z.v_k)^2 + a sum_i (z.v_i)^2 / V + l |z - prior|^2 with c the size of an
    event's weight, y its sign times a target t, and a, l and t learned.

    Source: Bertinetto et al. 2019 (R2-D2), section 3.3, with the confidence weights and the pull to zero
    over the catalogue of Hu, Koren & Volinsky 2008, eq. 4.
    """
    vectors_VD = support_vectors(params, constants)
    own_BKD = vectors_VD[events.items_BK]
    weights_BK = evidence_weights(params, constants, events)
    warm_VD = vectors_VD * constants.warm_V[:, None]
    spread_DD = warm_VD.T @ warm_VD / constants.num_warm * params["ridge.log_spread"].exp()
    near_DD = torch.eye(prior_BD.shape[1]).to(prior_BD) * params["ridge.log_prior"].exp()
    left_BDD = torch.einsum("bk,bkd,bke->bde", weights_BK.abs(), own_BKD, own_BKD) + spread_DD + near_DD
    right_BD = torch.einsum("bk,bkd->bd", weights_BK, own_BKD) * params["ridge.log_target"].exp()
    solved_BD: Tensor = torch.linalg.solve(left_BDD, right_BD + prior_BD @ near_DD)
    return solved_BD
