"""Decoding of image files with Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

_ORIENTATION = 0x0112  # source: Exif 2.32, section 4.6.4


def decode_rgb(encoded: bytes) -> np.ndarray:
    """Decodes the first frame of an image file as a viewer shows it.

    Args:
        encoded: Content of the file.

    Returns:
        RGB pixels, (height, width, 3), uint8. Exif's orientation is applied;
        transparency is dropped, so the colours beneath it show.

    Raises:
        ImportError: Pillow is not installed.
        OSError: The content is not an image file, or is damaged.
        ValueError: The image has 32 bits per channel.
    """
    from PIL import ImageOps

    with _open(encoded) as opened:
        if opened.mode in ("I", "F"):  # Pillow would clip to 0 to 255
            raise ValueError("Images must have 8 or 16 bits per channel, not 32")
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):  # Pillow would clip, TensorFlow shifts
            grey = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(grey[..., np.newaxis], 3, axis=-1)
        return np.asarray(image.convert("RGB"))


def decode_rgba(encoded: bytes) -> np.ndarray:
    """Decodes an image file with its transparency.

    Args:
        encoded: Content of the file.

    Returns:
        RGBA pixels, (height, width, 4), uint8; opaque where the file has no
        transparency.
    """
    from PIL import ImageOps

    with _open(encoded) as opened:
        return np.asarray(ImageOps.exif_transpose(opened).convert("RGBA"))


def is_turned(encoded: bytes) -> Any:
    """Returns whether Exif data gives another orientation than upright.

    Args:
        encoded: Content of the file.

    Returns:
        A NumPy bool.
    """
    with _open(encoded) as image:
        return np.bool_(image.getexif().get(_ORIENTATION, 1) in range(2, 9))


def _open(encoded: bytes) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "TIFF, AVIF and rotated, animated or transparent images need Pillow: "
            "pip install pillow"
        ) from error
    return Image.open(io.BytesIO(encoded))
