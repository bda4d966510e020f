"""Pseudo labels: a teacher's predictions for unlabelled images."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import tensorflow as tf

from keras_efficientnet.common.plain_text import printable
from keras_efficientnet.preprocessing import tf_ops

from .base import UNKNOWN, Source, Split
from .folders import file_split, unlabelled
from .label_file import PseudoLabels, dense_rows
from .registry import KINDS, load

_CHECKED = 100  # files whose existence is checked


def with_pseudo_labels(source: Source, path: str, classes: int) -> Source:
    """Adds a teacher's images and probabilities to "train".

    The labelled images keep their labels as targets.

    Args:
        source: Source with a "train" split.
        path: Path of a file written by training.pseudo_label.
        classes: Number of classes.

    Raises:
        ValueError: It is not such a file, is for other classes, or its images have
            changed.
    """
    found = PseudoLabels.open(path)
    if found.probabilities.shape[1] != classes:
        raise ValueError(
            f"`pseudo_labels` must be for {classes} classes, like the data. Received: "
            f"pseudo_labels={path!r} for {found.probabilities.shape[1]}"
        )
    if tuple(found.class_names) not in ((), source.class_names):
        raise ValueError(
            "The teacher of `pseudo_labels` must have the classes of the data, in the "
            f"same order. Received: pseudo_labels={path!r} with the classes "
            f"{', '.join(found.class_names[:5])} ..., for data with the classes "
            f"{', '.join(source.class_names[:5])} ..."
        )
    images = _open_labelled(found)
    places = found.positions
    moved = len(places) and (
        places.max() >= len(images)
        or any(images.names[p] != n for p, n in zip(places, found.names, strict=True))
    )
    if moved:
        raise ValueError(
            "The images of `pseudo_labels` must not change after it was written, but "
            f"{found.data} has other images now. Received: pseudo_labels={path!r}"
        )
    probabilities = dense_rows(found.probabilities, found.rows)
    taught = dataclasses.replace(
        images.take(places[found.rows]),
        labels=probabilities.argmax(axis=1).astype(np.int32),
        soft_labels=probabilities,
    )
    train = _join(source.split("train"), taught, classes)
    return dataclasses.replace(source, splits={**source.splits, "train": train})


def open_images(data: str, data_dir: str | None = None) -> Split:
    """Opens the images that a teacher labels.

    Args:
        data: Folder, whose images are used at any depth, or name of a source, whose
            "train" split is used, such as "tfrecord:GLOB".
        data_dir: Folder in which TFDS keeps its data sets. None: TFDS's default.

    Raises:
        ValueError: There are no such images.
    """
    is_source = data.partition(":")[0] in KINDS and not os.path.isdir(data)
    if is_source:
        return load(data, data_dir=data_dir).split("train")
    return unlabelled(data)


def _open_labelled(found: PseudoLabels) -> Split:
    """Opens the images of a file: of its source, or the listed files."""
    if found.data:
        return open_images(found.data, found.data_dir or None)
    paths = list(found.names)
    some = dict.fromkeys(np.linspace(0, len(paths) - 1, _CHECKED, dtype=int).tolist())
    missing = next((paths[i] for i in some if not os.path.isfile(paths[i])), None)
    if missing is not None:
        raise ValueError(
            "The images of `pseudo_labels` must not move after it was written. "
            f"Received: {printable(missing)}, which does not exist"
        )
    return file_split(paths, np.full(len(paths), UNKNOWN, np.int32))


def _join(train: Split, taught: Split, classes: int) -> Split:
    count = len(train)
    soft = train.soft_labels
    if soft is None:
        soft = np.eye(classes, dtype=np.float16)[train.labels]
    joint = np.concatenate([soft, taught.soft_labels])
    pixels = _reads_pixels(train) or _reads_pixels(taught)

    def read(index: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            index < count,
            lambda: _image(train, index, pixels),
            lambda: _image(taught, index - count, pixels),
        )

    stamps = [split.find_stamps for split in (train, taught)]

    def find_stamps() -> np.ndarray:
        return np.concatenate([find() for find in stamps if find])

    return Split(
        np.concatenate([train.labels, taught.labels]),
        read,
        [*train.names, *taught.names],
        joint,
        find_stamps,
        _join_weights(train, taught),
    )


def _join_weights(*splits: Split) -> np.ndarray | None:
    """Returns the weights of all images, 1 where a split has none."""
    if all(split.weights is None for split in splits):
        return None
    return np.concatenate(
        [
            np.ones(len(split), np.float32) if split.weights is None else split.weights
            for split in splits
        ]
    )


def _reads_pixels(split: Split) -> bool:
    signature = tf.function(split.read).get_concrete_function(
        tf.TensorSpec((), tf.int64)
    )
    return signature.structured_outputs.dtype != tf.string


def _image(split: Split, index: tf.Tensor, pixels: bool) -> tf.Tensor:
    image = split.read(index)
    return tf_ops.pixels(image) if pixels else image
