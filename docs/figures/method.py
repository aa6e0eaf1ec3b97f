"""Draw docs/img/method.svg, the one picture of the method: `python docs/figures/method.py [FILE ...]`."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path as BezierPath

INK, MUTED, LINE, PAPER = "#1e293b", "#64748b", "#cbd5e1", "#ffffff"
ICE, ICE_LINE, ICE_INK = "#e0f2fe", "#7dd3fc", "#075985"
TEXT, TEXT_LINE = "#f1f5f9", "#94a3b8"
WARM, WARM_LINE, WARM_INK = "#ffedd5", "#f97316", "#c2410c"
READ, READ_LINE, READ_INK = "#ede9fe", "#8b5cf6", "#5b21b6"
ITEM, ITEM_LINE, ITEM_INK = "#dcfce7", "#22c55e", "#166534"
BAD = "#dc2626"
USERS = ["#0ea5e9", "#8b5cf6", "#22c55e", "#e11d48"]


def main(files: list[str]) -> None:
    """Draw the picture and write it to each file, in the format its name ends in."""
    mpl.rcParams.update({"font.family": "DejaVu Sans", "svg.fonttype": "path", "svg.hashsalt": "method"})
    figure = plt.figure(figsize=(12, 7.3))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1200), ylim=(730, 0))
    axes.axis("off")
    box(axes, (6, 6, 1188, 718), PAPER, LINE, radius=14)
    draw_model(axes)
    draw_scores(axes)
    draw_support(axes)
    draw_outer_loop(axes)
    for file in files:
        figure.savefig(file, metadata={"Date": None} if file.endswith("svg") else None, dpi=110)


def draw_model(axes: Axes) -> None:
    """The frozen language model over its input: user text, soft prompt, read-out."""
    heading(axes, 36, 44, "Inner loop", "one user, N gradient steps on that user's own prompt", WARM_INK)
    box(axes, (36, 178, 560, 132), ICE, ICE_LINE, radius=12)
    for layer in range(4):
        box(axes, (52, 226 + 19 * layer, 528, 11), "#bae6fd", "none", radius=5)
    label(axes, 52, 203, "❄  Frozen language model", size=12.5, color=ICE_INK, weight="bold")
    label(axes, 580, 203, "first n layers; weights never change", size=9.5, color=ICE_INK, ha="right")

    x = 36.0
    for word, width in [("I", 30), ("love", 48), ("slow", 50), ("science", 70), ("fiction", 66)]:
        chip(axes, (x, 352, width, 38), word, TEXT, TEXT_LINE, INK)
        x += width + 6
    for number in range(4):
        chip(axes, (356 + 46 * number, 352, 40, 38), f"$p_{number + 1}$", WARM, WARM_LINE, WARM_INK)
    chip(axes, (550, 352, 46, 38), "■", READ, READ_LINE, READ_INK)

    arrow(axes, (179, 350), (179, 313), TEXT_LINE, width=1.6)
    label(axes, 189, 331, "keys and values computed once, reused", size=8.5, color=MUTED)
    arrow(axes, (445, 350), (445, 313), WARM_LINE, width=1.6)
    arrow(axes, (573, 350), (573, 313), READ_LINE, width=1.6)
    under(axes, 36, 324, "user text", "attributes or a sentence; may be missing", MUTED)
    under(axes, 356, 534, "soft prompt", "the only thing that moves", WARM_INK)
    under(axes, 550, 596, "read-out", "", READ_INK)


def draw_scores(axes: Axes) -> None:
    """From the read-out to a ranking of the catalogue."""
    box(axes, (312, 78, 284, 62), READ, READ_LINE, radius=12)
    label(axes, 454, 99, "user vector, whitened", size=11, color=READ_INK, weight="bold", ha="center")
    label(axes, 454, 122, "prior (text)  +  displacement (prompt)", size=9.5, color=READ_INK, ha="center")
    arrow(axes, (573, 177), (573, 143), READ_LINE)

    box(axes, (676, 62, 122, 94), ITEM, ITEM_LINE, radius=12)
    for row in range(5):
        for column in range(8):
            shade = ["#bbf7d0", "#86efac", "#4ade80"][(row * 5 + column * 3 + row * column) % 3]
            box(axes, (688.5 + 12.3 * column, 92 + 11.5 * row, 10, 9), shade, "none", radius=2)
    label(axes, 737, 78, "item vectors", size=9.5, color=ITEM_INK, weight="bold", ha="center")
    label(axes, 737, 169, "text embedding + learned part", size=8.5, color=MUTED, ha="center")
    arrow(axes, (597, 109), (673, 109), READ_LINE)
    label(axes, 635, 97, "product", size=9, color=MUTED, ha="center")
    arrow(axes, (799, 109), (872, 109), ITEM_LINE)
    label(axes, 834, 97, "scores", size=9, color=MUTED, ha="center")

    label(axes, 880, 44, "Ranking of the whole catalogue", size=11, color=INK, weight="bold")
    titles = ["2001: A Space Odyssey", "Blade Runner", "Solaris", "Alien", "Metropolis"]
    for index, (title, share) in enumerate(zip(titles, [1.0, 0.86, 0.7, 0.62, 0.5], strict=True)):
        y = 66 + 21 * index
        box(axes, (880, y, 285 * share, 15), ITEM, "none", radius=4)
        label(axes, 888, y + 8, f"{index + 1}   {title}", size=8.8, color=ITEM_INK)


def draw_support(axes: Axes) -> None:
    """What the user did, the loss it gives, and the gradient back to the prompt."""
    box(axes, (36, 496, 250, 196), "#fafafa", LINE, radius=12)
    label(axes, 54, 520, "Support: what the user did", size=10.5, color=INK, weight="bold")
    rows = [("♥", "Gattaca", WARM_LINE), ("♥", "Contact", WARM_LINE), ("♥", "Twelve Monkeys", WARM_LINE)]
    for row, (sign, title, color) in enumerate([*rows, ("✖", "Con Air", BAD)]):
        y = 552 + 33 * row
        label(axes, 58, y, sign, size=13, color=color)
        label(axes, 86, y, title, size=10, color=INK)
        rating = "★★★★★" if color == WARM_LINE else "★"
        label(axes, 270, y, rating, size=8.5, color="#f59e0b", ha="right")

    box(axes, (334, 536, 262, 116), WARM, WARM_LINE, radius=12)
    label(axes, 465, 560, "support loss", size=11, color=WARM_INK, weight="bold", ha="center")
    label(axes, 465, 587, "liked: softmax over the catalogue", size=9.3, color=WARM_INK, ha="center")
    label(axes, 465, 607, "disliked: pushed away", size=9.3, color=WARM_INK, ha="center")
    label(
        axes,
        465,
        634,
        r"$p \;\leftarrow\; p - \alpha \odot \nabla_{\!p}\, L_u(p)$",
        size=11.5,
        color=WARM_INK,
        ha="center",
    )
    arrow(axes, (287, 594), (331, 594), TEXT_LINE)
    arrow(axes, (445, 534), (445, 442), WARM_LINE, width=3)
    label(axes, 458, 489, "gradient, N times", size=9.5, color=WARM_INK, weight="bold")
    axes.add_patch(
        FancyArrowPatch(
            (738, 181),
            (598, 600),
            connectionstyle="angle,angleA=90,angleB=0,rad=14",
            arrowstyle="-|>",
            mutation_scale=13,
            color=ITEM_LINE,
            linewidth=1.8,
            linestyle=(0, (4, 3)),
            shrinkA=0,
            shrinkB=2,
        )
    )
    label(axes, 728, 474, "scores of the support items", size=8.5, color=MUTED, ha="center", rotation=90)


def draw_outer_loop(axes: Axes) -> None:
    """The prompt space with many users, and the start that moves."""
    box(axes, (776, 206, 400, 486), "#fffbf5", "#fed7aa", radius=14)
    heading(axes, 798, 240, "Outer loop", "many users, once, before anybody new arrives", INK)
    for radius in (150, 112, 74):
        axes.add_patch(Circle((976, 448), radius, facecolor="none", edgecolor="#fde3c8", linewidth=1.2))
    label(axes, 798, 292, "space of prompts", size=9, color=MUTED, style="italic")

    old, new = (914, 510), (976, 448)
    ends = [((868, 360), 0.12), ((1082, 352), -0.15), ((1106, 516), 0.15), ((956, 590), -0.2)]
    names = ["Ana", "Ben", "Chloé", "Dai"]
    for (end, bend), name, color in zip(ends, names, USERS, strict=True):
        (x0, y0), (x1, y1) = new, end
        middle = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
        curve = BezierPath([new, middle, end], [BezierPath.MOVETO, BezierPath.CURVE3, BezierPath.CURVE3])
        axes.add_patch(PathPatch(curve, facecolor="none", edgecolor=color, linewidth=1.8))
        step = tuple(0.25 * a + 0.5 * m + 0.25 * b for a, m, b in zip(new, middle, end, strict=True))
        axes.add_patch(Circle(step, 4.5, facecolor="white", edgecolor=color, linewidth=1.8, zorder=3))
        axes.add_patch(Circle(end, 7.5, facecolor=color, edgecolor="white", linewidth=1.5, zorder=3))
        dx = 14 if end[0] > 976 else -14
        align = "left" if dx > 0 else "right"
        label(axes, end[0] + dx, end[1], name, size=9.5, color=color, ha=align, weight="bold")
    axes.add_patch(
        FancyArrowPatch(
            old,
            new,
            arrowstyle="-|>",
            mutation_scale=20,
            color=WARM_LINE,
            linewidth=4.5,
            shrinkA=9,
            shrinkB=13,
        )
    )
    axes.add_patch(Circle(old, 8, facecolor=WARM, edgecolor=WARM_LINE, linewidth=1.5, linestyle=(0, (2, 2))))
    axes.add_patch(Circle(new, 13, facecolor=WARM_LINE, edgecolor="white", linewidth=2.5, zorder=4))
    label(axes, 968, 420, "start", size=11, color=WARM_INK, weight="bold", ha="center")
    label(axes, 800, 536, "outer step", size=9.5, color=WARM_INK, weight="bold")
    label(
        axes,
        976,
        630,
        "The start moves to where N steps help most",
        size=10,
        color=INK,
        ha="center",
        weight="bold",
    )
    label(axes, 976, 650, "on each user's held-back events (the query).", size=10, color=INK, ha="center")
    label(axes, 976, 674, "Somebody new begins at the start.", size=9.5, color=WARM_INK, ha="center")


def heading(axes: Axes, x: float, y: float, title: str, rest: str, color: str) -> None:
    """A section's title with its explanation underneath."""
    label(axes, x, y - 4, title, size=15, color=color, weight="bold")
    label(axes, x, y + 18, rest, size=9.5, color=MUTED)


def under(axes: Axes, left: float, right: float, title: str, rest: str, color: str) -> None:
    """A bracket under part of the input with its name."""
    axes.plot([left, left, right, right], [398, 404, 404, 398], color=color, linewidth=1.2)
    label(axes, (left + right) / 2, 418, title, size=10, color=color, weight="bold", ha="center")
    label(axes, (left + right) / 2, 434, rest, size=8.5, color=MUTED, ha="center")


def chip(
    axes: Axes, index: tuple[float, float, float, float], word: str, fill: str, line: str, ink: str
) -> None:
    """One token of the input."""
    box(axes, index, fill, line, radius=8)
    label(axes, index[0] + index[2] / 2, index[1] + index[3] / 2, word, size=10.5, color=ink, ha="center")


def box(axes: Axes, index: tuple[float, float, float, float], fill: str, line: str, *, radius: float) -> None:
    """A rounded rectangle: left, top, width, height."""
    x, y, width, height = index
    style = f"round,pad=0,rounding_size={radius}"
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=fill, edgecolor=line, linewidth=1.3)
    )


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str, width: float = 1.8
) -> None:
    """A straight arrow."""
    patch = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=9 + 2.5 * width, color=color, shrinkA=0, shrinkB=0
    )
    patch.set_linewidth(width)
    axes.add_patch(patch)


def label(axes: Axes, x: float, y: float, words: str, **style: object) -> None:
    """Text, centred vertically on y."""
    style.setdefault("ha", "left")
    axes.text(x, y, words, va="center", **style)


if __name__ == "__main__":
    main(sys.argv[1:] or [str(Path(__file__).parents[1] / "img" / "method.svg")])
