"""Image preprocessing as TensorFlow operations.

Used by tf.data pipelines and exported models; the library itself does not import it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from .geometry import AREA_RANGE, ASPECT_RANGE, EvalPreprocessing, train_crop_areas
from .tf_decoding import decode_image as decode_image
from .tf_decoding import is_plain_jpeg as is_plain_jpeg

CROP_ATTEMPTS = 10  # source: tensorflow/tpu, preprocessing.py
CROP_MARGIN = 2  # columns


def resize(image: tf.Tensor, size: int, method: str) -> tf.Tensor:
    """Resizes an image to a square.

    Args:
        image: Image, (height, width, channels), uint8 or float, 0 to 255.
        size: Side of the result, pixels.
        method: One of `preprocessing.RESIZE_METHODS`.

    Returns:
        (size, size, channels), float32. "bicubic_legacy" and "bicubic" overshoot 0 and
        255 at strong edges, as in the original.
    """
    if method == "bicubic_legacy":
        # The kernel accepts uint8, which saves a pass over the image.
        return tf.raw_ops.ResizeBicubic(
            images=image[tf.newaxis],
            size=[size, size],
            align_corners=False,
            half_pixel_centers=False,
        )[0]
    image = tf.cast(image, tf.float32)
    method, _, other = method.partition("_")
    return tf.image.resize(image, (size, size), method=method, antialias=not other)


def eval_crop(
    height: tf.Tensor, width: tf.Tensor, spec: EvalPreprocessing
) -> tf.Tensor:
    """Computes the central crop, like `preprocessing.eval_crop`.

    Args:
        height: Height of the image, pixels, an int32 scalar.
        width: Width of the image, pixels, an int32 scalar.
        spec: Preprocessing, of which the crop ratio and mode are used.

    Returns:
        (top, left, height, width) of the crop, pixels, int32.
    """
    image = tf.stack([height, width])
    whole = image
    if spec.crop_mode == "center":
        whole = tf.repeat(tf.reduce_min(image), 2)
    scaled = np.float32(spec.crop_ratio) * tf.cast(whole, tf.float32)
    crop = tf.maximum(1, tf.cast(scaled, tf.int32))
    return tf.concat([(image - crop + 1) // 2, crop], axis=0)


def train_crop(
    height: tf.Tensor,
    width: tf.Tensor,
    uniforms: tf.Tensor,
    min_area: float | None = None,
) -> tf.Tensor:
    """Computes the random training crop, like `preprocessing.train_crop`.

    Args:
        height: Height of the image, pixels, an int32 scalar.
        width: Width of the image, pixels, an int32 scalar.
        uniforms: Random numbers, (attempts, 4), float32 in [0, 1).
        min_area: Smallest area, see `preprocessing.train_crop_areas`.

    Returns:
        (top, left, height, width) of the crop, pixels, int32.
    """
    smallest, accepted = train_crop_areas(min_area)
    rows, cols = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    area = rows * cols
    u_aspect, u_height, u_top, u_left = tf.unstack(uniforms, axis=1)
    aspect = ASPECT_RANGE[0] + u_aspect * (ASPECT_RANGE[1] - ASPECT_RANGE[0])
    tallest = tf.minimum(
        tf.math.rint(tf.sqrt(AREA_RANGE[1] * area / aspect)),
        tf.minimum(tf.floor((cols + 0.5) / aspect), rows),
    )
    lowest = tf.minimum(tf.math.rint(tf.sqrt(smallest * area / aspect)), tallest)
    crop_rows = lowest + tf.floor(u_height * (tallest - lowest + 1))
    crop_cols = tf.math.rint(crop_rows * aspect)
    top = tf.floor(u_top * (rows - crop_rows))
    left = tf.floor(u_left * (cols - crop_cols))
    fits = (crop_cols <= cols) & (accepted * area <= crop_rows * crop_cols)
    boxes = tf.cast(tf.stack([top, left, crop_rows, crop_cols], axis=1), tf.int32)
    whole = tf.stack([0, 0, height, width])
    first = tf.argmax(fits)
    return tf.where(tf.reduce_any(fits), boxes[first], whole)


def pixels(image: tf.Tensor) -> tf.Tensor:
    """Decodes an image if it is still encoded.

    Args:
        image: Pixels, (height, width, 3), or the content of a file, a string scalar.

    Returns:
        Pixels, (height, width, 3); uint8 for a file.
    """
    image = tf.convert_to_tensor(image)
    return decode_image(image) if image.dtype == tf.string else image


def eval_image(image: tf.Tensor, spec: EvalPreprocessing) -> tf.Tensor:
    """Crops the centre of an image and resizes it, as in evaluation.

    Args:
        image: Pixels, (height, width, 3), uint8 or float, 0 to 255; or the content of a
            file, a string scalar.
        spec: Image size, crop and interpolation.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.
    """
    cropped = _crop(image, lambda height, width: eval_crop(height, width, spec))
    return resize(cropped, spec.image_size, spec.interpolation)


def train_image(
    image: tf.Tensor,
    spec: EvalPreprocessing,
    seed: tf.Tensor,
    min_area: float | None = None,
) -> tf.Tensor:
    """Crops an image at random, resizes it and flips it at random, as in training.

    Args:
        image: Pixels, (height, width, 3), uint8 or float, 0 to 255; or the content of a
            file, a string scalar.
        spec: Image size and interpolation.
        seed: Seed, (2,), int32; the same seed gives the same result.
        min_area: Smallest area of the crop, see `preprocessing.train_crop_areas`.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.

    Source:
        tensorflow/tpu, preprocessing.py: `_decode_and_random_crop`.
    """
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    uniforms = tf.random.stateless_uniform((CROP_ATTEMPTS, 4), crop_seed)

    def find_box(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        box = train_crop(height, width, uniforms, min_area)
        # As in the original, the central crop replaces a crop of the whole image.
        is_whole = tf.reduce_all(box[2:] == tf.stack([height, width]))
        return tf.where(is_whole, eval_crop(height, width, spec), box)

    cropped = resize(_crop(image, find_box), spec.image_size, spec.interpolation)
    return tf.image.stateless_random_flip_left_right(cropped, flip_seed)


def _crop(
    image: tf.Tensor, find_box: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Crops an image to the box that `find_box` computes from height and width.

    Of a plain JPEG file, little more than the box is decoded; the pixels equal those of
    the fully decoded image.
    """
    image = tf.convert_to_tensor(image)
    if image.dtype != tf.string:
        return _cut(image, find_box(*tf.unstack(tf.shape(image)[:2])))

    def decode_crop() -> tf.Tensor:
        height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(image))
        top, left, rows, columns = tf.unstack(find_box(height, width))
        # Chroma at the edge of the decoded part lacks a neighbour to interpolate with,
        # so a few more columns are decoded.
        begin = tf.maximum(left - CROP_MARGIN, 0)
        end = tf.minimum(left + columns + CROP_MARGIN, width)
        window = tf.stack([top, begin, rows, end - begin])
        decoded = tf.io.decode_and_crop_jpeg(image, window, channels=3)
        return decoded[:, left - begin : left - begin + columns]

    def decode_whole() -> tf.Tensor:
        decoded = decode_image(image)
        return _cut(decoded, find_box(*tf.unstack(tf.shape(decoded)[:2])))

    return tf.cond(is_plain_jpeg(image), decode_crop, decode_whole)


def _cut(image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    return tf.image.crop_to_bounding_box(image, box[0], box[1], box[2], box[3])
