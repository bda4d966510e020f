"""Figures 1 and 5 of the paper: accuracy against parameters and FLOPs."""

from __future__ import annotations

import pathlib

from matplotlib.axes import Axes

from keras_efficientnet import VARIANTS, plan_cost

from .. import paper_data
from ..reporting.drawing import COLORS, new_figure, save, tidy

FIGURES = {
    "figure1.png": (
        "params_M",
        "Figure 1: accuracy against parameters",
        "parameters, M",
    ),
    "figure5.png": ("flops_B", "Figure 5: accuracy against FLOPs", "multiply-adds, G"),
}
_LINES = (("ResNet-50", "ResNet-152"), ("DenseNet-169", "DenseNet-264"))
# Offsets of labels: points to the right and up, and the horizontal alignment.
_BESIDE = (7, -3, "left")
_BEFORE = (-7, -3, "right")
_ABOVE = (-5, 5, "right")
_BELOW = (6, -11, "left")
_OVER = (6, 3, "left")
# Labels that would overlap others or lines at the default offset.
_PLACES = {
    ("params_M", "PNASNet"): (-7, 1, "right"),
    ("params_M", "AmoebaNet-A"): (-7, -9, "right"),
    ("params_M", "NASNet-A"): _BELOW,
    ("params_M", "Inception-v4"): _BEFORE,
    ("params_M", "Xception"): _OVER,
    ("params_M", "Inception-v3"): _BELOW,
    ("params_M", "DenseNet-264"): (0, 7, "center"),
    ("params_M", "DenseNet-169"): (-7, -3, "right"),
    ("params_M", "GPipe"): (0, -15, "center"),
    ("flops_B", "PNASNet"): (-7, 1, "right"),
    ("flops_B", "AmoebaNet-A"): (-7, -9, "right"),
    ("flops_B", "NASNet-A"): _BELOW,
    ("flops_B", "Inception-resnet-v2"): _OVER,
    ("flops_B", "Inception-v4"): _BELOW,
    ("flops_B", "DenseNet-264"): _ABOVE,
    ("flops_B", "DenseNet-169"): (-7, -3, "right"),
    ("flops_B", "Inception-v3"): _BEFORE,
}


def draw(folder: pathlib.Path) -> dict[str, str]:
    """Draws both figures.

    EfficientNets are drawn at computed costs, other networks at printed ones.

    Args:
        folder: Folder to write into.

    Returns:
        File name -> caption.
    """
    for name, (column, title, unit) in FIGURES.items():
        figure = new_figure(9, 6)
        axes = figure.subplots()
        _draw_peers(axes, column)
        _draw_family(axes, column)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        tidy(axes, title, f"{unit} (log scale)", "ImageNet top-1 accuracy, %")
        axes.margins(x=0.12)
        axes.legend(frameon=False, loc="upper left")
        save(figure, folder / name)
    return {name: f"{title}." for name, (_, title, _) in FIGURES.items()}


def _draw_family(axes: Axes, column: str) -> None:
    points = {}
    for row in paper_data.read("table2_family"):
        cost = plan_cost(VARIANTS[row["model"]])
        spent = {
            "params_M": cost.trainable_params / 1e6,
            "flops_B": cost.multiply_adds / 1e9,
        }
        points[row["model"]] = spent[column], float(row["top1"])
    label = "EfficientNet, computed cost"
    axes.plot(*zip(*points.values(), strict=True), "o-", color=COLORS[1], label=label)
    for model, point in points.items():
        _label(axes, column, model.removeprefix("EfficientNet"), point, COLORS[1])


def _draw_peers(axes: Axes, column: str) -> None:
    points = {
        row["model"]: (float(row[column]), float(row["top1"]))
        for row in paper_data.read("table2_peers")
        if row[column]
    }
    label = "other networks, printed cost"
    axes.plot(*zip(*points.values(), strict=True), "o", color="0.45", label=label)
    for names in _LINES:
        ends = [points[name] for name in names]
        axes.plot(*zip(*ends, strict=True), "-", color="0.45", linewidth=1)
    for model, point in points.items():
        _label(axes, column, model, point, "0.2")


def _label(
    axes: Axes, column: str, text: str, point: tuple[float, float], color: str
) -> None:
    default = _ABOVE if color == COLORS[1] else _BESIDE
    right, up, side = _PLACES.get((column, text), default)
    axes.annotate(
        text,
        point,
        (right, up),
        textcoords="offset points",
        ha=side,
        fontsize=9,
        color=color,
    )
