"""What the pictures have in common: colours, plain axes, files that are there whole or not at all."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from warmprompt.files import write_atomic

# Okabe & Ito 2008: distinct with any colour vision.
ORANGE, BLUE, GREEN, PURPLE, AMBER, SKY = "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
INK, GREY, PALE = "#222222", "#555555", "#E6E6E6"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, inches, that draws without a window."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes) -> None:
    """Keep the two axes that carry numbers, and lines across to read heights by."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")
    axes.tick_params(colors=GREY, labelsize=9)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG.

    Raises:
        StorageError: The file could not be written.
    """
    image = BytesIO()
    figure.savefig(image, format="png")
    write_atomic(path, image.getvalue())
