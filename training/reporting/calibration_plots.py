"""Reliability diagrams and the risk-coverage curve."""

from __future__ import annotations

import pathlib

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from keras_efficientnet.common.files import replacing

from ..metrics.confidence import (
    BINS,
    Confidences,
    calibration_scores,
    reliability,
    risk_coverage,
)

_BEFORE, _AFTER = "#c05a00", "#005ab5"  # distinct for colour-blind people too
_GREY = "#808080"


def draw_calibration(
    before: Confidences | None,
    after: Confidences,
    path: pathlib.Path,
    threshold: float | None = None,
    *,
    has_risk: bool = True,
) -> None:
    """Draws reliability diagrams, before and after calibration, and risk by coverage.

    Args:
        before: Values without the temperature; None: the model is not calibrated.
        after: Values of the same images with it.
        path: Path of the PNG file.
        threshold: Lowest accepted confidence, which is marked; None: none is.
        has_risk: Whether to draw the risk-coverage curve, which needs one label per
            image. False: values of pairs of image and label.
    """
    panels = {"Reliability": (after, _AFTER)}
    if before is not None:
        panels = {
            "Before calibration": (before, _BEFORE),
            "After calibration": (after, _AFTER),
        }
    count = len(panels) + has_risk
    figure = Figure(figsize=(4.2 * count, 4.2), layout="constrained")
    grid = figure.subplots(1, count, squeeze=False)[0]
    for axes, (title, (found, color)) in zip(grid, panels.items(), strict=False):
        _draw_reliability(axes, title, found, color)
        if not has_risk:
            axes.set_xlabel("probability of a label")
            axes.set_ylabel("images that have it, %")
    curves = {title: panel for title, panel in panels.items() if title != "Reliability"}
    if has_risk:
        _draw_risk(grid[-1], curves or {"": (after, _AFTER)}, threshold)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=110)


def _draw_reliability(axes: Axes, title: str, found: Confidences, color: str) -> None:
    bins = reliability(found)
    share = bins.images / bins.images.sum()
    axes.bar(
        bins.lower,
        100 * bins.accuracy,
        width=1 / BINS,
        align="edge",
        # Bins of few images say little, and are paler.
        color=[to_rgba(color, 0.2 + 0.6 * min(1.0, 10 * part)) for part in share],
        edgecolor="white",
        label="accuracy",
    )
    axes.plot([0, 1], [0, 100], color=_GREY, linestyle="--", label="perfect")
    axes.plot(
        bins.confidence, 100 * bins.accuracy, "o", color="#1a1a1a", markersize=3.5
    )
    scores = calibration_scores(found)
    axes.set_title(f"{title}: ECE {scores.ece:.2%}", loc="left", fontsize="medium")
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy, %")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 102)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")


def _draw_risk(
    axes: Axes, panels: dict[str, tuple[Confidences, str]], threshold: float | None
) -> None:
    for title, (found, color) in panels.items():
        coverage, risk = risk_coverage(found)
        axes.plot(100 * coverage, 100 * risk, color=color, label=title.lower() or None)
    if threshold is not None:
        accepted = 100 * float((found.confidence >= threshold).mean())
        label = f"threshold {threshold:.3f}"
        axes.axvline(accepted, color=_GREY, linestyle="--", label=label)
    axes.set_title("Risk and coverage", loc="left", fontsize="medium")
    axes.set_xlabel("most confident images, %")
    axes.set_ylabel("wrong among them, %")
    axes.set_xlim(0, 101)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, loc="upper left")
