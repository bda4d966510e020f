"""Evaluation preprocessing in NumPy and Pillow, for any backend."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..common.plain_text import printable
from .file_limits import read_image_file
from .geometry import RESIZE_METHODS, EvalPreprocessing, eval_crop
from .pillow_decoding import decode_rgb

_TABLE_SIZE = 1024  # source: tensorflow, image_resizer_state.h, resize_bicubic_op.cc
_LEGACY_A = np.float32(-0.75)  # as above
_KEYS_A = -0.5  # source: tensorflow, sampling_kernels.h


def read_pixels(file: str | os.PathLike[str] | bytes) -> np.ndarray:
    """Decodes an image file.

    Args:
        file: Path of a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF file, or its bytes.

    Returns:
        RGB pixels, (height, width, 3), uint8.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: The file cannot be read as an image.
    """
    name = f"{len(file)} bytes" if isinstance(file, bytes) else printable(file)
    try:
        encoded = file if isinstance(file, bytes) else read_image_file(Path(file))
        return decode_rgb(encoded)
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(
            "An image must be a readable JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF file. "
            f"Received: {name} ({printable(str(error))})"
        ) from error


def eval_image(image: np.ndarray, spec: EvalPreprocessing) -> np.ndarray:
    """Crops the centre and resizes it, as `tf_ops.eval_image` does.

    Args:
        image: (height, width, 3), uint8 or float, 0 to 255.
        spec: Crop, image size and interpolation.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.
    """
    top, left, rows, columns = eval_crop(image.shape[0], image.shape[1], spec)
    cropped = image[top : top + rows, left : left + columns]
    return resize(cropped, spec.image_size, spec.interpolation)


def resize(image: np.ndarray, size: int, method: str) -> np.ndarray:
    """Resizes to a square, as `tf_ops.resize` does.

    Args:
        image: (height, width, channels), uint8 or float, 0 to 255.
        size: Side of the result in pixels.
        method: One of `RESIZE_METHODS`.

    Returns:
        (size, size, channels), float32; within 0.01 of TensorFlow's values.

    Raises:
        ValueError: `method` is not one of them.
    """
    if method not in RESIZE_METHODS:
        raise ValueError(
            f"`method` must be one of {', '.join(RESIZE_METHODS)}. Received: {method=}"
        )
    taps: dict[str, Callable[[int, int], tuple[np.ndarray, np.ndarray]]] = {
        "bicubic_legacy": _legacy_taps,
        "bicubic": functools.partial(_antialiased_taps, kernel=_keys_cubic, radius=2.0),
        "bilinear": functools.partial(_antialiased_taps, kernel=_triangle, radius=1.0),
        "bilinear_no_antialias": _bilinear_taps,
    }
    rows = _weighted_sum(image, *taps[method](image.shape[0], size))
    columns = _weighted_sum(rows.swapaxes(0, 1), *taps[method](image.shape[1], size))
    return np.ascontiguousarray(columns.swapaxes(0, 1))


def _weighted_sum(
    image: np.ndarray, places: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Sums rows of an image; `places` and `weights` are (rows, taps)."""
    total = np.zeros((len(places), *image.shape[1:]), np.float32)
    for place, weight in zip(places.T, weights.T, strict=True):
        total += image[place] * weight[:, np.newaxis, np.newaxis]
    return total


def _legacy_taps(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns TensorFlow 1's bicubic taps: corners aligned, no antialiasing."""
    start = np.arange(size, dtype=np.float32) * (np.float32(length) / np.float32(size))
    first = np.floor(start)
    # The kernel is read from a table, so the offset is rounded.
    offset = np.rint((start - first) * np.float32(_TABLE_SIZE)) / _TABLE_SIZE
    far, near = _cubic(_LEGACY_A)
    weights = np.stack(
        [far(offset + 1), near(offset), near(1 - offset), far(2 - offset)], axis=1
    )
    places = first.astype(int)[:, np.newaxis] + np.arange(-1, 3)
    return np.clip(places, 0, length - 1), weights.astype(np.float32)


def _antialiased_taps(
    length: int, size: int, kernel: Callable[[np.ndarray], np.ndarray], radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the taps of `tf.image.resize` with antialiasing.

    Source:
        tensorflow, scale_and_translate_op.cc: `ComputeSpansCore`.
    """
    stretch = max(length / size, 1.0)
    return _centred_taps(length, size, kernel, radius, stretch)


def _bilinear_taps(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the taps of `tf.image.resize` with "bilinear", without antialiasing."""
    return _centred_taps(length, size, _triangle, radius=1.0, stretch=1.0)


def _centred_taps(
    length: int,
    size: int,
    kernel: Callable[[np.ndarray], np.ndarray],
    radius: float,
    stretch: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the taps of a kernel at half-pixel centres, stretched by a ratio."""
    scale = length / size
    centre = (np.arange(size)[:, np.newaxis] + 0.5) * scale
    taps = math.ceil(2 * radius * stretch) + 1
    places = np.ceil(centre - radius * stretch - 0.5).astype(int) + np.arange(taps)
    weights = kernel(np.abs(places + 0.5 - centre) / stretch)
    weights[(places < 0) | (places >= length)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(places, 0, length - 1), weights.astype(np.float32)


def _cubic(
    a: Any,
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """Returns the cubic convolution kernel at distances of 1 to 2, and of 0 to 1."""
    return (
        lambda x: ((a * x - 5 * a) * x + 8 * a) * x - 4 * a,
        lambda x: ((a + 2) * x - (a + 3)) * x * x + 1,
    )


def _keys_cubic(x: np.ndarray) -> np.ndarray:
    far, near = _cubic(_KEYS_A)
    return np.where(x < 1, near(x), np.where(x < 2, far(x), 0.0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - x)
