"""From a table to a profiler: a backtest chooses and calibrates, then the experts learn from all labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from warmprompt.backbone.load import Backbone
from warmprompt.errors import BadInputError
from warmprompt.risk.entities.backtest import Backtest, experts_of, run_backtest
from warmprompt.risk.entities.encoding import MAX_KNOWN, fit_encoding
from warmprompt.risk.entities.experts import WINDOWS, fit_mixture, mix
from warmprompt.risk.entities.profiler import (
    EntityProfiler,
    make_inputs,
    trouble_classes,
    trouble_log_odds,
)
from warmprompt.risk.entities.prompt import (
    EntityPrompt,
    EntityPromptSettings,
    LabelEpisodes,
    train_prompt,
)
from warmprompt.risk.entities.table import UNLABELLED, EntityTable, TableSchema
from warmprompt.risk.profile.calibration import Calibration, fit_calibration
from warmprompt.risk.profile.payments import Doubles, Longs
from warmprompt.rng import derive

ANCHORS = (50, 200, 800)
"""Numbers of labelled peers at which their weights are found."""
EXPERT_NAMES = tuple(
    f"{kind}, {'all periods' if window == WINDOWS[-1] else f'last {window}'}"
    for kind in ("logistic regression", "boosting")
    for window in WINDOWS
)
_MOST_EPISODES = 2_000


@dataclass(frozen=True, kw_only=True)
class EntityReport:
    """What a profiler was fitted to, and how it did in the backtest on calibration entities.

    Attributes:
        entities: For fitting, choosing and calibration.
        periods: Predicted in the backtest.
        rows: Predicted, of calibration entities.
        accuracy: Share of rows whose likeliest class is right; `new` has no labels of its own, `known` has.
        log_loss: As `accuracy`, nats per row.
        shares_log_loss: As `log_loss`, of the shares of the classes in these rows themselves.
        weights: Expert to its weights in rows without and with labels of their own.
        peer_weights: Number of peers to weights of population, around it, and peers alone.
        prompt_gain: Validation log loss without the prompt minus with it, and its standard error over
            entities; None where no language model was given.
        keeps_prompt: Whether the gain was above two standard errors.
    """

    entities: tuple[int, ...]
    periods: tuple[str, ...]
    rows: int
    accuracy: dict[str, float]
    log_loss: dict[str, float]
    shares_log_loss: dict[str, float]
    weights: dict[str, tuple[float, float]]
    peer_weights: dict[int, tuple[float, ...]]
    prompt_gain: tuple[float, float] | None
    keeps_prompt: bool


def fit_entities(  # noqa: PLR0913 - settings by keyword
    table: EntityTable,
    schema: TableSchema,
    backbone: Backbone | None,
    *,
    seed: int,
    settings: EntityPromptSettings | None = None,
    level: float = 0.9,
    progress: Callable[[str], None] = lambda _line: None,
) -> tuple[EntityProfiler, EntityReport]:
    """Train and calibrate on a table.

    Each row sees 0, 1 or all of its own known labels, drawn at random: one profiler serves entities with and
    without history.

    Args:
        table: With labels.
        schema: Of the table.
        backbone: The frozen language model; None leaves the prompt out.
        seed: Derives the split and every other random choice.
        settings: Of the prompt.
        level: Coverage of the sets of trouble, and of its opposite.
        progress: Receives a line per step.

    Raises:
        BadInputError: Too few labelled periods, entities, or rows of trouble.
    """
    encoding = fit_encoding(table)
    drawn_N = derive(seed, "known").choice((0, 1, MAX_KNOWN), size=len(table))
    inputs = make_inputs(table, schema, encoding, drawn_N)
    test = run_backtest(schema, inputs, seed=seed, progress=progress)
    peer_weights = fit_peer_weights(test, progress)
    prompt, gain = None, None
    if backbone is not None:
        progress("training the prompt")
        prompt, gain = fit_prompt(test, backbone, settings or EntityPromptSettings(), progress)
    keeps = gain is not None and gain[0] > 2 * gain[1]
    last = list(test.populations.values())[-1]
    profiler = EntityProfiler(
        schema=schema,
        encoding=encoding,
        population=last,
        peer_weights=peer_weights,
        prompt=prompt if keeps else None,
        figures=test.figures,
        calibrations={},
        seed=seed,
    )
    progress("calibrating")
    profiler, figures = _calibrated(profiler, test, level)
    progress("fitting the experts to all labels")
    everything = experts_of(schema, inputs, table.label_N != UNLABELLED, seed=seed)
    report = EntityReport(
        entities=tuple(len(np.unique(table.entity_N[test.part_N == part])) for part in range(3)),
        periods=tuple(table.periods[at] for at in test.populations),
        rows=len(test.rows(2)),
        weights={
            name: (float(new), float(known))
            for name, new, known in zip(EXPERT_NAMES, last.new_X, last.known_X, strict=True)
        },
        peer_weights={num: tuple(map(float, weights)) for num, weights in peer_weights.items()},
        prompt_gain=gain,
        keeps_prompt=keeps,
        **figures,
    )
    return replace(profiler, population=replace(last, experts=everything)), report


def fit_peer_weights(
    test: Backtest, progress: Callable[[str], None] = lambda _line: None
) -> dict[int, Doubles]:
    """Return number of labelled peers to weights of population, around it, and peers alone."""
    found = {}
    for num in ANCHORS:
        rows = test.rows(1, num)
        if len(rows):
            progress(f"weights of {num} labelled peers")
            found[num] = fit_mixture(test.peer_log_p(rows, num), test.inputs.table.label_N[rows])
    return found


def fit_prompt(
    test: Backtest,
    backbone: Backbone,
    settings: EntityPromptSettings,
    progress: Callable[[str], None] = lambda _line: None,
    *,
    shuffles: bool = False,
) -> tuple[EntityPrompt, tuple[float, float]]:
    """Return prompts trained on half of the choosing entities, and their gain on the other half.

    As a control, `shuffles` gives each row the text of another one: what is gained then, no text gives.
    """
    table, rows = test.inputs.table, test.rows(1)
    rows = rows[np.sort(derive(test.seed, "episodes").permutation(len(rows))[:_MOST_EPISODES])]
    half_R = derive(test.seed, "halves").integers(2, size=len(table.names))[table.entity_N[rows]]
    offset_RC = test.log_p(rows)
    training, validation = (
        test.episodes(rows[half_R == half], offset_RC[half_R == half]) for half in range(2)
    )
    if shuffles:
        training, validation = (_shuffled(part, test.seed) for part in (training, validation))
    prompt = train_prompt(
        training,
        validation,
        backbone,
        ordered=test.schema.ordered,
        settings=settings,
        seed=test.seed,
        progress=progress,
    )
    judged = rows[half_R == 1]
    label_R, position_R = table.label_N[judged], np.arange(len(judged))
    gain_R = prompt.log_p(validation)[position_R, label_R] - offset_RC[half_R == 1][position_R, label_R]
    _, entity_R = np.unique(table.entity_N[judged], return_inverse=True)
    # Sums over entities, whose rows are no independent draws.
    sums_E = np.bincount(entity_R, weights=gain_R - gain_R.mean())
    return prompt, (float(gain_R.mean()), float(np.sqrt((sums_E**2).sum()) / len(gain_R)))


def _shuffled(episodes: LabelEpisodes, seed: int) -> LabelEpisodes:
    order_E = derive(seed, "texts").permutation(len(episodes.texts))
    return replace(episodes, texts=[episodes.texts[row] for row in order_E])


def _calibrated(
    profiler: EntityProfiler, test: Backtest, level: float
) -> tuple[EntityProfiler, dict[str, dict[str, float]]]:
    """Return the profiler calibrated with and without peers and own labels, and its figures without peers."""
    calibrations: dict[tuple[int, bool], Calibration] = {}
    figures: dict[str, dict[str, float]] = {"accuracy": {}, "log_loss": {}, "shares_log_loss": {}}
    table = test.inputs.table
    for name, most in (("new", 0), ("known", MAX_KNOWN)):
        seen = replace(test, inputs=make_inputs(table, profiler.schema, profiler.encoding, most))
        for num in (0, *profiler.peer_weights):
            rows = test.rows(2, num)
            rows = rows[seen.inputs.has_labels_N[rows] | (most == 0)]
            label_R = table.label_N[rows]
            log_p = seen.log_p(rows)
            if num:
                log_p = mix(profiler.peer_weights[num], seen.peer_log_p(rows, num))
            if profiler.prompt is not None:
                log_p = profiler.prompt.log_p(seen.episodes(rows, log_p))
            calibrations[num, most > 0] = _calibration(profiler.schema, log_p, label_R, level)
            if not num:
                shares = np.bincount(label_R) / len(label_R)
                figures["accuracy"][name] = float((log_p.argmax(axis=1) == label_R).mean())
                figures["log_loss"][name] = float(-log_p[np.arange(len(label_R)), label_R].mean())
                figures["shares_log_loss"][name] = float(-np.log(shares[label_R]).mean())
    return replace(profiler, calibrations=calibrations), figures


def _calibration(schema: TableSchema, log_p_RC: Doubles, label_R: Longs, level: float) -> Calibration:
    bad_R = trouble_classes(schema)[label_R]
    least = int(np.ceil(level / (1 - level) - 1e-9))
    if min(bad_R.sum(), (~bad_R).sum()) < least:
        raise BadInputError(
            field=f"rows to calibrate on, column {schema.label}",
            value=f"{bad_R.sum()} of {len(bad_R)} with {' or '.join(schema.trouble)}",
            remedy=f"At least {least} with and without are needed: give more entities or periods.",
        )
    return fit_calibration(trouble_log_odds(schema, log_p_RC), bad_R, level=level)
