"""Episodes as tensors, and some of them as the tasks that meta-learners take.

E is episodes, B episodes of a batch, K support payments, Q query payments (padded), R query rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from warmprompt.meta.adapters import Adapter, LinearAdapter, PromptAdapter
from warmprompt.meta.task import Task
from warmprompt.risk.profile.episodes import Episodes
from warmprompt.risk.profile.model import PaymentBatch, Scaling, pooled_sentences, standardise_features
from warmprompt.risk.profile.payments import Bools, Doubles, Longs, Side
from warmprompt.risk.profile.population import Population
from warmprompt.risk.profile.reading import Book, pick
from warmprompt.risk.profile.tasks import RiskLikelihood
from warmprompt.risk.profile.trained import ProfileModel
from warmprompt.risk.profile.words import describe_entities


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeTensors:
    """Episodes as tensors, with texts read.

    Attributes:
        episodes: As numbers.
        support: Evidence of all episodes.
        query_offset_R: Log-odds of the population model for the query rows.
        text_E: Row of each episode's text in the book.
        pooled_EX: Mean features of each support's sentences; no columns where payments are not read.
        book: The texts.
        scaling: Of features.
    """

    episodes: Episodes
    support: PaymentBatch
    query_offset_R: Doubles
    text_E: Tensor
    pooled_EX: Tensor
    book: Book
    scaling: Scaling


def make_material(
    episodes: Episodes, scaling: Scaling, population: Population, book: Book, side: Side
) -> EpisodeTensors:
    """Return episodes as tensors with the offsets of the fitted population model."""
    return episode_tensors(
        episodes,
        scaling,
        population.log_odds(episodes.support_EKF),
        population.log_odds(episodes.features_RF),
        book,
        side,
    )


def tangent_task(material: EpisodeTensors, rows_B: Longs) -> Task:
    """Return some episodes as a task without the language model."""
    return _task(material, rows_B, LinearAdapter(features_BT=_features(material, rows_B), learns_head=True))


def prompt_task(model: ProfileModel, material: EpisodeTensors, rows_B: Longs) -> Task:
    """Return some episodes as a task through the language model."""
    text_B = material.text_E[rows_B]
    adapter = PromptAdapter(
        features_BT=_features(material, rows_B),
        backbone=model.backbone,
        readout=model.readout,
        prefix=pick(material.book.prefix, text_B),
        reference_BH=material.book.reference_NH[text_B],
    )
    return _task(material, rows_B, adapter)


def _task(material: EpisodeTensors, rows_B: Longs, adapter: Adapter) -> Task:
    objective = RiskLikelihood(support=_rows(material.support, rows_B), query=query_of(material, rows_B))
    return Task(adapter=adapter, objective=objective, data=material.scaling)


def episode_tensors(
    episodes: Episodes,
    scaling: Scaling,
    support_offset_EK: Doubles,
    query_offset_R: Doubles,
    book: Book,
    side: Side,
) -> EpisodeTensors:
    """Return episodes as tensors with offsets that were predicted before."""
    history = episodes.history
    return EpisodeTensors(
        episodes=episodes,
        support=PaymentBatch(
            features_BKF=standardise_features(scaling, episodes.support_EKF),
            offset_BK=torch.from_numpy(support_offset_EK).float(),
            mask_BK=torch.from_numpy(history.mask_RK).float(),
            known_BK=torch.from_numpy(history.known_RK).float(),
            fraud_BK=torch.from_numpy(history.fraud_RK).float(),
        ),
        query_offset_R=query_offset_R,
        text_E=book.rows(describe_entities(history, side=side)),
        pooled_EX=pooled_sentences(scaling, episodes.support_EKF, history),
        book=book,
        scaling=scaling,
    )


def _features(material: EpisodeTensors, rows_B: Longs) -> Tensor:
    """Return what the frozen model reads about some entities, (B, T + X)."""
    return torch.cat([material.book.features_NT[material.text_E[rows_B]], material.pooled_EX[rows_B]], dim=1)


def _rows(evidence: PaymentBatch, rows_B: Longs) -> PaymentBatch:
    return PaymentBatch(
        features_BKF=evidence.features_BKF[rows_B],
        offset_BK=evidence.offset_BK[rows_B],
        mask_BK=evidence.mask_BK[rows_B],
        known_BK=evidence.known_BK[rows_B],
        fraud_BK=evidence.fraud_BK[rows_B],
    )


def query_of(material: EpisodeTensors, rows_B: Longs) -> PaymentBatch:
    """Return the query payments of some episodes, padded."""
    position_BQ, mask_BQ = query_positions(material.episodes, rows_B)
    mask = torch.from_numpy(mask_BQ).float()
    return PaymentBatch(
        features_BKF=standardise_features(material.scaling, material.episodes.features_RF[position_BQ]),
        offset_BK=torch.from_numpy(material.query_offset_R[position_BQ]).float(),
        mask_BK=mask,
        known_BK=mask,
        fraud_BK=torch.from_numpy(material.episodes.fraud_R[position_BQ]).float() * mask,
    )


def query_positions(episodes: Episodes, rows_B: Longs) -> tuple[Longs, Bools]:
    """Return where the query rows of some episodes lie, (B, Q), and which of those positions are filled."""
    first_B = np.searchsorted(episodes.episode_R, rows_B, side="left")
    count_B = np.searchsorted(episodes.episode_R, rows_B, side="right") - first_B
    slot_Q = np.arange(max(1, int(count_B.max(initial=0))))
    mask_BQ = slot_Q < count_B[:, None]
    return np.where(mask_BQ, first_B[:, None] + slot_Q, 0), mask_BQ
