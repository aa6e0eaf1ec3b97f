"""From a table of payments to a profiler in use: split the entities, train, calibrate.

Training, validation and calibration have different entities. The last days of the table are left out: a
query payment counts only if its label is due by the end of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.metrics import average_precision_score

from warmprompt.backbone.load import Backbone
from warmprompt.errors import BadInputError
from warmprompt.risk.profile.audit import marks_of
from warmprompt.risk.profile.calibration import fit_calibration
from warmprompt.risk.profile.episodes import (
    HORIZON_S,
    MAX_SUPPORT,
    Episodes,
    as_they_came,
    build_episodes,
    draw_cuts,
)
from warmprompt.risk.profile.payments import DAY_S, Bools, Longs, Payments, counterparty_context
from warmprompt.risk.profile.population import with_most_genuine
from warmprompt.risk.profile.profiler import Profiler, hash_model
from warmprompt.risk.profile.trained import ProfileSettings
from warmprompt.risk.profile.training import StageReport, score_episodes, train_profile
from warmprompt.rng import derive

SHARES = (0.6, 0.15, 0.25)
KS = (0, 1, 5, MAX_SUPPORT)
_FIRST_DAY, _CALIBRATION_DAYS, _PER_ENTITY = 10, 35, 2
_LEAST_FRAUDS = 20
_MOST_GENUINE = 1_500


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """What a profiler was fitted to, and how it ranks payments of the calibration entities.

    Attributes:
        entities: For training, validation, calibration.
        payments: Query payments of each.
        frauds: Among them.
        average_precision: Per K, on calibration entities, whom no model was fitted or tuned on.
        stages: Of training.
        marks: Of all entities it was fitted to, selected or calibrated on; see `marks_of`.
    """

    entities: tuple[int, int, int]
    payments: tuple[int, int, int]
    frauds: tuple[int, int, int]
    average_precision: dict[int, float]
    stages: tuple[StageReport, ...]
    marks: tuple[str, ...]


def fit_profiler(  # noqa: PLR0913 - settings by keyword
    payments: Payments,
    backbone: Backbone,
    *,
    settings: ProfileSettings,
    seed: int,
    most_entities: int | None = None,
    level: float = 0.9,
    progress: Callable[[str], None] = lambda _line: None,
) -> tuple[Profiler, FitReport]:
    """Train and calibrate on a table of payments.

    Args:
        payments: With labels.
        backbone: The frozen language model.
        settings: Sizes, stages, rates.
        seed: Derives the split and every other random choice.
        most_entities: At most so many, drawn at random; None takes all. What counterparties say comes from
            everybody's payments either way.
        level: Coverage of the sets within each class.
        progress: Receives what begins and what came of it.

    Raises:
        BadInputError: The table is too short, or a part has too few entities or frauds.
    """
    last_day = _last_day(payments)
    start_s = int(payments.time_N[0]) // DAY_S * DAY_S
    progress(f"{len(payments):,} payments: what counterparties say")
    context_NC = counterparty_context(payments)
    training, validation, calibration = _split(payments.entity_N, most_entities, seed)
    draw = partial(draw_cuts, start_s=start_s, per_entity=_PER_ENTITY, ks=KS, seed=seed)
    recent = max(_FIRST_DAY, last_day - _CALIBRATION_DAYS), last_day
    fitted_to = build_episodes(payments, context_NC, draw(training, days=(_FIRST_DAY, last_day)))
    chosen_on = build_episodes(payments, context_NC, draw(validation, days=recent))
    cuts = draw(calibration, days=recent)
    of_k = {k: build_episodes(payments, context_NC, cuts.with_num(k)) for k in KS}
    _require_frauds("training", fitted_to, _LEAST_FRAUDS)
    _require_frauds("calibration", of_k[0], int(np.ceil(level / (1 - level) - 1e-9)))
    stages: list[StageReport] = []

    def report_stage(stage: StageReport) -> None:
        stages.append(stage)
        progress(f"{stage.stage} stage: validation loss {stage.before:.5f} before, {stage.best:.5f} kept")

    progress(f"training on {len(fitted_to):,} episodes of {len(training):,} entities")
    model = train_profile(
        fitted_to,
        chosen_on,
        backbone,
        settings=settings,
        side=payments.side,
        label_delay_s=payments.label_delay_s,
        seed=seed,
        progress=report_stage,
    )
    progress(f"calibrating on {len(calibration):,} other entities")
    scores = {k: score_episodes(model, episodes) for k, episodes in of_k.items()}
    calibrations = {0: fit_calibration(scores[0], of_k[0].fraud_R, level=level)}
    rows_R, per_genuine = _some_genuine(np.unique(of_k[0].row_R), payments.fraud_N, seed)
    for k in KS[1:]:
        # In a stream the K payments are those just before. Behind a profile that has gone stale counts of the
        # last day are smaller and scores lower: calibrated there, sets would not hold here.
        episodes, indices = as_they_came(payments, context_NC, rows_R, num=k)
        calibrations[k] = fit_calibration(
            score_episodes(model, episodes)[indices],
            payments.fraud_N[rows_R],
            level=level,
            per_genuine=per_genuine,
        )
    profiler = Profiler(model=model, calibrations=calibrations, model_hash=hash_model(model))
    parts, marks = (fitted_to, chosen_on, of_k[0]), marks_of(payments)
    report = FitReport(
        entities=(len(training), len(validation), len(calibration)),
        payments=tuple(len(part.fraud_R) for part in parts),  # type: ignore[arg-type]
        frauds=tuple(int(part.fraud_R.sum()) for part in parts),  # type: ignore[arg-type]
        average_precision={k: float(average_precision_score(of_k[k].fraud_R, scores[k])) for k in KS},
        stages=tuple(stages),
        marks=tuple(marks[int(entity)] for part in (training, validation, calibration) for entity in part),
    )
    return profiler, report


def _some_genuine(rows_R: Longs, fraud_N: Bools, seed: int) -> tuple[Longs, int]:
    """Return all frauds and some genuine rows, and how many each genuine one represents.

    As they came, each takes an adaptation of its own.
    """
    genuine = int((~fraud_N[rows_R]).sum())
    per_genuine = max(1, -(-genuine // _MOST_GENUINE))
    return rows_R[with_most_genuine(fraud_N[rows_R], genuine // per_genuine, seed=seed)], per_genuine


def _last_day(payments: Payments) -> int:
    """Return the first day on which no cut may lie: its query payments would have labels not due."""
    first = int(payments.time_N[0]) // DAY_S
    days = int(payments.time_N[-1]) // DAY_S + 1 - first
    last = days - (HORIZON_S + payments.label_delay_s) // DAY_S
    if last <= _FIRST_DAY:
        least = days - last + _FIRST_DAY + 1
        remedy = (
            f"Give at least {least} days: {_FIRST_DAY} to begin with, 21 to predict, and the label delay."
        )
        raise BadInputError(field="payments", value=f"{days} days", remedy=remedy)
    return last


def _split(entity_N: Longs, most: int | None, seed: int) -> list[Longs]:
    if most is not None and most < 1:
        raise BadInputError(field="number of entities", value=most, remedy="Give at least 1.")
    order = derive(seed, "entities").permutation(np.unique(entity_N))[:most]
    ends = np.rint(np.cumsum(SHARES[:-1]) * len(order)).astype(int)
    parts = np.split(order, ends)
    if min(map(len, parts)) == 0:
        remedy = "Give payments of more: 60 % train, 15 % choose, 25 % calibrate."
        raise BadInputError(field="entities", value=len(order), remedy=remedy)
    return parts


def _require_frauds(part: str, episodes: Episodes, least: int) -> None:
    frauds, num = int(episodes.fraud_R.sum()), len(episodes.fraud_R)
    if min(frauds, num - frauds) < least:
        raise BadInputError(
            field=f"payments for {part}",
            value=f"{frauds} frauds of {num}",
            remedy=f"At least {least} of each class are needed; give more customers or more days.",
        )
