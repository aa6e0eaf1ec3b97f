"""How true a profiler's probabilities are, and one customer's payments. R is payments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from scipy.stats import beta

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.plots.style import BLUE, GREEN, GREY, INK, ORANGE, new_figure, plain_axes, save

if TYPE_CHECKING:
    from warmprompt.risk.profile import Audit, Payment, RiskEstimate

_LEAST = 1e-4
_COLOURS = {"fraud": ORANGE, "genuine": BLUE, "unsure": GREY}
_SAYS = {"fraud": "set says fraud", "genuine": "set says genuine", "unsure": "undecided"}


def plot_reliability(audit: Audit, path: Path, *, title: str) -> None:
    """Write a PNG: share of fraud over p_risk with 95 % intervals, and how p_risk spreads within each class.

    Intervals are Clopper & Pearson's of each bin alone, as if its payments were independent; frauds of
    one customer are not, so the true ones are wider.

    Raises:
        StorageError: The file could not be written.
    """
    figure = new_figure(11.0, 4.8)
    left, right = figure.subplots(1, 2)
    _draw_reliability(left, audit)
    _draw_spread(right, audit)
    figure.suptitle(
        f"{audit.num_entities:,} customers that are new to the profiler, {len(audit.p_R):,} payments "
        f"({title})",
        x=0.01,
        ha="left",
        fontsize=12,
        color=INK,
    )
    save(figure, path)


def plot_payments(
    payments: Sequence[Payment],
    estimates: Sequence[RiskEstimate],
    frauds: Sequence[bool],
    path: Path,
    *,
    title: str,
) -> None:
    """Write a PNG: amounts over time, and p_risk with its Venn-Abers pair; frauds are ringed.

    Raises:
        BadInputError: There is no payment.
        MismatchError: Not one estimate and label per payment.
        StorageError: The file could not be written.
    """
    if not payments:
        raise BadInputError(field="payments", value="none", remedy="Give at least one.")
    if not len(payments) == len(estimates) == len(frauds):
        value = f"{len(payments)}, {len(estimates)}, {len(frauds)}"
        remedy = "Give one of each per payment."
        raise MismatchError(field="payments, estimates and labels", value=value, remedy=remedy)
    times = [datetime.fromtimestamp(one.time_s, UTC) for one in payments]
    amounts = np.array([one.amount_minor / 100 for one in payments])
    p, low, high = (
        np.maximum([getattr(one, name) for one in estimates], _LEAST)
        for name in ("p_risk", "p_low", "p_high")
    )
    figure = new_figure(9.0, 5.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
    upper.vlines(times, 0, amounts, color=BLUE, linewidth=2)
    upper.plot(times, amounts, "o", color=BLUE, markersize=5)
    upper.set_ylim(0, 1.15 * max(float(amounts.max()), 1.0))
    upper.set_ylabel("amount", color=GREY)
    lower.vlines(times, low, high, color=GREY, linewidth=1.5, alpha=0.6)
    for decision, colour in _COLOURS.items():
        selected = [index for index, one in enumerate(estimates) if one.decision == decision]
        if selected:
            lower.plot(
                [times[index] for index in selected],
                p[selected],
                "o",
                color=colour,
                markersize=6,
                label=_SAYS[decision],
            )
    known = [index for index, fraud in enumerate(frauds) if fraud]
    if known:
        lower.plot(
            [times[index] for index in known],
            p[known],
            "o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor=ORANGE,
            markeredgewidth=1.6,
            label="was a fraud",
        )
    lower.set_yscale("log")
    lower.set_ylim(min(1e-3, 0.6 * float(low.min())), 1.6)
    lower.set_ylabel("p_risk, with its pair", color=GREY)
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    lower.xaxis.set_major_locator(locator)
    lower.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    for axes in (upper, lower):
        plain_axes(axes)
    handles, labels = lower.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    upper.set_title(title, loc="left", fontsize=12, color=INK)
    save(figure, path)


def _draw_reliability(axes: Axes, audit: Audit) -> None:
    p, share, num = (np.array(column) for column in zip(*audit.reliability, strict=True))
    frauds = np.rint(share * num)
    low = np.where(frauds > 0, beta.ppf(0.025, frauds, num - frauds + 1), 0)
    high = np.where(frauds < num, beta.ppf(0.975, frauds + 1, num - frauds), 1)
    least = float(np.concatenate([p, share[share > 0]]).min())
    bottom = max(_LEAST, min(1e-3, 0.6 * least))
    axes.plot(
        [bottom, 1], [bottom, 1], color=GREEN, linewidth=1.3, linestyle=(0, (5, 3)), label="as it should be"
    )
    axes.vlines(p, np.maximum(low, bottom), high, color=BLUE, linewidth=1.6, alpha=0.5)
    seen = frauds > 0
    axes.scatter(
        p[seen],
        share[seen],
        s=16 + 1.5 * np.sqrt(num[seen]),
        color=BLUE,
        zorder=3,
        label="bin of payments, with 95 % interval",
    )
    if not seen.all():
        axes.scatter(
            p[~seen],
            np.full(int((~seen).sum()), bottom),
            s=16 + 1.5 * np.sqrt(num[~seen]),
            facecolors="white",
            edgecolors=BLUE,
            zorder=3,
            label="no fraud among them",
            clip_on=False,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(bottom, 1.3)
    axes.set_ylim(bottom, 1.3)
    axes.set_xlabel("p_risk, mean of a bin", color=GREY)
    axes.set_ylabel("share of fraud in the bin", color=GREY)
    axes.set_title(f"Calibration error {audit.metrics['ECE']:.3f}", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    plain_axes(axes)


def _draw_spread(axes: Axes, audit: Audit) -> None:
    edges = np.geomspace(max(_LEAST, min(1e-3, float(audit.p_R.min()))), 1, 25)
    p_R = np.clip(audit.p_R, edges[0], 1)
    for name, chosen_R, colour in (
        ("genuine", ~audit.fraud_R, BLUE),
        ("fraud", audit.fraud_R, ORANGE),
    ):
        weight = np.full(int(chosen_R.sum()), 100 / max(1, int(chosen_R.sum())))
        label = f"{name}: {int(chosen_R.sum()):,}"
        axes.hist(p_R[chosen_R], bins=edges.tolist(), weights=weight, color=colour, alpha=0.55, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("p_risk", color=GREY)
    axes.set_ylabel("% of the class", color=GREY)
    axes.set_title(f"Average precision {audit.metrics['AP']:.3f}", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=9)
    plain_axes(axes)
