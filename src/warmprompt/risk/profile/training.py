"""Train a risk profiler: population model, tangent stage, prompt stage, calibration.

Each stage keeps the best parameters that it saw on validation entities, those it was given included, so
none can return worse than it was given by that measure.

E is episodes, B episodes of a batch, R query rows, D factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import ReadOut
from warmprompt.errors import BadInputError
from warmprompt.meta.initial import initial_prompt_params
from warmprompt.meta.inner import adapt
from warmprompt.meta.learners import learner_of
from warmprompt.meta.task import start_of
from warmprompt.risk.profile.episodes import Episodes
from warmprompt.risk.profile.model import (
    Evidence,
    Params,
    Scaling,
    fit_scaling,
    initial_params,
    risk_logits,
    standardise,
)
from warmprompt.risk.profile.payments import Doubles, Longs, Side
from warmprompt.risk.profile.population import (
    BoostingSettings,
    Trees,
    crossed_offsets,
    fit_boosting,
    trees_of,
)
from warmprompt.risk.profile.reading import Book, fit_reading, pick, read_book
from warmprompt.risk.profile.tasks import RiskPromptTask, RiskTangentTask
from warmprompt.risk.profile.words import describe_entities
from warmprompt.rng import derive

_SCORE_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class ProfileSettings:
    """How a profiler is trained.

    Attributes:
        num_factors: D, width of the entity vector.
        num_hidden: Hidden units of phi and psi.
        num_text_features: Leading directions of the texts' hidden states.
        prompt_length: Prompt vectors.
        reach: Share of the prompt's norm travelled per unit of displacement.
        num_steps: Inner steps.
        inner_rate: Their first size.
        num_reference: Payments that typicality is measured against.
        num_folds: For the offsets of training entities.
        tangent_learner: Meta-learner of the first stage, which runs no language model.
        tangent_epochs: Passes over the training episodes; 0 leaves the stage out.
        tangent_rate: Outer rate.
        prompt_learner: Meta-learner of the second stage.
        prompt_steps: Outer steps through the language model; 0 leaves the stage out.
        prompt_rate: Outer rate.
        batch: Episodes of an outer step in the first stage; a sixteenth of it, at least 16, in the second.
        clip_norm: Largest norm of a meta-gradient.
        weight_decay: Decoupled decay.
        boosting: Of the population model.
    """

    num_factors: int = 16
    num_hidden: int = 32
    num_text_features: int = 16
    prompt_length: int = 2
    reach: float = 0.005
    num_steps: int = 2
    inner_rate: float = 0.5
    num_reference: int = 256
    num_folds: int = 2
    tangent_learner: str = "maml"
    tangent_epochs: int = 3
    tangent_rate: float = 2e-3
    prompt_learner: str = "fomaml"
    prompt_steps: int = 10
    prompt_rate: float = 3e-4
    batch: int = 256
    clip_norm: float = 1.0
    weight_decay: float = 1e-3
    boosting: BoostingSettings = field(default_factory=BoostingSettings)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileModel:
    """Everything learned, and the frozen model it was learned with.

    Attributes:
        params: Learned by the meta-learners.
        scaling: Of features.
        trees: The population model.
        read: The normalised read-out.
        backbone: The frozen language model.
        settings: As trained.
        side: What the entities are.
        label_delay_s: How long labels take.
    """

    params: dict[str, Tensor]
    scaling: Scaling
    trees: Trees
    read: ReadOut
    backbone: Backbone
    settings: ProfileSettings
    side: Side
    label_delay_s: int


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What a stage did: validation losses in nats per payment, before and of the parameters kept."""

    stage: str
    before: float
    best: float
    num_steps: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Episodes as tensors, with texts read.

    Attributes:
        episodes: As numbers.
        support: Evidence of all episodes.
        query_offset_R: Log-odds of the population model for the query rows.
        text_E: Row of each episode's text in the book.
        book: The texts.
        scaling: Of features.
    """

    episodes: Episodes
    support: Evidence
    query_offset_R: Doubles
    text_E: Tensor
    book: Book
    scaling: Scaling


def train_profile(  # noqa: PLR0913 - settings by keyword
    training: Episodes,
    validation: Episodes,
    backbone: Backbone,
    *,
    settings: ProfileSettings,
    side: Side = "customer",
    label_delay_s: int,
    seed: int,
    read: ReadOut | None = None,
    watch: Callable[[StageReport], None] = lambda _report: None,
) -> ProfileModel:
    """Train on episodes of training entities; validation entities choose the stopping points.

    Args:
        training: Episodes with mixed K.
        validation: Episodes of other entities.
        backbone: The frozen language model.
        settings: Sizes, stages, rates.
        side: What the entities are.
        label_delay_s: How long labels take.
        seed: Derives every random choice.
        read: A read-out fitted before, as it reads texts and no label; None fits one to the training texts.
        watch: Told after each stage.

    Raises:
        BadInputError: No fraud, or nothing but fraud, in the training rows.
    """
    if not 0 < training.fraud_R.sum() < len(training.fraud_R):
        raise BadInputError(
            field="training payments",
            value=f"{int(training.fraud_R.sum())} frauds of {len(training.fraud_R)}",
            remedy="Give payments of both classes.",
        )
    texts = describe_entities(training.history, side=side)
    if read is None:
        read = fit_reading(
            backbone,
            texts,
            prompt_length=settings.prompt_length,
            num_factors=settings.num_factors,
            num_text_features=settings.num_text_features,
            reach=settings.reach,
            seed=seed,
        )
    book = read_book(backbone, read, [*texts, *describe_entities(validation.history, side=side)])
    scaling = fit_scaling(training.features_RF, num_reference=settings.num_reference, seed=seed)
    entity_E = training.cuts.entity_E
    query_offset_R, (support_offset_EK,) = crossed_offsets(
        training.features_RF,
        training.fraud_R,
        entity_E[training.episode_R],
        [(training.support_EKF, entity_E)],
        settings.boosting,
        num_folds=settings.num_folds,
        seed=seed,
    )
    trees = trees_of(fit_boosting(training.features_RF, training.fraud_R, settings.boosting, seed=seed))
    material = _material(training, scaling, support_offset_EK, query_offset_R, book, side)
    judge = make_material(validation, scaling, trees, book, side)
    params = initial_params(
        num_factors=settings.num_factors,
        num_hidden=settings.num_hidden,
        num_text=book.features_NT.shape[1],
        num_steps=settings.num_steps,
        rate=settings.inner_rate,
        seed=seed,
    )
    params = _tangent_stage(params, material, judge, settings, seed=seed, watch=watch)
    params = {**params, **initial_prompt_params(read)}
    model = ProfileModel(
        params=params,
        scaling=scaling,
        trees=trees,
        read=read,
        backbone=backbone,
        settings=settings,
        side=side,
        label_delay_s=label_delay_s,
    )
    return _prompt_stage(model, material, judge, seed=seed, watch=watch)


def make_material(episodes: Episodes, scaling: Scaling, trees: Trees, book: Book, side: Side) -> Material:
    """Return episodes as tensors with the offsets of the fitted population model."""
    return _material(
        episodes,
        scaling,
        trees.log_odds(episodes.support_EKF),
        trees.log_odds(episodes.features_RF),
        book,
        side,
    )


def score_episodes(
    model: ProfileModel, episodes: Episodes, *, adapts: bool = True, tangent: bool = False
) -> Doubles:
    """Return the log-odds of each query row, (R,), after adapting to each support.

    Args:
        model: Trained.
        episodes: Of any entities.
        adapts: False leaves every prompt at the learned start.
        tangent: Move the entity vector itself instead of the prompt: the linear response of the read-out,
            without the language model.
    """
    book = read_book(model.backbone, model.read, describe_entities(episodes.history, side=model.side))
    material = make_material(episodes, model.scaling, model.trees, book, model.side)
    return _score(model, material, adapts=adapts, tangent=tangent)


def _score(model: ProfileModel, material: Material, *, adapts: bool, tangent: bool = False) -> Doubles:
    out = np.empty(len(material.query_offset_R))
    for start in range(0, len(material.episodes), _SCORE_BATCH):
        rows_B = np.arange(start, min(start + _SCORE_BATCH, len(material.episodes)))
        place_BQ, mask_BQ = _query_places(material.episodes, rows_B)
        if not mask_BQ.any():
            continue
        task: RiskPromptTask | RiskTangentTask
        task = tangent_task(material, rows_B) if tangent else prompt_task(model, material, rows_B)
        params = model.params
        moved = start_of(task, params).detach()
        if adapts and material.episodes.history.mask_RK[rows_B].any():
            moved = adapt(moved, _support_of(task, params), rates=task.rates(params))
        with torch.no_grad():
            logits_BQ = risk_logits(params, model.scaling, task.query, task.users(params, moved))
        out[place_BQ[mask_BQ]] = logits_BQ.numpy()[mask_BQ]
    return out


def tangent_task(material: Material, rows_B: Longs) -> RiskTangentTask:
    """Return some episodes as a task without the language model."""
    return RiskTangentTask(
        scaling=material.scaling,
        support=_rows(material.support, rows_B),
        query=_query(material, rows_B),
        features_BT=material.book.features_NT[material.text_E[rows_B]],
    )


def prompt_task(model: ProfileModel, material: Material, rows_B: Longs) -> RiskPromptTask:
    """Return some episodes as a task through the language model."""
    text_B = material.text_E[rows_B]
    return RiskPromptTask(
        scaling=material.scaling,
        support=_rows(material.support, rows_B),
        query=_query(material, rows_B),
        features_BT=material.book.features_NT[text_B],
        backbone=model.backbone,
        read=model.read,
        prefix=pick(material.book.prefix, text_B),
        reference_BH=material.book.reference_NH[text_B],
    )


def _tangent_stage(
    params: dict[str, Tensor],
    material: Material,
    judge: Material,
    settings: ProfileSettings,
    *,
    seed: int,
    watch: Callable[[StageReport], None],
) -> dict[str, Tensor]:
    learner = learner_of(settings.tangent_learner)
    state = learner.init(params)
    before = best = _tangent_loss(params, judge)
    kept, steps = params, 0
    per_epoch = -(-len(material.episodes) // settings.batch)
    total = settings.tangent_epochs * per_epoch
    for epoch in range(settings.tangent_epochs):
        order_E = derive(seed, "tangent", epoch).permutation(len(material.episodes))
        for start in range(0, len(order_E), settings.batch):
            rate = settings.tangent_rate * (1 - steps / total)
            task = tangent_task(material, order_E[start : start + settings.batch])
            state, _ = learner.step(
                state, task, rate=rate, clip_norm=settings.clip_norm, weight_decay=settings.weight_decay
            )
            steps += 1
        loss = _tangent_loss(state.params, judge)
        if loss < best:
            best, kept = loss, state.params
    watch(StageReport(stage="tangent", before=before, best=best, num_steps=steps))
    return dict(kept)


def _prompt_stage(
    model: ProfileModel,
    material: Material,
    judge: Material,
    *,
    seed: int,
    watch: Callable[[StageReport], None],
) -> ProfileModel:
    settings = model.settings
    learner = learner_of(settings.prompt_learner)
    state = learner.init(model.params)
    steps = settings.prompt_steps
    if steps == 0:
        return model
    before = _log_loss(_score(model, judge, adapts=True), judge)
    size = max(16, settings.batch // 16)
    for step in range(steps):
        rows_B = derive(seed, "prompt", step).choice(
            len(material.episodes), size=min(size, len(material.episodes)), replace=False
        )
        state, _ = learner.step(
            state,
            prompt_task(model, material, rows_B),  # type: ignore[arg-type]
            rate=settings.prompt_rate * (1 - step / steps),
            clip_norm=settings.clip_norm,
            weight_decay=settings.weight_decay,
        )
    moved = _with(model, state.params)
    after = _log_loss(_score(moved, judge, adapts=True), judge)
    watch(StageReport(stage="prompt", before=before, best=min(before, after), num_steps=steps))
    return moved if after < before else model


def _with(model: ProfileModel, params: Params) -> ProfileModel:
    return replace(model, params={name: value.detach() for name, value in params.items()})


def _tangent_loss(params: Params, material: Material) -> float:
    out = np.empty(len(material.query_offset_R))
    for start in range(0, len(material.episodes), 512):
        rows_B = np.arange(start, min(start + 512, len(material.episodes)))
        task = tangent_task(material, rows_B)
        moved = adapt(start_of(task, params), _support_of(task, params), rates=task.rates(params))
        with torch.no_grad():
            logits_BQ = risk_logits(params, material.scaling, task.query, task.users(params, moved))
        place_BQ, mask_BQ = _query_places(material.episodes, rows_B)
        out[place_BQ[mask_BQ]] = logits_BQ.numpy()[mask_BQ]
    return _log_loss(out, material)


def _log_loss(logits_R: Doubles, material: Material) -> float:
    return float(np.mean(np.logaddexp(0.0, logits_R) - logits_R * material.episodes.fraud_R))


def _support_of(task: RiskPromptTask | RiskTangentTask, params: Params) -> Callable[[Tensor], Tensor]:
    return lambda prompts: task.support_loss(params, prompts)


def _material(
    episodes: Episodes,
    scaling: Scaling,
    support_offset_EK: Doubles,
    query_offset_R: Doubles,
    book: Book,
    side: Side,
) -> Material:
    history = episodes.history
    return Material(
        episodes=episodes,
        support=Evidence(
            features_BKF=standardise(scaling, episodes.support_EKF),
            offset_BK=torch.from_numpy(support_offset_EK).float(),
            mask_BK=torch.from_numpy(history.mask_RK).float(),
            known_BK=torch.from_numpy(history.known_RK).float(),
            fraud_BK=torch.from_numpy(history.fraud_RK).float(),
        ),
        query_offset_R=query_offset_R,
        text_E=book.rows(describe_entities(history, side=side)),
        book=book,
        scaling=scaling,
    )


def _rows(evidence: Evidence, rows_B: Longs) -> Evidence:
    return Evidence(
        features_BKF=evidence.features_BKF[rows_B],
        offset_BK=evidence.offset_BK[rows_B],
        mask_BK=evidence.mask_BK[rows_B],
        known_BK=evidence.known_BK[rows_B],
        fraud_BK=evidence.fraud_BK[rows_B],
    )


def _query(material: Material, rows_B: Longs) -> Evidence:
    place_BQ, mask_BQ = _query_places(material.episodes, rows_B)
    mask = torch.from_numpy(mask_BQ).float()
    return Evidence(
        features_BKF=standardise(material.scaling, material.episodes.features_RF[place_BQ]),
        offset_BK=torch.from_numpy(material.query_offset_R[place_BQ]).float(),
        mask_BK=mask,
        known_BK=mask,
        fraud_BK=torch.from_numpy(material.episodes.fraud_R[place_BQ]).float() * mask,
    )


def _query_places(episodes: Episodes, rows_B: Longs) -> tuple[Longs, np.ndarray]:
    """Return where the query rows of some episodes lie, (B, Q), and which of those places are filled."""
    first_B = np.searchsorted(episodes.episode_R, rows_B, side="left")
    count_B = np.searchsorted(episodes.episode_R, rows_B, side="right") - first_B
    slot_Q = np.arange(max(1, int(count_B.max(initial=0))))
    mask_BQ = slot_Q < count_B[:, None]
    return np.where(mask_BQ, first_B[:, None] + slot_Q, 0), mask_BQ
