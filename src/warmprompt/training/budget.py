"""The most that a training will take, estimated before it begins from samples of its operations.

Probed are reading texts, moving the backbone by prompts, fitting item factors, a step of training and ranking
the catalogue, each at the data's own size. B is users, V items, X width of text vectors, P prompt vectors, H
hidden width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from warmprompt.backbone.forward import read_out, read_texts
from warmprompt.backbone.load import Backbone, load_backbone
from warmprompt.backbone.prompt import init_prompt
from warmprompt.backbone.readout import NUM_JACOBIANS, ReadOut
from warmprompt.backbone.text import pool_texts
from warmprompt.data.dataset import Dataset, take_users
from warmprompt.data.verbalise import item_texts
from warmprompt.experts.most_popular import MostPopular
from warmprompt.experts.registry import EXPERTS, LEARNED
from warmprompt.experts.tfidf import TfIdf
from warmprompt.meta.initial import initial_items, initial_prior, initial_prompt_params
from warmprompt.meta.item_text import NUM_DIRECTIONS
from warmprompt.meta.learner import Learner
from warmprompt.meta.tasks import VALIDATION_KS, TrainingInputs, stages_of
from warmprompt.meta.texts import TextPool, write_texts
from warmprompt.runs.models import open_backbone
from warmprompt.scoring.shortlist import make_shortlist
from warmprompt.scoring.validation import ANCHOR_KS
from warmprompt.settings import Settings
from warmprompt.training.mixture_weights import GRID, MAX_USERS, ROUNDS
from warmprompt.training.new_items import MAX_PASSES
from warmprompt.training.start import drawing_of, item_start_of, plan_of
from warmprompt.types import Support

MARGIN = 1.5
"""What is added for parts that are not probed, and for a machine that becomes busier."""
FIXED_S = 10.0
"""What no data set is too small for: loading models, first passes, writing the run; measured at 2 to 6 s."""
_SAMPLE = 16
_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds by the clock and of the processor."""

    wall_s: float
    cpu_s: float

    def times(self, factor: float) -> Spent:
        """Return so many times as much."""
        return Spent(wall_s=self.wall_s * factor, cpu_s=self.cpu_s * factor)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What each part takes at most; `total` holds the margin and what every training takes, too."""

    reading: Spent
    measuring: Spent
    fitting: Spent
    weighing: Spent

    @property
    def total(self) -> Spent:
        """The bound that is announced."""
        parts = vars(self).values()
        return Spent(
            wall_s=FIXED_S + MARGIN * sum(part.wall_s for part in parts),
            cpu_s=FIXED_S + MARGIN * sum(part.cpu_s for part in parts),
        )

    def line(self) -> str:
        """Say the bound, and what it is made of."""
        named = {
            "reading texts": self.reading,
            "measuring how prompts move the model": self.measuring,
            "passes over the users": self.fitting,
            "weighing experts": self.weighing,
        }
        parts = ", ".join(f"{name} {MARGIN * part.wall_s:.0f} s" for name, part in named.items())
        return (
            f"budget: at most {minutes(self.total.wall_s)} on this machine, {minutes(self.total.cpu_s)} of "
            f"processor time ({parts})"
        )

    def as_json(self) -> dict[str, Any]:
        """Return what a run's manifest keeps."""
        return {**asdict(self), "total": asdict(self.total)}


def minutes(seconds: float) -> str:
    """Return seconds, or minutes where there are more than two."""
    return f"{seconds:.0f} s" if seconds <= 120 else f"{seconds / 60:.1f} min"


def budget_of(settings: Settings, training: Dataset, validation: Dataset, *, learner: Learner) -> Budget:
    """Probe what training costs on these users; takes a few seconds.

    Texts that lie in the cache count as if they were to be read, and stages that end early as if they did
    not. Passes through the language model (`train.prompt_epochs`) are left out.
    """
    backbone = open_backbone(settings)
    texts = item_texts(training)
    few = np.arange(min(_ROWS, training.num_users))
    pool = write_texts(take_users(training, few), wordings=settings.model.wordings, seed=0).unique()[1:]
    # A text per user and wording at most, as far as the first users tell.
    num_user_texts = len(pool) / max(1, len(few)) * (training.num_users + validation.num_users)
    reading = Spent(wall_s=0.0, cpu_s=0.0)
    width = 0
    for name in settings.backbone.item_text:
        if name == TfIdf.name:
            width = width or NUM_DIRECTIONS
        else:
            encoder = load_backbone(name)
            width = width or encoder.hidden_size
            reading = _sum(reading, _reading(encoder, texts, len(texts)))
    if pool:
        reader = load_backbone(settings.backbone.user_text) if settings.backbone.user_text else backbone
        reading = _sum(reading, _reading(reader, pool, num_user_texts))
    longest = max([*pool, ""], key=len)
    fitting, step = _fitting(settings, training, validation, backbone, learner, width=width)
    return Budget(
        reading=reading,
        measuring=_measuring(settings, backbone, longest),
        fitting=fitting,
        weighing=_sum(_weighing(training, validation), step.times(MAX_PASSES + 2) if width else step),
    )


def _reading(encoder: Backbone, texts: Sequence[str], num_texts: float) -> Spent:
    """Read a sample spread over all lengths."""
    ordered = sorted(texts, key=len)
    sample = [ordered[int(index)] for index in np.linspace(0, len(ordered) - 1, min(_SAMPLE, len(ordered)))]
    pool_texts(sample[:1], encoder)  # the first pass of a model costs more
    return _timed(lambda: pool_texts(sample, encoder)).times(num_texts / len(sample))


def _measuring(settings: Settings, backbone: Backbone, longest: str) -> Spent:
    """Take one chunk of rows of the Jacobian behind no text and behind a long one."""
    prompt_PH = init_prompt(backbone, length=settings.prompt.length, init="normal", seed=0)

    def rows(text: str) -> None:
        prompts_BPH = prompt_PH.repeat(_ROWS, 1, 1).requires_grad_()
        hidden_BH = read_out(backbone, read_texts(backbone, [text] * _ROWS), prompts_BPH)
        torch.autograd.grad(hidden_BH.sum(), prompts_BPH)

    rows("")
    chunks = -(-backbone.hidden_size // _ROWS)
    each = _sum(_timed(lambda: rows("")), _timed(lambda: rows(longest)).times(NUM_JACOBIANS))
    return each.times(chunks)


def _fitting(
    settings: Settings,
    training: Dataset,
    validation: Dataset,
    backbone: Backbone,
    learner: Learner,
    *,
    width: int,
) -> tuple[Spent, Spent]:
    """Fit factors once, take two steps; return the cost of the stage, and of one epoch."""
    text_VX = np.random.default_rng(0).normal(size=(training.num_items, width)).astype(np.float32)
    start = item_start_of(settings)
    begun = time.perf_counter(), time.process_time()
    items, data = initial_items(
        training, text_VX if width else None, replace(start, num_iterations=1), seed=0
    )
    factors = Spent(wall_s=time.perf_counter() - begun[0], cpu_s=time.process_time() - begun[1])
    read = ReadOut(
        mean_X=torch.zeros(0),
        text_TX=torch.zeros(1, 0),
        move_DH=torch.zeros(start.num_factors, backbone.hidden_size),
        reference_PH=torch.zeros(settings.prompt.length, backbone.hidden_size),
        unit=torch.tensor(1.0),
    )
    prior = initial_prior(
        num_factors=start.num_factors,
        num_text_features=settings.model.num_text_features,
        num_steps=settings.inner.num_steps,
        rate=settings.inner.rate,
    )
    params = {**items, **prior, **initial_prompt_params(read)}
    params |= learner.objective.initial_params(
        start.num_factors, max_support=settings.train.max_support, kappa=1.0, seed=0
    )
    material = TrainingInputs(
        training=training,
        validation=validation,
        texts=TextPool(texts=((),) * training.num_users),
        validation_texts=TextPool(texts=((),) * validation.num_users),
        data=data,
        backbone=backbone,
        readout=read,
        features={"": torch.zeros(settings.model.num_text_features)},
    )
    drawing, plan = drawing_of(settings, num_items=training.num_items), plan_of(settings).tangent
    stage = stages_of(learner, material, drawing, plan_of(settings))[0]
    first = learner.init(params)
    able = np.flatnonzero(np.diff(training.interactions.offsets) >= 2)
    batch = np.random.default_rng(0).permutation(able)[: drawing.batch_size].tolist()

    def step() -> None:
        task, rows_S = stage.task(batch, 0, slice(None)), stage.rows(batch, 0)
        learner.step(first, task, rate=1e-3, clip_norm=1.0, rows_S=rows_S)

    step()
    one = _timed(step)
    epoch = one.times(-(-len(able) // drawing.batch_size))
    # A validation asks the same of fewer users once for each size of support, without a backward pass.
    judged = min(plan.max_validation_users, validation.num_users) * len(VALIDATION_KS)
    validations = -(-plan.epochs // plan.validate_every) + 1
    judging = one.times(judged / max(1, len(batch)) * validations)
    return _sum(factors.times(start.num_iterations), epoch.times(plan.epochs), judging), epoch


def _weighing(training: Dataset, validation: Dataset) -> Spent:
    """Keep one batch's best items and compare weights on them, as the search of weights does for all."""
    rng = np.random.default_rng(0)
    scores_BV = rng.normal(size=(_ROWS, training.num_items)).astype(np.float32)
    nobody = Support(user="", items_K=np.zeros(0, np.int32), ratings_K=np.zeros(0, np.float32))
    queries = [rng.permutation(training.num_items)[:10].astype(np.int32) for _ in range(_ROWS)]
    candidates_V = np.ones(training.num_items, dtype=np.bool_)
    lengths = np.diff(validation.interactions.offsets)[:MAX_USERS]
    batches = sum(int(np.count_nonzero(lengths > k)) for k in ANCHOR_KS) / _ROWS
    counted = [name for name in EXPERTS if name not in (*LEARNED, MostPopular.name)]
    members = [scores_BV] * (1 + len(counted))
    short = make_shortlist(members, [nobody] * _ROWS, queries, candidates_V)
    keeping = _timed(lambda: make_shortlist(members, [nobody] * _ROWS, queries, candidates_V))
    look = _timed(lambda: short.ndcg(np.ones(len(members))))
    # The grid, its end doubled six times, and the value before, per expert and round.
    looks = ROUNDS * len(counted) * (len(GRID) + 7)
    return _sum(keeping.times(batches), look.times(looks * batches))


def _timed(work: Callable[[], object]) -> Spent:
    """Return the larger of two takes, so that a lucky moment promises nothing."""
    marks = [(time.perf_counter(), time.process_time())]
    for _ in range(2):
        work()
        marks.append((time.perf_counter(), time.process_time()))
    return Spent(
        wall_s=max(after[0] - before[0] for before, after in pairwise(marks)),
        cpu_s=max(after[1] - before[1] for before, after in pairwise(marks)),
    )


def _sum(*parts: Spent) -> Spent:
    return Spent(wall_s=sum(part.wall_s for part in parts), cpu_s=sum(part.cpu_s for part in parts))
