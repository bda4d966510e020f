"""Decoding of image files inside tf.data.

TensorFlow decodes all files that it handles correctly. Only the few that it would
rotate wrongly, reject or misread are passed to Pillow, so that ordinary files do not
wait for Python.
"""

from __future__ import annotations

import tensorflow as tf

from .pillow_decoding import decode_rgb, is_turned

# Part of a JPEG that is searched for Exif data; the segments before the picture, which
# hold it, are rarely longer.
SEARCHED = 1 << 18  # bytes
_JPEG_END = b"\xff\xd9"
_EXIF = "Exif\\x00\\x00"


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF file as a viewer shows it.

    Greyscale, palette, CMYK and 16-bit images are converted to 8-bit RGB, the Exif
    orientation is applied, and of several frames or pages the first is taken.
    Transparency is dropped, so the colours beneath it show, as with Pillow's
    `convert("RGB")`.

    Works eagerly and in tf.data, but not in a SavedModel, because it can call Python.

    Args:
        encoded: Content of the file, a string scalar.

    Returns:
        RGB pixels, (height, width, 3), uint8.

    Raises:
        tf.errors.OpError: The file is damaged or truncated, or its format is not
            supported. In a graph, the error is raised when it runs.
    """
    # A tf.function, so that errors of Pillow become TensorFlow's for eager callers,
    # too.
    image = tf.cond(
        _is_odd(encoded),
        lambda: tf.numpy_function(decode_rgb, [encoded], tf.uint8, stateful=False),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    image.set_shape((None, None, 3))
    return image


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def is_plain_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether `tf.io.decode_and_crop_jpeg` decodes a file correctly as RGB.

    Args:
        encoded: Content of the file, a string scalar.

    Returns:
        A bool scalar: whether the file is a complete JPEG that its Exif data does not
        rotate.
    """
    # Decoding a crop stops before the end of the file, so whether a truncated file
    # passes would depend on the crop. Decoding the whole image always notices.
    last = tf.maximum(tf.strings.length(encoded) - 2, 0)
    return tf.cond(
        _is_jpeg(encoded) & (tf.strings.substr(encoded, last, 2) == _JPEG_END),
        lambda: ~_is_turned(encoded),
        lambda: False,
    )


def _is_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(encoded, 0, 3) == b"\xff\xd8\xff"


def _is_odd(encoded: tf.Tensor) -> tf.Tensor:
    return tf.cond(
        _is_jpeg(encoded), lambda: _is_turned(encoded), lambda: _is_other_odd(encoded)
    )


def _is_turned(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether a JPEG has an Exif orientation other than 1."""
    searched = tf.strings.substr(encoded, 0, SEARCHED)
    return tf.cond(
        _contains(searched, _EXIF),
        lambda: tf.numpy_function(is_turned, [encoded], tf.bool, stateful=False),
        lambda: False,
    )


def _is_other_odd(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether a file other than a JPEG must be decoded by Pillow.

    TensorFlow rejects WebP with an alpha channel and corrupts memory on animated WebP,
    mistakes the palette indices of a BMP for grey levels, paints transparent parts of a
    GIF black, ignores Exif data, and does not support TIFF and AVIF.
    """
    head = tf.strings.substr(encoded, 0, 34)

    def starts(pattern: str) -> tf.Tensor:
        return tf.strings.regex_full_match(head, pattern + r"\C*")

    is_odd_webp = starts(r"RIFF\C{4}WEBP") & ~starts(r"\C{12}VP8 ")
    # 24 or 32 bits per pixel, uncompressed.
    is_odd_bmp = starts("BM") & ~starts(r"\C{28}[\x18\x20]\x00{5}")
    has_exif = starts(r"\CPNG") & _contains(encoded, "eXIf")
    is_tiff = starts(r"II\*\x00") | starts(r"MM\x00\*")
    is_avif = starts(r"\C{4}ftypavi[fs]") | starts(r"\C{4}ftypmif1\C*avif")
    return is_odd_webp | is_odd_bmp | has_exif | starts("GIF") | is_tiff | is_avif


def _contains(text: tf.Tensor, pattern: str) -> tf.Tensor:
    # Replacing searches with memchr and is faster than matching the whole text.
    rest = tf.strings.regex_replace(text, pattern, "", replace_global=False)
    return tf.strings.length(rest) < tf.strings.length(text)
