"""Random erasing of a rectangle, as a TensorFlow graph."""

from __future__ import annotations

import math

import tensorflow as tf

# Rectangle's share of the image's area, and its height / width, uniform in the
# logarithm. Source: arXiv:1708.04896, section 3.2 and table 3.
AREA_RANGE = (0.02, 0.33)
ASPECT_RANGE = (0.3, 3.3)
ATTEMPTS = 10  # to find a rectangle that fits; otherwise the image is unchanged


def erase(image: tf.Tensor, seed: tf.Tensor, probability: float) -> tf.Tensor:
    """Replaces a random rectangle with noise, with a given probability.

    The noise is uniform in 0 to 255: the paper's RE-R, its best variant.

    Args:
        image: (height, width, 3), uint8 or float, 0 to 255, with a static size.
        seed: (2,), integer; the same seed gives the same result.
        probability: Probability that a rectangle is erased.

    Returns:
        (height, width, 3), with the dtype of `image`.

    Source:
        arXiv:1708.04896, algorithm 1.
    """
    box_seed, noise_seed = tf.unstack(tf.random.split(seed, 2))
    drawn = tf.random.stateless_uniform((4 * ATTEMPTS + 1,), box_seed)
    height, width = image.shape[:2]
    box = find_box(height, width, tf.reshape(drawn[1:], (ATTEMPTS, 4)))

    def erased() -> tf.Tensor:
        top, left, rows, columns = tf.unstack(box)
        ys, xs = tf.range(height)[:, tf.newaxis], tf.range(width)
        inside = (ys >= top) & (ys < top + rows) & (xs >= left) & (xs < left + columns)
        noise = tf.random.stateless_uniform(image.shape, noise_seed, 0, 256, tf.int32)
        return tf.where(inside[..., tf.newaxis], tf.cast(noise, image.dtype), image)

    return tf.cond(drawn[0] < probability, erased, lambda: tf.identity(image))


def find_box(height: int, width: int, uniforms: tf.Tensor) -> tf.Tensor:
    """Finds a random rectangle inside an image.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        uniforms: Random numbers, (attempts, 4), float32 in [0, 1).

    Returns:
        (top, left, height, width), in pixels, int32; all 0 when no attempt fits.
    """
    u_area, u_aspect, u_top, u_left = tf.unstack(uniforms, axis=1)
    share = AREA_RANGE[0] + u_area * (AREA_RANGE[1] - AREA_RANGE[0])
    low, high = math.log(ASPECT_RANGE[0]), math.log(ASPECT_RANGE[1])
    aspect = tf.exp(low + u_aspect * (high - low))
    rows = tf.math.rint(tf.sqrt(share * (height * width) * aspect))
    columns = tf.math.rint(tf.sqrt(share * (height * width) / aspect))
    top = tf.floor(u_top * (height - rows + 1))
    left = tf.floor(u_left * (width - columns + 1))
    fits = (rows < height) & (columns < width)
    boxes = tf.cast(tf.stack([top, left, rows, columns], axis=1), tf.int32)
    nothing = tf.zeros((4,), tf.int32)
    return tf.where(tf.reduce_any(fits), boxes[tf.argmax(fits)], nothing)
