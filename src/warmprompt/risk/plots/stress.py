"""Pictures of a stress test that name the banks: network, obligations, failures by round. N is banks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.network.graph import PaymentNetwork
from warmprompt.risk.plots.network import GOLDEN_ANGLE
from warmprompt.risk.plots.style import BLUE, GREY, INK, ORANGE, PALE, PURPLE, new_figure, plain_axes, save

_MOST_LINKS, _NUM_NAMED, _NUM_IN_MATRIX = 4_000, 10, 25
_MOST_COLUMNS, _NAMES_IN_COLUMN, _LONGEST_NAME = 8, 12, 16


def plot_stressed_network(
    network: PaymentNetwork, failed: ArrayLike, vulnerability: ArrayLike, impact: ArrayLike, path: Path
) -> None:
    """Write a PNG: banks by size, the largest in the middle; those that fail filled, the top ten named.

    The most impactful banks are named on the left, the most vulnerable ones on the right. Lines are the
    largest obligations, at most 4,000.

    Args:
        network: Rows owe columns.
        failed: Who fails (N,).
        vulnerability: The higher, the more vulnerable (N,).
        impact: The higher, the more impactful (N,).
        path: The file.

    Raises:
        MismatchError: Other lengths than banks.
        StorageError: The file could not be written.
    """
    failed_N, *scores = np.asarray(failed, dtype=bool), np.asarray(vulnerability), np.asarray(impact)
    _check_lengths(network, failed_N, *scores)
    value_N = network.outgoing.astype(float) + network.incoming
    rank_N = np.empty(network.num_nodes, dtype=np.int64)
    rank_N[np.argsort(-value_N, kind="stable")] = np.arange(network.num_nodes)
    angle_N = rank_N * GOLDEN_ANGLE
    place_N2 = np.sqrt((rank_N + 0.5) / network.num_nodes)[:, None] * np.stack(
        [np.cos(angle_N), np.sin(angle_N)], axis=1
    )
    figure = new_figure(10.4, 7.0)
    axes = figure.subplots()
    payers, payees, amounts = network.edges()
    drawn = np.argsort(-amounts, kind="stable")[:_MOST_LINKS]
    axes.add_collection(
        LineCollection(
            list(np.stack([place_N2[payers[drawn]], place_N2[payees[drawn]]], axis=1)),
            colors="#BBBBBB",
            linewidths=0.3 + 2.0 * np.sqrt(amounts[drawn] / max(amounts.max(initial=0), 1e-300)),
            alpha=float(np.clip(300 / max(len(drawn), 1), 0.08, 0.6)),
            zorder=1,
        )
    )
    crowd = np.clip(60 / network.num_nodes, 0.02, 1.0)
    size_N = 4 + 22 * crowd + 420 * crowd**0.3 * value_N / max(value_N.max(), 1e-300)
    for chosen_N, colour, what in ((~failed_N, BLUE, "survives"), (failed_N, ORANGE, "fails")):
        axes.scatter(
            place_N2[chosen_N, 0],
            place_N2[chosen_N, 1],
            s=size_N[chosen_N],
            color=colour,
            edgecolors="white",
            linewidths=0.4,
            zorder=2,
            label=f"{what}: {int(chosen_N.sum()):,}",
        )
    for scores_N, side, colour, what in (
        (scores[1], -1, PURPLE, "most impactful"),
        (scores[0], 1, INK, "most vulnerable"),
    ):
        top = np.argsort(-scores_N, kind="stable")[:_NUM_NAMED]
        top = top[scores_N[top] > 0]
        marker, size = ("D", 16) if side < 0 else ("o", 10)
        axes.scatter(
            place_N2[top, 0],
            place_N2[top, 1],
            s=size_N[top] + 10 * size,
            facecolors="none",
            edgecolors=colour,
            linewidths=1.3,
            marker=marker,
            zorder=3,
            label=what,
        )
        _name_at_side(axes, network, place_N2, top, side=side, colour=colour, title=what)
    axes.set_xlim(-1.8, 1.8)
    axes.set_ylim(-1.08, 1.16)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(
        f"{network.num_nodes:,} banks, {network.num_links:,} obligations; the largest banks in the middle",
        loc="left",
        fontsize=12,
        color=INK,
    )
    legend = figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9, labelcolor=GREY)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_sizes([45])  # type: ignore[attr-defined]
    save(figure, path)


def _name_at_side(  # noqa: PLR0913  what is where, and how it looks
    axes: Axes,
    network: PaymentNetwork,
    place_N2: np.ndarray,
    banks: np.ndarray,
    *,
    side: int,
    colour: str,
    title: str,
) -> None:
    """Name banks in a column at one side, in order of height, so that no lines cross much."""
    axes.text(1.2 * side, 1.1, title, color=colour, fontsize=10, ha="right" if side < 0 else "left")
    order = banks[np.argsort(-place_N2[banks, 1], kind="stable")]
    for height, bank in zip(np.linspace(0.95, -0.95, max(len(order), 2)), order, strict=False):
        axes.annotate(
            _short(network.nodes[bank]),
            place_N2[bank],
            xytext=(1.2 * side, height),
            ha="right" if side < 0 else "left",
            va="center",
            fontsize=9,
            color=colour,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "alpha": 0.6,
                "shrinkB": 4,
                "relpos": (1.0 if side < 0 else 0.0, 0.5),
            },
            zorder=4,
        )


def plot_matrix(network: PaymentNetwork, path: Path, *, first: Sequence[str] = ()) -> None:
    """Write a PNG: who owes whom among the 25 banks that owe and are owed most.

    Args:
        network: Rows owe columns.
        path: The file.
        first: Banks whose names are in colour, such as those that fail.

    Raises:
        BadInputError: There is no link.
        StorageError: The file could not be written.
    """
    if not network.num_links:
        raise BadInputError(field="network", value="no link", remedy="Give a network with at least one link.")
    value_N = network.outgoing.astype(float) + network.incoming
    banks = np.argsort(-value_N, kind="stable")[:_NUM_IN_MATRIX]
    owed = network.matrix[banks][:, banks].toarray().astype(float)
    share = owed.sum() / network.total
    shown = np.ma.masked_less_equal(owed, 0)
    figure = new_figure(8.6, 7.6)
    axes = figure.subplots()
    largest = float(network.matrix.data.max()) if not owed.any() else owed.max()
    lowest = owed[owed > 0].min() if owed.any() else largest
    image = axes.imshow(shown, cmap="viridis_r", norm=LogNorm(max(lowest, largest * 1e-6), largest * 1.0001))
    names = [network.nodes[bank] for bank in banks]
    for axis, turn in ((axes.xaxis, 90), (axes.yaxis, 0)):
        axis.set_ticks(range(len(names)), [_short(name) for name in names], rotation=turn, fontsize=8)
        for label, name in zip(axis.get_ticklabels(), names, strict=True):
            label.set_color(ORANGE if name in {*first} else INK)
    axes.set_xticks(np.arange(-0.5, len(names)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(names)), minor=True)
    axes.grid(which="minor", color=PALE, linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("owes", color=GREY)
    axes.set_xlabel("to", color=GREY)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.outline.set_visible(False)
    bar.set_label("amount owed, unit of the input", color=GREY)
    failing = "; names of those that fail in colour" if first else ""
    axes.set_title(
        f"The {len(names)} largest banks: {share:.0%} of what all owe{failing}",
        loc="left",
        fontsize=11,
        color=INK,
    )
    save(figure, path)


def plot_waves(names: Sequence[str], rounds: ArrayLike, size: ArrayLike, path: Path) -> None:
    """Write a PNG: how many banks fail in each round, and the names of the largest of them.

    Args:
        names: Of the banks.
        rounds: Round of each bank's failure from 0, -1 for none (N,).
        size: By which the largest are found (N,).
        path: The file.

    Raises:
        BadInputError: Nobody fails.
        StorageError: The file could not be written.
    """
    round_N, size_N = np.asarray(rounds), np.asarray(size, dtype=np.float64)
    if not (round_N >= 0).any():
        raise BadInputError(
            field="rounds", value="no failure", remedy="Give a cascade in which a bank fails."
        )
    present = np.unique(round_N[round_N >= 0])
    groups = [(f"{number}", np.flatnonzero(round_N == number)) for number in present[:_MOST_COLUMNS]]
    if len(present) > _MOST_COLUMNS:
        start = present[_MOST_COLUMNS - 1]
        groups[-1] = (f"{start} to {present[-1]}", np.flatnonzero(round_N >= start))
    counts = [len(banks) for _, banks in groups]
    listed = 0.3 + 0.2 * min(max(counts), _NAMES_IN_COLUMN + 1)
    figure = new_figure(max(6.0, 1.5 * len(groups) + 1.2), 2.9 + listed)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, listed])
    bars = upper.bar(range(len(groups)), counts, color=ORANGE, width=0.7)
    upper.bar_label(bars, [f"{count:,}" for count in counts], padding=2, fontsize=9, color=INK)
    upper.set_ylabel("banks that fail", color=GREY)
    upper.set_ylim(0, 1.18 * max(counts))
    upper.yaxis.set_major_locator(MaxNLocator(integer=True))
    plain_axes(upper)
    for column, (_, banks) in enumerate(groups):
        largest = banks[np.argsort(-size_N[banks], kind="stable")][:_NAMES_IN_COLUMN]
        lines = [_short(names[bank]) for bank in largest]
        if len(banks) > len(largest):
            lines.append(f"+ {len(banks) - len(largest):,} more")
        lower.text(
            column, 0.98, "\n".join(lines), ha="center", va="top", fontsize=8, color=INK, linespacing=1.5
        )
    lower.set_ylim(0, 1)
    lower.set_yticks([])
    lower.spines[:].set_visible(False)
    lower.tick_params(length=0, colors=GREY, labelsize=9)
    lower.xaxis.tick_top()
    lower.set_xticks(range(len(groups)), [f"round {name}" for name, _ in groups])
    lower.set_xlim(-0.6, len(groups) - 0.4)
    upper.tick_params(labelbottom=False)
    upper.set_title(
        f"{sum(counts):,} of {len(round_N):,} banks fail; the largest of each round by name",
        loc="left",
        fontsize=12,
        color=INK,
    )
    save(figure, path)


def _check_lengths(network: PaymentNetwork, *vectors: np.ndarray) -> None:
    for vector in vectors:
        if vector.shape != (network.num_nodes,):
            remedy = f"Give one entry for each of the {network.num_nodes} banks."
            raise MismatchError(field="vector for the network", value=vector.shape, remedy=remedy)


def _short(name: str) -> str:
    """Return a name that fits; a dollar sign is no formula."""
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return short.replace("$", r"\$")
