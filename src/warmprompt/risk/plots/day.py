"""A settlement day: what waits, and how much liquidity is in use. N is banks, T samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MultipleLocator

from warmprompt.errors import BadInputError
from warmprompt.risk.plots.style import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    new_figure,
    plain_axes,
    save,
)
from warmprompt.risk.settlement.result import DayResult

_NUM_NAMED = 5
_COLOURS = (ORANGE, BLUE, GREEN, PURPLE, AMBER)
_TICKS = (1, 2, 3, 4, 6)


def plot_day(result: DayResult, nodes: Sequence[str], path: Path, *, title: str, decimals: int = 2) -> None:
    """Write a PNG: value that waits by bank, liquidity in use, and value settled, over the day.

    The five banks whose payments wait longest, weighted by value, are named; balances are shown as a share
    of the opening. Money is shown in major units: minor ones have `decimals` more digits.

    Raises:
        BadInputError: The day was run without samples.
        StorageError: The file could not be written.
    """
    series = result.series
    if not len(series.grid_s):
        remedy = "Run the day with sample_s, seconds between samples."
        raise BadInputError(field="sample_s", value=None, remedy=remedy)
    hours = series.grid_s / 3_600
    queued_TN = (series.queued_minor_TN + series.held_minor_TN) / 10.0**decimals
    opening_N = result.closing_minor + series.sent_minor_TN.sum(axis=0) - series.received_minor_TN.sum(axis=0)
    waits_N = queued_TN.sum(axis=0)
    named = [int(bank) for bank in np.argsort(-waits_N, kind="stable")[:_NUM_NAMED] if waits_N[bank] > 0]
    # A dollar sign in a name is no formula.
    names = [name.replace("$", r"\$") for name in nodes]
    figure = new_figure(9.6, 8.4)
    upper, middle, lower = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 2])
    _draw_queues(upper, hours, queued_TN, named, names)
    _draw_liquidity(middle, hours, series.balance_minor_TN.astype(float), opening_N, named, names)
    settled_T = series.sent_minor_TN.sum(axis=1) / 10.0**decimals
    scale, unit = _scale(settled_T.max(initial=0))
    step = np.diff(np.append(result.rules.open_s / 3_600, hours))
    lower.bar(hours - step, settled_T / scale, width=step * 0.9, align="edge", color=SKY)
    lower.set_ylabel(f"settled per interval{unit}", color=GREY)
    lower.set_xlim(result.rules.open_s / 3_600, hours[-1])
    lower.xaxis.set_major_formatter(FuncFormatter(_clock))
    every = next((step for step in _TICKS if (hours[-1] - hours[0]) / step <= 12), 6)
    lower.xaxis.set_major_locator(MultipleLocator(every))
    for axes in (upper, middle, lower):
        plain_axes(axes)
    upper.set_title(title, loc="left", fontsize=12, color=INK)
    save(figure, path)


def _draw_queues(
    axes: Axes, hours: np.ndarray, queued_TN: np.ndarray, named: Sequence[int], names: Sequence[str]
) -> None:
    scale, unit = _scale(queued_TN.sum(axis=1).max(initial=0))
    others_T = queued_TN.sum(axis=1) - queued_TN[:, named].sum(axis=1)
    parts = [*(queued_TN[:, bank] / scale for bank in named), np.maximum(others_T, 0) / scale]
    labels = [*(names[bank] for bank in named), "others"]
    axes.stackplot(hours, parts, labels=labels, colors=[*_COLOURS[: len(named)], "#BBBBBB"], step="pre")
    axes.set_ylabel(f"waiting{unit}", color=GREY)
    axes.set_ylim(bottom=0)
    if not queued_TN.any():
        axes.text(0.5, 0.5, "nothing waits", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        return
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _draw_liquidity(
    axes: Axes,
    hours: np.ndarray,
    balance_TN: np.ndarray,
    opening_N: np.ndarray,
    named: Sequence[int],
    names: Sequence[str],
) -> None:
    used_T = np.maximum(opening_N - balance_TN, 0).sum(axis=1) / max(float(opening_N.sum()), 1.0)
    axes.fill_between(hours, 100 * used_T, color=GREY, alpha=0.25, linewidth=0, label="in use, all banks")
    for bank, colour in zip(named, _COLOURS, strict=False):
        start = float(opening_N[bank])
        if start > 0:
            axes.plot(
                hours, 100 * balance_TN[:, bank] / start, color=colour, linewidth=1.5, label=names[bank]
            )
    axes.set_ylabel("liquidity, % of the opening", color=GREY)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0), title="balance of")


def _scale(largest: float) -> tuple[float, str]:
    for scale, unit in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if largest >= scale:
            return scale, f", {unit}"
    return 1.0, ""


def _clock(hour: float, _: int | None = None) -> str:
    minutes = round(hour * 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"
