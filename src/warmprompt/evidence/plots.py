"""The pictures of a table: metrics over K, gain over the best baseline, accuracy against adaptation time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.plot import COLOURS, GREY, label_ends
from warmprompt.evaluation.report import listed
from warmprompt.evaluation.results import Row
from warmprompt.evidence.measured_table import MeasuredTable
from warmprompt.evidence.statistics import Gain
from warmprompt.files import write_atomic

_NDCG = "NDCG@10"
_NUM_COLOURED = 6
_PALE = "#BBBBBB"
_TIMED_K = 10
_SIGNIFICANT_P = 0.05
_LABEL_SIZE = 8
_LETTER_INCHES = 0.072
_TITLE_LETTER_INCHES = 0.085
# Gains beyond these, in percent, are written at the edge of their panel.
_SHOWN_PERCENT = (-12.0, 40.0)
# Points right and up from a marker; the first that is free is taken.
_OFFSETS = tuple((dx, dy) for dy in (2, -10, 13, -21, 24, -32) for dx in (7, -7))


def plot_metrics_over_k(measured: MeasuredTable, rows: Sequence[Row], product: str, path: Path) -> None:
    """Write a PNG with a panel per metric: the product and the five best others in colour, the rest in grey.

    Bands are 95 % intervals over users. A table of a single K has a line per model instead, best first.
    """
    if len(measured.ks) == 1:
        _plot_one_k(measured, rows, product, path)
        return
    selected = _coloured(measured, rows, product)
    # Room for the names right of the last points, outside the axes.
    margin = _LETTER_INCHES * max(len(with_seeds(measured, model)) for model in selected)
    figure = _figure(width=(3.6 + margin) * len(METRICS), height=4.4)
    for axes, metric in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
        _draw_metric(axes, measured, [row for row in rows if row.metric == metric], selected, product)
        axes.set_title(metric, fontsize=11, loc="left")
    _title(figure, measured, "bands: 95 % intervals over users; grey: the other models")
    _save(figure, path)


def plot_parts(measured: MeasuredTable, gains: Sequence[Gain], product: str, path: Path) -> None:
    """Write a PNG with a panel per K: what the product gains over each other row in NDCG@10, in percent."""
    ks = sorted({one.k for one in gains if one.k or len(measured.ks) == 1})
    others = [model for model in measured.models if model != product][::-1]
    margin = _LETTER_INCHES * max(len(with_seeds(measured, model)) for model in others)
    figure = _figure(width=margin + 2.3 * len(ks), height=1.1 + 0.28 * len(others))
    panels = figure.subplots(1, len(ks), sharey=True, squeeze=False)[0]
    for axes, k in zip(panels, ks, strict=True):
        axes.axvline(0, color=GREY, linewidth=0.8)
        for one in gains:
            if (one.k, one.metric) == (k, _NDCG) and one.has_ratio:
                _draw_part(axes, one, others.index(one.other))
        axes.set_xlim(*_SHOWN_PERCENT)
        axes.set_ylim(-0.6, len(others) - 0.4)
        axes.set_yticks(range(len(others)), [with_seeds(measured, model) for model in others])
        axes.set_title(f"K = {k}", fontsize=11, loc="left")
        _plain(axes)
        axes.grid(axis="x", color="#E6E6E6", linewidth=0.8)
    _title(figure, measured, f"gain of {product} over each row in {_NDCG}, %, 95 % intervals over users")
    _save(figure, path)


def _draw_part(axes: Axes, one: Gain, position: int) -> None:
    """Draw a gain and its interval, or write it at the edge where it lies beyond."""
    low, high = _SHOWN_PERCENT
    significant = one.p_holm < _SIGNIFICANT_P
    if low < one.percent < high:
        axes.plot(
            [max(one.percent_low, low), min(one.percent_high, high)],
            [position] * 2,
            color=GREY,
            linewidth=1.2,
        )
        axes.plot(one.percent, position, marker="o", markersize=6, color=COLOURS[0] if significant else GREY)
        return
    at, side = (high, "right") if one.percent > 0 else (low, "left")
    axes.text(
        at, position, f"{one.percent:+.0f} % ", ha=side, va="center", fontsize=_LABEL_SIZE,
        color=COLOURS[0] if significant else GREY,
    )  # fmt: skip


def plot_gains(measured: MeasuredTable, gains: Sequence[Gain], product: str, path: Path) -> None:
    """Write a PNG with the product's gain in percent over best baseline and blend, a panel per metric."""
    figure = _figure(width=4.2 * len(METRICS), height=3.6)
    ks = sorted({one.k for one in gains})
    indices = {k: position for position, k in enumerate(ks)}
    for axes, metric in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
        ends = []
        for shift, (role, label) in enumerate((("best", "best baseline"), ("blend", "blend"))):
            own = [
                one
                for one in gains
                if (one.role, one.metric) == (role, metric)
                and one.has_ratio
                and np.isfinite(one.percent_high)
            ]
            if not own:
                continue
            x = np.array([indices[one.k] + 0.08 * (shift - 0.5) for one in own])
            y = np.array([one.percent for one in own])
            spread = np.array(
                [[one.percent - one.percent_low, one.percent_high - one.percent] for one in own]
            ).T
            axes.errorbar(
                x, y, yerr=np.maximum(spread, 0), color=COLOURS[shift], marker="os"[shift], linewidth=1.6,
                elinewidth=0.9, markersize=5,
            )  # fmt: skip
            ends.append((float(y[-1]), label, COLOURS[shift]))
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xticks(range(len(ks)), [str(k) for k in ks])
        axes.set_xlabel("K, events seen of the user", color=GREY)
        axes.set_xlim(-0.3, len(ks) - 0.7)
        axes.set_title(f"{metric}, gain in %", fontsize=11, loc="left")
        _plain(axes)
        label_ends(axes, ends, len(ks) - 0.65, None)
    _title(figure, measured, f"{product} over the best baseline (chosen on validation users) and the blend")
    _save(figure, path)


def plot_times(measured: MeasuredTable, rows: Sequence[Row], product: str, path: Path) -> None:
    """Write a PNG of NDCG@10 at K = 10 (or the largest K below) against the time one user takes alone."""
    k = max((k for k in measured.ks if k <= _TIMED_K), default=min(measured.ks))
    values = {row.model: row for row in rows if (row.metric, row.k) == (_NDCG, k)}
    times = {model: _median_ms(measured, model) for model in values}
    figure = _figure(width=7.0, height=4.6)
    axes = figure.subplots()
    for model, row in values.items():
        colour = COLOURS[0] if model == product else GREY
        axes.errorbar(
            times[model], row.value, yerr=[[row.value - row.low], [row.high - row.value]], color=colour,
            marker="D" if model == product else "o", markersize=7 if model == product else 5, elinewidth=0.9,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("one user alone: adaptation and scores of the catalogue, p50, ms", color=GREY)
    axes.set_title(f"{_NDCG} at K = {k}", fontsize=11, loc="left")
    axes.margins(x=0.25)
    _plain(axes)
    _title(figure, measured, "95 % intervals over users")
    # Laid out first: where a label fits is known in points only then.
    figure.canvas.draw()
    ordered = sorted(values, key=lambda model: (model != product, -values[model].value))
    indices = {model: (times[model], values[model].value) for model in ordered}
    _label_points(axes, indices, {model: with_seeds(measured, model) for model in ordered}, product)
    _save(figure, path)


def with_seeds(measured: MeasuredTable, model: str) -> str:
    """Return a model's label, with its seeds where not all of the table's are there."""
    seeds = measured.seeds_of(model)
    return model if seeds == measured.table.seeds else f"{model} (seed {listed(seeds)})"


def _label_points(
    axes: Axes, indices: Mapping[str, tuple[float, float]], labels: Mapping[str, str], product: str
) -> None:
    """Write the name of each point in the first of several places that no earlier name takes up."""
    to_points = 72.0 / axes.figure.dpi
    points = {name: axes.transData.transform(at) * to_points for name, at in indices.items()}
    taken: list[tuple[float, float, float, float]] = []
    for name, (x, y) in points.items():
        width = 0.62 * _LABEL_SIZE * len(labels[name])
        boxes = [
            (
                x + dx - (width if dx < 0 else 0),
                y + dy,
                x + dx + (0 if dx < 0 else width),
                y + dy + _LABEL_SIZE,
            )
            for dx, dy in _OFFSETS
        ]
        free = [not any(_overlap(box, other) for other in taken) for box in boxes]
        selected = free.index(True) if any(free) else 0
        taken.append(boxes[selected])
        dx, dy = _OFFSETS[selected]
        axes.annotate(
            labels[name], indices[name], xytext=(dx, dy), textcoords="offset points", fontsize=_LABEL_SIZE,
            ha="right" if dx < 0 else "left", color=COLOURS[0] if name == product else GREY,
            fontweight="bold" if name == product else "normal",
        )  # fmt: skip


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    return not apart


def _plot_one_k(measured: MeasuredTable, rows: Sequence[Row], product: str, path: Path) -> None:
    """Write a PNG with a panel per metric: every model's value and its interval, best NDCG@10 on top."""
    found = {(row.model, row.metric): row for row in rows}
    present = [model for model in measured.models if (model, _NDCG) in found]
    ordered = sorted(present, key=lambda model: found[model, _NDCG].value)
    figure = _figure(width=3.6 * len(METRICS) + 1.6, height=0.9 + 0.34 * len(ordered))
    for axes, metric in zip(figure.subplots(1, len(METRICS), sharey=True), METRICS, strict=True):
        for position, model in enumerate(ordered):
            row = found[model, metric]
            colour = COLOURS[0] if model == product else GREY
            axes.errorbar(
                row.value, position, xerr=[[row.value - row.low], [row.high - row.value]], color=colour,
                marker="D" if model == product else "o", markersize=6, elinewidth=1.4,
            )  # fmt: skip
        axes.set_yticks(range(len(ordered)), ordered)
        for label in axes.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == product else "normal")
        axes.set_ylim(-0.6, len(ordered) - 0.4)
        axes.set_title(metric, fontsize=11, loc="left")
        _plain(axes)
    _title(figure, measured, f"K = {measured.ks[0]}; 95 % intervals over users")
    _save(figure, path)


def _coloured(measured: MeasuredTable, rows: Sequence[Row], product: str) -> list[str]:
    """Return the models in colour: the product, then the others by mean NDCG@10 over K."""
    means: Mapping[str, float] = {
        model: float(
            np.mean([row.value for row in rows if (row.model, row.metric) == (model, _NDCG)] or [0.0])
        )
        for model in measured.models
    }
    ordered = sorted(means, key=lambda model: (model != product, -means[model]))
    return ordered[:_NUM_COLOURED]


def _draw_metric(
    axes: Axes, measured: MeasuredTable, rows: Sequence[Row], selected: Sequence[str], product: str
) -> None:
    indices = {k: position for position, k in enumerate(measured.ks)}
    ends = []
    for model in (*(name for name in measured.models if name not in selected), *reversed(selected)):
        points = sorted((row for row in rows if row.model == model), key=lambda row: row.k)
        x, y = [indices[row.k] for row in points], [row.value for row in points]
        if model not in selected:
            axes.plot(x, y, color=_PALE, linewidth=0.9, zorder=1)
            continue
        colour = COLOURS[selected.index(model) % len(COLOURS)]
        axes.plot(
            x, y, color=colour, linewidth=2.4 if model == product else 1.4, marker="o", markersize=4, zorder=3
        )
        axes.fill_between(
            x,
            [row.low for row in points],
            [row.high for row in points],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
        ends.append((y[-1], model if model == product else with_seeds(measured, model), colour))
    num_users = {row.k: row.num_users for row in rows}
    axes.set_xticks(range(len(indices)), [f"{k}\n{num_users[k]:,}" for k in indices])
    axes.set_xlabel("K, events seen of the user; below it, users", color=GREY)
    axes.set_xlim(-0.2, len(indices) - 0.8)
    axes.set_ylim(0, 1.04 * max(row.high for row in rows))
    _plain(axes)
    label_ends(axes, ends, len(indices) - 0.75, product)


def _median_ms(measured: MeasuredTable, model: str) -> float:
    return float(np.mean([measured.cells[model, seed].cost.p50_ms for seed in measured.seeds_of(model)]))


def _figure(*, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(axes: Axes) -> None:
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=GREY)


def _title(figure: Figure, measured: MeasuredTable, what: str) -> None:
    table = measured.table
    subject = table.title or f"{table.dataset}, {table.protocol.label}"
    # A narrow figure takes it on several lines.
    lines = wrap(f"{subject}; {what}", int(figure.get_figwidth() / _TITLE_LETTER_INCHES))
    figure.suptitle("\n".join(lines), fontsize=10.5, x=0.01, ha="left")


def _save(figure: Figure, path: Path) -> None:
    image = BytesIO()
    figure.savefig(image, format="png")
    write_atomic(path, image.getvalue())
