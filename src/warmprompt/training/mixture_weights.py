"""Which experts a run's scores add to the learned ones, and with what weights.

Experts are fitted on training users; their weights are found on validation users. The user vectors of this
search adapt in the linear response, so it costs no pass of the language model. B is users, V items, U
training users, E episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset
from warmprompt.data.episodes import Order, batch_supports
from warmprompt.errors import UnknownNameError
from warmprompt.experts.mixture import Mixture, damped
from warmprompt.experts.popularity import Popularity
from warmprompt.experts.protocol import Encode, Expert, FitContext, UserBatch
from warmprompt.experts.registry import EXPERTS, LEARNED, ORDERED
from warmprompt.experts.user_vector import UserVector
from warmprompt.meta.learner import Learner
from warmprompt.meta.learners import learner_of
from warmprompt.meta.model import Catalogue, make_catalogue, score_catalogue
from warmprompt.meta.predict import adapt_linearly
from warmprompt.runs.format import Trained
from warmprompt.scoring.ranking import ndcg_per_user, ranks
from warmprompt.scoring.validation import draw_validation_episodes
from warmprompt.settings import ExpertSettings
from warmprompt.types import Floats, Ints, Support

GRID = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0)
# Where the last of the grid is the best, it is doubled as long as that gains, up to here: 64 times as much.
HIGHEST = 2560.0
# Where the search begins. Neighbours alone: best or level with the best on both MovieLens sets, where NDCG@10
# is flat from 2 to 6. With the posterior: from validation users of MovieLens-1M.
START: Mapping[str, float] = {"user_neighbours": 3.0}
START_WITH_POSTERIOR: Mapping[str, float] = {"user_neighbours": 2.0, "user_posterior": 3.0}
MAX_USERS = 2000
ROUNDS = 2
_BATCH = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scored:
    """Validation users of one K: learned scores, and what a unit of each expert's weight adds, (B, V)."""

    learned_BV: Floats
    added: Mapping[str, Floats]
    supports: Sequence[Support]
    queries: Sequence[Ints]


def check_experts(settings: ExpertSettings) -> None:
    """Refuse experts that there are not.

    Raises:
        UnknownNameError: Names the nearest.
    """
    unordered = [name for name in EXPERTS if name not in (*LEARNED, *ORDERED)]
    for field, given, known in (
        ("experts.use", settings.use, unordered),
        ("experts.order", settings.order, ORDERED),
    ):
        for name in given:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                guess = f"Did you mean {near[0]}? " if near else ""
                remedy = f"{guess}Choose among {', '.join(known)}."
                raise UnknownNameError(field=field, value=name, remedy=remedy)


def fit_experts(training: Dataset, context: FitContext, names: Collection[str]) -> dict[str, Expert]:
    """Return the experts of these names that have something to score with, in registry order."""
    fitted = {name: EXPERTS[name].fit(training, context) for name in EXPERTS if name in names}
    return {name: expert for name, expert in fitted.items() if expert is not None}


def fit_context(  # noqa: PLR0913 - the model and its users, the rest by keyword
    trained: Trained,
    settings: ExpertSettings,
    *,
    texts: Sequence[str] | None,
    encode: Encode | None = None,
    no_text_T: torch.Tensor,
    seed: int,
    progress: Callable[[str], object],
) -> FitContext:
    """Return what experts may use in addition to training events.

    Args:
        trained: The model.
        settings: Of the experts.
        texts: A line per item, or None where the run reads no item texts.
        encode: Reads what users wrote; None where the run has no sentence encoder.
        no_text_T: Text features of the empty text.
        seed: The run's seed.
        progress: Receives what experts report.
    """
    catalogue = make_catalogue(trained.params, trained.data)
    return FitContext(
        texts=texts,
        text_VX=trained.data.item_text_VX[:, : len(trained.params["items.text_map"])].cpu().numpy(),
        catalogue_VD=catalogue.vectors_VD.cpu().numpy(),
        popularity_V=catalogue.popularity_V.cpu().numpy(),
        encode=encode,
        user_vectors=partial(_after_histories, catalogue, learner_of(trained.learner), no_text_T),
        num_neighbours=settings.num_neighbours,
        similar_item_weight=settings.similar_item_weight,
        horizon=settings.horizon,
        seed=seed,
        progress=progress,
    )


def choose_weights(  # noqa: PLR0913 - the model and its users, the rest by keyword
    trained: Trained,
    experts: Mapping[str, Expert],
    training: Dataset,
    validation: Dataset,
    *,
    kappa: float,
    encode: Encode | None = None,
    no_text_T: torch.Tensor,
    seed: int,
    order: Order,
) -> tuple[Mixture, dict[str, Any]]:
    """Return the experts with the weights that rank best, and how well they do: NDCG@10 on validation users.

    One weight is searched at a time, all of them twice, on a grid and beyond its end as long as doubling
    gains. A change is taken where it gains more than its standard error. Experts of weight 0 are dropped.

    Args:
        trained: The model.
        experts: From `fit_experts`.
        training: Tells which items may be ranked.
        validation: Users of the episodes; where none has two events, weights stay where the search begins.
        kappa: Of the mixture.
        encode: As in `fit_context`.
        no_text_T: Text features of the empty text.
        seed: The run's seed.
        order: How episodes are drawn.
    """
    start = START_WITH_POSTERIOR if "user_posterior" in experts else START
    weights: Mapping[str, float] = {name: start.get(name, 0.0) for name in experts}
    episodes = draw_validation_episodes(training, validation, seed=seed, order=order, max_users=MAX_USERS)
    catalogue = make_catalogue(trained.params, trained.data)
    scored = [
        _score(
            trained, catalogue, experts, episodes.supports[k], episodes.queries[k], no_text_T, kappa, encode
        )
        for k in (episodes.supports if experts else ())
    ]
    for _ in range(ROUNDS if scored else 0):
        for name in experts:
            weights = _improved(scored, weights, name, episodes.candidates_V)
    dropped = [name for name, weight in weights.items() if not weight]
    mixture = Mixture(experts=experts, weights=weights, kappa=kappa).without(*dropped)
    if not scored:
        return mixture, {}

    def mean(**changes: float) -> float:
        return float(_values(scored, {**weights, **changes}, episodes.candidates_V).mean())

    return mixture, {
        "num_users": max(map(len, episodes.supports.values())),
        "ks": list(episodes.supports),
        "ndcg": mean(),
        "without": {name: mean(**{name: 0.0}) for name in mixture.experts},
    }


def score_of(
    trained: Trained, no_text_T: torch.Tensor, encode: Encode | None
) -> Callable[[UserBatch], Floats]:
    """Return what scores users without any text as the run does, adapted in the linear response, (B, V)."""
    catalogue = make_catalogue(trained.params, trained.data)
    learner = learner_of(trained.learner)
    mixture = trained.experts.with_experts(
        UserVector(items_VD=catalogue.vectors_VD), Popularity(scores_V=catalogue.popularity_V.cpu().numpy())
    )

    def score(batch: UserBatch) -> Floats:
        vectors_BD = user_vectors(catalogue, learner, no_text_T, batch.supports)
        known = replace(batch, vectors_BD=vectors_BD, least_rating=trained.least_rating, encode=encode)
        return mixture.score(known)

    return score


def _after_histories(
    catalogue: Catalogue, learner: Learner, no_text_T: torch.Tensor, training: Dataset
) -> Floats:
    """Return each user's vector after the whole history, without any text, (U, D)."""
    events = training.interactions
    parts = [np.zeros((0, catalogue.vectors_VD.shape[1]), np.float32)]
    for first in range(0, training.num_users, _BATCH):
        rows = [events.events_of(user) for user in range(first, min(first + _BATCH, training.num_users))]
        histories = [
            Support(
                user="",
                items_K=events.items[own],
                ratings_K=np.full(own.stop - own.start, np.nan, np.float32)
                if events.ratings is None
                else events.ratings[own],
                strengths_K=training.strengths_at(own),
            )
            for own in rows
        ]
        parts.append(user_vectors(catalogue, learner, no_text_T, histories).cpu().numpy())
    return np.concatenate(parts)


def user_vectors(
    catalogue: Catalogue, learner: Learner, no_text_T: torch.Tensor, supports: Sequence[Support]
) -> torch.Tensor:
    """Return the vectors of users without any text, adapted in the linear response, (B, D)."""
    return adapt_linearly(
        catalogue,
        learner,
        features_BT=no_text_T.expand(len(supports), -1),
        events=batch_supports(supports),
    ).detach()


def _improved(
    scored: Sequence[_Scored], weights: Mapping[str, float], name: str, candidates_V: NDArray[np.bool_]
) -> Mapping[str, float]:
    """Return the weights with the best value of one of them, if that gains more than its standard error."""
    before_E = _values(scored, weights, candidates_V)

    def gains_of(weight: float) -> NDArray[np.float64]:
        return _values(scored, {**weights, name: weight}, candidates_V) - before_E

    tried = [(weight, gains_of(weight)) for weight in GRID]
    best, gains_E = max(tried, key=lambda one: one[1].mean())
    while GRID[-1] <= best < HIGHEST and is_clear(gains_E):
        further_E = gains_of(2 * best)
        if further_E.mean() <= gains_E.mean():
            break
        best, gains_E = 2 * best, further_E
    return {**weights, name: best} if is_clear(gains_E) else weights


def is_clear(gains_E: NDArray[np.float64]) -> bool:
    """Return whether gains are above their standard error."""
    return bool(gains_E.mean() > gains_E.std() / np.sqrt(len(gains_E)))


def _score(  # noqa: PLR0913, PLR0917 - the model, then one K's episodes
    trained: Trained,
    catalogue: Catalogue,
    experts: Mapping[str, Expert],
    supports: Sequence[Support],
    queries: Sequence[Ints],
    no_text_T: torch.Tensor,
    kappa: float,
    encode: Encode | None,
) -> _Scored:
    users_BD = user_vectors(catalogue, learner_of(trained.learner), no_text_T, supports)
    batch = UserBatch(
        supports=supports, vectors_BD=users_BD, least_rating=trained.least_rating, encode=encode
    )
    return _Scored(
        learned_BV=score_catalogue(catalogue, users_BD).detach().cpu().numpy(),
        added={name: damped(expert, batch, kappa) for name, expert in experts.items()},
        supports=supports,
        queries=queries,
    )


def _values(
    scored: Sequence[_Scored], weights: Mapping[str, float], candidates_V: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return NDCG@10 of each episode of all K, (E,)."""
    values = []
    for one in scored:
        scores_BV = one.learned_BV.copy()
        for name, weight in weights.items():
            if weight:
                scores_BV += np.float32(weight) * one.added[name]
        excluded = [support.items_K for support in one.supports]
        values.append(
            ndcg_per_user(ranks(scores_BV, one.queries, excluded=excluded, candidates=candidates_V))
        )
    return np.concatenate(values)
