"""The sixteen augmentation operations on one uint8 image, in TensorFlow.

Results are bit-identical eagerly, in tf.data and compiled by XLA, which is several
times as fast as separate operations. XLA may fuse a multiplication with the addition
that follows, and then round once instead of twice: `_rounded` prevents it.

Images need a static shape. An argument that a policy draws is passed as all its
possible values, with `pick` as an index into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

GREY = 128  # fills gaps and erased areas; source: tensorflow/tpu
# Source: tensorflow/tpu, autoaugment.py, through tf.image.rgb_to_grayscale.
_LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)

Values: TypeAlias = float | Sequence[float]
Pick: TypeAlias = "int | tf.Tensor"


def invert(image: tf.Tensor) -> tf.Tensor:
    """Inverts the image: each value v becomes 255 - v.

    Args:
        image: (height, width, 3), uint8.
    """
    return 255 - image


def auto_contrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches the contrast of each channel to the full range, 0 to 255.

    Args:
        image: (height, width, 3), uint8. A channel with a single value is unchanged.
    """
    # Row by row first: XLA is slow at reducing the two axes around a short third one.
    low = tf.cast(tf.reduce_min(tf.reduce_min(image, axis=0), axis=0), tf.int32)
    high = tf.cast(tf.reduce_max(tf.reduce_max(image, axis=0), axis=0), tf.int32)
    spans = np.arange(256, dtype=np.float32)
    scales = np.float32(255) / np.maximum(spans, 1)
    products = tf.constant(scales[:, np.newaxis] * spans)  # scale times value
    scaled = tf.gather(products, high - low)  # (3, 256)
    offset = tf.gather(scaled, low, batch_dims=1)
    table = tf.cast(_to_uint8(scaled - offset[:, tf.newaxis]), tf.int32)
    table = tf.where((high > low)[:, tf.newaxis], table, np.arange(256))
    return _look_up_rising(image, table)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Equalizes the histogram of each channel.

    Args:
        image: (height, width, 3), uint8. A channel with (almost) a single value is
            unchanged.

    Source:
        Pillow's ImageOps.equalize.
    """
    flat = tf.reshape(_channel_places(image), (-1,))
    ones = np.zeros(0, np.int32)  # means that each value counts once
    counts = tf.raw_ops.DenseBincount(input=flat, size=3 * 256, weights=ones)
    counts = tf.reshape(counts, (3, 256))
    high = tf.reduce_max(
        tf.where(counts > 0, np.arange(256, dtype=np.int32), 0), axis=1
    )
    last = tf.gather(counts, high, batch_dims=1)
    step = ((tf.reduce_sum(counts, axis=1) - last) // 255)[:, tf.newaxis]
    below = tf.cumsum(counts, axis=1, exclusive=True)
    table = (below + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.clip_by_value(table, 0, 255), np.arange(256))
    return _look_up_rising(image, table)


def posterize(image: tf.Tensor, bits: Values, pick: Pick = 0) -> tf.Tensor:
    """Reduces each value to its highest bits.

    Args:
        image: (height, width, 3), uint8.
        bits: Number of bits to keep, 0 to 8.
        pick: Index into `bits`.
    """
    masks = [255 & (255 << (8 - int(b))) for b in np.atleast_1d(bits)]
    return tf.bitwise.bitwise_and(image, tf.gather(np.array(masks, np.uint8), pick))


def solarize(image: tf.Tensor, threshold: Values, pick: Pick = 0) -> tf.Tensor:
    """Inverts values at or above a threshold.

    Args:
        image: (height, width, 3), uint8.
        threshold: 0 (inverts everything) to 256 (inverts nothing).
        pick: Index into `threshold`.
    """
    limit = tf.gather(np.atleast_1d(np.array(threshold, np.int32)), pick)
    return tf.where(tf.cast(image, tf.int32) < limit, image, 255 - image)


def solarize_add(image: tf.Tensor, addition: Values, pick: Pick = 0) -> tf.Tensor:
    """Adds a constant to values below 128 and clips at 255.

    Args:
        image: (height, width, 3), uint8.
        addition: Constant to add, at least 0.
        pick: Index into `addition`.
    """
    more = tf.gather(np.atleast_1d(np.array(addition, np.int32)), pick)
    added = tf.cast(tf.minimum(tf.cast(image, tf.int32) + more, 255), tf.uint8)
    return tf.where(image < 128, added, image)


def color(image: tf.Tensor, factor: Values, pick: Pick = 0) -> tf.Tensor:
    """Changes the saturation.

    Args:
        image: (height, width, 3), uint8.
        factor: 0 gives a grey image, 1 the original, above 1 more saturation.
        pick: Index into `factor`.
    """
    return _blend(luma(image), image, factor, pick)


def contrast(
    image: tf.Tensor, factor: Values, pick: Pick = 0, grey: int | None = None
) -> tf.Tensor:
    """Changes the contrast about one grey value.

    Args:
        image: (height, width, 3), uint8.
        factor: 0 gives uniform grey, 1 the original, above 1 more contrast.
        pick: Index into `factor`.
        grey: Grey value, 0 to 255. None: the rounded mean of the image's luma.
    """
    if grey is None:
        pixels = image.shape[0] * image.shape[1]
        total = tf.reduce_sum(tf.cast(luma(image), tf.int64))
        mean = tf.cast((2 * total + pixels) // (2 * pixels), tf.uint8)
    else:
        mean = tf.constant(grey, tf.uint8)
    return _blend(mean, image, factor, pick)


def brightness(image: tf.Tensor, factor: Values, pick: Pick = 0) -> tf.Tensor:
    """Changes the brightness.

    Args:
        image: (height, width, 3), uint8.
        factor: 0 gives black, 1 the original, above 1 a brighter image.
        pick: Index into `factor`.
    """
    return _blend(tf.constant(0, tf.uint8), image, factor, pick)


def sharpness(image: tf.Tensor, factor: Values, pick: Pick = 0) -> tf.Tensor:
    """Changes the sharpness.

    Args:
        image: (height, width, 3), uint8, at least 3 x 3; its border is unchanged.
        factor: 0 gives a smoothed image, 1 the original, above 1 a sharper one.
        pick: Index into `factor`.
    """
    height, width = image.shape[:2]
    values = tf.cast(image, tf.float32)
    outer = _rounded(values * np.float32(1 / 13))
    centre = _rounded(values * np.float32(5 / 13))
    total: tf.Tensor | None = None
    # Starts at the top left: a convolution adds in this order.
    for i, j in np.ndindex(3, 3):
        product = centre if i == j == 1 else outer
        part = product[i : height - 2 + i, j : width - 2 + j]
        total = part if total is None else total + part
    inner = _blend(_to_uint8(total), image[1:-1, 1:-1], factor, pick)
    middle = tf.concat([image[1:-1, :1], inner, image[1:-1, -1:]], axis=1)
    return tf.concat([image[:1], middle, image[-1:]], axis=0)


def rotate(image: tf.Tensor, degrees: Values, pick: Pick = 0) -> tf.Tensor:
    """Rotates about the centre, with nearest neighbour; grey fills the gaps.

    Args:
        image: (height, width, 3), uint8.
        degrees: Angle, anticlockwise.
        pick: Index into `degrees`.
    """
    height, width = image.shape[:2]
    angles = np.float32(np.atleast_1d(degrees)) * np.float32(np.pi / 180)
    cos, sin = np.cos(angles), np.sin(angles)
    right, bottom = np.float32(width - 1), np.float32(height - 1)
    x = (right - (cos * right - sin * bottom)) / np.float32(2)
    y = (bottom - (sin * right + cos * bottom)) / np.float32(2)
    return _project(image, [cos, -sin, x, sin, cos, y], pick)


def shear_x(
    image: tf.Tensor, slope: Values, pick: Pick = 0, *, centred: bool = False
) -> tf.Tensor:
    """Shears horizontally: lower rows move further to the left.

    Args:
        image: (height, width, 3), uint8.
        slope: Distance in pixels per row.
        pick: Index into `slope`.
        centred: Whether the middle row stays in place instead of the top one.
    """
    slopes = np.float32(np.atleast_1d(slope))
    offset = -slopes * np.float32((image.shape[0] - 1) / 2) if centred else 0 * slopes
    return _project(image, [1, slopes, offset, 0, 1, 0], pick)


def shear_y(
    image: tf.Tensor, slope: Values, pick: Pick = 0, *, centred: bool = False
) -> tf.Tensor:
    """Shears vertically: columns further right move further up.

    Args:
        image: (height, width, 3), uint8.
        slope: Distance in pixels per column.
        pick: Index into `slope`.
        centred: Whether the middle column stays in place instead of the left one.
    """
    slopes = np.float32(np.atleast_1d(slope))
    offset = -slopes * np.float32((image.shape[1] - 1) / 2) if centred else 0 * slopes
    return _project(image, [1, 0, 0, slopes, 1, offset], pick)


def translate_x(image: tf.Tensor, pixels: Values, pick: Pick = 0) -> tf.Tensor:
    """Translates the image to the left; grey fills the gap.

    Args:
        image: (height, width, 3), uint8.
        pixels: Distance; a fraction is rounded to the nearest pixel.
        pick: Index into `pixels`.
    """
    return _project(image, [1, 0, np.atleast_1d(pixels), 0, 1, 0], pick)


def translate_y(image: tf.Tensor, pixels: Values, pick: Pick = 0) -> tf.Tensor:
    """Translates the image up; grey fills the gap.

    Args:
        image: (height, width, 3), uint8.
        pixels: Distance; a fraction is rounded to the nearest pixel.
        pick: Index into `pixels`.
    """
    return _project(image, [1, 0, 0, 0, 1, np.atleast_1d(pixels)], pick)


def cutout(
    image: tf.Tensor, pad: Values, pick: Pick = 0, centre: Sequence[float] = (0.5, 0.5)
) -> tf.Tensor:
    """Covers a square with grey, clipped at the image's border.

    Args:
        image: (height, width, 3), uint8.
        pad: Half of the square's side in pixels.
        pick: Index into `pad`.
        centre: Centre of the square from the top and from the left, as ratios to the
            image's sides, [0, 1); (2,), float32.
    """
    half = tf.gather(np.atleast_1d(np.array(pad, np.int32)), pick)
    covered = []
    for axis in (0, 1):
        length = image.shape[axis]
        middle = tf.cast(tf.floor(centre[axis] * np.float32(length)), tf.int32)
        places = np.arange(length)
        covered.append((places >= middle - half) & (places < middle + half))
    square = covered[0][:, tf.newaxis] & covered[1][tf.newaxis]
    return tf.where(square[..., tf.newaxis], tf.constant(GREY, tf.uint8), image)


def luma(image: tf.Tensor) -> tf.Tensor:
    """Computes grey values as `tf.image.rgb_to_grayscale` does.

    Args:
        image: (height, width, 3), uint8.

    Returns:
        (height, width, 1), uint8.
    """
    shares = tf.cast(image, tf.float32) * np.float32(1 / 255)
    red, green, blue = tf.unstack(_rounded(shares * _LUMA), axis=2)
    return _to_uint8((red + green + blue) * np.float32(255.5))[..., tf.newaxis]


def _blend(
    degenerate: tf.Tensor, image: tf.Tensor, factor: Values, pick: Pick
) -> tf.Tensor:
    """Interpolates from `degenerate` (factor 0) to `image` (1), and extrapolates."""
    scale = tf.gather(np.atleast_1d(np.asarray(factor, np.float32)), pick)
    base = tf.cast(degenerate, tf.float32)
    change = _rounded((tf.cast(image, tf.float32) - base) * scale)
    return _to_uint8(base + change)


def _project(image: tf.Tensor, rows: Sequence[Any], pick: Pick) -> tf.Tensor:
    """Reads each pixel from (a x + b y + c, d x + e y + f); outside is grey.

    Equals `ImageProjectiveTransformV3` with "NEAREST" and "CONSTANT".
    """
    height, width = image.shape[:2]
    columns = (np.reshape(np.float32(r), (-1, 1)) for r in rows)
    a, b, c, d, e, f = np.broadcast_arrays(*columns)
    xs, ys = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)

    def place(by_x: np.ndarray, by_y: np.ndarray, offset: np.ndarray) -> tf.Tensor:
        across = tf.gather(by_x * xs, pick)
        down = tf.gather(by_y * ys, pick)[:, tf.newaxis]
        return _round_away(_rounded(across + down) + tf.gather(offset[:, 0], pick))

    column, row = place(a, b, c), place(d, e, f)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = tf.where(inside, row * width + column, 0)
    found = tf.gather(tf.reshape(image, (-1, 3)), source)
    return tf.where(inside[..., tf.newaxis], found, tf.constant(GREY, tf.uint8))


def _rounded(x: tf.Tensor) -> tf.Tensor:
    """Returns `x` (finite floats) and prevents XLA from fusing its computation."""
    return tf.where(x < 1e30, x, 0.0)


def _round_away(x: tf.Tensor) -> tf.Tensor:
    """Rounds to the nearest integer, halves away from zero, like `round` in C."""
    whole = tf.cast(x, tf.int32)
    rest = x - tf.cast(whole, tf.float32)
    return whole + tf.cast(rest >= 0.5, tf.int32) - tf.cast(rest <= -0.5, tf.int32)


def _look_up_rising(image: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Replaces each value by its entry in the channel's row, (3, 256), int32.

    Rows must not decrease. Sorting does not change them then, but keeps XLA from
    recomputing the entries for every pixel.
    """
    table = tf.cast(tf.sort(table, axis=1), tf.uint8)
    return tf.gather(tf.reshape(table, (-1,)), _channel_places(image))


def _channel_places(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(image, tf.int32) + np.array([0, 256, 512], np.int32)


def _to_uint8(x: tf.Tensor) -> tf.Tensor:
    """Clips to 0 to 255 and truncates."""
    return tf.cast(tf.clip_by_value(x, 0.0, 255.0), tf.uint8)
