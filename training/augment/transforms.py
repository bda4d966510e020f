"""What training does to an image that evaluation does not."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_efficientnet.common.choices import did_you_mean
from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops

from . import policies
from .random_erasing import erase

# From an image, a preprocessing and a seed. The image is pixels, (height, width, 3)
# uint8, or an encoded file, a string scalar; the seed is (2,), int32, and the same seed
# gives the same result: (image_size, image_size, 3), float32, 0 to 255.
Augmentation = Callable[[tf.Tensor, EvalPreprocessing, tf.Tensor], tf.Tensor]

COMPAT = ("exact", "fixed")
SHIFT = 1 / 32  # of the image's side, the most that "shift" moves it
# What the seed is folded with, so that the draws are independent of the crop's.
_POLICY_SEED, _ERASING_SEED = 1, 2


def none(image: tf.Tensor, spec: EvalPreprocessing, seed: tf.Tensor) -> tf.Tensor:
    """Prepares the image as evaluation does.

    Args:
        image: (height, width, 3), uint8, or an encoded file, a string scalar.
        spec: Resolution, padding and resize method.
        seed: (2,), int32; not used.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.
    """
    del seed
    return tf_ops.eval_image(image, spec)


def shift(image: tf.Tensor, spec: EvalPreprocessing, seed: tf.Tensor) -> tf.Tensor:
    """Moves the image by up to `SHIFT` of its side in each direction.

    For images that must neither be flipped nor cut, such as digits. The border's
    pixels fill what opens.

    Args:
        image: (height, width, 3), uint8, or an encoded file, a string scalar.
        spec: Resolution, padding and resize method.
        seed: (2,), int32; the same seed gives the same result.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.
    """
    size = spec.image_size
    most = int(size * SHIFT)
    image = tf_ops.eval_image(image, spec)
    moves = tf.random.stateless_uniform((2,), seed, -most, most + 1, tf.int32)
    places = tf.clip_by_value(tf.range(size)[:, tf.newaxis] + moves, 0, size - 1)
    return tf.gather(tf.gather(image, places[:, 0]), places[:, 1], axis=1)


def make_augmentation(
    name: str,
    *,
    compat: str = "exact",
    layers: int = 2,
    magnitude: float = 10.0,
    erasing: float = 0.0,
    compiled: bool = True,
) -> Augmentation:
    """Makes an augmentation.

    Args:
        name: Key of `AUGMENTATIONS`.
        compat: "exact" repeats the original implementation's slips, "fixed" does
            what was meant; for the policies.
        layers: Operations per image, for "randaugment".
        magnitude: Their strength, for "randaugment"; 10 is the nominal end.
        erasing: Probability that a rectangle of the result is erased.
        compiled: Whether XLA compiles the policies. Without, the result has the same
            bits and takes several times as long.

    Raises:
        ValueError: An argument is none of its choices or out of its range.
    """
    for argument, value, choices in (
        ("name", name, tuple(AUGMENTATIONS)),
        ("compat", compat, COMPAT),
    ):
        if value not in choices:
            raise ValueError(
                f"`{argument}` must be one of {', '.join(choices)}."
                f"{did_you_mean(value, choices)} Received: {argument}={value!r}"
            )
    if layers < 1:
        raise ValueError(f"`layers` must be at least 1. Received: layers={layers}")
    if magnitude < 0:
        raise ValueError(
            f"`magnitude` must be at least 0. Received: magnitude={magnitude}"
        )
    if not 0 <= erasing <= 1:
        raise ValueError(f"`erasing` must be 0 to 1. Received: erasing={erasing}")
    augmentation = AUGMENTATIONS[name](
        compat=compat, layers=layers, magnitude=magnitude, compiled=compiled
    )
    return _with_erasing(augmentation, erasing) if erasing else augmentation


def _plain(augmentation: Augmentation) -> Callable[..., Augmentation]:
    """Makes a maker for an augmentation without settings."""
    return lambda **settings: augmentation


def _autoaugment(*, compat: str, compiled: bool, **settings: float) -> Augmentation:
    return _with_policy(
        lambda size: policies.autoaugment(size, compat), compiled=compiled
    )


def _randaugment(
    *, compat: str, layers: int, magnitude: float, compiled: bool
) -> Augmentation:
    return _with_policy(
        lambda size: policies.randaugment(
            size, compat, layers=layers, magnitude=magnitude
        ),
        compiled=compiled,
    )


def _augmix(*, compat: str, compiled: bool, **settings: float) -> Augmentation:
    return _with_policy(lambda size: policies.augmix(size, compat), compiled=compiled)


# Name -> maker of the augmentation, from the settings of `make_augmentation`.
AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {
    "none": _plain(none),
    "crop_flip": _plain(tf_ops.train_image),
    "shift": _plain(shift),
    "autoaugment": _autoaugment,
    "randaugment": _randaugment,
    "augmix": _augmix,
}


def _with_policy(
    make_policy: Callable[[int], tuple[policies.Policy, int]], *, compiled: bool
) -> Augmentation:
    """Makes an augmentation of the random crop, the flip and a policy."""

    def augmentation(
        image: tf.Tensor, spec: EvalPreprocessing, seed: tf.Tensor
    ) -> tf.Tensor:
        policy, uniforms = make_policy(spec.image_size)
        # Drawn outside of what XLA compiles, so that the numbers are always the same.
        own_seed = tf.random.experimental.stateless_fold_in(seed, _POLICY_SEED)
        drawn = tf.random.stateless_uniform((uniforms,), own_seed)

        @tf.function(autograph=False, jit_compile=compiled)
        def apply(image: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
            pixels = tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)
            return tf.cast(policy(pixels, drawn), tf.float32)

        size = spec.image_size
        cropped = tf_ops.train_image(image, spec, seed)
        return apply(tf.ensure_shape(cropped, (size, size, 3)), drawn)

    return augmentation


def _with_erasing(augmentation: Augmentation, probability: float) -> Augmentation:
    def erasing(
        image: tf.Tensor, spec: EvalPreprocessing, seed: tf.Tensor
    ) -> tf.Tensor:
        own_seed = tf.random.experimental.stateless_fold_in(seed, _ERASING_SEED)
        return erase(augmentation(image, spec, seed), own_seed, probability)

    return erasing
