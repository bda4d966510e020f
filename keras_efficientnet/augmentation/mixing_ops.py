"""MixUp and CutMix of a batch, as TensorFlow graphs."""

from __future__ import annotations

import tensorflow as tf


def mixup(
    images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each image and target with its mirror in the batch (in reversed order).

    Args:
        images: (batch, size, size, 3), float32.
        targets: (batch, classes), float32.
        seed: (2,), integer; the same seed gives the same result.
        alpha: Parameter of the Beta distribution of each image's weight; the larger
            weight goes to the image itself.

    Returns:
        Images and targets, of the same shapes.

    Source:
        arXiv:1710.09412; tensorflow/tpu, imagenet_input.py: `mixup`.
    """
    weights = beta(tf.shape(images)[0], seed, alpha)
    weights = tf.maximum(weights, 1 - weights)
    by_image = weights[:, tf.newaxis, tf.newaxis, tf.newaxis]
    by_target = weights[:, tf.newaxis]
    return (
        images * by_image + tf.reverse(images, [0]) * (1 - by_image),
        targets * by_target + tf.reverse(targets, [0]) * (1 - by_target),
    )


def cutmix(
    images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Pastes into each image a rectangle of its mirror in the batch.

    Each image has its own rectangle; the paper draws one per batch.

    Args:
        images: (batch, height, width, 3), float32.
        targets: (batch, classes), float32.
        seed: (2,), integer; the same seed gives the same result.
        alpha: Parameter of the Beta distribution of the area that stays.

    Returns:
        Images, and targets mixed by the rectangle's actual area.

    Source:
        arXiv:1905.04899, section 3.1 and algorithm A1.
    """
    batch = tf.shape(images)[0]
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    share_seed, place_seed = tf.unstack(tf.random.split(seed, 2))
    side = tf.sqrt(1 - beta(batch, share_seed, alpha))  # ratio to the image's side
    places = tf.random.stateless_uniform((2, batch), place_seed)
    down = _covered(places[0], side, height)[:, :, tf.newaxis]
    across = _covered(places[1], side, width)[:, tf.newaxis, :]
    pasted = down & across
    area = tf.reduce_mean(tf.cast(pasted, tf.float32), axis=(1, 2))[:, tf.newaxis]
    images = tf.where(pasted[..., tf.newaxis], tf.reverse(images, [0]), images)
    return images, targets * (1 - area) + tf.reverse(targets, [0]) * area


def beta(count: tf.Tensor, seed: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draws from Beta(alpha, alpha).

    Args:
        count: Number of draws, an int32 scalar.
        seed: (2,), integer.
        alpha: Parameter of the distribution, above 0, however small.

    Returns:
        (count,), float32, 0 to 1.
    """
    gamma_seed, power_seed = tf.unstack(tf.random.split(seed, 2))
    # Gamma(a) is Gamma(a + 1) * U ** (1 / a); in logarithms nothing underflows.
    gammas = tf.random.stateless_gamma((2, count), gamma_seed, alpha + 1.0)
    powers = tf.math.log1p(-tf.random.stateless_uniform((2, count), power_seed)) / alpha
    logs = tf.math.log(gammas) + powers
    return tf.sigmoid(logs[0] - logs[1])


def _covered(place: tf.Tensor, side: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Returns which pixels of an axis a rectangle covers, (batch, length), bool."""
    extent = tf.cast(length, tf.float32)
    centre = tf.cast(place * extent, tf.int32)
    half = tf.cast(side * extent, tf.int32) // 2
    pixels = tf.range(length)
    begin, end = (centre - half)[:, tf.newaxis], (centre + half)[:, tf.newaxis]
    return (pixels >= begin) & (pixels < end)
