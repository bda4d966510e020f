"""Image files to the pixels that evaluation sees, as NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from ..common.image_folders import display
from . import tf_ops
from .geometry import EvalPreprocessing

BATCH_SIZE = 32  # images


def read_image(path: str | os.PathLike[str], spec: EvalPreprocessing) -> np.ndarray:
    """Reads an image the way evaluation does.

    Args:
        path: Path of a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF file.
        spec: Crop, size and resize method.

    Returns:
        Pixels, (image_size, image_size, 3), float32, 0 to 255; bicubic resizing
        overshoots a little beside strong edges.

    Raises:
        ValueError: The file cannot be read as an image.
    """
    try:
        # A pipe would never begin, and a device never end.
        if os.path.exists(path) and not os.path.isfile(path):
            kind = "a folder without images" if os.path.isdir(path) else "a device"
            raise ValueError(f"it is {kind}, not a file")
        encoded = tf.io.read_file(os.fsencode(path))
        return tf_ops.eval_image(encoded, spec).numpy()
    except (tf.errors.OpError, ValueError) as error:
        reason = str(getattr(error, "message", error)).splitlines()[0]
        raise ValueError(
            "An image must be a readable JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF file. "
            f"Received: {display(path)} ({reason})"
        ) from error


def read_batches(
    paths: Iterable[str | os.PathLike[str]], spec: EvalPreprocessing
) -> Iterator[np.ndarray]:
    """Reads images in batches of at most `BATCH_SIZE`.

    Args:
        paths: Paths of the images.
        spec: Crop, size and resize method.

    Yields:
        (batch, image_size, image_size, 3), float32, 0 to 255.

    Raises:
        ValueError: A file cannot be read as an image.
    """
    batch: list[np.ndarray] = []
    for path in paths:
        batch.append(read_image(path, spec))
        if len(batch) == BATCH_SIZE:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
