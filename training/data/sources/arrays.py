"""Sources in memory: arrays, and scikit-learn's digits."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_efficientnet.common.image_csv import rarest_labels

from .base import SHARES, Source, Split, checksums, stratify

DIGIT_SIZE = 32  # pixels; the originals have 8


def arrays(splits: Mapping[str, tuple[Any, Any]], class_names: Sequence[str]) -> Source:
    """Creates a source of images in memory.

    Args:
        splits: Split name -> (images, labels): (images, height, width, 3) uint8, 0
            to 255, and (images,) integers, or (images, classes), 1 for each label of
            an image and 0 for the others. "train" and "validation" are required.
        class_names: Names of the classes, in the order of the class indices.

    Raises:
        ValueError: A split is missing or empty, an array has the wrong shape or dtype,
            or a label is out of range.
    """
    for name in ("train", "validation"):
        if name not in splits:
            raise ValueError(
                f"`splits` must hold {name!r}. Received: splits with {list(splits)}"
            )
    checked = {
        name: _split(name, np.asarray(images), np.asarray(labels), class_names)
        for name, (images, labels) in splits.items()
    }
    return Source(tuple(class_names), checked)


def digits() -> Source:
    """Opens scikit-learn's 1,797 handwritten digits, 10 classes.

    The images of 8 x 8 pixels are resized to 32 x 32. The split, 60% / 20% / 20% of
    each class, is always the same.

    Raises:
        ImportError: scikit-learn is not installed.

    Source:
        E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI
        Machine Learning Repository, 1998 (its test part).
    """
    flat, target = _read_digits()
    pixels = flat.reshape(-1, 8, 8, 1) * (255 / 16)  # 0 to 16 in the original
    pixels = tf.image.resize(pixels, (DIGIT_SIZE, DIGIT_SIZE), "bicubic")
    pixels = np.clip(np.rint(pixels.numpy()), 0, 255).astype(np.uint8)
    images = np.repeat(pixels, 3, axis=-1)
    labels = target.astype(np.int32)
    parts = stratify([str(i) for i in range(len(labels))], labels, SHARES)
    splits = {name: (images[at], labels[at]) for name, at in parts.items()}
    return arrays(splits, [str(digit) for digit in range(10)])


def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels, (images, 64), 0 to 16, and the labels, (images,)."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise ImportError(
            "The source 'digits' needs scikit-learn: pip install scikit-learn"
        )
    # Importing scikit-learn would take longer than the rest of the start of training.
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(file, delimiter=",")
    return rows[:, :-1], rows[:, -1]


def _split(
    name: str, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> Split:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            "Images must be (images, height, width, 3), uint8. "
            f"Received: {images.dtype} of shape {images.shape} as {name!r}"
        )
    sets = None
    if labels.ndim == 2:
        sets = _label_sets(name, labels, len(class_names))
        labels = rarest_labels(sets)
    if labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            "There must be one label per image, and at least one image. "
            f"Received: {len(images)} images and labels of shape {labels.shape} "
            f"as {name!r}"
        )
    if sets is None and (labels.min() < 0 or labels.max() >= len(class_names)):
        raise ValueError(
            f"Labels must be 0 to {len(class_names) - 1}, one per class name. "
            f"Received: {labels.min()} to {labels.max()} as {name!r}"
        )
    held = tf.constant(images)
    names = [f"{name}[{i}]" for i in range(len(labels))]
    return Split(
        labels.astype(np.int32),
        lambda i: tf.gather(held, i),
        names,
        find_stamps=lambda: checksums(images),
        label_sets=sets,
    )


def _label_sets(name: str, labels: np.ndarray, classes: int) -> np.ndarray:
    if labels.shape[1] != classes or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"Several labels per image must be (images, {classes}), 1 for each label "
            f"of an image and 0 for the others. Received: {labels.dtype} of shape "
            f"{labels.shape} as {name!r}"
        )
    return labels.astype(np.uint8)
