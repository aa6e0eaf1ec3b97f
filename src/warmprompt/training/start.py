"""From settings and users to what the trainer takes: models, texts, the starting parameters.

V is items, X width of item text vectors, P prompt vectors, H hidden width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from warmprompt.backbone.fetch import whole_name
from warmprompt.backbone.load import Backbone, check_backbone
from warmprompt.backbone.prompt import check_context_length, init_prompt
from warmprompt.backbone.readout import (
    ReadOut,
    ReadOutSize,
    fit_read_out,
    read_reference,
    text_features,
)
from warmprompt.backbone.text import embed_texts
from warmprompt.data.dataset import Dataset
from warmprompt.data.understood import NO_TASTES
from warmprompt.data.verbalise import item_texts, taste_column
from warmprompt.errors import BadInputError
from warmprompt.experts.tfidf import TfIdf
from warmprompt.meta.initial import (
    ItemStart,
    initial_items,
    initial_prior,
    initial_prompt_params,
    read_prior,
)
from warmprompt.meta.item_text import WordReader, read_item_texts, with_item_texts
from warmprompt.meta.learner import Learner
from warmprompt.meta.model import CatalogueData, Params
from warmprompt.meta.tasks import Drawing
from warmprompt.meta.texts import write_texts
from warmprompt.meta.trainer import StagePlan, TrainingPlan
from warmprompt.settings import Settings, to_mapping
from warmprompt.training.progress import ProgressCallback
from warmprompt.types import Floats

ALL_ITEMS, SAMPLED_ITEMS = 100_000, 20_000
"""Items up to which an outer step is over all of them, and how many it samples beyond."""
_TANGENT_VALIDATE_EVERY = 4
# Settings of training that decide nothing of what is learned.
_HOW = {"preset", "save_every", "threads", "worker_timeout_s"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Everything before the first step.

    Attributes:
        params: The parameters that learning begins with.
        data: Of the item side.
        readout: The normalised read-out.
        features: Text features of every text that training reads, and of "", (T,) each.
    """

    params: Params
    data: CatalogueData
    readout: ReadOut
    features: Mapping[str, Tensor]


def build_start(
    settings: Settings,
    training: Dataset,
    validation: Dataset,
    backbone: Backbone,
    *,
    learner: Learner,
    progress: ProgressCallback,
) -> Start:
    """Embed items, fit the factors that they start from, write and read user texts.

    Args:
        settings: The whole tree.
        training: Events of training users.
        validation: Events of validation users.
        backbone: The frozen language model.
        learner: What is to be explained decides its first parameters.
        progress: Receives a line when a part begins.

    Raises:
        WarmpromptError: A name, size or model that does not fit.
    """
    seed = settings.train.seed
    if not len(training.interactions):
        raise BadInputError(field="data set", value=training.name, remedy="It has no events to train on.")
    device = str(backbone.device)
    blocks, words = _read_items(settings, training, progress)
    items, data = initial_items(training, blocks[0] if blocks else None, item_start_of(settings), seed=seed)
    data = with_item_texts(data, blocks, words) if blocks else data
    pool = write_texts(training, wordings=settings.model.wordings, seed=seed)
    validation_pool = write_texts(validation, wordings=settings.model.wordings, seed=seed)
    prompt_PH = init_prompt(
        backbone,
        length=settings.prompt.length,
        init=settings.prompt.init,
        text=settings.prompt.text_init,
        seed=seed,
    )
    if taste_column(training.items) is None:
        progress(NO_TASTES)
    texts = sorted({*pool.unique(), *validation_pool.unique()}, key=lambda text: (len(text), text))
    encoder = settings.backbone.user_text
    progress(f"reading {len(texts):,} user texts with {encoder or backbone.name}")
    states_NX = (
        _sentence_states(encoder, texts).to(device) if encoder else read_reference(backbone, prompt_PH, texts)
    )
    progress(f"measuring how prompts move {backbone.name} read after layer {backbone.num_layers}")
    position = {text: index for index, text in enumerate(texts)}
    training_texts = pool.unique()
    read = fit_read_out(
        backbone,
        prompt_PH,
        training_texts,
        states_NX[[position[text] for text in training_texts]],
        ReadOutSize(
            num_directions=settings.model.num_factors,
            num_text_features=settings.model.num_text_features,
            reach=settings.model.reach,
            standardise=not encoder,
        ),
        seed=seed,
    )
    prior = initial_prior(
        num_factors=settings.model.num_factors,
        num_text_features=len(read.text_TX),
        num_steps=settings.inner.num_steps,
        rate=settings.inner.rate,
    )
    features = dict(zip(texts, text_features(read, states_NX), strict=True))
    given = [(user, features[text]) for user, own in enumerate(pool.texts) for text in own]
    if given:
        prior |= read_prior({**items, **prior}, data, training, given)
    params = {**items, **prior, **initial_prompt_params(read)}
    params |= learner.objective.initial_params(
        settings.model.num_factors,
        max_support=settings.train.max_support,
        kappa=float(items["support.log_kappa"].exp()),
        seed=seed,
    )
    return Start(
        params={name: value.to(device) for name, value in params.items()},
        data=_data_on(data, device),
        readout=read,
        features=features,
    )


def check_backbones(settings: Settings) -> Settings:
    """Refuse language models that cannot work, from their configurations, before anything is read.

    Returns:
        The settings, model folders by their whole path, so that the run can be opened from anywhere.

    Raises:
        UnknownNameError, BadInputError, FetchError: A model, its read-out depth or the prompt's length.
    """
    backbone = settings.backbone
    max_tokens = check_backbone(backbone.name, num_layers=backbone.num_layers)
    check_context_length(settings.prompt.length, max_tokens, backbone.name)
    if len(set(backbone.item_text)) < len(backbone.item_text):
        names = ", ".join(backbone.item_text)
        raise BadInputError(field="backbone.item_text", value=names, remedy="Name each reader once.")
    for name in backbone.item_text:
        if name != TfIdf.name:
            check_backbone(name, field="backbone.item_text")
    if backbone.user_text is not None:
        check_backbone(backbone.user_text, field="backbone.user_text")
    located = replace(
        backbone,
        name=whole_name(backbone.name),
        item_text=tuple(map(whole_name, backbone.item_text)),
        user_text=backbone.user_text and whole_name(backbone.user_text),
    )
    return replace(settings, backbone=located)


def drawing_of(settings: Settings, *, num_items: int) -> Drawing:
    """Return how episodes are drawn from a catalogue of so many items."""
    train = settings.train
    sampled = train.sampled_items
    if sampled is None:
        sampled = SAMPLED_ITEMS if num_items > ALL_ITEMS else 0
    return Drawing(
        seed=train.seed,
        order=train.order,
        max_support=train.max_support,
        max_query=train.max_query,
        dropout=train.dropout,
        batch_size=train.batch_size,
        sampled_items=sampled if 0 < sampled < num_items else None,
    )


def plan_of(settings: Settings) -> TrainingPlan:
    """Return the trainer's plan."""
    train = settings.train
    return TrainingPlan(
        tangent=StagePlan(
            epochs=train.tangent_epochs,
            rate=train.tangent_lr,
            validate_every=_TANGENT_VALIDATE_EVERY,
            patience=train.patience,
        ),
        prompt=StagePlan(epochs=train.prompt_epochs, rate=train.prompt_lr, patience=train.patience),
        clip_norm=train.clip_norm,
        weight_decay=train.weight_decay,
        save_every=train.save_every,
    )


def settings_that_matter(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the settings that decide what is learned.

    Left out are evaluation, where the data lie (their hash counts), the preset's name (its values count), how
    often to save, on how many threads and how long workers wait.
    """
    values = to_mapping(settings)
    train = {key: value for key, value in values["train"].items() if key not in _HOW}
    device = {key: value for key, value in values["backbone"].items() if key != "device"}
    left_out = {"data", "evaluate"}
    return {key: value for key, value in values.items() if key not in left_out} | {
        "train": train,
        "backbone": device,
    }


def users_hash(training: Dataset, validation: Dataset) -> str:
    """Return the SHA-256 of who trains on what: users, events and order of both views."""
    digest = hashlib.sha256(training.content_hash.encode())
    for view in (training, validation):
        events = view.interactions
        digest.update(repr(view.user_ids).encode())
        for array in (events.offsets, events.items, events.ratings, events.times_s):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        if events.weights is not None:
            digest.update(b"weights" + np.ascontiguousarray(events.weights).tobytes())
        if events.texts is not None:
            digest.update(b"texts" + json.dumps(events.texts.to_list()).encode())
    return digest.hexdigest()


def _read_items(
    settings: Settings, dataset: Dataset, progress: ProgressCallback
) -> tuple[list[Floats], WordReader | None]:
    """Return the items' text vectors by each reader, and the reader "tfidf" where it is named."""
    readers = settings.backbone.item_text
    if not readers:
        return [], None
    progress(f"reading {dataset.num_items:,} item texts with {', '.join(readers)}")
    texts = item_texts(dataset)
    words = WordReader.of_texts(texts, seed=settings.train.seed) if TfIdf.name in readers else None

    def encode(some: Sequence[str], name: str) -> Floats:
        return embed_texts(some, backbone_name=name)

    return read_item_texts(readers, texts, words, encode=encode), words


def _sentence_states(encoder: str, texts: Sequence[str]) -> Tensor:
    """Return sentence embeddings; the empty text's is the mean of the others, so its features are zeros."""
    # Where no user has a text, any word gives the width.
    given = [text for text in texts if text] or ["nothing"]
    embedded_MX = torch.from_numpy(embed_texts(given, backbone_name=encoder))
    vector_of = dict(zip(given, embedded_MX, strict=True)) | {"": embedded_MX.mean(0)}
    return torch.stack([vector_of[text] for text in texts])


def item_start_of(settings: Settings) -> ItemStart:
    """Return how item vectors start."""
    model = settings.model
    return ItemStart(
        num_factors=model.num_factors,
        regularization=model.factor_regularization,
        alpha=model.factor_alpha,
        num_iterations=model.factor_iterations,
        norm=model.item_norm,
    )


def _data_on(data: CatalogueData, device: str) -> CatalogueData:
    return replace(data, **{one.name: getattr(data, one.name).to(device) for one in fields(data)})
