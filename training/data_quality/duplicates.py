"""Near-duplicate images across splits, by the correlation of thumbnails.

A thumbnail is a fingerprint of the pixels: re-encoding, resizing and changes of
brightness or contrast hardly change it, and mirrored copies are found by mirroring it.
It needs no model, and unlike features of a network it does not treat images as equal
because they show the same class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from keras_efficientnet.preprocessing import tf_ops

from ..data import pipeline
from ..data.sources import Split

SIDE = 16  # pixels of a thumbnail
THRESHOLD = 0.99  # least correlation of near-duplicates
MOST_PAIRS = 10_000  # the most similar ones are kept
_BLOCK = 1024  # images compared with all others at a time
_FLAT = 1.0  # least deviation of the pixels, of 255; a flat image has no pattern


@dataclasses.dataclass(frozen=True)
class DuplicatePair:
    """Two images of different splits that are nearly the same.

    Attributes:
        first: Split and position of one image.
        second: Split and position of the other image.
        correlation: Correlation of their thumbnails, at most 1.
        is_mirrored: Whether one is the mirror image of the other.
    """

    first: tuple[str, int]
    second: tuple[str, int]
    correlation: float
    is_mirrored: bool


def thumbnails(split: Split) -> np.ndarray:
    """Returns a thumbnail of each image with mean 0 and norm 1; 0 for flat images.

    Args:
        split: Images.

    Returns:
        (images, SIDE, SIDE, 3), float32.

    Raises:
        ValueError: An image cannot be read; the message names it.
    """

    def thumbnail(position: tf.Tensor) -> tf.Tensor:
        image = tf.cast(tf_ops.pixels(split.read(position)), tf.float32)
        return tf.image.resize(image, (SIDE, SIDE), method="area")

    images = tf.data.Dataset.range(len(split))
    images = images.map(thumbnail, num_parallel_calls=tf.data.AUTOTUNE)
    with pipeline.name_unreadable_image(split):
        found = np.concatenate([batch.numpy() for batch in images.batch(256)])
    found -= found.mean(axis=(1, 2, 3), keepdims=True)
    flat = found.std(axis=(1, 2, 3)) < _FLAT
    found[flat] = 0.0
    norms = np.sqrt((found**2).sum(axis=(1, 2, 3), keepdims=True))
    scaled: np.ndarray = found / np.maximum(norms, 1e-12)
    return scaled


def find_duplicates(
    splits: Mapping[str, np.ndarray], threshold: float = THRESHOLD
) -> list[DuplicatePair]:
    """Finds near-duplicates across splits, the most similar first.

    Args:
        splits: Split -> result of `thumbnails`.
        threshold: Least correlation.

    Returns:
        At most `MOST_PAIRS` pairs.
    """
    names = list(splits)
    found = [
        pair
        for i, first in enumerate(names)
        for second in names[i + 1 :]
        for pair in _compare(first, splits[first], second, splits[second], threshold)
    ]
    found.sort(key=lambda pair: -pair.correlation)
    return found[:MOST_PAIRS]


def _compare(
    first: str, ours: np.ndarray, second: str, theirs: np.ndarray, threshold: float
) -> Iterator[DuplicatePair]:
    theirs = theirs.reshape(len(theirs), -1)
    for begin in range(0, len(ours), _BLOCK):
        block = ours[begin : begin + _BLOCK]
        plain = block.reshape(len(block), -1) @ theirs.T
        mirrored = block[:, :, ::-1].reshape(len(block), -1) @ theirs.T
        best = np.maximum(plain, mirrored)
        for i, j in zip(*np.nonzero(best >= threshold), strict=True):
            yield DuplicatePair(
                (first, begin + int(i)),
                (second, int(j)),
                float(min(best[i, j], 1.0)),
                bool(mirrored[i, j] > plain[i, j]),
            )
