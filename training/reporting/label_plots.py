"""Plots of multi-label models: example predictions and scores per class."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from keras_efficientnet.common.files import replacing
from keras_efficientnet.common.scoring.multi_label import label_names
from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops

from ..data.sources import Split
from .plots import (
    COLUMNS,
    RIGHT,
    ROWS,
    TITLE_LENGTH,
    WRONG,
    choose_images,
    image_grid,
    predict_images,
    short,
)

DRAWN_CLASSES = 40  # with the lowest average precision
_AP, _F1 = "#005ab5", "#c05a00"  # distinct for colour-blind people too


def draw_predictions(
    model: keras.Model,
    split: Split,
    spec: EvalPreprocessing,
    class_names: Sequence[str],
    seed: int,
    path: pathlib.Path,
    skip_bad_images: bool = False,
    *,
    thresholds: Sequence[float],
) -> None:
    """Draws images with their predicted labels.

    The first half are the images with the most wrong labels; the second half are random
    images from the rest.

    Args:
        model: Model from images, 0 to 255, to probabilities, (batch, classes).
        split: Images and labels.
        spec: Image size, crop ratio and resize method.
        class_names: Class names in index order.
        seed: Seed of the random half.
        path: Path of the PNG file.
        skip_bad_images: Whether to leave out images that cannot be decoded.
        thresholds: Threshold of each class.
    """
    chosen = choose_images(split, seed, skip_bad_images)
    found = predict_images(model, split, spec, chosen) >= np.array(thresholds)
    wanted = np.asarray(split.label_sets)[chosen] > 0
    faults = (found != wanted).sum(axis=1)
    worst = np.argsort(-faults, kind="stable")[: COLUMNS * ROWS // 2]
    others = np.setdiff1d(np.arange(len(chosen)), worst)  # in random order already
    order = [*worst.tolist(), *others.tolist()][: COLUMNS * ROWS]
    figure, grid = image_grid(len(order), row_height=2.3)
    for axes, i in zip(grid, order, strict=False):
        image = tf_ops.pixels(split.read(tf.constant(chosen[i], tf.int64)))
        axes.imshow(np.asarray(image), interpolation="nearest")
        color = WRONG if faults[i] else RIGHT
        axes.set_title(_caption(found[i], wanted[i], class_names), color=color, size=9)
    figure.suptitle(
        f"{(faults > 0).sum()} of {len(chosen)} images with a wrong label (red): "
        "+ predicted wrongly, \N{MINUS SIGN} missed. The worst come first, then random "
        "images.",
        fontsize=11,
    )
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=100)


def draw_per_class(rows: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
    """Draws average precision and F1 of the classes, the worst first.

    Args:
        rows: Rows of `per_class_rows`.
        path: Path of the PNG file.
    """
    shown = sorted(rows, key=lambda row: row["average_precision"])[:DRAWN_CLASSES]
    shown.reverse()  # drawn bottom up
    figure = Figure(figsize=(8, 1.4 + 0.27 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places = range(len(shown))
    for key, label, color, marker in (
        ("average_precision", "average precision", _AP, "o"),
        ("f1", "F1 at the threshold", _F1, "D"),
    ):
        values = [100 * row[key] for row in shown]
        axes.plot(values, places, marker, color=color, label=label)
    names = [f"{short(row['class'])} ({row['images']})" for row in shown]
    axes.set_yticks(places, names)
    axes.set_xlim(-2, 102)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("%")
    axes.set_title("Classes (images), the lowest average precision first", loc="left")
    figure.legend(frameon=False, loc="outside lower right", ncols=2)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120)


def _caption(found: np.ndarray, wanted: np.ndarray, names: Sequence[str]) -> str:
    """Lists correct, wrong and missed labels, one kind per line."""
    parts = (
        ("", found & wanted),
        ("+ ", found & ~wanted),
        ("\u2212 ", wanted & ~found),
    )
    lines = [
        short(mark + ", ".join(label_names(which, names)), TITLE_LENGTH)
        for mark, which in parts
        if which.any()
    ]
    return "\n".join(lines or ["no label"])
