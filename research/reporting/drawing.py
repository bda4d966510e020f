"""What the studies' pictures share."""

from __future__ import annotations

import pathlib

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_efficientnet.common.files import replacing

# Told apart by colour-blind people too (Okabe and Ito).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def new_figure(width: float = 8.0, height: float = 5.0) -> Figure:
    """Returns an empty figure that needs no screen.

    Args:
        width: Inches.
        height: Inches.
    """
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Axes, title: str, x: str, y: str) -> None:
    """Names axes, with units, and takes away what is not data."""
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a PNG, whole or not at all."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
