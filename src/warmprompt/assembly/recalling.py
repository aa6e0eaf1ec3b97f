"""How much memory should weigh: one number per kind, found on validation users after training.

The user vectors of this search take the inner steps themselves (`meta.predict.adapt_linearly`), so it costs
no pass of the language model. B is users, V items, D factors, E episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from warmprompt.baselines.probe import draw_probe, ndcg_of
from warmprompt.data.dataset import Dataset
from warmprompt.data.episodes import Order, batch_supports
from warmprompt.errors import BadInputError
from warmprompt.meta.checkpoint import Trained
from warmprompt.meta.learners import learner_of
from warmprompt.meta.model import make_catalogue, score_catalogue
from warmprompt.meta.predict import adapt_linearly
from warmprompt.scoring.memory import KINDS, Memory, RecallWeights, recalled
from warmprompt.scoring.posterior import MAX_CELLS, Believed
from warmprompt.scoring.ranking import ranks
from warmprompt.settings import ModelSettings
from warmprompt.types import Floats, Ints, Support

GRID = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0)
# Where the last of the grid is the best, it is doubled as long as that gains, up to here: 64 times as much.
HIGHEST = 2560.0
# Best or level with the best on both MovieLens sets, where NDCG@10 is flat from 2 to 6.
START = RecallWeights(neighbours=3.0)
# The same where training users are weighed by likelihood too (validation users of MovieLens-1M).
START_BELIEVING = RecallWeights(neighbours=2.0, posterior=3.0)
MAX_USERS = 2000
ROUNDS = 2
_BATCH = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scored:
    """Validation users of one K: their scores without memory, and what each kind would add, (B, V)."""

    plain_BV: Floats
    kinds: dict[str, Floats]
    supports: Sequence[Support]
    queries: Sequence[Ints]


def given_weights(model: ModelSettings) -> dict[str, float]:
    """Return the weights that settings name; the others are to be found."""
    told = {kind: getattr(model, f"{kind}_weight") for kind in KINDS}
    return {kind: float(weight) for kind, weight in told.items() if weight is not None}


def believes(model: ModelSettings, training: Dataset) -> bool:
    """Tell whether training users are to be weighed by how likely they are to make a user's events.

    Raises:
        BadInputError: The settings ask for it, and there are too many users times items.
    """
    if training.num_users * training.num_items <= MAX_CELLS:
        return model.posterior_weight != 0
    if model.posterior_weight:
        raise BadInputError(
            field="model.posterior_weight",
            value=model.posterior_weight,
            remedy=f"Set it to 0: {training.num_users:,} training users times {training.num_items:,} items "
            f"are more than {MAX_CELLS:,}.",
        )
    return False


def believe(trained: Trained, training: Dataset, *, no_text_T: torch.Tensor) -> Believed:
    """Return what the model believes of each training user after the whole history, told no text.

    Args:
        trained: The model, in its linear response.
        training: Its training users.
        no_text_T: Text features of the empty text.
    """
    events = training.interactions
    catalogue = make_catalogue(trained.params, trained.constants)
    parts = []
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
        users_BD = adapt_linearly(
            catalogue,
            learner_of(trained.learner),
            features_BT=no_text_T.expand(len(histories), -1),
            events=batch_supports(histories),
        )
        parts.append(users_BD.detach().cpu().numpy())
    with torch.no_grad():
        return Believed(
            users_UD=np.concatenate(parts),
            items_VD=catalogue.vectors_VD.cpu().numpy(),
            level_V=catalogue.popularity_V.cpu().numpy(),
        )


def choose_weights(  # noqa: PLR0913 - the model and its users, the rest by keyword
    trained: Trained,
    memory: Memory,
    training: Dataset,
    validation: Dataset,
    *,
    given: dict[str, float],
    no_text_T: torch.Tensor,
    seed: int,
    order: Order,
) -> RecallWeights:
    """Return the weights with the best NDCG@10 over validation episodes; one at a time, all of them twice.

    A weight is looked for on a grid, and beyond its end as long as doubling it gains. A change is taken
    where it gains more than its standard error: some hundred users tell no more.

    Args:
        trained: The model, its memory not yet attached.
        memory: Of the same training users.
        training: Tells which items may be ranked.
        validation: Whose episodes judge; where none has two events, what is not given stays at the start.
        given: Weights that are kept as they are.
        no_text_T: Text features of the empty text.
        seed: The run's seed.
        order: How episodes are drawn.
    """
    weights = replace(START if memory.believed is None else START_BELIEVING, **given)
    open_kinds = [kind for kind in KINDS if kind not in given]
    if not bool(trained.constants.item_text_VX.any()):
        open_kinds = [kind for kind in open_kinds if kind != "text"]
    if memory.believed is None:
        open_kinds = [kind for kind in open_kinds if kind != "posterior"]
    if memory.words is None:
        open_kinds = [kind for kind in open_kinds if kind != "words"]
    probe = draw_probe(training, validation, seed=seed, order=order, max_users=MAX_USERS)
    if not open_kinds or not probe.supports:
        return weights
    scored = [
        _score(trained, memory, probe.supports[k], probe.queries[k], no_text_T, {*open_kinds, *given})
        for k in probe.supports
    ]
    for _ in range(ROUNDS):
        for kind in open_kinds:
            weights = _improved(scored, weights, kind, probe.candidates_V)
    return weights


def _improved(
    scored: Sequence[_Scored], weights: RecallWeights, kind: str, candidates_V: NDArray[np.bool_]
) -> RecallWeights:
    """Return the weights with the best value of one of them, if that gains more than its standard error."""
    before_E = _values(scored, weights, candidates_V)

    def gains_of(weight: float) -> NDArray[np.float64]:
        return _values(scored, replace(weights, **{kind: weight}), candidates_V) - before_E

    tried = [(weight, gains_of(weight)) for weight in GRID]
    best, gains_E = max(tried, key=lambda one: one[1].mean())
    while GRID[-1] <= best < HIGHEST and _is_clear(gains_E):
        further_E = gains_of(2 * best)
        if further_E.mean() <= gains_E.mean():
            break
        best, gains_E = 2 * best, further_E
    return replace(weights, **{kind: best}) if _is_clear(gains_E) else weights


def _is_clear(gains_E: NDArray[np.float64]) -> bool:
    return bool(gains_E.mean() > gains_E.std() / np.sqrt(len(gains_E)))


def _score(
    trained: Trained,
    memory: Memory,
    supports: Sequence[Support],
    queries: Sequence[Ints],
    no_text_T: torch.Tensor,
    kinds: set[str],
) -> _Scored:
    catalogue = make_catalogue(trained.params, trained.constants)
    users_BD = adapt_linearly(
        catalogue,
        learner_of(trained.learner),
        features_BT=no_text_T.expand(len(supports), -1),
        events=batch_supports(supports),
    )
    with torch.no_grad():
        plain_BV = score_catalogue(catalogue, users_BD).cpu().numpy()
    text_VX = trained.constants.item_text_VX.cpu().numpy()
    return _Scored(
        plain_BV=plain_BV,
        kinds={
            kind: recalled(memory, kind, supports, text_VX=text_VX, least_rating=trained.least_rating)
            for kind in KINDS
            if kind in kinds
        },
        supports=supports,
        queries=queries,
    )


def _values(
    scored: Sequence[_Scored], weights: RecallWeights, candidates_V: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return NDCG@10 of each episode of all K, (E,)."""
    values = []
    for one in scored:
        scores_BV = one.plain_BV.copy()
        for kind, weight in asdict(weights).items():
            if weight:
                scores_BV += np.float32(weight) * one.kinds[kind]
        excluded = [support.items_K for support in one.supports]
        found = ranks(scores_BV, one.queries, excluded=excluded, candidates=candidates_V)
        values.append(ndcg_of(found))
    return np.concatenate(values)
