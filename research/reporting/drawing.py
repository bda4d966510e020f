"""Common style of the studies' figures."""

from __future__ import annotations

import pathlib

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_efficientnet.common.files import replacing

# Colour-blind safe palette of Okabe and Ito.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def new_figure(width: float = 8.0, height: float = 5.0) -> Figure:
    """Creates an empty figure that needs no display.

    Args:
        width: Width in inches.
        height: Height in inches.
    """
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Axes, title: str, x: str, y: str) -> None:
    """Sets title and axis labels, and removes the frame."""
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure atomically, in the format of the path's suffix."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
