"""How much each reader of item texts counts in the map for new items, and how long the map learns.

Both are found on validation users, with items left out that the map never saw.

The user vectors of this search take the inner steps themselves, so it costs no pass of the language model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from warmprompt.data.dataset import Dataset
from warmprompt.data.episodes import Order, batch_supports
from warmprompt.experts.tfidf import TfIdf
from warmprompt.meta.learners import learner_of
from warmprompt.meta.model import NEW_LEVEL, NEW_MAP, NEW_POPULARITY, Params, make_catalogue
from warmprompt.meta.new_items import draw_adapted_episodes, fit_new_items, with_other_texts
from warmprompt.meta.predict import adapt_linearly
from warmprompt.rng import derive
from warmprompt.runs.format import Trained
from warmprompt.scoring.ranking import ndcg_per_user, parts_of, ranks
from warmprompt.scoring.validation import ValidationEpisodes, draw_validation_episodes
from warmprompt.settings import Settings
from warmprompt.types import Floats, Ints, Support

MAX_PASSES = 4
MAX_ITEMS = 20_000
"""Items that the map is learned from; of more, those with the most events."""
_LEFT_OUT = 0.2
_FEWEST_ITEMS = 50
_MAX_USERS = 2000
# What a reader's columns may be multiplied by; 1 is where the search begins, 0 leaves the reader out.
_SCALES = (0.0, 0.5, 2.0)


def place_new_items(  # noqa: PLR0913 - the model and its users, the rest by keyword
    trained: Trained,
    training: Dataset,
    validation: Dataset,
    *,
    passes: int | None,
    no_text_T: Tensor,
    seed: int,
    order: Order,
) -> dict[str, Tensor]:
    """Return the parameters by which items without events are ranked; empty where texts say nothing.

    Args:
        trained: The model.
        training: Its users.
        validation: Whose episodes judge, by NDCG@10 among a fifth of the items, which the map has not seen.
        passes: Over the episodes; None finds the best number up to `MAX_PASSES`, where none means the ridge
            regression that the map starts from; 0 fits nothing at all.
        no_text_T: Text features of the empty text.
        seed: The run's seed.
        order: How episodes are drawn.
    """
    params, data = trained.params, trained.data
    if passes == 0 or data.num_warm < _FEWEST_ITEMS or not bool(data.item_text_VX.any()):
        return {}
    episodes = draw_adapted_episodes(
        params,
        data,
        training,
        features_T=no_text_T,
        learner=learner_of(trained.learner),
        seed=seed,
        order=order,
    )
    scales_X: Tensor | None = None
    events_V = data.log_popularity_V * data.warm_V
    shown_V = torch.zeros_like(data.warm_V, dtype=torch.bool)
    shown_V[events_V.topk(min(MAX_ITEMS, data.num_warm)).indices] = True
    if passes is None or len(data.text_widths_B) > 1:
        left_out_V = derive(seed, "new items left out").random(len(data.warm_V)) < _LEFT_OUT
        left_out_V &= data.warm_V.cpu().numpy() > 0
        known_V = shown_V & torch.from_numpy(~left_out_V).to(data.warm_V.device)
        held_back = draw_validation_episodes(
            training, validation, seed=seed, order=order, max_users=_MAX_USERS
        )
        users = [_users(trained, supports, no_text_T) for supports in held_back.supports.values()]

        def tried(scales_X: Tensor | None, most: int) -> list[float]:
            maps = fit_new_items(params, data, episodes, seed=seed, scales_X=scales_X, known_V=known_V)
            return [_ndcg(trained, one, held_back, users, left_out_V) for one in islice(maps, most + 1)]

        if len(data.text_widths_B) > 1:
            scales_X = choose_scales(lambda scales_X: tried(scales_X, 0)[0], data.text_widths_B)
        if passes is None:
            passes = int(np.argmax(tried(scales_X, MAX_PASSES)))
    maps = fit_new_items(params, data, episodes, seed=seed, scales_X=scales_X, known_V=shown_V)
    return next(islice(maps, passes, None))


def choose_scales(ndcg: Callable[[Tensor], float], widths_B: Tensor) -> Tensor:
    """Return what each column is multiplied by, (X,): one reader after the other takes its best scale.

    Args:
        ndcg: How well the ridge regression that the map starts from ranks with these scales.
        widths_B: Columns of each reader.
    """
    scales_B = torch.ones(len(widths_B), device=widths_B.device)
    best = ndcg(scales_B.repeat_interleave(widths_B))
    for reader in range(len(widths_B)):
        for scale in _SCALES:
            changed_B = scales_B.clone()
            changed_B[reader] = scale
            found = ndcg(changed_B.repeat_interleave(widths_B)) if changed_B.any() else -1.0
            if found > best:
                best, scales_B = found, changed_B
    return scales_B.repeat_interleave(widths_B)


def map_by_other_texts(
    trained: Trained, training: Dataset, validation: Dataset, blocks: Sequence[Floats], *, settings: Settings
) -> Trained:
    """Return the same model with new items placed by other features of the items' texts: a control.

    Items with events keep their vectors and popularity. Text vectors are these features, and TF-IDF is
    dropped, whose words would describe new items beyond the features.

    Args:
        trained: The model.
        training: Its users.
        validation: As `place_new_items`.
        blocks: The features, of each reader; brought to unit length.
        settings: The model's.
    """
    units = [
        torch.from_numpy(text_VX / np.maximum(np.linalg.norm(text_VX, axis=1, keepdims=True), 1e-9)).float()
        for text_VX in blocks
    ]
    params, data = with_other_texts(trained.params, trained.data, units)
    experts = trained.experts.without(TfIdf.name)
    other = replace(trained, params=params, data=data, experts=experts)
    new_items = place_new_items(
        other,
        training,
        validation,
        passes=settings.model.new_item_passes,
        no_text_T=torch.zeros(len(trained.params["prior.text_head"])),
        seed=settings.train.seed,
        order=settings.train.order,
    )
    return replace(other, params={**params, **new_items})


def _users(trained: Trained, supports: Sequence[Support], no_text_T: Tensor) -> Tensor:
    return adapt_linearly(
        make_catalogue(trained.params, trained.data),
        learner_of(trained.learner),
        features_BT=no_text_T.expand(len(supports), -1),
        events=batch_supports(supports),
    )


@torch.no_grad()
def _ndcg(
    trained: Trained,
    new: Params,
    episodes: ValidationEpisodes,
    users: Sequence[Tensor],
    left_out_V: NDArray[np.bool_],
) -> float:
    """Return NDCG@10 among the items left out, averaged over users and then over K; 0 without episodes."""
    texts_VX = trained.data.item_text_VX
    vectors_VD = texts_VX @ new[NEW_MAP]
    popularity_V = texts_VX @ new[NEW_POPULARITY] + new[NEW_LEVEL]
    values = []
    for (k, supports), users_BD in zip(episodes.supports.items(), users, strict=True):
        queries: list[Ints] = [query[left_out_V[query]] for query in episodes.queries[k]]
        rows = [row for row, query in enumerate(queries) if len(query)]
        found = []
        for part in parts_of(len(rows), len(left_out_V)) if rows else ():
            own = rows[part]
            scores_BV = (users_BD[own] @ vectors_VD.T + popularity_V).cpu().numpy()
            found += ranks(
                scores_BV,
                [queries[row] for row in own],
                excluded=[supports[row].items_K for row in own],
                candidates=left_out_V,
            )
        if found:
            values.append(float(ndcg_per_user(found).mean()))
    return float(np.mean(values)) if values else 0.0
