"""From evidence to user vectors with learned parameters: the one path of validation, evaluation and service.

B is users, D factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from warmprompt.backbone.forward import TextPrefix, read_out, read_texts
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import (
    InverseResponse,
    ReadOut,
    inverse_responses,
    prompt_step,
    sentence_states,
    text_features,
)
from warmprompt.data.episodes import EventBatch
from warmprompt.meta.adapters import Adapter, LinearAdapter, PromptAdapter, RidgeAdapter, by_steps
from warmprompt.meta.learner import Learner
from warmprompt.meta.model import Catalogue, to_events
from warmprompt.meta.numpy_target import users_at_target
from warmprompt.meta.objectives import LearnedTarget
from warmprompt.meta.target import target_displacement
from warmprompt.meta.task import TaskAt
from warmprompt.types import short_repr


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
class EncodedTexts:
    """User texts after the frozen model has read them: all that adaptation needs of them."""

    prefix: TextPrefix
    reference_BH: Tensor
    features_BT: Tensor
    responses: tuple[InverseResponse, ...]

    __repr__ = short_repr


@torch.no_grad()
def encode_texts(
    backbone: Backbone,
    readout: ReadOut,
    texts: Sequence[str],
    *,
    encoder: Backbone | None = None,
) -> EncodedTexts:
    """Read texts and take their hidden states at the reference prompt: two passes, none of them adapted.

    Args:
        backbone: The frozen model.
        readout: The normalised read-out.
        texts: One per user; may be empty.
        encoder: The sentence encoder that the text features were fitted with, where there is one.
    """
    prefix = read_texts(backbone, texts)
    prompts_BPH = readout.reference_PH.expand(len(texts), -1, -1)
    reference_BH = read_out(backbone, prefix, prompts_BPH)
    states_BX = reference_BH if encoder is None else sentence_states(encoder, texts, readout.mean_X)
    return EncodedTexts(
        prefix=prefix,
        reference_BH=reference_BH,
        features_BT=text_features(readout, states_BX),
        responses=inverse_responses(backbone, readout, prefix, texts),
    )


def adapt_users(  # noqa: PLR0913 - learned, frozen and given parts, the latter by keyword
    catalogue: Catalogue,
    learner: Learner,
    backbone: Backbone,
    readout: ReadOut,
    *,
    texts: EncodedTexts,
    events: EventBatch,
    apply_inverse: Callable[[Tensor], Tensor] | None = None,
) -> Adapted:
    """Adapt every user's prompt to their events, and read the user vectors.

    S inner steps cost S + 1 forward and S backward passes for the whole batch; users without any
    event keep the start at the cost of the last pass alone. Towards a learned target, each text's inverse
    response is measured first where it has not been before; a single step from the reference prompt then
    needs no pass, and only the last one is left.

    Args:
        catalogue: What the learned parameters give every user.
        learner: Names what is to be explained, and how user vectors answer.
        backbone: The frozen model.
        readout: The normalised read-out.
        texts: From `encode_texts`, row by row.
        events: The users' events; may be empty.
        apply_inverse: Applies each text's inverse response to gaps, (B, D); None measures them.
    """
    adapter = PromptAdapter(
        features_BT=texts.features_BT,
        backbone=backbone,
        readout=readout,
        prefix=texts.prefix,
        reference_BH=texts.reference_BH,
        responses=texts.responses,
        apply_inverse=apply_inverse,
    )
    if apply_inverse is None and _is_one_step_from_reference(catalogue, learner) and events.mask_BK.any():
        with torch.no_grad():
            gap_BD = -target_displacement(catalogue, to_events(events, catalogue.data))
            moved_BPH = prompt_step(texts.responses, gap_BD, rate=adapter.rates(catalogue.params)[0])
            return Adapted(users_BD=adapter.users(catalogue, moved_BPH), offsets_BPH=moved_BPH)
    users_BD, moved_BPH = _adapted(catalogue, learner, adapter, events)
    return Adapted(users_BD=users_BD, offsets_BPH=moved_BPH)


def adapt_linearly(
    catalogue: Catalogue, learner: Learner, *, features_BT: Tensor, events: EventBatch
) -> Tensor:
    """Return user vectors, (B, D), as if the model answered to prompts as it does near the reference.

    The read-out is normalised such that a gradient step on a prompt moves the user vector by minus the
    loss's gradient in it, to first order and on average over texts. So the user vector can take the inner
    steps itself: no pass of the language model, and what is lost is what the response is not linear in.

    Args:
        catalogue: What the learned parameters give every user.
        learner: As in `adapt_users`.
        features_BT: Text features of the users' texts, as the text head reads them.
        events: The users' events; may be empty.
    """
    towards_target = learner.objective is LearnedTarget and learner.adapter is by_steps
    if towards_target and catalogue.mean_D.device.type == "cpu" and not catalogue.mean_D.requires_grad:
        return torch.from_numpy(users_at_target(catalogue, features_BT.numpy(), events))
    return _adapted(catalogue, learner, LinearAdapter(features_BT=features_BT), events)[0]


def _is_one_step_from_reference(catalogue: Catalogue, learner: Learner) -> bool:
    """Tell whether adaptation is one step to a learned target from the prompt where texts are measured."""
    params = catalogue.params
    towards_target = learner.objective is LearnedTarget and learner.adapter is by_steps
    return towards_target and len(params["inner.log_rates"]) == 1 and not bool(params["prompt.start"].any())


@torch.no_grad()
def _adapted(
    catalogue: Catalogue, learner: Learner, around: Adapter, events: EventBatch
) -> tuple[Tensor, Tensor]:
    """Return the user vectors, (B, D), and what the inner loop has moved from its start, (B, ...)."""
    shown = to_events(events, catalogue.data)
    adapter = learner.adapter(around, shown)
    if isinstance(adapter, RidgeAdapter):
        adapter = replace(adapter, keeps_prior=True)
    task = TaskAt(adapter=adapter, objective=learner.objective(support=shown, query=shown), model=catalogue)
    moved = task.adapted() if events.mask_BK.any() else task.start
    return task.users(moved), moved
