"""Reading of image files as preprocessed NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..common.plain_text import printable, tf_reason
from . import tf_ops
from .file_limits import read_image_file
from .geometry import EvalPreprocessing
from .pillow_decoding import decode_rgba

BATCH_SIZE = 32  # images
LUMA = (0.299, 0.587, 0.114)  # weights of RGB; source: ITU-R BT.601, section 2.5.1


def read_image(
    path: str | os.PathLike[str],
    spec: EvalPreprocessing,
    channels: int = 3,
    eval_image: Callable[..., tf.Tensor] = tf_ops.eval_image,
) -> np.ndarray:
    """Reads and preprocesses an image as evaluation does.

    Args:
        path: Path of a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF file.
        spec: Crop, size and interpolation.
        channels: Number of channels: 1 for greyscale, weighted as in ITU-R BT.601; 3
            for RGB; 4 for RGBA, opaque if the file has no transparency.
        eval_image: See `decode_pixels`.

    Returns:
        Pixels, (image_size, image_size, channels), float32, 0 to 255; bicubic
        interpolation overshoots slightly at strong edges.

    Raises:
        ValueError: The file cannot be read as an image.
    """
    try:
        encoded = read_image_file(Path(path))
        return decode_pixels(encoded, spec, channels, eval_image)
    except (tf.errors.OpError, OSError, ValueError) as error:
        raise ValueError(
            "An image must be a readable JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF file. "
            f"Received: {printable(path)} ({tf_reason(error)})"
        ) from error


def decode_pixels(
    encoded: bytes,
    spec: EvalPreprocessing,
    channels: int = 3,
    eval_image: Callable[..., tf.Tensor] = tf_ops.eval_image,
) -> np.ndarray:
    """Decodes the content of an image file that `check_image` accepts.

    Args:
        encoded: Content of the file.
        spec: Crop, size and resize method.
        channels: See `read_image`.
        eval_image: Function like `tf_ops.eval_image`; see `compile_eval_image`.

    Returns:
        See `read_image`.

    Raises:
        tf.errors.OpError: The file is damaged.
        OSError: The file is damaged.
        ValueError: The file has pixels of an unusual type.
    """
    image = tf.constant(encoded)
    if channels == 4:
        tf_ops.decode_image(image)  # which rejects damaged files
        image = decode_rgba(encoded)
    pixels = eval_image(image, spec).numpy()
    return pixels @ np.array(LUMA, np.float32)[:, None] if channels == 1 else pixels


def compile_eval_image(spec: EvalPreprocessing) -> Callable[..., tf.Tensor]:
    """Compiles `tf_ops.eval_image`, several times as fast as eager operations.

    Args:
        spec: Crop, size and resize method.

    Returns:
        Function for `decode_pixels`, which ignores its second argument.
    """
    return tf.function(
        lambda image, _: tf_ops.eval_image(image, spec), reduce_retracing=True
    )


def read_batches(
    paths: Iterable[str | os.PathLike[str]],
    spec: EvalPreprocessing,
    channels: int = 3,
) -> Iterator[np.ndarray]:
    """Reads and preprocesses images in batches of at most `BATCH_SIZE`.

    Args:
        paths: Paths of the images.
        spec: Crop, size and interpolation.
        channels: See `read_image`.

    Yields:
        (batch, image_size, image_size, channels), float32, 0 to 255.

    Raises:
        ValueError: A file cannot be read as an image.
    """
    batch: list[np.ndarray] = []
    for path in paths:
        batch.append(read_image(path, spec, channels))
        if len(batch) == BATCH_SIZE:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
