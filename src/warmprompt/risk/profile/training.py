"""Train a risk profiler: population model, tangent stage, prompt stage, calibration.

Each stage keeps the best parameters that it saw on validation entities, those it was given included, so
none can return worse than it was given by that measure.

E is episodes, B episodes of a batch, R query rows, D factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import ReadOut
from warmprompt.errors import BadInputError
from warmprompt.meta.initial import initial_prompt_params
from warmprompt.meta.trainer import (
    StagePlan,
    TrainingPlan,
    TrainingProgress,
    TrainingStage,
    linear_fall,
    start_training,
    train,
)
from warmprompt.risk.profile.episodes import Episodes
from warmprompt.risk.profile.material import (
    EpisodeTensors,
    episode_tensors,
    make_material,
    prompt_task,
    query_of,
    query_positions,
    tangent_task,
)
from warmprompt.risk.profile.model import Params, fit_scaling, initial_params, risk_logits
from warmprompt.risk.profile.payments import Doubles, Longs, Side
from warmprompt.risk.profile.population import best_weight, crossed_offsets, fit_population
from warmprompt.risk.profile.reading import fit_reading, read_book, read_sentences
from warmprompt.risk.profile.tasks import risk_learner
from warmprompt.risk.profile.trained import ProfileModel, ProfileSettings
from warmprompt.risk.profile.words import PAYMENT_SENTENCES, describe_entities
from warmprompt.rng import derive

_SCORE_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What a stage did: validation losses in nats per payment, before and of the parameters kept."""

    stage: str
    before: float
    best: float
    num_steps: int


def train_profile(  # noqa: PLR0913 - settings by keyword
    training: Episodes,
    validation: Episodes,
    backbone: Backbone,
    *,
    settings: ProfileSettings,
    side: Side = "customer",
    label_delay_s: int,
    seed: int,
    readout: ReadOut | None = None,
    progress: Callable[[StageReport], None] = lambda _report: None,
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
        readout: Fitted before, as it reads texts and no label; None fits one to the training texts.
        progress: Called after each stage.

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
    if readout is None:
        readout = fit_reading(
            backbone,
            texts,
            prompt_length=settings.prompt_length,
            num_factors=settings.num_factors,
            num_text_features=settings.num_text_features,
            reach=settings.reach,
            seed=seed,
        )
    book = read_book(backbone, readout, [*texts, *describe_entities(validation.history, side=side)])
    sentences_SX = None
    if settings.payment_words:
        sentences_SX = read_sentences(
            backbone, readout, PAYMENT_SENTENCES, num=settings.num_sentence_features
        )
    scaling = fit_scaling(
        training.features_RF, num_reference=settings.num_reference, seed=seed, sentences_SX=sentences_SX
    )
    entity_E = training.cuts.entity_E
    population = fit_population(
        training.features_RF,
        training.fraud_R,
        boosting=settings.boosting,
        forest=settings.forest,
        weight=0.5,
        seed=seed,
    )
    weight = best_weight(*population.parts(validation.features_RF), validation.fraud_R)
    population = replace(population, weight=weight)
    query_offset_R, (support_offset_EK,) = crossed_offsets(
        training.features_RF,
        training.fraud_R,
        entity_E[training.episode_R],
        [(training.support_EKF, entity_E)],
        boosting=settings.boosting,
        forest=settings.forest,
        weight=weight,
        num_folds=settings.num_folds,
        seed=seed,
    )
    material = episode_tensors(training, scaling, support_offset_EK, query_offset_R, book, side)
    judge = make_material(validation, scaling, population, book, side)
    params = initial_params(
        num_factors=settings.num_factors,
        num_hidden=settings.num_hidden,
        num_text=book.features_NT.shape[1],
        num_steps=settings.num_steps,
        rate=settings.inner_rate,
        seed=seed,
        num_sentence=scaling.sentences_SX.shape[1],
    )
    model = ProfileModel(
        params={**params, **initial_prompt_params(readout)},
        scaling=scaling,
        population=population,
        readout=readout,
        backbone=backbone,
        settings=settings,
        side=side,
        label_delay_s=label_delay_s,
    )
    stages = (
        _tangent_stage(material, judge, settings, seed=seed),
        _prompt_stage(model, material, judge, seed=seed),
    )
    plan = TrainingPlan(
        tangent=StagePlan(
            epochs=settings.tangent_epochs, rate=settings.tangent_rate, patience=settings.tangent_epochs + 1
        ),
        prompt=StagePlan(epochs=min(1, settings.prompt_steps), rate=settings.prompt_rate),
        clip_norm=settings.clip_norm,
        weight_decay=settings.weight_decay,
    )
    state = train(
        start_training(stages[0].learner, model.params), stages, plan, progress=_reporting(progress, plan)
    )
    return replace(model, params=state.best)


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
    book = read_book(model.backbone, model.readout, describe_entities(episodes.history, side=model.side))
    material = make_material(episodes, model.scaling, model.population, book, model.side)
    return _score(model, material, adapts=adapts, tangent=tangent)


def _score(model: ProfileModel, material: EpisodeTensors, *, adapts: bool, tangent: bool = False) -> Doubles:
    out = np.empty(len(material.query_offset_R))
    for start in range(0, len(material.episodes), _SCORE_BATCH):
        rows_B = np.arange(start, min(start + _SCORE_BATCH, len(material.episodes)))
        position_BQ, mask_BQ = query_positions(material.episodes, rows_B)
        if not mask_BQ.any():
            continue
        made = tangent_task(material, rows_B) if tangent else prompt_task(model, material, rows_B)
        task = made.at(model.params)
        with torch.no_grad():
            has_events = material.episodes.history.mask_RK[rows_B].any()
            moved = task.adapted() if adapts and has_events else task.start
            logits_BQ = risk_logits(
                model.params, model.scaling, query_of(material, rows_B), task.users(moved)
            )
        out[position_BQ[mask_BQ]] = logits_BQ.numpy()[mask_BQ]
    return out


def _tangent_stage(
    material: EpisodeTensors, judge: EpisodeTensors, settings: ProfileSettings, *, seed: int
) -> TrainingStage:
    """Return the stage without the language model: all episodes once in an epoch."""
    num, size = len(material.episodes), settings.batch

    def batches(epoch: int) -> list[Longs]:
        order_E = derive(seed, "tangent", epoch).permutation(num)
        return [order_E[start : start + size] for start in range(0, num, size)]

    return TrainingStage(
        name="tangent",
        learner=risk_learner(settings.tangent_learner),
        batches=batches,
        task=lambda rows_B, _, own: tangent_task(material, rows_B[own]),
        validation_loss=lambda params, _: _tangent_loss(params, judge),
        schedule=linear_fall,
        describe=_episodes,
    )


def _prompt_stage(
    model: ProfileModel, material: EpisodeTensors, judge: EpisodeTensors, *, seed: int
) -> TrainingStage:
    """Return the stage through the language model: some episodes, drawn anew for each of a few steps."""
    settings, num = model.settings, len(material.episodes)
    size = min(max(16, settings.batch // 16), num)
    return TrainingStage(
        name="prompt",
        learner=risk_learner(settings.prompt_learner),
        batches=lambda _: [
            derive(seed, "prompt", step).choice(num, size=size, replace=False)
            for step in range(settings.prompt_steps)
        ],
        task=lambda rows_B, _, own: prompt_task(model, material, rows_B[own]),
        validation_loss=lambda params, _: _log_loss(
            _score(replace(model, params=dict(params)), judge, adapts=True), judge
        ),
        schedule=linear_fall,
        describe=_episodes,
    )


def _episodes(rows_B: Longs) -> str:
    return f"episodes {', '.join(map(str, rows_B[:8]))}"


def _reporting(
    progress: Callable[[StageReport], None], plan: TrainingPlan
) -> Callable[[TrainingProgress], None]:
    """Return a watcher of training that reports each stage after its last validation."""
    before: dict[str, float] = {}

    def report(step: TrainingProgress) -> None:
        if step.validation is None or step.best is None:
            return
        first = before.setdefault(step.stage, step.validation)
        if step.epoch == plan.of(step.stage).epochs:
            steps = step.step
            progress(StageReport(stage=step.stage, before=first, best=step.best, num_steps=steps))

    return report


def _tangent_loss(params: Params, material: EpisodeTensors) -> float:
    out = np.empty(len(material.query_offset_R))
    for start in range(0, len(material.episodes), 512):
        rows_B = np.arange(start, min(start + 512, len(material.episodes)))
        task = tangent_task(material, rows_B).at(params)
        with torch.no_grad():
            logits_BQ = risk_logits(
                params, material.scaling, query_of(material, rows_B), task.users(task.adapted())
            )
        position_BQ, mask_BQ = query_positions(material.episodes, rows_B)
        out[position_BQ[mask_BQ]] = logits_BQ.numpy()[mask_BQ]
    return _log_loss(out, material)


def _log_loss(logits_R: Doubles, material: EpisodeTensors) -> float:
    return float(np.mean(np.logaddexp(0.0, logits_R) - logits_R * material.episodes.fraud_R))
