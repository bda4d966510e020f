"""Decoding of image files to the network's input, with TensorFlow operations only.

The counterpart of `keras_efficientnet.preprocessing.tf_ops` for saved graphs: it
has no Python fallback for unusual files, and it is safe for untrusted files.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops
from keras_efficientnet.preprocessing.file_limits import MAX_PIXELS

from . import image_headers


def read_images(
    encoded: tf.Tensor, spec: EvalPreprocessing
) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads image files as evaluation does, one at a time.

    Args:
        encoded: Contents of the files, (files,), string.
        spec: Crop, size and resize method.

    Returns:
        Images, (files, image_size, image_size, 3), float32, 0 to 255; and whether
        each file is valid, (files,), bool. The images of invalid files are black.
    """
    count = tf.size(encoded, tf.int64)
    files = tf.data.Dataset.from_tensor_slices((tf.range(count), encoded))
    good = files.map(
        lambda i, file: (i, tf_ops.eval_image(decode_image(file), spec))
    ).ignore_errors()
    # One more, so that there is an element even if no file is valid.
    black = tf.zeros((spec.image_size, spec.image_size, 3))
    last = tf.data.Dataset.from_tensors((count, black))
    places, images = good.concatenate(last).batch(count + 1).get_single_element()
    shape = tf.concat([[count + 1], tf.shape(images, tf.int64)[1:]], 0)
    images = tf.scatter_nd(places[:, tf.newaxis], images, shape)[:-1]
    valid = tf.reduce_any(tf.range(count)[:, tf.newaxis] == places, axis=1)
    return images, valid


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG, PNG, WebP, BMP or GIF file of at most `MAX_PIXELS`.

    Exif orientation is applied to JPEG files only. For an animation, the first frame is
    returned, without the canvas around it. Transparency is dropped: the colours under
    it are visible.

    Args:
        encoded: Content of the file, a string scalar.

    Returns:
        RGB pixels, (height, width, 3), uint8.

    Raises:
        tf.errors.OpError: At run time: the file has another format, is damaged or too
            large.
    """
    starts = list(_DECODERS)
    matches = [image_headers.starts_with(encoded, start) for start in starts]
    found = tf.argmax(tf.stack([*matches, tf.constant(True)]), output_type=tf.int32)
    # One decoder per format, because generic decoders guess the format.
    branches = [lambda decode=decode: decode(encoded) for decode in _DECODERS.values()]
    image = tf.switch_case(found, [*branches, lambda: _refuse(encoded)])
    return tf.ensure_shape(image, (None, None, 3))


def _decode_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    safe = _bounded(encoded, image_headers.jpeg_size(encoded))
    image = tf.io.decode_jpeg(safe, channels=3)
    turn = image_headers.jpeg_orientation(encoded)
    return tf.cond(turn == 1, lambda: image, lambda: _turn(image, turn))


def _decode_png(encoded: tf.Tensor) -> tf.Tensor:
    safe = _bounded(encoded, image_headers.png_size(encoded))
    return tf.io.decode_png(safe, channels=3)


def _decode_gif(encoded: tf.Tensor) -> tf.Tensor:
    picture = image_headers.gif_picture(encoded)
    safe = _bounded(picture, image_headers.gif_size(picture))
    return tf.io.decode_gif(safe)[0]


def _decode_webp(encoded: tf.Tensor) -> tf.Tensor:
    picture = image_headers.webp_picture(encoded)
    safe = _bounded(picture, image_headers.webp_size(picture))
    # All channels, because the decoder refuses to drop transparency.
    return tf.io.decode_webp(safe, channels=0)[0, ..., :3]


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    safe = _bounded(encoded, image_headers.bmp_size(encoded))
    image = tf.io.decode_bmp(safe, channels=0)
    # One channel contains indices into a colour table.

    def colours() -> tf.Tensor:
        places = tf.cast(image[..., 0], tf.int16)
        return tf.gather(image_headers.bmp_colours(encoded), places)

    return tf.cond(tf.shape(image)[-1] == 1, colours, lambda: image[..., :3])


_DECODERS: dict[bytes, Callable[[tf.Tensor], tf.Tensor]] = {
    b"\xff\xd8\xff": _decode_jpeg,
    b"\x89PNG\r\n\x1a\n": _decode_png,
    b"GIF8": _decode_gif,
    b"RIFF": _decode_webp,
    b"BM": _decode_bmp,
}


def _refuse(encoded: tf.Tensor) -> tf.Tensor:
    check = tf.debugging.assert_negative(tf.strings.length(encoded))  # always fails
    with tf.control_dependencies([check]):
        return tf.zeros((1, 1, 3), tf.uint8)


def _bounded(encoded: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns `encoded`, or fails if the size in its header is not allowed."""
    allowed = tf.constant(MAX_PIXELS, tf.int64)
    with tf.control_dependencies(
        [
            tf.debugging.assert_positive(size),
            # Each side by itself too, so that the product cannot overflow.
            tf.debugging.assert_less_equal(size, allowed),
            tf.debugging.assert_less_equal(tf.reduce_prod(size), allowed),
        ]
    ):
        return tf.identity(encoded)


def _turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Applies Exif orientation to an image.

    Source:
        Exif 2.32, section 4.6.4: meaning of row 0 and column 0.
    """

    def when(found: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor]) -> None:
        nonlocal image
        before = image
        image = tf.cond(found, lambda: change(before), lambda: before)

    when(orientation >= 5, lambda x: tf.transpose(x, (1, 0, 2)))
    when(_is_one_of(orientation, (3, 4, 7, 8)), lambda x: tf.reverse(x, [0]))
    when(_is_one_of(orientation, (2, 3, 6, 7)), lambda x: tf.reverse(x, [1]))
    return image


def _is_one_of(value: tf.Tensor, choices: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_any(value == tf.constant(choices, value.dtype))
