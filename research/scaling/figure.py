"""Figures of the scaling study."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes

from ..reporting import drawing
from .records import COMPOUND, SINGLE, Point

_X = "multiply-adds, millions"
_Y = "test top-1, %"
_NARROW = 16  # ratio of costs below which powers of 2 are too few ticks


def draw(
    points: Mapping[str, Sequence[Point]],
    at: Sequence[tuple[float, float]],
    data: str,
    path: pathlib.Path,
) -> None:
    """Draws Figures 3, 4 and 8 as panels with shared axes.

    Args:
        points: Name of a line, as returned by `study.series` -> its points.
        at: Depth and resolution of the lines of Figure 4, in addition to 1 and 1.
        data: Name of the data source.
        path: Path of the PNG file.
    """
    figure = drawing.new_figure(13.0, 8.5)
    above = [name for name in SINGLE for _ in range(2)]
    below = ["at"] * 3 + ["all"] * 3
    sheet: list[Any] = [above, below]
    panels = figure.subplot_mosaic(sheet, sharex=True, sharey=True)
    for i, name in enumerate(SINGLE):
        line(panels[name], points[name], name, i, labels=True)
        drawing.tidy(panels[name], f"Figure 3: {name}", _X, _Y if i == 0 else "")
    line(panels["at"], points["width"], "d=1, r=1", 0)
    for i, (depth, resolution) in enumerate(at, start=1):
        found = points[f"{depth:g}:{resolution:g}"]
        line(panels["at"], found, f"d={depth:g}, r={resolution:g}", i)
    title = "Figure 4: width at depth d and resolution r"
    drawing.tidy(panels["at"], title, _X, _Y)
    for i, name in enumerate((*SINGLE, COMPOUND)):
        line(panels["all"], points[name], name, i)
    drawing.tidy(panels["all"], "Figure 8: one dimension, or all three", _X, "")
    seeds = points["width"][0].seeds
    for name, axes in panels.items():
        set_cost_scale(axes)
        axes.tick_params(labelbottom=True)
        if name in ("at", "all"):
            axes.legend(frameon=False)  # where it covers least
    title = f"Mean of {seeds} runs per network on {data}, with standard deviation"
    figure.suptitle(title if seeds > 1 else f"One training run per network on {data}")
    drawing.save(figure, path)


def set_cost_scale(axes: Axes) -> None:
    """Makes the horizontal axis logarithmic, with at least a few ticks.

    Args:
        axes: Axes whose limits are set.
    """
    axes.set_xscale("log", base=2)
    low, high = axes.get_xlim()
    subs = (1.0, 1.5) if high < _NARROW * low else (1.0,)
    axes.xaxis.set_major_locator(ticker.LogLocator(base=2, subs=subs))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))


def line(
    axes: Axes, points: Sequence[Point], label: str, style: int, labels: bool = False
) -> None:
    """Draws a line with error bars.

    Args:
        axes: Axes to draw into.
        points: Points of the line, in any order.
        label: Legend entry.
        style: Index of colour and marker.
        labels: Whether to label each point.
    """
    points = sorted(points, key=lambda point: point.multiply_adds)
    x = [point.multiply_adds / 1e6 for point in points]
    y = [100 * point.top1 for point in points]
    axes.errorbar(
        x,
        y,
        yerr=[100 * p.deviation for p in points] if points[0].seeds > 1 else None,
        label=label,
        color=drawing.COLORS[style % len(drawing.COLORS)],
        marker=drawing.MARKERS[style % len(drawing.MARKERS)],
        capsize=3,
    )
    for i, point in enumerate(points if labels else ()):
        falls = i + 1 < len(y) and y[i + 1] < y[i]
        offset = 6, 6 if falls else -12  # beside the line, not on it
        axes.annotate(
            point.label, (x[i], y[i]), xytext=offset, textcoords="offset points"
        )
