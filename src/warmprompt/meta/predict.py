"""From evidence to user vectors with learned parameters: the one path of validation, evaluation and service.

B is users, D factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from warmprompt.backbone.forward import TextPrefix, read_out, read_texts
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import (
    ReadOut,
    TextMetric,
    sentence_states,
    text_features,
    text_metrics,
)
from warmprompt.data.episodes import EventBatch
from warmprompt.data.genre_words import GenreWords
from warmprompt.meta.inner import adapt
from warmprompt.meta.model import Constants, Events, Params, ridge_users, to_events
from warmprompt.meta.named_genres import widen
from warmprompt.meta.task import PromptTask, TangentTask, inner_loss, start_of
from warmprompt.types import short_repr

INNER_LOOPS = ("gradient", "target")


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapted:
    """What adaptation found out about each user.

    Attributes:
        users_BD: User vectors, ready for `score_catalogue`.
        offsets_BPH: The users' prompts, as offsets from the reference prompt.
    """

    users_BD: Tensor
    offsets_BPH: Tensor

    __repr__ = short_repr


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadTexts:
    """User texts after the frozen model has read them: all that adaptation needs of them."""

    prefix: TextPrefix
    reference_BH: Tensor
    features_BT: Tensor
    metrics: tuple[TextMetric, ...]

    __repr__ = short_repr


@torch.no_grad()
def read_user_texts(
    backbone: Backbone,
    read: ReadOut,
    texts: Sequence[str],
    *,
    encoder: Backbone | None = None,
    genres: GenreWords | None = None,
) -> ReadTexts:
    """Read texts and take their hidden states at the reference prompt: two passes, none of them adapted.

    Args:
        backbone: The frozen model.
        read: The normalised read-out.
        texts: One per user; may be empty.
        encoder: The sentence encoder that the text features were fitted with, where there is one.
        genres: The dictionary that the text head was fitted with, where there is one.
    """
    prefix = read_texts(backbone, texts)
    prompts_BPH = read.reference_PH.expand(len(texts), -1, -1)
    reference_BH = read_out(backbone, prefix, prompts_BPH)
    states_BX = reference_BH if encoder is None else sentence_states(encoder, texts, read.mean_X)
    return ReadTexts(
        prefix=prefix,
        reference_BH=reference_BH,
        features_BT=widen(text_features(read, states_BX), texts, genres),
        metrics=text_metrics(backbone, read, prefix, texts),
    )


def adapt_users(  # noqa: PLR0913 - learned, constant and given parts, the latter by keyword
    params: Params,
    constants: Constants,
    backbone: Backbone,
    read: ReadOut,
    *,
    texts: ReadTexts,
    events: EventBatch,
    adapts_by: str = "gradient",
    turn: Callable[[Tensor], Tensor] | None = None,
) -> Adapted:
    """Adapt every user's prompt to their events, and read the user vectors.

    S inner steps cost S + 1 forward and S backward passes for the whole batch; users without any
    event keep the start at the cost of the last pass alone. Towards a `target`, each text's metric is
    measured first where it has not been before.

    Args:
        params: Learned.
        constants: Of the item side.
        backbone: The frozen model.
        read: The normalised read-out.
        texts: From `read_user_texts`, row by row.
        events: The users' events; may be empty.
        adapts_by: `gradient`, `target`, `ridge`, or `nothing`, which leaves the prompt at its learned start.
        turn: Turns gaps to targets, (B, D), as each text's metric does; None measures the metrics.
    """
    shown = to_events(events, constants)
    has_events = bool(shown.mask_BK.any())
    measured = adapts_by == "target" and has_events and turn is None
    task = PromptTask(
        constants=constants,
        support=shown,
        query=shown,
        features_BT=texts.features_BT,
        backbone=backbone,
        read=read,
        prefix=texts.prefix,
        reference_BH=texts.reference_BH,
        metric_BDD=torch.stack([one.get() for one in texts.metrics]) if measured else None,
        turn=turn,
    )
    users_BD, moved_BPH = _adapted(task, params, adapts_by=adapts_by)
    return Adapted(users_BD=users_BD, offsets_BPH=moved_BPH)


def adapt_linearly(
    params: Params,
    constants: Constants,
    *,
    features_BT: Tensor,
    events: EventBatch,
    adapts_by: str = "gradient",
) -> Tensor:
    """Return user vectors, (B, D), as if the model answered to prompts as it does near the reference.

    The read-out is normalised such that a gradient step on a prompt moves the user vector by minus the
    loss's gradient in it, to first order and on average over texts. So the user vector can take the inner
    steps itself: no pass of the language model, and what is lost is what the response is not linear in.

    Args:
        params: Learned.
        constants: Of the item side.
        features_BT: Text features of the users' texts, as the text head reads them.
        events: The users' events; may be empty.
        adapts_by: As `adapt_users`.
    """
    shown = to_events(events, constants)
    task = TangentTask(constants=constants, support=shown, query=shown, features_BT=features_BT)
    return _adapted(task, params, adapts_by=adapts_by)[0]


def _adapted(task: PromptTask | TangentTask, params: Params, *, adapts_by: str) -> tuple[Tensor, Tensor]:
    """Return the user vectors, (B, D), and what the inner loop has moved from its start, (B, ...)."""
    events = task.support
    has_events = bool(events.mask_BK.any())
    moved = start_of(task, params).detach()
    if adapts_by in INNER_LOOPS and has_events:
        loss = inner_loss(task, params, adapts_by=adapts_by)
        moved = adapt(moved, loss, rates=task.rates(params)).detach()
    with torch.no_grad():
        users_BD = task.users(params, moved)
        if adapts_by == "ridge" and has_events:
            solved_BD = ridge_users(params, task.constants, events, users_BD)
            users_BD = _where_any(events, solved_BD, users_BD)
    return users_BD, moved


def _where_any(events: Events, solved_BD: Tensor, prior_BD: Tensor) -> Tensor:
    """Users without events keep the prior."""
    return torch.where(events.mask_BK.any(dim=1, keepdim=True), solved_BD, prior_BD)
