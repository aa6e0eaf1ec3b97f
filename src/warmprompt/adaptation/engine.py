"""A trained model and its frozen backbone, ready to adapt users and to score the catalogue.

B is users, V items, D factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from warmprompt.backbone.forward import LEAD_TEXT, MAX_TEXT_TOKENS, repeat_prefix
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import sentence_states, text_features
from warmprompt.data.episodes import EventBatch, batch_supports
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.experts.mixture import Mixture
from warmprompt.experts.popularity import Popularity
from warmprompt.experts.protocol import UserBatch
from warmprompt.experts.user_vector import UserVector
from warmprompt.meta.learners import learner_of
from warmprompt.meta.model import Params, catalogue_vectors, popularity_scores, with_text_part
from warmprompt.meta.named_genres import widen
from warmprompt.meta.predict import (
    Adapted,
    ReadTexts,
    adapt_linearly,
    adapt_users,
    read_user_texts,
)
from warmprompt.runs.format import Trained
from warmprompt.types import Floats, Support, short_repr


@dataclass(frozen=True, kw_only=True, eq=False)
class Engine:
    """What every ranking needs, loaded once.

    Attributes:
        trained: Learned parameters, items, manifest.
        backbone: The frozen model that the run was trained with.
        encoder: The frozen sentence encoder that reads user texts beside it, where the run has one.
        adapts_by: `gradient`, `target`, `ridge`, or `nothing`, which leaves prompts at their learned start.
        no_text: The empty text as the model reads it, one row.
        mixture: All experts, the learned ones among them.
    """

    trained: Trained
    backbone: Backbone
    encoder: Backbone | None
    adapts_by: str
    no_text: ReadTexts
    mixture: Mixture

    __repr__ = short_repr

    @property
    def catalogue_VD(self) -> Tensor:
        """Item vectors."""
        expert = self.mixture.experts[UserVector.name]
        assert isinstance(expert, UserVector)
        return expert.items_VD

    @property
    def popularity_V(self) -> Floats:
        """Popularity scores."""
        expert = self.mixture.experts[Popularity.name]
        assert isinstance(expert, Popularity)
        return expert.scores_V

    def users(self, vectors_BD: Tensor, supports: Sequence[Support]) -> UserBatch:
        """Return users as experts take them."""
        return UserBatch(supports=supports, vectors_BD=vectors_BD, least_rating=self.trained.least_rating)


@torch.no_grad()
def make_engine(
    trained: Trained, backbone: Backbone, *, encoder: Backbone | None = None, adapts_by: str | None = None
) -> Engine:
    """Put a trained model and its backbone together.

    Args:
        trained: From `load_trained`, on the backbone's device.
        backbone: As the manifest names it.
        encoder: Likewise; None where it names none.
        adapts_by: None adapts as the learner does.

    Raises:
        MismatchError: Another backbone, another depth or another encoder than the run was trained with.
    """
    told = trained.manifest["backbone"]
    given = encoder and encoder.weights_hash
    if trained.manifest["user_text"] != given:
        raise MismatchError(
            field="encoder of user texts",
            value=given,
            remedy=f"The run was trained with {trained.manifest['user_text']}: give that, or train again.",
        )
    for key, here in (("weights_hash", backbone.weights_hash), ("num_layers", backbone.num_layers)):
        if told[key] != here:
            raise MismatchError(
                field=f"{key} of backbone {backbone.name}",
                value=here,
                remedy=f"The run was trained with {told[key]}; give the same model, or train again.",
            )
    adapts_by = adapts_by or learner_of(trained.learner).adapts_by
    no_text = read_user_texts(backbone, trained.read, [""], encoder=encoder, genres=trained.genres)
    if adapts_by == "target":
        # Most users say nothing of themselves: the first of them should not wait.
        no_text.metrics[0].get()
    return Engine(
        trained=trained,
        backbone=backbone,
        encoder=encoder,
        adapts_by=adapts_by,
        no_text=no_text,
        mixture=mixture_of(trained),
    )


@torch.no_grad()
def mixture_of(trained: Trained) -> Mixture:
    """Return all experts of a run: those that training learned, then those that it counted."""
    return trained.experts.with_experts(
        UserVector(items_VD=catalogue_vectors(trained.params, trained.constants)),
        Popularity(scores_V=popularity_scores(trained.params, trained.constants).cpu().numpy()),
    )


def read(engine: Engine, texts: Sequence[str]) -> ReadTexts:
    """Let the frozen model read the users' texts; texts that are all empty cost no pass."""
    if not any(texts):
        return repeat(engine.no_text, len(texts))
    return read_user_texts(
        engine.backbone, engine.trained.read, texts, encoder=engine.encoder, genres=engine.trained.genres
    )


def adapt(engine: Engine, texts: ReadTexts, events: EventBatch) -> Adapted:
    """Adapt every user of a batch from the learned start."""
    return adapt_users(
        engine.trained.params,
        engine.trained.constants,
        engine.backbone,
        engine.trained.read,
        texts=texts,
        events=events,
        adapts_by=engine.adapts_by,
    )


def linear_params(engine: Engine) -> Params:
    """Return the learned parameters with what `users_linearly` would work out for each chunk of users."""
    return with_text_part(engine.trained.params, engine.trained.constants)


def users_linearly(
    engine: Engine, texts: Sequence[str], supports: Sequence[Support], *, params: Params | None = None
) -> Tensor:
    """Return user vectors, (B, D), as if the language model answered to prompts as it does near the start.

    See `meta.predict.adapt_linearly`. Where a sentence encoder reads user texts, the language model does
    not run at all; else it reads each text once.

    Args:
        engine: The model.
        texts: The users' texts.
        supports: The users' events.
        params: From `linear_params`, which serves any number of chunks; None works it out.
    """
    trained = engine.trained
    if engine.encoder is None or not any(texts):
        features_BT = read(engine, texts).features_BT
    else:
        states_BX = sentence_states(engine.encoder, texts, trained.read.mean_X)
        features_BT = widen(text_features(trained.read, states_BX), texts, trained.genres)
    return adapt_linearly(
        linear_params(engine) if params is None else params,
        trained.constants,
        features_BT=features_BT,
        events=batch_supports(supports),
        adapts_by=engine.adapts_by,
    )


def score(
    engine: Engine, users_BD: Tensor, supports: Sequence[Support], *, drop: Sequence[str] = ()
) -> Floats:
    """Return the scores of the whole catalogue, (B, V).

    Args:
        engine: The model.
        users_BD: User vectors.
        supports: The events that the vectors were adapted to.
        drop: Experts to leave out.

    Raises:
        UnknownNameError: An expert that the run does not have.
    """
    return engine.mixture.score(engine.users(users_BD, supports), drop=drop)


def repeat(texts: ReadTexts, num_users: int) -> ReadTexts:
    """Return one user's read text for many users, without copying it."""

    def widen(one: Tensor) -> Tensor:
        return one.expand(num_users, *one.shape[1:])

    return ReadTexts(
        prefix=repeat_prefix(texts.prefix, num_users),
        reference_BH=widen(texts.reference_BH),
        features_BT=widen(texts.features_BT),
        metrics=texts.metrics * num_users,
    )


def check_text(engine: Engine, text: str) -> None:
    """Refuse a text that the model would not read to its end.

    Raises:
        BadInputError: It has more than `MAX_TEXT_TOKENS` tokens.
    """
    if not text:
        return
    tokens = engine.backbone.tokenizer([LEAD_TEXT, LEAD_TEXT + text], add_special_tokens=False)["input_ids"]
    lead, whole = (len(ids) for ids in tokens)
    if whole > MAX_TEXT_TOKENS:
        raise BadInputError(
            field="text about the user",
            value=text,
            remedy=f"Shorten it: it has {whole - lead} tokens, and {MAX_TEXT_TOKENS - lead} are read.",
        )
