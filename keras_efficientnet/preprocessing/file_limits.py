"""Size limits of untrusted image files, checked before decoding."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

from ..common.files import open_regular

MAX_PIXELS = 50_000_000  # 150 MB of RGB pixels
MAX_BYTES = 256 << 20
_warning_filters = threading.Lock()  # which belong to the process


def read_image_file(path: Path) -> bytes:
    """Reads an image file, unless decoding it would take too much memory.

    A PNG file of 48 kB can hold 400 megapixels.

    Args:
        path: Path of the file.

    Returns:
        The file's bytes.

    Raises:
        ImportError: Pillow is not installed.
        OSError: The file cannot be read.
        ValueError: The file is not a regular file, not an image, or too large.
    """
    with open_regular(path) as stream:
        encoded = stream.read(MAX_BYTES + 1)
    check_image(encoded)
    return encoded


def check_image(encoded: bytes) -> None:
    """Checks that decoding an image file does not take a lot of memory.

    Threads may call it at the same time.

    Args:
        encoded: Content of the file.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: It is not an image, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    if len(encoded) > MAX_BYTES:
        raise ValueError(f"it must have at most {MAX_BYTES >> 20} MiB")
    try:
        with (
            _warning_filters,
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(encoded)) as image,
        ):
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise ValueError(_too_large(str(error).lower())) from error
    except (UnidentifiedImageError, OSError, SyntaxError, EOFError) as error:
        raise ValueError("it is not an image, or damaged") from error
    if width * height > MAX_PIXELS:
        raise ValueError(_too_large(f"it has {width} x {height}"))


def _too_large(reason: str) -> str:
    return f"it must have at most {MAX_PIXELS / 1e6:.0f} megapixels; {reason}"
