"""CSV and TSV files that list images with their labels."""

from __future__ import annotations

import numpy as np

from keras_efficientnet.common.image_csv import ImageTable, open_image_csv
from keras_efficientnet.common.image_folders import shorten
from keras_efficientnet.common.plain_text import printable

from .base import SHARES, Source, Split, relative, stratify, with_validation
from .folders import file_split


def csv_file(name: str, *, multi_label: bool = False) -> Source:
    """Opens the images that a CSV or TSV file lists.

    Args:
        name: Path of the file, with options for its headers; see `open_image_csv`.
            Without a column of splits, all images are divided by a fixed rule: see
            `SHARES`. If only "train" is listed, a part of it is held out for
            validation: see `HELD_OUT`.
        multi_label: Whether an image may have any number of labels. They are then
            divided by the rarest label of each image.

    Raises:
        ValueError: The file or a line of it is not usable, a class has no training
            images or too few to be split, or all training images have weight 0.
    """
    table = open_image_csv(name, multi_label=multi_label)
    images = table.images
    if table.splits is None:
        keys = relative(images.paths)
        parts = stratify(keys, images.labels, SHARES, keep_small=multi_label)
    else:
        listed = np.array(table.splits)
        parts = {name: np.flatnonzero(listed == name) for name in SHARES}
    splits = {name: _split(table, at) for name, at in parts.items() if len(at)}
    if "train" in splits:
        _check_training_images(name, table, splits["train"])
    return Source(images.class_names, with_validation(splits))


def _split(table: ImageTable, positions: np.ndarray) -> Split:
    images = table.images.take(positions)
    weights = None if table.weights is None else table.weights[positions]
    return file_split(images.paths, images.labels, weights, images.label_sets)


def _check_training_images(name: str, table: ImageTable, train: Split) -> None:
    names = table.images.class_names
    found = set(train.labels.tolist())
    if train.label_sets is not None:
        found = set(np.flatnonzero(train.label_sets.any(axis=0)).tolist())
    missing = set(range(len(names))) - found
    if missing:
        raise ValueError(
            f"Each label of {printable(name)} must have training images. "
            f"Received: none of {shorten([names[i] for i in sorted(missing)])}"
        )
    if train.weights is not None and not train.weights.any():
        raise ValueError(
            f"Training images of {printable(name)} must have weights above 0. "
            "Received: only weights of 0"
        )
