"""Figure of the transfer study."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence

from matplotlib.axes import Axes

from ..reporting import drawing
from .data import Best, paper_rows

_COLUMNS = 4


def draw(best: Sequence[Best], path: pathlib.Path) -> None:
    """Draws test accuracy by parameters, a panel per data set, as in Figure 6.

    Args:
        best: Results; the paper's are drawn beside them where it has any.
        path: Path of the PNG file.
    """
    names = list(dict.fromkeys(found.dataset for found in best))
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = drawing.new_figure(3.6 * columns, 3.2 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for name, axes in zip(names, panels, strict=False):
        starts = dict.fromkeys(f.start for f in best if f.dataset == name)
        for i, start in enumerate(starts):
            mine = [f for f in best if (f.dataset, f.start) == (name, start)]
            mine.sort(key=lambda found: found.trainable_params)
            axes.errorbar(
                [found.trainable_params / 1e6 for found in mine],
                [100 * found.top1 for found in mine],
                yerr=[100 * found.deviation for found in mine],
                label=f"here, {start}",
                color=drawing.COLORS[i],
                marker=drawing.MARKERS[i],
                capsize=3,
            )
        _draw_paper(axes, name)
        axes.set_xscale("log")
        drawing.tidy(axes, name, "parameters, millions", "test top-1, %")
        axes.legend(frameon=False, fontsize="small")
    drawing.save(figure, path)


def _draw_paper(axes: Axes, name: str) -> None:
    rows = paper_rows(name)
    series = {
        "paper": [(row["params_M"], row["acc"]) for row in rows],
        "paper, other networks": [
            (row["peer_params_M"], row["peer_acc"]) for row in rows
        ],
    }
    for i, (label, points) in enumerate(series.items(), start=2):
        known = [(float(x), float(y)) for x, y in points if x]
        if known:
            axes.plot(
                *zip(*known, strict=True),
                label=label,
                color=drawing.COLORS[i],
                marker=drawing.MARKERS[i],
                linestyle="none",
            )
