"""Probability of trouble against impact, a dot per bank; lines of equal expected loss. N is banks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from warmprompt.risk.plots.style import GREY, INK, ORANGE, PALE, SKY, new_figure, plain_axes, save

_NUM_NAMED = 8


def plot_watch(names: Sequence[str], p: ArrayLike, impact: ArrayLike, path: Path) -> None:
    """Write a PNG; the banks with the largest product have the interval of their probability.

    Their names are given as far as they do not cover one another.

    Args:
        names: Of banks.
        p: Probability of trouble, and both ends of its interval (N, 3).
        impact: Share of all capital that the others lose (N,).
        path: The file.

    Raises:
        StorageError: The file could not be written.
    """
    p_N3, impact_N = np.asarray(p, dtype=float), np.asarray(impact, dtype=float)
    figure = new_figure(8.6, 5.2)
    axes = figure.subplots()
    first = np.argsort(-p_N3[:, 0] * impact_N, kind="stable")[:_NUM_NAMED]
    most = max(float(impact_N.max(initial=0)), 1e-12)
    for level in (0.1, 0.3, 0.6):
        grid = np.linspace(level / 1.1, 1, 200)
        axes.plot(grid, level * most / grid, color=PALE, linewidth=1, zorder=0)
    axes.scatter(p_N3[:, 0], impact_N, s=18, color=SKY, linewidths=0)
    axes.hlines(impact_N[first], p_N3[first, 1], p_N3[first, 2], color=ORANGE, linewidth=1)
    axes.scatter(p_N3[first, 0], impact_N[first], s=32, color=ORANGE, linewidths=0)
    for bank in _apart(first, p_N3[:, 0], impact_N / most):
        axes.annotate(
            names[bank],
            (p_N3[bank, 0], impact_N[bank]),
            xytext=(4, 5),
            textcoords="offset points",
            fontsize=9,
            color=INK,
        )
    plain_axes(axes)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.1 * most)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("probability of trouble (curves: equal expected loss)", color=GREY)
    axes.set_ylabel("impact: share of all capital that the others lose", color=GREY)
    save(figure, path)


def _apart(banks: NDArray[np.intp], x_N: NDArray[np.float64], y_N: NDArray[np.float64]) -> list[int]:
    """Return banks, first ones first, whose names do not cover that of an earlier one."""
    kept: list[int] = []
    for bank in banks.tolist():
        if all(abs(x_N[bank] - x_N[one]) > 0.06 or abs(y_N[bank] - y_N[one]) > 0.045 for one in kept):
            kept.append(bank)
    return kept
