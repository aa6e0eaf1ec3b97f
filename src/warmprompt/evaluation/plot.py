"""One picture of an evaluation: each metric over K, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from warmprompt.errors import BadInputError
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.report import overall
from warmprompt.evaluation.results import Results, Row
from warmprompt.files import write_atomic

# Okabe & Ito 2008: distinguishable with any colour vision; yellow left out, too pale for lines on white.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#555555"


def plot_metrics(results: Results, path: Path) -> None:
    """Write a PNG with one panel per metric: mean over users against K, 95 % intervals, labelled lines.

    The product, where one was named, is drawn first in colour order and thicker.

    Raises:
        BadInputError: There are no rows to draw.
        StorageError: The file could not be written.
    """
    rows = overall(results)
    if not rows:
        raise BadInputError(
            field="results", value=results.dataset, remedy="Evaluate at least one K with users."
        )
    product = results.settings.get("product")
    models = sorted(dict.fromkeys(row.model for row in rows), key=lambda model: model != product)
    figure = Figure(figsize=(4.6 * len(METRICS), 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, metric in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
        _draw(axes, [row for row in rows if row.metric == metric], models, metric, product)
    seeds = results.settings["seeds"]
    figure.suptitle(
        f"{results.dataset}, protocol {results.settings['label']}: users no model has trained on "
        f"({len(seeds)} split{'s' if len(seeds) > 1 else ''}, 95 % intervals over users)",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    image = BytesIO()
    figure.savefig(image, format="png")
    write_atomic(path, image.getvalue())


def _draw(axes: Axes, rows: Sequence[Row], models: Sequence[str], metric: str, product: str | None) -> None:
    ks = sorted({row.k for row in rows})
    indices = {k: index for index, k in enumerate(ks)}
    ends = []
    for order, model in enumerate(models):
        points = sorted((row for row in rows if row.model == model), key=lambda row: row.k)
        colour = COLOURS[order % len(COLOURS)]
        # Side by side, so that intervals at the same K do not cover one another.
        shift = 0.07 * (order - (len(models) - 1) / 2)
        x = np.array([indices[row.k] + shift for row in points])
        y = np.array([row.value for row in points])
        spread = np.array([[row.value - row.low, row.high - row.value] for row in points]).T
        axes.errorbar(
            x,
            y,
            yerr=np.maximum(spread, 0),
            color=colour,
            marker=_MARKERS[order % len(_MARKERS)],
            markersize=5,
            linewidth=2.4 if model == product else 1.4,
            elinewidth=0.8,
            zorder=3 if model == product else 2,
        )
        ends.append((float(y[-1]), model, colour))
    axes.set_title(metric, fontsize=11, loc="left")
    num_users = {row.k: row.num_users for row in rows}
    axes.set_xticks(range(len(ks)), [f"{k}\n{num_users[k]:,}" for k in ks])
    axes.set_xlabel("K, events seen of the user; below it, users", color=GREY)
    axes.set_xlim(-0.3, len(ks) - 1 + 0.3)
    axes.set_ylim(0, 1.04 * max(row.high for row in rows))
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=GREY)
    label_ends(axes, ends, len(ks) - 1 + 0.35, product)


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], x: float, product: str | None) -> None:
    """Name each line right of its last point, moved apart where the points lie closer than a line of text."""
    gap = 0.055 * axes.get_ylim()[1]
    ordered = sorted(ends)
    steps = gap * np.arange(len(ordered))
    # The heights nearest to the points, in least squares, that stay a gap apart.
    heights = isotonic_regression([y for y, _, _ in ordered] - steps).x + steps
    for height, (_, model, colour) in zip(heights, ordered, strict=True):
        axes.annotate(
            model,
            (x, float(height)),
            color=colour,
            fontsize=9,
            fontweight="bold" if model == product else "normal",
            va="center",
            annotation_clip=False,
        )
