"""Class-balanced sampling of training images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .class_balance import draws_per_epoch


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Draws as many images as there are, with a fixed share of each class.

    Systematic sampling: within an epoch, a class gets its share of the draws, rounded
    up or down, and so does each image of it. Which images get more, and the order of
    all, depend on the seed only.

    Attributes:
        labels: Class index of each image, (images,), int32.
        cumulative: Expected number of draws of the images up to each one, sorted by
            class, (images,), float64.
    """

    labels: np.ndarray
    cumulative: np.ndarray

    def __call__(self, seed: tf.Tensor) -> tf.Tensor:
        """Returns the positions of an epoch's images, in order, (images,), int64.

        Args:
            seed: Seed of the epoch, (2,), int32.
        """
        images = len(self.labels)
        start_seed, image_seed, order_seed = tf.unstack(tf.random.split(seed, 3))
        shuffled = tf.random.experimental.stateless_shuffle(
            tf.range(images, dtype=tf.int64), image_seed
        )
        # Sorted by class, shuffled within each.
        labels = tf.gather(tf.constant(self.labels), shuffled)
        shuffled = tf.gather(shuffled, tf.argsort(labels, stable=True))
        start = tf.random.stateless_uniform((), start_seed, dtype=tf.float64)
        points = tf.range(images, dtype=tf.float64) + start
        drawn = tf.searchsorted(tf.constant(self.cumulative), points, side="right")
        positions = tf.gather(shuffled, tf.minimum(drawn, images - 1))
        return tf.random.experimental.stateless_shuffle(positions, order_seed)


def make_sampler(
    sampling: str | None, labels: np.ndarray, class_names: Sequence[str]
) -> Sampler | None:
    """Creates the sampler of a run.

    Args:
        sampling: "balanced" for equal shares of the classes, "sqrt" for shares that
            are proportional to the square root of their numbers of images. None: each
            image once per epoch.
        labels: Class index of each training image, (images,), int32.
        class_names: Names of the classes.

    Returns:
        Sampler, or None.

    Raises:
        ValueError: A class has no image.
    """
    if sampling is None:
        return None
    draws = draws_per_epoch(labels, class_names, sampling)
    counts = np.bincount(labels)
    per_image = np.repeat(draws / counts, counts)
    return Sampler(labels.astype(np.int32), np.cumsum(per_image))
