"""Image files to the pixels that evaluation sees, as NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..common.plain_text import printable
from . import tf_ops
from .file_limits import read_image_file
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
        encoded = read_image_file(Path(path))
        return tf_ops.eval_image(tf.constant(encoded), spec).numpy()
    except (tf.errors.OpError, OSError, ValueError) as error:
        reason = str(getattr(error, "message", error)).splitlines()[0]
        raise ValueError(
            "An image must be a readable JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF file. "
            f"Received: {printable(path)} ({reason})"
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
