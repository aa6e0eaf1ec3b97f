"""The outer loop: stages of epochs, validated, stopped early, and resumable at any step.

Recommendation and risk train by this loop; each hands it its stages. A stage derives everything random from
the seed and the position (stage, epoch, batch), and the whole position is part of the state: a run that was
killed and resumed reaches the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from warmprompt.errors import NotFiniteError
from warmprompt.meta.learner import Learner, LearnerState, StepReport
from warmprompt.meta.model import Params
from warmprompt.meta.task import Task
from warmprompt.meta.workers import ALONE, Workers

StageName = Literal["tangent", "prompt"]
STAGES: tuple[StageName, ...] = ("tangent", "prompt")


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """How one stage runs.

    Attributes:
        epochs: Passes over the training data at most; 0 skips the stage.
        rate: Peak outer rate.
        validate_every: Epochs between validations.
        patience: Validations without a gain before the stage ends.
        max_validation_users: Validation looks at the first users only, where this is fewer.
    """

    epochs: int
    rate: float
    validate_every: int = 1
    patience: int = 3
    max_validation_users: int = 1024


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Both stages and what they share."""

    tangent: StagePlan
    prompt: StagePlan
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    save_every: int = 50

    def of(self, stage: StageName) -> StagePlan:
        """Return the plan of one stage."""
        return self.tangent if stage == "tangent" else self.prompt


def rise_and_fall(step: int, total: int) -> float:
    """Return the share of the peak rate at a step: a rise over a twentieth, then a cosine to a tenth."""
    rise = max(1, total // 20)
    if step < rise:
        return (step + 1) / rise
    through = (step - rise) / max(1, total - rise)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * through))


def linear_fall(step: int, total: int) -> float:
    """Return the share of the peak rate at a step: a straight fall towards zero."""
    return 1 - step / total


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingStage:
    """What the loop asks of a stage.

    Attributes:
        name: Of `STAGES`, in their order.
        learner: Gives the meta-gradient.
        batches: The batches of an epoch.
        task: The task of some users of a batch in an epoch, None for no user; the same arguments give the
            same task.
        rows: The items that a batch's step in an epoch is over, by their index (S,); None for all.
        validation_loss: At some parameters, nats; workers divide the users among themselves.
        schedule: Share of the peak rate at a step of so many.
        describe: Names what is in a batch, for errors.
    """

    name: StageName
    learner: Learner
    batches: Callable[[int], Sequence[Any]]
    task: Callable[[Any, int, slice], Task | None]
    validation_loss: Callable[[Params, Workers], float]
    rows: Callable[[Any, int], Tensor | None] = lambda _batch, _epoch: None
    schedule: Callable[[int, int], float] = rise_and_fall
    describe: Callable[[Any], str] = str


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainState:
    """Where training is; enough to go on from.

    Attributes:
        stage: Index into `STAGES`; `len(STAGES)` when done.
        epoch: Epoch of the stage.
        batch: Batches of the epoch already done.
        learner: Parameters and moments.
        best: Parameters of the best validation so far in this stage.
        best_loss: Its loss, nats.
        since_best: Validations since.
        history: One entry per validation: stage, epoch, training loss, validation loss.
        train_loss: Running mean of the epoch's batch losses.
    """

    stage: int
    epoch: int
    batch: int
    learner: LearnerState
    best: dict[str, Tensor]
    best_loss: float
    since_best: int
    history: tuple[tuple[str, int, float, float], ...]
    train_loss: float

    @property
    def done(self) -> bool:
        """Whether both stages have ended."""
        return self.stage >= len(STAGES)


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """What a step or a validation (then `validation` is set) looks like to whoever watches."""

    stage: StageName
    epoch: int
    epochs: int
    batch: int
    batches: int
    step: int
    report: StepReport | None
    rate: float
    users_per_s: float
    validation: float | None = None
    best: float | None = None


def start_training(learner: Learner, params: Params) -> TrainState:
    """Return the state before the first step."""
    begun = learner.init(params)
    return TrainState(
        stage=0,
        epoch=0,
        batch=0,
        learner=begun,
        best={name: value.clone() for name, value in begun.params.items()},
        best_loss=math.inf,
        since_best=0,
        history=(),
        train_loss=0.0,
    )


def train(
    state: TrainState,
    stages: Sequence[TrainingStage],
    plan: TrainingPlan,
    *,
    save: Callable[[TrainState], None] = lambda _: None,
    progress: Callable[[TrainingProgress], None] = lambda _: None,
    workers: Workers = ALONE,
) -> TrainState:
    """Run from a state to the end and return the last state; its `best` are the learned parameters.

    Args:
        state: From `start_training`, or a saved one.
        stages: One for each of `STAGES`.
        plan: Epochs, rates, patience.
        save: Called with states to keep, every `plan.save_every` steps and after each validation.
        progress: Called after each step and each validation.
        workers: Who divide each batch and each validation; all begin at the same state, and end so.

    Raises:
        NotFiniteError: A loss became NaN or infinite; names stage, epoch and batch.
        WorkerLostError: Another worker has ended or does not answer.
    """
    while not state.done:
        stage = stages[state.stage]
        stage_plan = plan.of(stage.name)
        if state.epoch >= stage_plan.epochs or state.since_best >= stage_plan.patience:
            state = _next_stage(stage.learner, state)
            save(state)
            continue
        if state.epoch == state.batch == 0 and math.isinf(state.best_loss):
            # What a stage is given is its first candidate: a stage cannot return anything worse.
            state = _validate(state, stage, stage_plan, progress=progress, workers=workers)
        state = _run_epoch(state, stage, plan, save=save, progress=progress, workers=workers)
        if state.epoch % stage_plan.validate_every == 0 or state.epoch == stage_plan.epochs:
            state = _validate(state, stage, stage_plan, progress=progress, workers=workers)
        save(state)
    return state


def _run_epoch(
    state: TrainState,
    stage: TrainingStage,
    plan: TrainingPlan,
    *,
    save: Callable[[TrainState], None],
    progress: Callable[[TrainingProgress], None],
    workers: Workers,
) -> TrainState:
    batches, own = stage.batches(state.epoch), plan.of(stage.name)
    for index in range(state.batch, len(batches)):
        begun_s, num_users = time.perf_counter(), len(batches[index])
        rate = own.rate * stage.schedule(state.epoch * len(batches) + index, own.epochs * len(batches))
        try:
            moved, report = stage.learner.step(
                state.learner,
                stage.task(batches[index], state.epoch, workers.rows),
                rate=rate,
                clip_norm=plan.clip_norm,
                weight_decay=plan.weight_decay,
                share=len(range(num_users)[workers.rows]) / num_users,
                workers=workers,
                rows_S=stage.rows(batches[index], state.epoch),
            )
        except NotFiniteError as error:
            raise NotFiniteError(
                field=f"{error.field} ({stage.name} epoch {state.epoch})",
                value=f"{error.value}; {stage.describe(batches[index])}",
                remedy=error.remedy,
            ) from error
        train_loss = (state.train_loss * index + report.loss) / (index + 1)
        state = replace(state, learner=moved, batch=index + 1, train_loss=train_loss)
        progress(
            TrainingProgress(
                stage=stage.name,
                epoch=state.epoch,
                epochs=own.epochs,
                batch=index + 1,
                batches=len(batches),
                step=state.learner.step,
                report=report,
                rate=rate,
                users_per_s=num_users / (time.perf_counter() - begun_s),
            )
        )
        if state.learner.step % plan.save_every == 0 and index + 1 < len(batches):
            save(state)
    return replace(state, epoch=state.epoch + 1, batch=0)


def _validate(
    state: TrainState,
    stage: TrainingStage,
    plan: StagePlan,
    *,
    progress: Callable[[TrainingProgress], None],
    workers: Workers,
) -> TrainState:
    loss = stage.validation_loss(state.learner.params, workers)
    if not math.isfinite(loss):
        raise NotFiniteError(
            field=f"validation loss of {stage.name} epoch {state.epoch}",
            value=loss,
            remedy=f"Lower train.{stage.name}_lr.",
        )
    better = loss < state.best_loss
    state = replace(
        state,
        best={name: value.clone() for name, value in state.learner.params.items()} if better else state.best,
        best_loss=loss if better else state.best_loss,
        since_best=0 if better else state.since_best + 1,
        history=(*state.history, (stage.name, state.epoch, state.train_loss, loss)),
    )
    progress(
        TrainingProgress(
            stage=stage.name,
            epoch=state.epoch,
            epochs=plan.epochs,
            batch=0,
            batches=0,
            step=state.learner.step,
            report=None,
            rate=0.0,
            users_per_s=0.0,
            validation=loss,
            best=state.best_loss,
        )
    )
    return state


def _next_stage(learner: Learner, state: TrainState) -> TrainState:
    """Go on from the stage's best parameters with fresh moments."""
    begun = learner.init(state.best)
    return replace(
        start_training(learner, begun.params),
        stage=state.stage + 1,
        learner=replace(begun, step=0),
        history=state.history,
        best_loss=state.best_loss if state.stage + 1 >= len(STAGES) else math.inf,
    )
