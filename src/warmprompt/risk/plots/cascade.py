"""A cascade of defaults, round by round. N is banks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.plots.style import BLUE, GREY, INK, ORANGE, new_figure, plain_axes, save


def plot_cascade(
    rounds: ArrayLike, losses: ArrayLike, path: Path, *, title: str, unit: str, never: int = 0
) -> None:
    """Write a PNG: how many banks fail in each round, and the losses that come with them.

    Args:
        rounds: In which round each bank fails (N,), `never` for none.
        losses: What goes with each bank's failure, at least 0 (N,).
        path: The file.
        title: What happened.
        unit: What the losses are, for the axis.
        never: The value in `rounds` of a bank that does not fail: 0, or -1 where rounds count from 0.

    Raises:
        BadInputError: Nobody fails.
        MismatchError: Rounds and losses of different numbers of banks.
        StorageError: The file could not be written.
    """
    round_N, loss_N = np.asarray(rounds), np.asarray(losses, dtype=np.float64)
    if round_N.shape != loss_N.shape:
        value = f"{round_N.shape} rounds, {loss_N.shape} losses"
        raise MismatchError(field="rounds and losses", value=value, remedy="Give one of each per bank.")
    failed = round_N > never
    if not failed.any():
        raise BadInputError(
            field="rounds", value="no default", remedy="Give a cascade in which a bank fails."
        )
    indices = np.arange(round_N[failed].min(), round_N.max() + 1)
    count = np.array([(round_N == index).sum() for index in indices])
    lost = np.array([loss_N[round_N == index].sum() for index in indices])
    figure = new_figure(7.4, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    bars = upper.bar(indices, count, color=ORANGE, width=0.72)
    # Inside the bar, out of the line's way; above it where the bar is too low for that.
    low = count < 0.08 * count.sum()
    labels = {"fontsize": 9, "fontweight": "bold"}
    upper.bar_label(bars, np.where(low, "", count), label_type="center", color="white", **labels)
    upper.bar_label(bars, np.where(low & (count > 0), count, ""), padding=2, color=ORANGE, **labels)
    upper.plot(indices, count.cumsum(), color=BLUE, linewidth=1.8, marker="o", markersize=4)
    upper.annotate(
        f"{count.sum()} in all",
        (indices[-1], float(count.sum())),
        xytext=(0, 7),
        textcoords="offset points",
        ha="right",
        color=BLUE,
        fontsize=9,
    )
    upper.set_ylabel("banks that fail", color=GREY)
    upper.set_ylim(0, 1.15 * count.sum())
    lower.bar(indices, lost, color=GREY, width=0.72)
    lower.set_ylabel(unit, color=GREY)
    lower.set_xlabel("round", color=GREY)
    lower.set_xlim(indices[0] - 0.6, indices[-1] + 0.6)
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, lower):
        plain_axes(axes)
    upper.set_title(f"{title} ({len(round_N):,} banks)", loc="left", fontsize=12, color=INK)
    save(figure, path)
