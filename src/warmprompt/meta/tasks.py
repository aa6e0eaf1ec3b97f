"""From users to tasks: draw episodes and texts, and hand learners what they differentiate.

The same material serves both stages: `tangent`, where user vectors adapt themselves, and
`prompt`, where prompts adapt through the language model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from warmprompt.backbone.forward import read_out, read_texts
from warmprompt.backbone.load import Backbone
from warmprompt.backbone.readout import ReadOut, inverse_responses
from warmprompt.data.dataset import Dataset
from warmprompt.data.episodes import NUM_QUERY, Episode, Order, batch_episodes, draw_episode
from warmprompt.meta.adapters import Adapter, LinearAdapter, PromptAdapter
from warmprompt.meta.learner import Learner
from warmprompt.meta.model import CatalogueData, Params, make_catalogue, to_events
from warmprompt.meta.sampled_items import ItemSampler, SampledItems
from warmprompt.meta.task import Task, TaskAt, detached, dropout_mask
from warmprompt.meta.texts import TextPool, draw_text
from warmprompt.meta.trainer import STAGES, StageName, TrainingPlan, TrainingStage
from warmprompt.meta.workers import ALONE, Workers
from warmprompt.rng import derive, derive_seed

VALIDATION_KS = (0, 1, 3, 5, 10, 20)
_VALIDATION_BATCH = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingInputs:
    """All that training reads and nothing that it changes.

    Attributes:
        training: Events of training users.
        validation: Events of validation users.
        texts: The training users' pool.
        validation_texts: The validation users' pool.
        data: Of the items.
        backbone: The frozen model.
        readout: The normalised read-out.
        features: Text features of every text of both pools and of "", (T,) each.
    """

    training: Dataset
    validation: Dataset
    texts: TextPool
    validation_texts: TextPool
    data: CatalogueData
    backbone: Backbone
    readout: ReadOut
    features: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How episodes are drawn.

    Attributes:
        seed: The run's seed.
        order: Random or in time.
        max_support: Largest K.
        max_query: Largest query of a training episode; None takes all that the support leaves.
        dropout: Share of the user vector's coordinates dropped in the query loss.
        batch_size: Users per outer step.
        sampled_items: Items of an outer step besides those of its users; None takes all.
    """

    seed: int
    order: Order = "random"
    max_support: int = 20
    max_query: int | None = 10
    dropout: float = 0.3
    batch_size: int = 32
    sampled_items: int | None = None


def stages_of(
    learner: Learner, material: TrainingInputs, drawing: Drawing, plan: TrainingPlan
) -> tuple[TrainingStage, ...]:
    """Return the stages of training for recommendation."""
    ids = material.training.user_ids
    sampler = None if drawing.sampled_items is None else ItemSampler(material.data, drawing.sampled_items)

    def stage(name: StageName) -> TrainingStage:
        def sample(users: Sequence[int], epoch: int) -> SampledItems | None:
            if sampler is None:
                return None
            events = material.training.interactions
            items = np.concatenate([events.items[events.events_of(user)] for user in users])
            return sampler.draw(items, derive(drawing.seed, "items", name, epoch, str(ids[users[0]])))

        def rows(users: Sequence[int], epoch: int) -> Tensor | None:
            sampled = sample(users, epoch)
            return None if sampled is None else sampled.rows_S

        return TrainingStage(
            name=name,
            learner=learner,
            batches=lambda epoch: epoch_batches(material, drawing, stage=name, epoch=epoch),
            task=lambda users, epoch, rows: training_task(
                material,
                drawing,
                users,
                stage=name,
                epoch=epoch,
                learner=learner,
                rows=rows,
                sampled=sample(users, epoch),
            ),
            rows=rows,
            validation_loss=lambda params, workers: validation_loss(
                params,
                material,
                drawing,
                stage=name,
                learner=learner,
                max_users=plan.of(name).max_validation_users,
                workers=workers,
            ),
            describe=lambda users: f"users {', '.join(str(ids[user]) for user in users[:8])}",
        )

    return tuple(map(stage, STAGES))


def epoch_batches(
    material: TrainingInputs, drawing: Drawing, *, stage: StageName, epoch: int
) -> list[list[int]]:
    """Return the users of each batch of an epoch: all with two events or more, once, in random order."""
    lengths = np.diff(material.training.interactions.offsets)
    users = np.flatnonzero(lengths >= 2)
    order = derive(drawing.seed, "order", stage, epoch).permutation(users)
    return [
        order[start : start + drawing.batch_size].tolist()
        for start in range(0, len(order), drawing.batch_size)
    ]


def training_task(  # noqa: PLR0913 - what makes a task, by keyword
    material: TrainingInputs,
    drawing: Drawing,
    users: Sequence[int],
    *,
    stage: StageName,
    epoch: int,
    learner: Learner,
    rows: slice = slice(None),
    sampled: SampledItems | None = None,
) -> Task | None:
    """Return the task of some users of one batch, or None for no user; the same arguments give the same task.

    A user's episode, text and dropout are the same whichever others of the batch the task holds.
    """
    if not users[rows]:
        return None
    # Stages draw from different rounds, so that the second does not repeat the first one's episodes.
    round_index = 2 * epoch + STAGES.index(stage)
    ids = [str(material.training.user_ids[user]) for user in users]
    keep_BD = dropout_mask(
        (len(users), len(material.readout.move_DH)),
        rate=drawing.dropout,
        seed=derive_seed(drawing.seed, "dropout", stage, epoch, ids[0]),
    )
    users, ids = users[rows], ids[rows]
    keep_BD = None if keep_BD is None else keep_BD[rows]
    episodes = [
        draw_episode(
            material.training,
            user,
            seed=drawing.seed,
            round_index=round_index,
            max_support=drawing.max_support,
            order=drawing.order,
            rest_in_query=drawing.max_query is None,
            num_query=drawing.max_query or NUM_QUERY,
        )
        for user in users
    ]
    texts = [
        draw_text(material.texts.texts[user], seed=drawing.seed, round_index=round_index, user=name)
        for user, name in zip(users, ids, strict=True)
    ]
    return _task(
        material,
        material.training,
        episodes,
        texts,
        stage=stage,
        keep_BD=keep_BD,
        learner=learner,
        sampled=sampled,
    )


def validation_tasks(
    material: TrainingInputs,
    drawing: Drawing,
    users: Sequence[int],
    *,
    stage: StageName,
    learner: Learner,
    rows: slice = slice(None),
) -> Iterator[tuple[tuple[int, slice], Task]]:
    """Yield ((index of K in `VALIDATION_KS`, users), task) over fixed episodes of validation users.

    Args:
        material: What training reads.
        drawing: How episodes are drawn.
        users: Indexes of validation users.
        stage: Through the language model or not.
        learner: Gives adapter and objective.
        rows: Which of the tasks.
    """
    dataset = material.validation
    parts = [slice(start, start + _VALIDATION_BATCH) for start in range(0, len(users), _VALIDATION_BATCH)]
    for index, part in [(index, part) for index in range(len(VALIDATION_KS)) for part in parts][rows]:
        k = VALIDATION_KS[index]
        episodes = [
            draw_episode(
                dataset, user, seed=drawing.seed, round_index=-1, max_support=k, num_support=k,
                order=drawing.order,
            )
            for user in users[part]
        ]  # fmt: skip
        texts = [
            draw_text(
                material.validation_texts.texts[user],
                seed=drawing.seed,
                round_index=-1,
                user=str(dataset.user_ids[user]),
            )
            for user in users[part]
        ]
        task = _task(material, dataset, episodes, texts, stage=stage, keep_BD=None, learner=learner)
        yield (index, part), task


def validation_users(material: TrainingInputs, *, max_users: int) -> list[int]:
    """Return the indexes of the first validation users with two events or more."""
    lengths = np.diff(material.validation.interactions.offsets)
    return [int(user) for user in np.flatnonzero(lengths >= 2)][:max_users]


def validation_loss(  # noqa: PLR0913 - what is judged, and among whom
    params: Params,
    material: TrainingInputs,
    drawing: Drawing,
    *,
    stage: StageName,
    learner: Learner,
    max_users: int,
    workers: Workers = ALONE,
) -> float:
    """Return the query loss of validation users, nats per event, averaged over users and then over K."""
    catalogue = make_catalogue(detached(params), material.data)
    users = validation_users(material, max_users=max_users)
    losses_KN = catalogue.popularity_V.new_zeros((len(VALIDATION_KS), len(users)))
    tasks = validation_tasks(material, drawing, users, stage=stage, learner=learner, rows=workers.rows)
    for cells, task in tasks:
        constant = TaskAt(adapter=task.adapter, objective=task.objective, model=catalogue)
        moved = constant.adapted()
        with torch.no_grad():
            losses_KN[cells] = constant.query_loss(moved)
    return float(np.mean([losses_N.mean().item() for losses_N in workers.sum(losses_KN)]))


def _task(  # noqa: PLR0913 - what makes a task, by keyword
    material: TrainingInputs,
    dataset: Dataset,
    episodes: Sequence[Episode],
    texts: Sequence[str],
    *,
    stage: StageName,
    learner: Learner,
    keep_BD: Tensor | None,
    sampled: SampledItems | None = None,
) -> Task:
    batch = batch_episodes(dataset, episodes)
    data = material.data
    features_BT = torch.stack([material.features[text] for text in texts])
    support, query = (
        to_events(part if sampled is None else sampled.here(part), data)
        for part in (batch.support, batch.query)
    )
    around: Adapter = LinearAdapter(features_BT=features_BT)
    if stage == "prompt":
        prefix = read_texts(material.backbone, texts)
        with torch.no_grad():
            prompts_BPH = material.readout.reference_PH.expand(len(texts), -1, -1)
            reference_BH = read_out(material.backbone, prefix, prompts_BPH)
        around = PromptAdapter(
            features_BT=features_BT,
            backbone=material.backbone,
            readout=material.readout,
            prefix=prefix,
            reference_BH=reference_BH,
            responses=inverse_responses(material.backbone, material.readout, prefix, texts),
        )
    objective = learner.objective(
        support=support,
        query=query,
        keep_BD=None if keep_BD is None else keep_BD.to(features_BT.device),
    )
    return Task(adapter=learner.adapter(around, support), objective=objective, data=sampled or data)
