"""Accuracy of EfficientNet, Lite, V2 and EdgeTPU against their cost."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from keras_efficientnet import VARIANTS, plan_cost, weights_info
from keras_efficientnet.common.choices import check_choice
from keras_efficientnet.common.markdown import table
from keras_efficientnet.cost.tflite_latency import tflite_latency

from ..reporting.drawing import COLORS, MARKERS, new_figure, save, tidy
from ..reporting.folder import ResultsTable

ALL = "all"
MULTIPLY_ADDS_PICTURE = "families_multiply_adds.png"
LATENCY_PICTURE = "families_latency.png"
# Family -> weights whose accuracy is drawn, and its networks. All were trained on
# ImageNet-1k alone, and their authors stated the accuracy.
FAMILIES = {
    "EfficientNet": ("imagenet", tuple(f"EfficientNetB{i}" for i in range(8))),
    "Lite": ("imagenet", tuple(f"EfficientNetLite{i}" for i in range(5))),
    "V2": (
        "imagenet",
        tuple(f"EfficientNetV2{i}" for i in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    ),
    "EdgeTPU": ("imagenet@tpu", tuple(f"EfficientNetEdgeTPU{i}" for i in "SML")),
}
NETWORKS = tuple(name for _, names in FAMILIES.values() for name in names)
# Place of a label: points to the right and up, and the horizontal alignment. V2 crosses
# V1, so the labels of either are above where its line is.
_ABOVE, _BELOW, _BESIDE = (-5, 6, "right"), (6, -11, "left"), (9, -5, "left")
_LABELS_ABOVE = (
    *(f"EfficientNetB{i}" for i in range(5)),
    *(f"EfficientNetV2{i}" for i in "SML"),
)


@dataclasses.dataclass(frozen=True)
class FamilyMember:
    """Accuracy and cost of a network.

    Attributes:
        family: Key of `FAMILIES`.
        model: Key of `VARIANTS`.
        image_size: Side of the images, pixels.
        top1: Top-1 accuracy on ImageNet, percent, as its authors state it.
        params_M: Trainable parameters in millions.
        multiply_adds_G: Multiply-adds for one image in units of 1e9.
        latency_ms: Milliseconds for one image on one TFLite thread of this machine, in
            float32; None if not measured.
    """

    family: str
    model: str
    image_size: int
    top1: float
    params_M: float  # noqa: N815
    multiply_adds_G: float  # noqa: N815
    latency_ms: float | None


def check_networks(names: Sequence[str]) -> None:
    """Checks the networks to measure.

    Args:
        names: Networks of `NETWORKS`, or "all".

    Raises:
        ValueError: A name is not among them.
    """
    for name in names:
        check_choice("measure", name, (*NETWORKS, ALL))


def add_members(rows: ResultsTable[FamilyMember], measured: Sequence[str]) -> None:
    """Computes the cost of every network, and measures some.

    Args:
        rows: Table that the networks are added to; known latencies are kept.
        measured: Networks to measure, or "all".
    """
    for family, (weights, names) in FAMILIES.items():
        for name in names:
            known = rows.find(model=name)
            latency = known.latency_ms if known else None
            if latency is None and {name, ALL} & set(measured):
                latency = tflite_latency(VARIANTS[name])
                print(f"{name}: {latency:.1f} ms", flush=True)
            if known is None or latency != known.latency_ms:
                rows.add(_member(family, weights, name, latency))


def _member(
    family: str, weights: str, name: str, latency: float | None
) -> FamilyMember:
    cost = plan_cost(VARIANTS[name])
    record = weights_info(name, weights)
    if record.top1 is None:
        raise ValueError(f"Weights must have a top-1 accuracy. Received: {record}")
    return FamilyMember(
        family=family,
        model=name,
        image_size=VARIANTS[name].resolution,
        top1=record.top1,
        params_M=cost.trainable_params / 1e6,
        multiply_adds_G=cost.multiply_adds / 1e9,
        latency_ms=latency,
    )


def draw(rows: Sequence[FamilyMember], folder: pathlib.Path) -> dict[str, str]:
    """Draws accuracy against multiply-adds and, where measured, against latency.

    Args:
        rows: Networks.
        folder: Folder to write into.

    Returns:
        File name -> caption.
    """
    rows = _in_order(rows)
    pictures = {MULTIPLY_ADDS_PICTURE: "Four families: accuracy by multiply-adds"}
    _draw(
        [(row, row.multiply_adds_G) for row in rows],
        "multiply-adds, G (log scale)",
        pictures[MULTIPLY_ADDS_PICTURE],
        folder / MULTIPLY_ADDS_PICTURE,
    )
    measured = [(row, row.latency_ms) for row in rows if row.latency_ms is not None]
    if measured:
        pictures[LATENCY_PICTURE] = "Four families: accuracy by latency"
        _draw(
            measured,
            "milliseconds per image, TFLite float32, one thread (log scale)",
            pictures[LATENCY_PICTURE],
            folder / LATENCY_PICTURE,
        )
    return {name: f"{caption}." for name, caption in pictures.items()}


def section(rows: Sequence[FamilyMember]) -> list[str]:
    """Returns the section of the report, without its pictures.

    Args:
        rows: Networks.
    """
    cells = [
        {
            "model": row.model,
            "pixels": str(row.image_size),
            "top-1, %": f"{row.top1:g}",
            "parameters, M": f"{row.params_M:.1f}",
            "multiply-adds, G": f"{row.multiply_adds_G:.2f}",
            "ms": "" if row.latency_ms is None else f"{row.latency_ms:.1f}",
        }
        for row in _in_order(rows)
    ]
    return ["## Four families", _INTRODUCTION, table(cells)]


_INTRODUCTION = (
    "Accuracies are those that the authors of the weights state (tensorflow/tpu, "
    "google/automl), all without pretraining on other images; the recipes differ. "
    "Multiply-adds are computed. Milliseconds are measured on this machine, for "
    "networks in `--measure`."
)


def _in_order(rows: Sequence[FamilyMember]) -> list[FamilyMember]:
    """Sorts networks as in `NETWORKS`; a network measured later was added last."""
    return sorted(rows, key=lambda row: NETWORKS.index(row.model))


def _draw(
    points: Sequence[tuple[FamilyMember, float]],
    unit: str,
    title: str,
    path: pathlib.Path,
) -> None:
    figure = new_figure(9, 6)
    axes = figure.subplots()
    styles = zip(FAMILIES, COLORS, MARKERS, strict=False)
    for family, color, marker in styles:
        own = [(cost, row) for row, cost in points if row.family == family]
        if own:
            _draw_family(axes, family, own, color, marker)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.xaxis.set_minor_formatter("{x:g}")
    tidy(axes, title, unit, "ImageNet top-1 accuracy, %")
    axes.tick_params(axis="x", which="both", length=3, pad=4)
    axes.margins(x=0.08, y=0.08)
    axes.legend(frameon=False, loc="lower right")
    save(figure, path)


def _draw_family(
    axes: Axes,
    family: str,
    points: Sequence[tuple[float, FamilyMember]],
    color: str,
    marker: str,
) -> None:
    costs, rows = zip(*points, strict=True)
    accuracies = [row.top1 for row in rows]
    axes.plot(costs, accuracies, marker=marker, color=color, label=family)
    for cost, row in points:
        right, up, side = _place_label(row)
        text = row.model.removeprefix("EfficientNet").removeprefix(family)
        axes.annotate(
            text,
            (cost, row.top1),
            (right, up),
            textcoords="offset points",
            ha=side,
            fontsize=9,
            color=color,
        )


def _place_label(row: FamilyMember) -> tuple[int, int, str]:
    if row.model in _LABELS_ABOVE:
        return _ABOVE
    return _BESIDE if row.family == "Lite" else _BELOW
