"""A payment network with its core marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection

from warmprompt.errors import BadInputError
from warmprompt.risk.network.graph import PaymentNetwork
from warmprompt.risk.network.statistics import value_core
from warmprompt.risk.plots.style import BLUE, GREY, INK, ORANGE, new_figure, save

MAX_LINKS, NUM_NAMED = 20_000, 10
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


def plot_network(network: PaymentNetwork, path: Path, *, core_share: float = 0.75) -> None:
    """Write a PNG: participants by value, largest in the middle, links by value, the core in colour.

    Participants lie on a sunflower spiral in order of what they pay and receive, so that the picture is
    the same for the same network and shows who is near the core by place alone. The core is the fewest
    largest links that carry `core_share` of all value, and who is on them. Of the other links the
    largest 20,000 are drawn.

    Raises:
        BadInputError: There is no link, or `core_share` is no share.
        StorageError: The file could not be written.
    """
    if not network.num_links:
        raise BadInputError(field="network", value="no link", remedy="Give a network with at least one link.")
    members, core = value_core(network, share=core_share)
    payers, payees, amounts = network.edges()
    value = network.outgoing.astype(float) + network.incoming
    rank = np.empty(network.num_nodes, dtype=np.int64)
    rank[np.argsort(-value, kind="stable")] = np.arange(network.num_nodes)
    radius = np.sqrt(rank + 0.5)
    index = radius[:, None] * np.stack([np.cos(rank * GOLDEN_ANGLE), np.sin(rank * GOLDEN_ANGLE)], axis=1)
    in_core = np.isin(np.array(network.nodes), members)
    figure = new_figure(8.2, 8.8)
    axes = figure.subplots()
    others = np.setdiff1d(np.argsort(-amounts, kind="stable")[:MAX_LINKS], core)
    opacity = float(np.clip(300 / max(len(others), 1), 0.02, 0.5))
    for links, colour, alpha, zorder in ((others, GREY, opacity, 1), (core, ORANGE, 0.45, 2)):
        width = 0.4 + 2.4 * np.sqrt(amounts[links] / amounts.max())
        segments = np.stack([index[payers[links]], index[payees[links]]], axis=1)
        axes.add_collection(
            LineCollection(list(segments), colors=colour, linewidths=width, alpha=alpha, zorder=zorder)
        )
    size = 6 + 260 * value / value.max()
    for selected, colour, name, zorder in ((~in_core, BLUE, "others", 3), (in_core, ORANGE, "core", 4)):
        axes.scatter(
            index[selected, 0],
            index[selected, 1],
            s=size[selected],
            color=colour,
            edgecolors="white",
            linewidths=0.6,
            zorder=zorder,
            label=f"{name}: {int(selected.sum()):,} participants, "
            f"{len(core) if name == 'core' else network.num_links - len(core):,} links",
        )
    for node in np.argsort(rank)[:NUM_NAMED]:
        axes.annotate(
            network.nodes[node],
            index[node],
            xytext=(0, 2 + np.sqrt(size[node]) / 2),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
            ha="center",
            va="bottom",
            zorder=5,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.margins(0.03)
    axes.set_title(
        f"{network.num_nodes:,} participants, {network.num_links:,} links; "
        f"the core carries {core_share:.0%} of the value",
        loc="left",
        fontsize=12,
        color=INK,
    )
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(0, 0), ncols=2, frameon=False, fontsize=9, labelcolor=GREY
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
            handle.set_sizes([45])  # type: ignore[attr-defined]
    save(figure, path)
