"""Plots of a run: training curves, confusion and example predictions."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_efficientnet.common.files import replacing
from keras_efficientnet.common.plain_text import literal, printable
from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops

from ..data.autotuning import without_autotuning
from ..data.sources import Split
from ..metrics.confidence import scale

DRAWN_FROM = 1000  # images at most to choose the examples from
COLUMNS, ROWS = 8, 4
TITLE_LENGTH = 20  # characters that fit above a picture
MATRIX_CLASSES = 40  # a larger matrix would not be readable
PAIRS = 40  # most confused pairs of classes, at most
_TRAIN, _VALIDATION = "#c05a00", "#005ab5"  # distinct for colour-blind people too
RIGHT, WRONG = "#1a1a1a", "#c00000"


def draw_curves(
    rows: Sequence[dict[str, float]],
    path: pathlib.Path,
    *,
    best_epoch: float,
    label_smoothing: float = 0.0,
) -> None:
    """Draws loss and top-1 of training and validation, and the learning rate.

    Of a multi-label run, mAP of validation is drawn in place of top-1.

    Args:
        rows: Figures of each epoch, as in metrics.csv.
        path: Path of the PNG file.
        best_epoch: Epoch whose weights were kept.
        label_smoothing: Label smoothing of the losses.
    """
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(2, 2, 1.2))
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) < 20 else ""
    score = "map" if "validation_map" in rows[0] else "top1"
    for axes, name, factor in ((left, "loss", 1.0), (middle, score, 100.0)):
        for part, color in (("train", _TRAIN), ("validation", _VALIDATION)):
            if f"{part}_{name}" not in rows[0]:
                continue  # mAP is computed in validation only
            values = [factor * row[f"{part}_{name}"] for row in rows]
            axes.plot(epochs, values, color=color, marker=marker, label=part)
    rates = [row["learning_rate"] for row in rows]
    right.plot(epochs, rates, color=RIGHT, marker=marker)
    for axes in (left, middle, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    smoothed = f", label smoothing {label_smoothing:g}" if label_smoothing else ""
    left.set_title(f"Loss (log scale{smoothed})", loc="left")
    left.set_yscale("log")  # the first epochs would flatten all later ones
    left.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_locator(ticker.NullLocator())
    left.legend(frameon=False, loc="upper right")
    title = "mAP, %" if score == "map" else "Top-1 accuracy, %"
    middle.set_title(title, loc="left")
    for row in rows:
        if row["epoch"] == best_epoch:
            share = row[f"validation_{score}"]
            label = f"best validation: {share:.1%}, epoch {best_epoch:g}"
            middle.plot(best_epoch, 100 * share, "o", color=_VALIDATION, label=label)
    middle.legend(frameon=False, loc="lower right")
    right.set_title("Learning rate", loc="left")
    right.set_ylim(bottom=0)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120)


def draw_confusion(
    labels: np.ndarray,
    answers: np.ndarray,
    class_names: Sequence[str],
    path: pathlib.Path,
) -> None:
    """Draws the confusion between classes.

    Up to `MATRIX_CLASSES` classes are drawn as a matrix, more as a list of the most
    confused pairs.

    Args:
        labels: Class index of each image, (images,).
        answers: Predicted class of each image, (images,).
        class_names: Class names in index order.
        path: Path of the PNG file.
    """
    present = np.union1d(labels, answers)
    if len(present) <= MATRIX_CLASSES:
        figure = _confusion_matrix(labels, answers, present, class_names)
    else:
        figure = _confused_pairs(labels, answers, class_names)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120)


def _confusion_matrix(
    labels: np.ndarray,
    answers: np.ndarray,
    present: np.ndarray,
    class_names: Sequence[str],
) -> Figure:
    counts = np.zeros((len(present), len(present)), np.int64)
    np.add.at(
        counts, (np.searchsorted(present, labels), np.searchsorted(present, answers)), 1
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.45 * len(present)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    names = [short(class_names[i]) for i in present]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("Predicted")
    axes.set_ylabel("True")
    axes.set_title("Confusion matrix", loc="left")
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > 0.5 else "black"
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(drawn, label="% of the true class", shrink=0.7)
    return figure


def _confused_pairs(
    labels: np.ndarray, answers: np.ndarray, class_names: Sequence[str]
) -> Figure:
    wrong = np.stack([labels, answers], axis=1)[labels != answers]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:PAIRS][::-1]  # drawn bottom up
    totals = np.bincount(labels, minlength=len(class_names))
    texts = [
        f"{short(class_names[label])} predicted as {short(class_names[answer])}"
        for label, answer in pairs[order]
    ]
    figure = Figure(figsize=(10, 1.4 + 0.27 * max(1, len(order))), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(order)), counts[order], color=_VALIDATION)
    notes = [
        f"{count} of {totals[label]}"
        for count, (label, _) in zip(counts[order], pairs[order], strict=True)
    ]
    axes.bar_label(bars, notes, padding=3)
    axes.set_yticks(range(len(order)), texts)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.margins(x=0.15, y=0.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("images")
    axes.set_title(
        f"Most confused pairs, of {len(pairs):,}; "
        f"{len(wrong):,} of {len(labels):,} images misclassified",
        loc="left",
    )
    return figure


def draw_predictions(
    model: keras.Model,
    split: Split,
    spec: EvalPreprocessing,
    class_names: Sequence[str],
    seed: int,
    path: pathlib.Path,
    skip_bad_images: bool = False,
    temperature: float = 1.0,
) -> None:
    """Draws images with their predictions.

    The first half are the least confident predictions, wrong ones before correct ones;
    the second half are random images from the rest.

    Args:
        model: Model from images, 0 to 255, to probabilities, (batch, classes).
        split: Images and labels.
        spec: Image size, crop ratio and resize method.
        class_names: Class names in index order.
        seed: Seed of the random half.
        path: Path of the PNG file.
        skip_bad_images: Whether to leave out images that cannot be decoded.
        temperature: Temperature that the probabilities are calibrated with.
    """
    chosen = choose_images(split, seed, skip_bad_images)
    probabilities = scale(predict_images(model, split, spec, chosen), temperature)
    order = _order(probabilities, split.labels[chosen])[: COLUMNS * ROWS]
    figure, grid = image_grid(len(order), row_height=2.1)
    for axes, i in zip(grid, order, strict=False):
        position = tf.constant(chosen[i], tf.int64)
        label = class_names[split.labels[chosen[i]]]
        guess = class_names[int(np.argmax(probabilities[i]))]
        image = tf_ops.pixels(split.read(position))
        _draw_one(axes, image, label, guess, probabilities[i].max())
    wrong = np.argmax(probabilities, axis=1) != split.labels[chosen]
    parts = "Upper half: the least confident predictions; lower half: random images."
    if len(order) <= COLUMNS * ROWS // 2:
        parts = "The least confident predictions come first."
    title = f"{wrong.sum()} of {len(chosen)} images misclassified (red). {parts}"
    figure.suptitle(title, fontsize=11)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=100)


def image_grid(
    images: int, row_height: float, title_height: float = 0.6
) -> tuple[Figure, Sequence[Axes]]:
    """Returns an empty figure for images in rows of `COLUMNS`, and their places.

    Args:
        images: Number of images, at least 1.
        row_height: Height of a row with its captions, inches.
        title_height: Height above the rows, inches.
    """
    rows = -(-images // COLUMNS)
    size = (1.6 * COLUMNS, row_height * rows + title_height)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    return figure, list(grid)


def choose_images(split: Split, seed: int, skip_bad_images: bool) -> np.ndarray:
    """Returns positions of at most `DRAWN_FROM` random images that can be decoded."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(split))[:DRAWN_FROM]
    if skip_bad_images:
        bad = set(split.find_unreadable(len(chosen), chosen))
        chosen = np.array([i for i in chosen if printable(split.names[i]) not in bad])
    return chosen


def predict_images(
    model: keras.Model, split: Split, spec: EvalPreprocessing, chosen: np.ndarray
) -> np.ndarray:
    """Returns the probabilities of some images of a split, (images, classes).

    Args:
        model: Model from images, 0 to 255, to probabilities, (batch, classes).
        split: Images.
        spec: Image size, crop ratio and resize method.
        chosen: Positions of the images.
    """
    images = tf.data.Dataset.from_tensor_slices(chosen).map(
        lambda i: tf_ops.eval_image(split.read(i), spec),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    step = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    batches = without_autotuning(images.batch(64))
    return np.concatenate([step(batch).numpy() for batch in batches])


def _order(probabilities: np.ndarray, labels: np.ndarray) -> list[int]:
    """Puts wrong and uncertain predictions first, then the others at random."""
    right = np.argmax(probabilities, axis=1) == labels
    doubtful = np.lexsort((probabilities.max(axis=1), right))[: COLUMNS * ROWS // 2]
    # The images are in random order already.
    others = np.setdiff1d(np.arange(len(labels)), doubtful)
    return [*doubtful.tolist(), *others.tolist()]


def _draw_one(axes: Axes, image: Any, label: str, guess: str, sure: float) -> None:
    axes.imshow(np.asarray(image), interpolation="nearest")
    is_right = guess == label
    # The true class has its own line, so that a long prediction cannot push it out.
    caption = [short(guess, TITLE_LENGTH), f"{sure:.0%}"]
    if not is_right:
        caption.insert(1, f"not {short(label, TITLE_LENGTH - 4)}")
    axes.set_title("\n".join(caption), color=RIGHT if is_right else WRONG, fontsize=9)


def short(text: str, most: int = 24) -> str:
    """Returns a text of at most `most` characters that Matplotlib prints literally."""
    return literal(text if len(text) <= most else f"{text[: most - 1]}…")
