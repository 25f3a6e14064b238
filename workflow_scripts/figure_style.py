"""What all figures share: type, colours of the systems, labels, files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = (
    "#222222", "#868686", "#0072b2", "#d08400", "#009e73",
    "#c9480d", "#bd5f95", "#2f9bd6", "#882255", "#7d7d1f",
)  # fmt: skip
MARKERS = "os^DvPX*<>"

matplotlib.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlecolor": "#1f2937",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#9aa3af",
        "axes.labelcolor": "#374151",
        "xtick.color": "#6b7280",
        "ytick.color": "#6b7280",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e5e7eb",
        "grid.linewidth": 0.8,
        "svg.hashsalt": "a2d",  # the same figure is the same file
    }
)


def system_looks(systems: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker by system; both follow from the place in the list."""
    return {
        system: (COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)])
        for place, system in enumerate(systems)
    }


def panel_height(num_labels: int, least: float) -> float:
    """Inches that a panel needs for a column of labels, with its title and axis."""
    line = LABEL_HEIGHT * matplotlib.rcParams["font.size"] / 72
    return max(least, 1 + num_labels * line)


LABEL_HEIGHT = 1.6
"""Of a line of labels, in font sizes."""


def label_points(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    labels: Sequence[str],
    colors: Sequence[str],
) -> None:
    """Write labels in a column right of the axes, tied to their points by lines.

    Of a point outside the axes the line ends at their border.
    The limits of the axes stay as they are from now on.
    """
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = sorted(
        (tuple(to_axes.transform(point).clip(0, 1)[::-1]), label, color)
        for point, label, color in zip(points, labels, colors, strict=True)
    )
    line_height = LABEL_HEIGHT * matplotlib.rcParams["font.size"] / 72 * axes.figure.dpi
    heights = spread_out([y for (y, _), *_ in ends], line_height / axes.bbox.height)
    below = min([0, *heights])
    for ((y, x), label, color), height in zip(ends, heights, strict=True):
        place: dict[str, Any] = {
            "transform": axes.transAxes,
            "color": color,
            "clip_on": False,
        }
        height -= below
        axes.plot([x, 1.03], [y, height], linewidth=0.6, alpha=0.6, **place)
        axes.text(1.04, height, label, verticalalignment="center", **place)


def spread_out(wanted: Sequence[float], gap: float) -> list[float]:
    """Move ascending numbers as little as possible until all are `gap` apart.

    The least sum of squared moves, by pooling adjacent violators.
    """
    blocks: list[tuple[float, int]] = []  # mean of the first place, members
    for place, number in enumerate(wanted):
        mean, members = number - place * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean = (before * count + mean * members) / (count + members)
            members += count
        blocks.append((mean, members))
    means = [mean for mean, members in blocks for _ in range(members)]
    return [mean + place * gap for place, mean in enumerate(means)]


def save_figure(figure: Figure, *paths: str) -> None:
    """Write a figure to every path, in the format that its suffix names."""
    dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, not again for every format
    for path in map(Path, paths):
        partial = path.with_name(f"{path.name}.part")
        figure.savefig(partial, format=path.suffix[1:], metadata=dates[path.suffix])
        partial.replace(path)
