"""Sixteen operations of augmentation on one image, uint8 in and out.

Each gives the same bits eagerly, in tf.data and compiled by XLA, which is several times
as fast as separate operations. XLA may fuse a multiplication with the addition that
follows, and so round once where others round twice: `_rounded` keeps it from that.

Images need a static shape. An argument that a policy draws is given as all the values
it can have, and `pick`, a position among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

GREY = 128  # fills what an operation opens or erases; source: tensorflow/tpu
# Source: tensorflow/tpu, autoaugment.py, through tf.image.rgb_to_grayscale.
_LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)

Values: TypeAlias = float | Sequence[float]
Pick: TypeAlias = "int | tf.Tensor"


def invert(image: tf.Tensor) -> tf.Tensor:
    """Turns each value v into 255 - v.

    Args:
        image: (height, width, 3), uint8.
    """
    return 255 - image


def auto_contrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel so that it reaches from 0 to 255.

    Args:
        image: (height, width, 3), uint8. A channel of one value stays as it is.
    """
    # By rows first: XLA is slow at reducing two axes around the short third.
    low = tf.cast(tf.reduce_min(tf.reduce_min(image, axis=0), axis=0), tf.int32)
    high = tf.cast(tf.reduce_max(tf.reduce_max(image, axis=0), axis=0), tf.int32)
    spans = np.arange(256, dtype=np.float32)
    scales = np.float32(255) / np.maximum(spans, 1)
    products = tf.constant(scales[:, np.newaxis] * spans)  # of scale and value
    scaled = tf.gather(products, high - low)  # (3, 256)
    offset = tf.gather(scaled, low, batch_dims=1)
    table = tf.cast(_to_uint8(scaled - offset[:, tf.newaxis]), tf.int32)
    table = tf.where((high > low)[:, tf.newaxis], table, np.arange(256))
    return _look_up_rising(image, table)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Spreads each channel's values so that all are about equally frequent.

    Args:
        image: (height, width, 3), uint8. A channel of one value, or nearly so, stays as
            it is.

    Source:
        Pillow's ImageOps.equalize.
    """
    flat = tf.reshape(_channel_places(image), (-1,))
    ones = np.zeros(0, np.int32)  # stands for weights of one
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
    """Keeps the highest bits of each value.

    Args:
        image: (height, width, 3), uint8.
        bits: How many, 0 to 8.
        pick: Which of `bits`.
    """
    masks = [255 & (255 << (8 - int(b))) for b in np.atleast_1d(bits)]
    return tf.bitwise.bitwise_and(image, tf.gather(np.array(masks, np.uint8), pick))


def solarize(image: tf.Tensor, threshold: Values, pick: Pick = 0) -> tf.Tensor:
    """Inverts values that are not below a threshold.

    Args:
        image: (height, width, 3), uint8.
        threshold: 0, everything, to 256, nothing.
        pick: Which of `threshold`.
    """
    limit = tf.gather(np.atleast_1d(np.array(threshold, np.int32)), pick)
    return tf.where(tf.cast(image, tf.int32) < limit, image, 255 - image)


def solarize_add(image: tf.Tensor, addition: Values, pick: Pick = 0) -> tf.Tensor:
    """Adds to values below 128, up to 255.

    Args:
        image: (height, width, 3), uint8.
        addition: At least 0.
        pick: Which of `addition`.
    """
    more = tf.gather(np.atleast_1d(np.array(addition, np.int32)), pick)
    added = tf.cast(tf.minimum(tf.cast(image, tf.int32) + more, 255), tf.uint8)
    return tf.where(image < 128, added, image)


def color(image: tf.Tensor, factor: Values, pick: Pick = 0) -> tf.Tensor:
    """Changes the saturation.

    Args:
        image: (height, width, 3), uint8.
        factor: 0 is grey, 1 leaves the image as it is, more is more.
        pick: Which of `factor`.
    """
    return _blend(luma(image), image, factor, pick)


def contrast(
    image: tf.Tensor, factor: Values, pick: Pick = 0, grey: int | None = None
) -> tf.Tensor:
    """Changes the distance of each value from one grey.

    Args:
        image: (height, width, 3), uint8.
        factor: 0 is all grey, 1 leaves the image as it is, more is more.
        pick: Which of `factor`.
        grey: 0 to 255; None: the mean of the image's grey values, rounded.
    """
    if grey is None:
        pixels = image.shape[0] * image.shape[1]
        total = tf.reduce_sum(tf.cast(luma(image), tf.int64))
        mean = tf.cast((2 * total + pixels) // (2 * pixels), tf.uint8)
    else:
        mean = tf.constant(grey, tf.uint8)
    return _blend(mean, image, factor, pick)


def brightness(image: tf.Tensor, factor: Values, pick: Pick = 0) -> tf.Tensor:
    """Multiplies each value.

    Args:
        image: (height, width, 3), uint8.
        factor: 0 is black, 1 leaves the image as it is, more is brighter.
        pick: Which of `factor`.
    """
    return _blend(tf.constant(0, tf.uint8), image, factor, pick)


def sharpness(image: tf.Tensor, factor: Values, pick: Pick = 0) -> tf.Tensor:
    """Changes the distance of each value from its surroundings.

    Args:
        image: (height, width, 3), uint8, at least 3 x 3; its border stays as it is.
        factor: 0 is smoothed, 1 leaves the image as it is, more is sharper.
        pick: Which of `factor`.
    """
    height, width = image.shape[:2]
    values = tf.cast(image, tf.float32)
    outer = _rounded(values * np.float32(1 / 13))
    centre = _rounded(values * np.float32(5 / 13))
    total: tf.Tensor | None = None
    # From the top left on, as a convolution adds.
    for i, j in np.ndindex(3, 3):
        product = centre if i == j == 1 else outer
        part = product[i : height - 2 + i, j : width - 2 + j]
        total = part if total is None else total + part
    inner = _blend(_to_uint8(total), image[1:-1, 1:-1], factor, pick)
    middle = tf.concat([image[1:-1, :1], inner, image[1:-1, -1:]], axis=1)
    return tf.concat([image[:1], middle, image[-1:]], axis=0)


def rotate(image: tf.Tensor, degrees: Values, pick: Pick = 0) -> tf.Tensor:
    """Turns about the centre; the nearest pixel is taken, grey fills what opens.

    Args:
        image: (height, width, 3), uint8.
        degrees: Anticlockwise.
        pick: Which of `degrees`.
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
    """Moves each row to the left, the more the lower it lies.

    Args:
        image: (height, width, 3), uint8.
        slope: Pixels per row.
        pick: Which of `slope`.
        centred: Whether the middle row stays in place, and not the top one.
    """
    slopes = np.float32(np.atleast_1d(slope))
    offset = -slopes * np.float32((image.shape[0] - 1) / 2) if centred else 0 * slopes
    return _project(image, [1, slopes, offset, 0, 1, 0], pick)


def shear_y(
    image: tf.Tensor, slope: Values, pick: Pick = 0, *, centred: bool = False
) -> tf.Tensor:
    """Moves each column up, the more the further right it lies.

    Args:
        image: (height, width, 3), uint8.
        slope: Pixels per column.
        pick: Which of `slope`.
        centred: Whether the middle column stays in place, and not the left one.
    """
    slopes = np.float32(np.atleast_1d(slope))
    offset = -slopes * np.float32((image.shape[1] - 1) / 2) if centred else 0 * slopes
    return _project(image, [1, 0, 0, slopes, 1, offset], pick)


def translate_x(image: tf.Tensor, pixels: Values, pick: Pick = 0) -> tf.Tensor:
    """Moves the image to the left; grey fills what opens.

    Args:
        image: (height, width, 3), uint8.
        pixels: How far; may be fractional, then the nearest pixel is taken.
        pick: Which of `pixels`.
    """
    return _project(image, [1, 0, np.atleast_1d(pixels), 0, 1, 0], pick)


def translate_y(image: tf.Tensor, pixels: Values, pick: Pick = 0) -> tf.Tensor:
    """Moves the image up; grey fills what opens.

    Args:
        image: (height, width, 3), uint8.
        pixels: How far; may be fractional, then the nearest pixel is taken.
        pick: Which of `pixels`.
    """
    return _project(image, [1, 0, 0, 0, 1, np.atleast_1d(pixels)], pick)


def cutout(
    image: tf.Tensor, pad: Values, pick: Pick = 0, centre: Sequence[float] = (0.5, 0.5)
) -> tf.Tensor:
    """Paints a grey square, cut off at the image's border.

    Args:
        image: (height, width, 3), uint8.
        pad: Half of the square's side, pixels.
        pick: Which of `pad`.
        centre: Of the square, from the top and from the left, [0, 1) of the image;
            (2,), float32.
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
    """Goes from `degenerate`, at factor 0, through `image`, at 1, and beyond."""
    scale = tf.gather(np.atleast_1d(np.asarray(factor, np.float32)), pick)
    base = tf.cast(degenerate, tf.float32)
    change = _rounded((tf.cast(image, tf.float32) - base) * scale)
    return _to_uint8(base + change)


def _project(image: tf.Tensor, rows: Sequence[Any], pick: Pick) -> tf.Tensor:
    """Takes each pixel from (a x + b y + c, d x + e y + f), or paints it grey.

    As `ImageProjectiveTransformV3` with "NEAREST" and "CONSTANT".
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
    """Returns `x`, a finite float, so that XLA does not merge how it was computed."""
    return tf.where(x < 1e30, x, 0.0)


def _round_away(x: tf.Tensor) -> tf.Tensor:
    """Rounds to the nearest integer, halves away from zero, as C does."""
    whole = tf.cast(x, tf.int32)
    rest = x - tf.cast(whole, tf.float32)
    return whole + tf.cast(rest >= 0.5, tf.int32) - tf.cast(rest <= -0.5, tf.int32)


def _look_up_rising(image: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Replaces each value by the entry of its channel's row, (3, 256), int32.

    Rows must not fall. Sorting then leaves them as they are, but keeps XLA from
    computing entries anew for every pixel.
    """
    table = tf.cast(tf.sort(table, axis=1), tf.uint8)
    return tf.gather(tf.reshape(table, (-1,)), _channel_places(image))


def _channel_places(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(image, tf.int32) + np.array([0, 256, 512], np.int32)


def _to_uint8(x: tf.Tensor) -> tf.Tensor:
    """Clips to 0 to 255 and truncates."""
    return tf.cast(tf.clip_by_value(x, 0.0, 255.0), tf.uint8)
