"""What training does to an image that evaluation does not."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_efficientnet import preprocessing_tf
from keras_efficientnet.preprocessing import EvalPreprocessing

Augmentation = Callable[[tf.Tensor, EvalPreprocessing, tf.Tensor], tf.Tensor]

SHIFT = 1 / 32  # of the image's side, the most that "shift" moves it


def none(image: tf.Tensor, spec: EvalPreprocessing, seed: tf.Tensor) -> tf.Tensor:
    """Prepares the image as evaluation does.

    Args:
        image: (height, width, 3), uint8.
        spec: Resolution, padding and resize method.
        seed: (2,), int32; not used.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.
    """
    del seed
    return preprocessing_tf.eval_image(image, spec)


def shift(image: tf.Tensor, spec: EvalPreprocessing, seed: tf.Tensor) -> tf.Tensor:
    """Moves the image by up to `SHIFT` of its side in each direction.

    For images that must neither be flipped nor cut, such as digits. The border's
    pixels fill what opens.

    Args:
        image: (height, width, 3), uint8.
        spec: Resolution, padding and resize method.
        seed: (2,), int32; the same seed gives the same result.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.
    """
    size = spec.image_size
    most = int(size * SHIFT)
    image = preprocessing_tf.eval_image(image, spec)
    moves = tf.random.stateless_uniform((2,), seed, -most, most + 1, tf.int32)
    places = tf.clip_by_value(tf.range(size)[:, tf.newaxis] + moves, 0, size - 1)
    return tf.gather(tf.gather(image, places[:, 0]), places[:, 1], axis=1)


# Name -> function of (uint8 image, preprocessing, seed).
AUGMENTATIONS: dict[str, Augmentation] = {
    "none": none,
    "crop_flip": preprocessing_tf.train_image,
    "shift": shift,
}
