"""A trained model and its frozen backbone, ready to adapt users and to score the catalogue.

B is users, V items, D factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

import pickle
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
from warmprompt.meta.learner import Learner
from warmprompt.meta.learners import learner_of
from warmprompt.meta.model import Catalogue, make_catalogue
from warmprompt.meta.named_genres import widen
from warmprompt.meta.objectives import LearnedTarget
from warmprompt.meta.predict import (
    Adapted,
    EncodedTexts,
    adapt_linearly,
    adapt_users,
    encode_texts,
)
from warmprompt.runs.format import Trained
from warmprompt.types import Floats, Support, fields_only, short_repr


@dataclass(frozen=True, kw_only=True, eq=False)
class Engine:
    """What every ranking needs, loaded once.

    Attributes:
        trained: Learned parameters, items, manifest.
        backbone: The frozen model that the run was trained with.
        encoder: The frozen sentence encoder that reads user texts beside it, where the run has one.
        learner: Names what is to be explained, and how user vectors answer.
        no_text: The empty text as the model reads it, one row.
        mixture: All experts, the learned ones among them.
        catalogue: What the learned parameters give all users alike.
    """

    trained: Trained
    backbone: Backbone
    encoder: Backbone | None
    learner: Learner
    no_text: EncodedTexts
    mixture: Mixture
    catalogue: Catalogue

    __repr__ = short_repr

    def __getstate__(self) -> bytes:
        """Return the fields pickled by value.

        Queues of processes move tensors to shared memory, from under the experts' arrays that view them.
        """
        return pickle.dumps(fields_only(self))

    def __setstate__(self, fields: bytes) -> None:
        """Take the same."""
        vars(self).update(pickle.loads(fields))

    @property
    def catalogue_VD(self) -> Tensor:
        """Item vectors."""
        return self.catalogue.vectors_VD

    @property
    def popularity_V(self) -> Tensor:
        """The part of scores that is the same for everybody."""
        return self.catalogue.popularity_V

    def users(self, vectors_BD: Tensor, supports: Sequence[Support]) -> UserBatch:
        """Return users as experts take them."""
        return UserBatch(supports=supports, vectors_BD=vectors_BD, least_rating=self.trained.least_rating)


@torch.no_grad()
def make_engine(
    trained: Trained, backbone: Backbone, *, encoder: Backbone | None = None, learner: Learner | None = None
) -> Engine:
    """Put a trained model and its backbone together.

    Args:
        trained: From `load_trained`, on the backbone's device.
        backbone: As the manifest names it.
        encoder: Likewise; None where it names none.
        learner: None adapts as the run's own learner does.

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
    learner = learner or learner_of(trained.learner)
    no_text = encode_texts(backbone, trained.read, [""], encoder=encoder, genres=trained.genres)
    if learner.objective is LearnedTarget:
        # Most users say nothing of themselves: the first of them should not wait.
        no_text.responses[0].get()
    catalogue = make_catalogue(trained.params, trained.constants)
    return Engine(
        trained=trained,
        backbone=backbone,
        encoder=encoder,
        learner=learner,
        no_text=no_text,
        catalogue=catalogue,
        mixture=mixture_of(trained, catalogue),
    )


def mixture_of(trained: Trained, catalogue: Catalogue) -> Mixture:
    """Return all experts of a run: those that training learned, then those that it counted."""
    return trained.experts.with_experts(
        UserVector(items_VD=catalogue.vectors_VD),
        Popularity(scores_V=catalogue.popularity_V.cpu().numpy()),
    )


def encode(engine: Engine, texts: Sequence[str]) -> EncodedTexts:
    """Let the frozen model read the users' texts; texts that are all empty cost no pass."""
    if not any(texts):
        return repeat(engine.no_text, len(texts))
    return encode_texts(
        engine.backbone, engine.trained.read, texts, encoder=engine.encoder, genres=engine.trained.genres
    )


def adapt(engine: Engine, texts: EncodedTexts, events: EventBatch) -> Adapted:
    """Adapt every user of a batch from the learned start."""
    return adapt_users(
        engine.catalogue,
        engine.learner,
        engine.backbone,
        engine.trained.read,
        texts=texts,
        events=events,
    )


def users_linearly(engine: Engine, texts: Sequence[str], supports: Sequence[Support]) -> Tensor:
    """Return user vectors, (B, D), as if the language model answered to prompts as it does near the start.

    See `meta.predict.adapt_linearly`. Where a sentence encoder reads user texts, the language model does
    not run at all; else it reads each text once.

    Args:
        engine: The model.
        texts: The users' texts.
        supports: The users' events.
    """
    trained = engine.trained
    if engine.encoder is None or not any(texts):
        features_BT = encode(engine, texts).features_BT
    else:
        states_BX = sentence_states(engine.encoder, texts, trained.read.mean_X)
        features_BT = widen(text_features(trained.read, states_BX), texts, trained.genres)
    return adapt_linearly(
        engine.catalogue,
        engine.learner,
        features_BT=features_BT,
        events=batch_supports(supports),
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


def repeat(texts: EncodedTexts, num_users: int) -> EncodedTexts:
    """Return one user's read text for many users, without copying it."""

    def widen(one: Tensor) -> Tensor:
        return one.expand(num_users, *one.shape[1:])

    return EncodedTexts(
        prefix=repeat_prefix(texts.prefix, num_users),
        reference_BH=widen(texts.reference_BH),
        features_BT=widen(texts.features_BT),
        responses=texts.responses * num_users,
    )


def check_text(engine: Engine, text: str) -> None:
    """Refuse a text that the model would not read to its end.

    Raises:
        BadInputError: It has more than `MAX_TEXT_TOKENS` tokens.
    """
    if not text:
        return
    # Not verbose: the refusal below says it, and the tokenizer need not warn as well.
    read = engine.backbone.tokenizer([LEAD_TEXT, LEAD_TEXT + text], add_special_tokens=False, verbose=False)
    lead, whole = (len(ids) for ids in read["input_ids"])
    if whole > MAX_TEXT_TOKENS:
        raise BadInputError(
            field="text about the user",
            value=text,
            remedy=f"Shorten it: it has {whole - lead} tokens, and {MAX_TEXT_TOKENS - lead} are read.",
        )
