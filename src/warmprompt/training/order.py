"""Whether the order of events says anything on a data set, and what experts of order weigh.

Experts of order are fitted on training users. Their weights are found for each K on validation users: from
the first K events the next ones, as many as the horizon, are to be found. Every weight begins at 0, where
order says nothing, and moves only where that gains more than its standard error. B is users, V items, E
episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset, keep_events, take_users
from warmprompt.experts.mixture import ANCHORS, Mixture
from warmprompt.experts.position import PositionPopularity
from warmprompt.experts.protocol import Expert, FitContext, UserBatch
from warmprompt.experts.transitions import Transitions
from warmprompt.runs.format import Trained
from warmprompt.scoring.shortlist import Shortlist, make_shortlist
from warmprompt.scoring.validation import ValidationEpisodes, draw_validation_episodes
from warmprompt.training.mixture_weights import fit_experts, is_clear, score_of
from warmprompt.types import Floats, Support

GRID = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
MAX_USERS = 1000
STEPS = (1.0, 0.6, 0.8, 1.3, 1.7)
ROUNDS = 2
DAYS = (480.0, 240.0, 120.0, 60.0, 30.0)
_DAY_S = 86_400.0
_BACKTEST_SHARE = 0.8
_BACKTEST_KS = (0, 1, 3, 5)

Weights = Mapping[str, float]


def choose_order(
    trained: Trained,
    training: Dataset,
    validation: Dataset,
    context: FitContext,
    *,
    names: Sequence[str],
    no_text_T: torch.Tensor,
) -> tuple[Mixture, dict[str, Any]]:
    """Return the run's mixture with experts of order, and how well it does on validation users.

    The report holds the horizon and, for each K, NDCG@10 with and without them. It is empty where there is
    nothing to judge. Experts whose weights are all 0 are dropped.

    Args:
        trained: The model, its other experts weighed.
        training: Users that experts are fitted on.
        validation: Users of the episodes.
        context: Of the experts; its horizon is how many next events are to be found.
        names: Experts of order that are fitted.
        no_text_T: Text features of the empty text.
    """
    if not names:
        return trained.experts, {}
    days = choose_half_life(training, context)
    half_life_s = None if days is None else days * _DAY_S
    experts = fit_experts(training, replace(context, half_life_s=half_life_s), names)
    episodes = _next_events(training, validation, context, ANCHORS)
    lists = _shortlists(score_of(trained, no_text_T, context.encode), experts, episodes)
    weights, report = _search(lists, tuple(experts))
    kept = [name for name in experts if any(weights[k][name] for k in weights)]
    ordered = {name: tuple(_at(weights, k)[name] for k in ANCHORS) for name in kept}
    base = trained.experts
    mixture = replace(
        base, experts={**base.experts, **{name: experts[name] for name in kept}}, ordered=ordered
    )
    found = {**report, "half_life_days": days if kept else None, "horizon": context.horizon}
    return mixture, found if report else {}


def order_line(found: Mapping[str, Any]) -> str:
    """Return what was found in a line."""
    if not found:
        return "order: not judged: no expert of order, or no validation user with two events"
    before, after = (float(np.mean(list(found[key].values()))) for key in ("without", "ndcg"))
    if after == before:
        return f"order: the order of events adds nothing on validation users ({before:.4f}) and is not used"
    days = found["half_life_days"]
    half = "" if days is None else f"; recent training events count more, half-life {days:g} days"
    of = f"horizon {found['horizon']}, NDCG@10"
    return f"order: {of} {before:.4f} without, {after:.4f} with the order of events{half}"


def choose_half_life(training: Dataset, context: FitContext) -> float | None:
    """Return the half-life in days of training events that predicts later users best; None is no decay.

    The date is the moment at which four fifths of the training users have appeared. Popularity at a position
    and transitions are fitted on what came before it, and judged on users who appear after it. A half-life is
    taken where it gains more than its standard error.
    """
    events = training.interactions
    lengths = np.diff(events.offsets)
    if events.times_s is None or not (lengths > 0).any():
        return None
    users = np.flatnonzero(lengths > 0)
    firsts_s = np.minimum.reduceat(events.times_s, events.offsets[:-1][users])
    date_s = np.sort(firsts_s)[int(_BACKTEST_SHARE * (len(users) - 1))]
    later = take_users(training, users[firsts_s > date_s][:MAX_USERS])
    earlier = take_users(training, users[firsts_s <= date_s])
    assert earlier.interactions.times_s is not None
    earlier = keep_events(earlier, earlier.interactions.times_s <= date_s)
    episodes = _next_events(earlier, later, context, _BACKTEST_KS)
    if not episodes.supports:
        return None

    def gains_of(days: float | None) -> NDArray[np.float64]:
        own = replace(context, half_life_s=None if days is None else days * _DAY_S)
        experts = fit_experts(earlier, own, (PositionPopularity.name, Transitions.name))
        lists = _shortlists(_nothing(earlier.num_items), experts, episodes)
        weights = np.ones(1 + len(experts))
        return np.concatenate([one.ndcg(weights) for one in lists.values()])

    plain_E = gains_of(None)
    tried = [(days, gains_of(days) - plain_E) for days in DAYS]
    best, gains_E = max(tried, key=lambda one: float(one[1].mean()))
    return best if is_clear(gains_E) else None


def _nothing(num_items: int) -> Callable[[UserBatch], Floats]:
    return lambda batch: np.zeros((len(batch), num_items), dtype=np.float32)


def _next_events(
    training: Dataset, validation: Dataset, context: FitContext, ks: Sequence[int]
) -> ValidationEpisodes:
    """Return episodes that ask for the next events, as many as the horizon."""
    return draw_validation_episodes(
        training,
        validation,
        seed=context.seed,
        ks=ks,
        order="time",
        max_users=MAX_USERS,
        num_query=context.horizon,
    )


def _shortlists(
    score: Callable[[UserBatch], Floats], experts: Mapping[str, Expert], episodes: ValidationEpisodes
) -> dict[int, Shortlist]:
    """Return, per K, the scores without order and those of each expert."""
    found: dict[int, Shortlist] = {}
    for k, supports in episodes.supports.items():
        batch = _batch(supports)
        members = [score(batch), *(expert.score(batch) for expert in experts.values())]
        found[k] = make_shortlist(members, supports, episodes.queries[k], episodes.candidates_V)
    return found


def _batch(supports: Sequence[Support]) -> UserBatch:
    return UserBatch(supports=supports, vectors_BD=torch.zeros(len(supports), 0))


def _search(
    lists: Mapping[int, Shortlist], names: Sequence[str]
) -> tuple[dict[int, Weights], dict[str, Any]]:
    """Return the weights of the experts for each K: those that are best for all K together, then K's own."""
    nothing: Weights = dict.fromkeys(names, 0.0)
    shared = _climbed([*lists.values()], nothing)
    weights = {k: _climbed([one], shared) for k, one in lists.items()}
    report = {
        label: {str(k): float(_values([one], chosen[k]).mean()) for k, one in lists.items()}
        for label, chosen in (("ndcg", weights), ("without", dict.fromkeys(lists, nothing)))
    }
    return weights, report if weights else {}


def _climbed(lists: Sequence[Shortlist], weights: Weights) -> Weights:
    """Return the weights after moving one at a time, on the grid, then by smaller steps, until none moves."""
    for _ in range(ROUNDS if lists else 0):
        before = weights
        for move in (_improved, _refined):
            for name in weights:
                weights = move(lists, weights, name)
        if weights == before:
            break
    return weights


def _refined(lists: Sequence[Shortlist], weights: Weights, name: str) -> Weights:
    """Return the weights with one of them times the step that ranks best, or as it is; off stays off."""
    if not weights[name]:
        return weights
    tried = [{**weights, name: weights[name] * step} for step in STEPS]
    return max(tried, key=lambda moved: float(_values(lists, moved).mean()))


def _values(lists: Sequence[Shortlist], weights: Weights) -> NDArray[np.float64]:
    """Return NDCG@10 of every episode, (E,); what scores without order comes first, with weight 1."""
    row = np.array([1.0, *weights.values()])
    return np.concatenate([one.ndcg(row) for one in lists])


def _improved(lists: Sequence[Shortlist], weights: Weights, name: str) -> Weights:
    """Return the weights with the best value of one of them, if that gains more than its standard error."""
    before_E = _values(lists, weights)
    tried = [(moved, _values(lists, moved) - before_E) for moved in ({**weights, name: w} for w in GRID)]
    best, gains_E = max(tried, key=lambda one: float(one[1].mean()))
    return best if is_clear(gains_E) else weights


def _at(weights: Mapping[int, Weights], k: int) -> Weights:
    """Return the weights of the nearest K below that was searched."""
    return weights[max(found for found in weights if found <= k)]
