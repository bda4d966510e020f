"""Headers of image files, parsed with TensorFlow operations only.

A SavedModel has no Python, so these functions find the size and orientation of an image
and the first frame of an animation inside the graph. All of them take `encoded`, the
content of a file, a string scalar. A truncated or invalid file is an error at run
time.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

EXIF_BYTES = 1 << 16  # largest JPEG segment
_ORIENTATION = 0x0112  # source: Exif 2.32, section 4.6.4
_MAX_SEGMENTS = 1000  # of a JPEG before the image; colour profiles use up to 255
_MAX_CHUNKS = 100  # of a WebP or GIF before the image
_MAX_BLOCKS = 1 << 16  # of the first frame of a GIF, 255 bytes each
_BYTES = [bytes([i]) for i in range(256)]


def starts_with(encoded: tf.Tensor, start: bytes) -> tf.Tensor:
    """Returns whether a file starts with these bytes, bool scalar."""
    return _cut(encoded, 0, len(start)) == start


def jpeg_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns (height, width), pixels, int64."""
    return tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64)


def png_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns (height, width), pixels, int64."""
    width, height = (_number(encoded, at, 4, big_endian=True) for at in (16, 20))
    return tf.stack([height, width])


def bmp_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns (height, width), pixels, int64; (0, 0) for a compressed file."""
    width, height = _number(encoded, 18, 4), _number(encoded, 22, 4)
    # The height is negative for images stored from top to bottom.
    height = tf.where(height < 1 << 31, height, (1 << 32) - height)
    is_plain = tf.cast(_number(encoded, 30, 4) == 0, tf.int64)
    return tf.stack([height, width]) * is_plain


def bmp_colours(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the colour table, (256, 3), uint8, padded with black."""
    start, count = 14 + _number(encoded, 14, 4), _number(encoded, 46, 4)
    # 0 stands for all 256.
    count = tf.where(count == 0, tf.constant(256, tf.int64), tf.minimum(count, 256))
    table = tf.io.decode_raw(_cut(encoded, start, 4 * count), tf.uint8)
    table = tf.pad(table, [[0, 4 * 256 - tf.size(table)]])
    return tf.reshape(table, (256, 4))[:, 2::-1]


def gif_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns (height, width), pixels, int64."""
    width, height = _number(encoded, 6, 2), _number(encoded, 8, 2)
    return tf.stack([height, width])


def webp_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns (height, width), pixels, int64, of a file from `webp_picture`.

    Source:
        RFC 6386, section 9.1; RFC 9649, section 3.4.
    """

    def lossy() -> tf.Tensor:
        width, height = (_number(encoded, at, 2) % (1 << 14) for at in (26, 28))
        return tf.stack([height, width])

    def lossless() -> tf.Tensor:
        bits = _number(encoded, 21, 4)
        width, height = bits % (1 << 14) + 1, bits // (1 << 14) % (1 << 14) + 1
        return tf.stack([height, width])

    kind = _cut(encoded, 12, 4)
    return tf.cond(kind == b"VP8 ", lossy, lossless)


def webp_picture(encoded: tf.Tensor) -> tf.Tensor:
    """Returns a WebP file with only the image, or the first frame.

    TensorFlow's decoder corrupts memory on animated files. Separate transparency, Exif
    data and colour profiles are dropped too.

    Source:
        RFC 9649, section 2.7.
    """

    def is_other(at: tf.Tensor) -> tf.Tensor:
        kind = _cut(encoded, at, 4)
        return (kind != b"VP8 ") & (kind != b"VP8L")

    def skip(at: tf.Tensor) -> tf.Tensor:
        is_frame = _cut(encoded, at, 4) == b"ANMF"
        size = _number(encoded, at + 4, 4)
        # Enter a frame after its first 16 bytes; skip other chunks, of even length.
        return at + 8 + tf.where(is_frame, tf.constant(16, tf.int64), size + size % 2)

    at = _walk(is_other, skip, tf.constant(12, tf.int64), _MAX_CHUNKS)
    size = _number(encoded, at + 4, 4)
    chunk = _cut(encoded, at, 8 + size + size % 2)
    total = tf.cast(tf.strings.length(chunk), tf.int64) + 4
    digits = total // tf.constant([1, 1 << 8, 1 << 16, 1 << 24], tf.int64) % 256
    length = tf.strings.reduce_join(tf.gather(_BYTES, digits))
    return tf.strings.join([b"RIFF", length, b"WEBP", chunk])


def gif_picture(encoded: tf.Tensor) -> tf.Tensor:
    """Returns a GIF file with only the first frame, of the size of the frame.

    TensorFlow's decoder allocates memory for all frames and paints transparent pixels
    black. A first frame larger than 16 MB is an error.

    Source:
        GIF89a specification, sections 15 to 26.
    """
    data = tf.io.decode_raw(encoded, tf.uint8)
    head_end = 13 + _colour_bytes(data[10])

    def is_extension(at: tf.Tensor) -> tf.Tensor:
        return data[at] == 0x21

    def skip(at: tf.Tensor) -> tf.Tensor:
        return _end_of_blocks(data, at + 2)

    at = _walk(is_extension, skip, head_end, _MAX_CHUNKS)
    check = tf.debugging.assert_equal(data[at], tf.constant(0x2C, tf.uint8))
    with tf.control_dependencies([check]):
        flags = data[at + 9]
    end = _end_of_blocks(data, at + 11 + _colour_bytes(flags))
    size = _cut(encoded, at + 5, 4)
    colours = _cut(encoded, 10, head_end - 10)
    picture = _cut(encoded, at + 9, end - at - 9)
    parts = [b"GIF89a", size, colours, b",\0\0\0\0", size, picture, b";"]
    return tf.strings.join(parts)


def jpeg_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the Exif orientation of a JPEG, 1 to 8, int64; 1 if it has none.

    Source:
        ITU-T T.81, section B.1.1.4; Exif 2.32, section 4.5.
    """

    def is_exif(at: tf.Tensor) -> tf.Tensor:
        return _cut(encoded, at + 4, 6) == b"Exif\0\0"

    def is_other_segment(at: tf.Tensor) -> tf.Tensor:
        marker = _number(encoded, at, 2, big_endian=True)
        is_segment = (marker >= 0xFFC0) & (marker < 0xFFFF) & (marker != 0xFFDA)
        return is_segment & ~is_exif(at)

    def skip(at: tf.Tensor) -> tf.Tensor:
        return at + 2 + _number(encoded, at + 2, 2, big_endian=True)

    at = _walk(is_other_segment, skip, tf.constant(2, tf.int64), _MAX_SEGMENTS)
    return tf.cond(
        is_exif(at),
        lambda: _exif_orientation(_cut(encoded, at + 10, EXIF_BYTES)),
        lambda: tf.constant(1, tf.int64),
    )


def _exif_orientation(exif: tf.Tensor) -> tf.Tensor:
    """Returns the orientation; 1 where it is missing, or the data are damaged."""
    big_endian = starts_with(exif, b"MM")
    # Padding for reads past the end.
    data = tf.io.decode_raw(tf.strings.join([exif, b"\0" * 16]), tf.uint8)
    length = tf.size(data, tf.int64)

    def read(at: tf.Tensor, count: int) -> tf.Tensor:
        places = at[..., tf.newaxis] + tf.range(count, dtype=tf.int64)
        digits = tf.gather(data, tf.minimum(places, length - 1))
        digits = tf.ensure_shape(digits, (*at.shape, count))
        return tf.where(big_endian, _join(digits, True), _join(digits, False))

    first = read(tf.constant(4, tf.int64), 4)
    entries = first + 2 + 12 * tf.range(read(first, 2))
    is_orientation = read(entries, 2) == _ORIENTATION
    found = tf.boolean_mask(read(entries + 8, 2), is_orientation)
    value = tf.concat([found, tf.constant([1], tf.int64)], 0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _walk(
    is_passed: Callable[[tf.Tensor], tf.Tensor],
    step: Callable[[tf.Tensor], tf.Tensor],
    start: tf.Tensor,
    limit: int,
) -> tf.Tensor:
    """Returns the first offset to stop at; more than `limit` steps are an error."""
    (end,) = tf.while_loop(
        is_passed, lambda at: (step(at),), [start], maximum_iterations=limit
    )
    check = tf.debugging.assert_equal(is_passed(end), False)
    with tf.control_dependencies([check]):
        return tf.identity(end)


def _end_of_blocks(data: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Returns the offset after length-prefixed blocks that end with an empty one."""
    return 1 + _walk(
        lambda at: data[at] > 0,
        lambda at: at + 1 + tf.cast(data[at], tf.int64),
        at,
        _MAX_BLOCKS,
    )


def _cut(encoded: tf.Tensor, at: int | tf.Tensor, count: int | tf.Tensor) -> tf.Tensor:
    # The operation requires both numbers to have the same dtype.
    at, count = tf.cast(at, tf.int64), tf.cast(count, tf.int64)
    return tf.strings.substr(encoded, at, count)


def _colour_bytes(flags: tf.Tensor) -> tf.Tensor:
    flags = tf.cast(flags, tf.int64)
    count = tf.bitwise.left_shift(tf.constant(2, tf.int64), flags % 8)
    return tf.where(flags >= 128, 3 * count, 0)


def _number(
    encoded: tf.Tensor, at: int | tf.Tensor, count: int, *, big_endian: bool = False
) -> tf.Tensor:
    """Reads an unsigned integer of `count` bytes, int64."""
    digits = tf.io.decode_raw(_cut(encoded, at, count), tf.uint8)
    return _join(tf.ensure_shape(digits, (count,)), big_endian)


def _join(digits: tf.Tensor, big_endian: bool) -> tf.Tensor:
    powers = [1 << 8 * i for i in range(digits.shape[-1])]
    powers = powers[::-1] if big_endian else powers
    return tf.reduce_sum(tf.cast(digits, tf.int64) * tf.constant(powers, tf.int64), -1)
