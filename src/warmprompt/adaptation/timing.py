"""How long adaptation takes on this machine, and how long reading the weights alone would take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from warmprompt.adaptation.engine import Engine, adapt_batch, encode
from warmprompt.backbone.forward import count_forwards
from warmprompt.backbone.load import Backbone
from warmprompt.data.episodes import EventBatch
from warmprompt.errors import BadInputError
from warmprompt.meta.adapters import by_steps
from warmprompt.meta.predict import EncodedTexts, adapt_linearly
from warmprompt.rng import derive

_WARM_UP = 3
_LEAST_ROUNDS = 10


@dataclass(frozen=True, kw_only=True)
class AdaptTiming:
    """Times of adapting batches of users.

    Attributes:
        batch: Users in a batch.
        k: Events per user.
        rounds: Batches timed, each with other events.
        p50_ms, p99_ms: Per batch, milliseconds.
        users_per_s: Users over the time of all rounds.
        num_forwards: Passes of the language model per batch.
        num_steps: Inner steps.
        linear: Whether the steps were taken in the language model's linear response.
    """

    batch: int
    k: int
    rounds: int
    p50_ms: float
    p99_ms: float
    users_per_s: float
    num_forwards: int
    num_steps: int
    linear: bool = False


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The least time that the weights' way from memory takes.

    Attributes:
        weight_bytes: Of the layers; the embedding table is only looked up in.
        bandwidth_gb_s: Measured reading speed of memory, 10^9 bytes per second.
        step_ms: One inner step: the weights are read forward and backward.
        adapt_ms: All steps and the last pass forward.
        threads: Processor threads used.
    """

    weight_bytes: int
    bandwidth_gb_s: float
    step_ms: float
    adapt_ms: float
    threads: int


def time_adaptation(
    engine: Engine, *, k: int, batch: int, rounds: int, linear: bool = False, seed: int = 0
) -> AdaptTiming:
    """Adapt batches of made-up users, K random warm items each with random ratings, and time it.

    The users have no text. A larger batch gets fewer rounds (at least 10), so that the whole takes
    about as long.

    Args:
        engine: The model.
        k: Events per user.
        batch: Users in a batch.
        rounds: Batches of one user timed.
        linear: True takes the steps in the linear response (`meta.predict.adapt_linearly`), which
            is what `Personaliser.adapt` does unless it is exact.
        seed: Derives the users.

    Raises:
        BadInputError: K, batch or rounds out of range.
    """
    warm = np.flatnonzero(engine.trained.data.warm_V.cpu().numpy() > 0)
    for field, value, low, high in (
        ("--k", k, 0, len(warm)),
        ("--batch", batch, 1, 4096),
        ("--rounds", rounds, 1, 10**6),
    ):
        if not low <= value <= high:
            raise BadInputError(field=field, value=value, remedy=f"Give {low} to {high}.")
    rounds = rounds if batch == 1 else min(rounds, max(_LEAST_ROUNDS, rounds // batch))
    texts = encode(engine, [""] * batch)
    run = partial(_linearly if linear else _exactly, engine, texts)
    # What is measured once per text is no part of an adaptation.
    run(_users(engine, warm, k=k, batch=batch, round_index=-1, seed=seed))
    with count_forwards(engine.backbone) as passes:
        run(_users(engine, warm, k=k, batch=batch, round_index=-1, seed=seed))
    for index in range(_WARM_UP):
        run(_users(engine, warm, k=k, batch=batch, round_index=-2 - index, seed=seed))
    spent_s = []
    for index in range(rounds):
        events = _users(engine, warm, k=k, batch=batch, round_index=index, seed=seed)
        begun_s = time.perf_counter()
        run(events).cpu()
        spent_s.append(time.perf_counter() - begun_s)
    return AdaptTiming(
        batch=batch,
        k=k,
        rounds=rounds,
        p50_ms=float(np.percentile(spent_s, 50)) * 1000,
        p99_ms=float(np.percentile(spent_s, 99)) * 1000,
        users_per_s=batch * rounds / sum(spent_s),
        num_forwards=len(passes),
        num_steps=_num_steps(engine),
        linear=linear,
    )


def _exactly(engine: Engine, texts: EncodedTexts, events: EventBatch) -> Tensor:
    return adapt_batch(engine, texts, events).users_BD


def _linearly(engine: Engine, texts: EncodedTexts, events: EventBatch) -> Tensor:
    return adapt_linearly(engine.catalogue, engine.learner, features_BT=texts.features_BT, events=events)


def measure_floor(engine: Engine) -> Floor:
    """Measure the memory's reading speed and say what adaptation cannot undercut with one user at a time."""
    weight_bytes = _weight_bytes(engine.backbone)
    bandwidth = _reading_speed(engine.backbone.device)
    steps = _num_steps(engine)
    return Floor(
        weight_bytes=weight_bytes,
        bandwidth_gb_s=bandwidth / 1e9,
        step_ms=2000 * weight_bytes / bandwidth,
        adapt_ms=1000 * (2 * steps + 1) * weight_bytes / bandwidth,
        threads=torch.get_num_threads(),
    )


def _num_steps(engine: Engine) -> int:
    return len(engine.trained.params["inner.log_rates"]) if engine.learner.adapter is by_steps else 0


def _users(
    engine: Engine, warm: np.ndarray, *, k: int, batch: int, round_index: int, seed: int
) -> EventBatch:
    rng = derive(seed, "bench", batch, round_index)
    low, high = engine.trained.rating_scale or (np.nan, np.nan)
    return EventBatch(
        items_BK=np.stack([rng.choice(warm, size=k, replace=False) for _ in range(batch)]).astype(np.int64),
        ratings_BK=(low + (high - low) * rng.random((batch, k))).astype(np.float32),
        mask_BK=np.ones((batch, k), dtype=np.bool_),
    )


def _weight_bytes(backbone: Backbone) -> int:
    table = backbone.model.get_input_embeddings().weight
    return sum(one.numel() * one.element_size() for one in backbone.model.parameters() if one is not table)


def _reading_speed(device: torch.device) -> float:
    """Return bytes per second of the fastest of ten matrix-vector products over 256 MiB."""
    matrix = torch.ones((8192, 8192), device=device)
    vector = torch.ones(8192, device=device)
    best_s = float("inf")
    for _ in range(10):
        begun_s = time.perf_counter()
        (matrix @ vector).sum().item()
        best_s = min(best_s, time.perf_counter() - begun_s)
    return matrix.numel() * matrix.element_size() / best_s
