"""A trained model and its frozen backbone, ready to adapt users and to score the catalogue.

B is users, V items, D factors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from warmprompt.backbone.forward import LEAD_TEXT, MAX_TEXT_TOKENS, repeat_prefix
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import sentence_states, text_features
from warmprompt.backbone.text import pool_texts
from warmprompt.data.episodes import EventBatch, batch_supports
from warmprompt.errors import BadInputError
from warmprompt.experts.mixture import Mixture
from warmprompt.experts.popularity import Popularity
from warmprompt.experts.protocol import UserBatch
from warmprompt.experts.user_vector import UserVector
from warmprompt.meta.learner import Learner
from warmprompt.meta.learners import learner_of
from warmprompt.meta.model import Catalogue, make_catalogue
from warmprompt.meta.objectives import LearnedTarget
from warmprompt.meta.predict import (
    Adapted,
    EncodedTexts,
    adapt_linearly,
    adapt_users,
    encode_texts,
)
from warmprompt.runs.format import Trained
from warmprompt.runs.models import FrozenModels
from warmprompt.types import Floats, Support, fields_only, short_repr


@dataclass(frozen=True, kw_only=True, eq=False)
class Engine:
    """What every ranking needs, loaded once.

    Attributes:
        trained: Learned parameters, items, manifest.
        models: The frozen models that the run was trained with, loaded on first need.
        learner: Names what is to be explained, and how user vectors answer.
        linear: Users adapt in the linear response, unless a caller asks for prompts.
        mixture: All experts, the learned ones among them.
        catalogue: What the learned parameters give every user.
    """

    trained: Trained
    models: FrozenModels
    learner: Learner
    linear: bool
    mixture: Mixture
    catalogue: Catalogue

    __repr__ = short_repr

    def __getstate__(self) -> bytes:
        """Return the fields pickled by value: queues of processes move tensors to shared memory otherwise."""
        return pickle.dumps(fields_only(self))

    def __setstate__(self, state: bytes) -> None:
        """Take the same."""
        vars(self).update(pickle.loads(state))

    @property
    def backbone(self) -> Backbone:
        """The frozen language model, loaded when it is first asked for."""
        return self.models.backbone

    @property
    def encoder(self) -> Backbone | None:
        """The frozen sentence encoder that reads user texts; None where the language model does."""
        return self.models.encoder

    @property
    def no_text(self) -> EncodedTexts:
        """The empty text as the language model reads it, one row; measured once, most users have no text."""

        def make() -> EncodedTexts:
            trained = self.trained
            encoded = encode_texts(self.backbone, trained.readout, [""], encoder=self.encoder)
            if self.learner.objective is LearnedTarget:
                encoded.responses[0].get()
            return encoded

        return self.models.once("no text", make)

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
        return UserBatch(
            supports=supports,
            vectors_BD=vectors_BD,
            least_rating=self.trained.least_rating,
            encode=self.encode_written if self.models.has_encoder else None,
        )

    def encode_written(self, texts: Sequence[str]) -> Floats:
        """Return the text vectors of what users wrote; each text is read alone, so no other changes a bit."""

        def read(text: str) -> Floats:
            assert self.encoder is not None
            vector_X: Floats = pool_texts([text], self.encoder)[0]
            return vector_X

        vectors_NX: Floats = np.stack([self.models.vector_of(text, read) for text in texts])
        return vectors_NX


@torch.no_grad()
def make_engine(
    trained: Trained, *, learner: Learner | None = None, models: FrozenModels | None = None
) -> Engine:
    """Make a trained model ready; its frozen models are loaded when something needs them.

    Args:
        trained: From `load_trained`, on the device that its settings name.
        learner: None adapts as the run's own learner does.
        models: None names those of the manifest.

    Raises:
        MismatchError: A frozen model is not the one that the run was trained with.
    """
    models = models or FrozenModels(trained.manifest)
    models.check()
    catalogue = make_catalogue(trained.params, trained.data)
    return Engine(
        trained=trained,
        models=models,
        learner=learner or learner_of(trained.learner),
        linear=bool(trained.manifest.get("adaptation", {}).get("linear", False)),
        catalogue=catalogue,
        mixture=mixture_of(trained, catalogue),
    )


def mixture_of(trained: Trained, catalogue: Catalogue) -> Mixture:
    """Return all experts of a run: those that training learned, then those that it counted."""
    return trained.experts.with_experts(
        UserVector(items_VD=catalogue.vectors_VD),
        # Copied: see `runs.format`, where arrays are made of tensors.
        Popularity(scores_V=catalogue.popularity_V.cpu().numpy().copy()),
    )


def encode(engine: Engine, texts: Sequence[str]) -> EncodedTexts:
    """Let the frozen model read the users' texts; texts that are all empty cost no pass."""
    if not any(texts):
        return repeat_text(engine.no_text, len(texts))
    return encode_texts(engine.backbone, engine.trained.readout, texts, encoder=engine.encoder)


def adapt_batch(engine: Engine, texts: EncodedTexts, events: EventBatch) -> Adapted:
    """Adapt every user of a batch from the learned start."""
    return adapt_users(
        engine.catalogue,
        engine.learner,
        engine.backbone,
        engine.trained.readout,
        texts=texts,
        events=events,
    )


def users_linearly(engine: Engine, texts: Sequence[str], supports: Sequence[Support]) -> Tensor:
    """Return user vectors, (B, D), as if the language model answered to prompts as it does near the start.

    See `meta.predict.adapt_linearly`. The language model does not run where a sentence encoder reads user
    texts; else it reads each text once.

    Args:
        engine: The model.
        texts: The users' texts.
        supports: The users' events.
    """
    no_text_T = engine.trained.no_text_T
    features_BT = _head_inputs(engine, texts) if any(texts) else no_text_T.expand(len(texts), -1)
    events = batch_supports(supports)
    return adapt_linearly(engine.catalogue, engine.learner, features_BT=features_BT, events=events)


@torch.no_grad()
def _head_inputs(engine: Engine, texts: Sequence[str]) -> Tensor:
    """Return the inputs of the text head, row by row; each text is read alone, so no other changes a bit."""
    trained = engine.trained
    if not engine.models.has_encoder:
        return encode(engine, texts).features_BT

    def read(text: str) -> Tensor:
        assert engine.encoder is not None
        return text_features(
            trained.readout, sentence_states(engine.encoder, [text], trained.readout.mean_X)
        )[0]

    rows = [engine.models.features_of(text, read) if text else trained.no_text_T for text in texts]
    return torch.stack(rows)


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


def repeat_text(texts: EncodedTexts, num_users: int) -> EncodedTexts:
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
