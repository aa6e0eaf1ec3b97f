"""Loss over delay: what other banks lose if a measure comes so long after the onset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from warmprompt.errors import BadInputError
from warmprompt.risk.plots.style import BLUE, GREEN, GREY, INK, ORANGE, new_figure, plain_axes, save
from warmprompt.risk.study.summary import Line, StudySummary

TICKS = {0.275: "275 ms", 1: "1 s", 10: "10 s", 60: "1 min", 900: "15 min", 3_600: "1 h", 28_800: "8 h"}
SHOWN = (
    "275 ms",
    "1 min",
    "1 s, delays too",
    "1 s, own mean only",
    "streaming rule",
    "hourly",
    "end of day",
    "next day",
)
START_S, END_S = 0.15, 400_000.0


def plot_losses(summaries: Mapping[str, StudySummary], path: Path) -> None:
    """Write a PNG with one panel per summary: what acting later costs other banks beyond acting at onset.

    The curve lets the same measure come so long after the onset in every scenario; bands are 95 %
    intervals of the paired difference. A policy is a diamond at its own mean, at its median delay from
    onset to action; where it never acted in most scenarios it is in the column "mostly too late".

    Raises:
        BadInputError: There is no summary.
        StorageError: The file could not be written.
    """
    if not summaries:
        raise BadInputError(field="summaries", value="none", remedy="Give at least one.")
    figure = new_figure(8.6 * len(summaries), 5.2)
    panels = np.atleast_1d(figure.subplots(1, len(summaries)))
    for axes, (title, summary) in zip(panels, summaries.items(), strict=True):
        _draw(axes, summary)
        axes.set_title(f"{title} ({summary.num_scenarios} scenarios)", loc="left", fontsize=12, color=INK)
    panels[0].set_ylabel("loss of other banks beyond acting at onset, % of value due", color=GREY)
    figure.supxlabel(
        "Total delay from onset to action. Simulation on synthetic networks; bands are 95 % intervals over "
        "scenarios, paired.",
        fontsize=9,
        color=GREY,
    )
    save(figure, path)


def _draw(axes: Axes, summary: StudySummary) -> None:
    # No delay has no place on a logarithmic axis; it is the oracle's line.
    curve = [line for line in summary.lines if line.part == "delay" and not line.name.startswith("0 ")]
    delay_s = np.array([float(line.name.split()[0]) for line in curve])
    mean, low, high = (
        np.array([getattr(line.beyond_oracle, name) for line in curve]) for name in ("mean", "low", "high")
    )
    axes.fill_between(delay_s, low, high, color=BLUE, alpha=0.15, linewidth=0)
    axes.plot(delay_s, mean, color=BLUE, linewidth=2.2, marker="o", markersize=4)
    none = summary.line("bound", "no action").beyond_oracle
    axes.axhspan(none.low, none.high, color=ORANGE, alpha=0.1, linewidth=0)
    for height, label, colour in ((none.mean, "no action", ORANGE), (0.0, "oracle: acts at onset", GREEN)):
        axes.axhline(height, color=colour, linewidth=1.3, linestyle=(0, (5, 3)))
        axes.annotate(
            label,
            (START_S * 1.1, height),
            xytext=(0, 4),
            textcoords="offset points",
            color=colour,
            fontsize=9,
        )
    axes.set_xscale("log")
    axes.set_xlim(START_S, END_S * 5)
    axes.set_xticks([*TICKS, END_S], [*TICKS.values(), "mostly\ntoo late"])
    axes.minorticks_off()
    plain_axes(axes)
    bottom, top = min(low.min(), none.low, 0.0), max(high.max(), none.high, 1e-6)
    axes.set_ylim(bottom - 0.04 * (top - bottom), top + 0.08 * (top - bottom))
    _policies(axes, [line for line in summary.lines if line.part == "policy" and line.name in SHOWN])


def _policies(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw policies as diamonds, named at the right edge in order of height, with a line to each."""
    indices = [line.median_acted_s if np.isfinite(line.median_acted_s) else END_S for line in lines]
    heights = np.array([line.beyond_oracle.mean for line in lines])
    axes.scatter(indices, heights, marker="D", s=26, color=INK, zorder=4)
    # Of diamonds at about one height the earlier is named lower, so that the lines do not cross.
    low, high = axes.get_ylim()
    order = np.lexsort((np.array(indices), np.round(heights / (0.02 * (high - low)))))
    steps = 0.052 * (high - low) * np.arange(len(lines))
    named = isotonic_regression(heights[order] - steps).x + steps
    named = named + max(0.0, low + 0.03 * (high - low) - named[0])
    for index, height in zip(order, named, strict=True):
        axes.annotate(
            lines[index].name,
            (indices[index], heights[index]),
            xytext=(END_S * 6, float(height)),
            textcoords="data",
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#BBBBBB", "linewidth": 0.7, "shrinkB": 3},
        )
