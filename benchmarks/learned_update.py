"""A prototype: the user vector moves by a learned update in place of a gradient step.

    python benchmarks/learned_update.py --data ml-1m --seed 0

First stage alone (linear response, no pass through the language model), no user text. The update starts as
one inner step and is trained by the query loss; the formula stands in docs/LOG.md (2026-11-23). Prints
NDCG@10 of validation and test users per K.

B is users, K support events (padded), V items, D factors, H heads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from warmprompt.assembly.building import Start, build_start, drawing_of, plan_of
from warmprompt.assembly.training import open_data
from warmprompt.data.dataset import take_users
from warmprompt.data.episodes import batch_supports, draw_episode
from warmprompt.data.splits import split_users
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.runner import score_cases
from warmprompt.meta import learner as learner_module
from warmprompt.meta import tasks, trainer
from warmprompt.meta.learner import RELATIVE_RATE, Learner, Outer, gradients_of
from warmprompt.meta.model import (
    Constants,
    Events,
    Params,
    evidence_weights,
    popularity_scores,
    score_catalogue,
    support_vectors,
    to_events,
)
from warmprompt.meta.task import TangentTask, detached, start_of
from warmprompt.settings import load_settings
from warmprompt.types import Floats, Support

HEADS = 4
LARGEST_K = 20
BRANCH = 0.3
FIXED = (
    "train.threads=1",
    "train.prompt_epochs=0",
    "train.patience=5",
    "train.batch_size=256",
    "model.wordings=1",
    "model.num_factors=128",
    "model.factor_regularization=100",
)


def initial_update(width: int, *, kappa: float = 10.0, rate: float = 1.6) -> dict[str, Tensor]:
    """Return parameters with which the update is one inner step of this rate."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.arange(LARGEST_K + 1).clamp(min=1).float()

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "update.fold": torch.eye(width),
        "update.log_gain": torch.log(rate * counts.sqrt() / (counts + kappa)),
        "update.seeds": 0.02 * draw(HEADS, width),
        "update.ask": 0.02 * draw(width, HEADS * width),
        "update.value": torch.zeros(HEADS, width, width),
        "update.inner": draw(width, 2 * width) / width**0.5,
        "update.bias": torch.zeros(2 * width),
        "update.outer": torch.zeros(2 * width, width),
    }


def learned_update(params: Params, constants: Constants, events: Events, prior_BD: Tensor) -> Tensor:
    """Return where each user's events move the vector, (B, D); nowhere without events."""
    vectors_VD = support_vectors(params, constants)
    logits_1V = prior_BD[:1] @ vectors_VD.T + popularity_scores(params, constants)
    mean_1D = logits_1V.masked_fill(constants.warm_V == 0, -torch.inf).softmax(1) @ vectors_VD
    weights_BK1 = evidence_weights(params, constants, events)[:, :, None]
    pulls_BKD = (vectors_VD[events.items_BK] - mean_1D) * weights_BK1
    count_B, width = events.mask_BK.sum(1), prior_BD.shape[1]
    sum_BD = pulls_BKD.sum(1) / count_B.clamp(min=1)[:, None].sqrt()
    moved_BD = params["update.log_gain"].exp()[count_B.clamp(max=LARGEST_K)][:, None] * (
        sum_BD @ params["update.fold"]
    )
    normed_BKD = F.layer_norm(pulls_BKD, (width,)) * events.mask_BK[:, :, None]
    asked_BHD = (F.layer_norm(sum_BD, (width,)) @ params["update.ask"]).view(-1, HEADS, width)
    heat_BHK = (params["update.seeds"] + asked_BHD) @ normed_BKD.transpose(1, 2) / width**0.5
    share_BHK = heat_BHK.masked_fill(~events.mask_BK[:, None], -1e9).softmax(2)
    read_BD = torch.einsum("bhd,hde->be", share_BHK @ normed_BKD, params["update.value"])
    moved_BD = moved_BD + BRANCH * read_BD
    hidden_BX = F.layer_norm(moved_BD, (width,)) @ params["update.inner"] + params["update.bias"]
    moved_BD = moved_BD + BRANCH * (F.gelu(hidden_BX) @ params["update.outer"])
    return moved_BD * (count_B > 0)[:, None]


def after_update(params: Params, task: TangentTask) -> Tensor:
    """Return the moved starts, (B, D)."""
    start_BD = start_of(task, params)
    return start_BD + learned_update(params, task.constants, task.support, start_BD)


def meta_gradient(params: Params, task: TangentTask) -> Outer:
    """Return the gradient of the query loss through the update."""
    loss = task.query_loss(params, after_update(params, task)).mean()
    return Outer(loss=loss.detach(), gradients=gradients_of(loss, params))


@torch.no_grad()
def validation_loss(
    params: Params, material: tasks.Material, drawing: tasks.Drawing, **told: object
) -> float:
    """Stand in for `meta.tasks.validation_loss`."""
    constant, losses = detached(params), {}
    for k, task in tasks.validation_tasks(material, drawing, stage="tangent", max_users=told["max_users"]):
        losses.setdefault(k, []).append(task.query_loss(constant, after_update(constant, task)))
    return float(np.mean([torch.cat(parts).mean().item() for parts in losses.values()]))


@dataclass(frozen=True)
class Ranked:
    """What evaluation needs of a ranker."""

    params: Params
    start: Start
    name: str = "learned update"
    num_parameters: int = 0

    @torch.no_grad()
    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the scores of all items, (B, V)."""
        material = self.start.material
        events = to_events(batch_supports(supports), material.constants)
        features_BT = material.features[""].expand(len(supports), -1)
        task = TangentTask(
            constants=material.constants, support=events, query=events, features_BT=features_BT
        )
        users_BD = task.users(self.params, after_update(self.params, task))
        return score_catalogue(self.params, material.constants, users_BD).numpy()


def main() -> None:
    """Read the options, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="ml-1m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="any setting, as section.key=value")
    chosen = parser.parse_args()
    settings = load_settings(
        assignments=[f"data.name={chosen.data}", f"train.seed={chosen.seed}", *FIXED, *chosen.set]
    )
    torch.set_num_threads(1)
    dataset = open_data(settings)
    split = split_users(dataset.num_users, seed=chosen.seed)
    training, validation = take_users(dataset, split.train), take_users(dataset, split.validation)
    learner = Learner(name="learned update", gradient=meta_gradient)  # type: ignore[arg-type]
    start = build_start(settings, training, validation, learner=learner, watch=print)
    params = {**start.params, **initial_update(settings.model.num_factors)}
    begun_s = time.process_time()
    with (
        patch.object(tasks, "draw_episode", partial(draw_episode, num_query=len(dataset.item_ids))),
        patch.object(trainer, "validation_loss", validation_loss),
        patch.object(learner_module, "RELATIVE_RATE", {**RELATIVE_RATE, "update.": 0.1}),
    ):
        state = trainer.train(
            learner,
            trainer.start_training(learner, params),
            start.material,
            drawing_of(settings),
            plan_of(settings),
        )
    print(f"trained in {time.process_time() - begun_s:.0f} s of processor time")
    ndcg = METRICS.index("NDCG@10")
    for users in ("validation", "test"):
        task = build_task(dataset, ProtocolSettings(users=users), seed=chosen.seed)
        ranker = Ranked(state.best, start)
        found = {
            k: np.mean([row[ndcg] for row in score_cases(ranker, task, cases, label=ranker.name).values()])
            for k, cases in task.cases.items()
        }
        print(users, {k: round(float(value), 4) for k, value in found.items()})


if __name__ == "__main__":
    main()
