"""MixUp and CutMix of the recipes."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_efficientnet.augmentation import CutMix, MixUp

# Function of images, (batch, size, size, 3) float32, targets, (batch, classes) float32,
# and a seed, (2,) integer, to images and targets.
Mix = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def make_mix(
    mixup_alpha: float, cutmix_alpha: float, mixing: str = "per_batch"
) -> Mix | None:
    """Creates the function that mixes batches.

    Args:
        mixup_alpha: Parameter of MixUp's Beta distribution; 0 turns MixUp off.
        cutmix_alpha: Parameter of CutMix's Beta distribution; 0 turns CutMix off.
        mixing: Use of the two where both are on: "per_batch" applies one of them to
            each batch, with equal probability, "half_and_half" MixUp to the first half
            of each batch and CutMix to the second.

    Returns:
        The function, or None when both are 0.

    Raises:
        ValueError: An alpha is below 0.
    """
    for name, alpha in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha)):
        if alpha < 0:
            raise ValueError(f"`{name}` must be at least 0. Received: {name}={alpha}")
    # The pipeline passes every seed, so that the objects' own seeds are never used.
    mixup = MixUp(mixup_alpha, seed=0).mix_batch if mixup_alpha else None
    cutmix = CutMix(cutmix_alpha, seed=0).mix_batch if cutmix_alpha else None
    if not (mixup and cutmix):
        return mixup or cutmix
    return MIXING[mixing](mixup, cutmix)


def _halves(mixup: Mix, cutmix: Mix) -> Mix:
    """Creates a function that applies MixUp to the first half and CutMix to the rest.

    Images are mixed within their half only.

    Source:
        google/automl, efficientnetv2/datasets.py: `mixing`.
    """

    def mix(
        images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        half = tf.shape(images)[0] // 2
        mixup_seed, cutmix_seed = tf.unstack(tf.random.split(seed, 2))
        first = mixup(images[:half], targets[:half], mixup_seed)
        second = cutmix(images[half:], targets[half:], cutmix_seed)
        mixed = [tf.concat(pair, axis=0) for pair in zip(first, second, strict=True)]
        return tf.ensure_shape(mixed[0], images.shape), mixed[1]

    return mix


def _either(mixup: Mix, cutmix: Mix) -> Mix:
    """Creates a function that applies MixUp or CutMix, at random, to each batch."""

    def mix(
        images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        choice_seed, mix_seed = tf.unstack(tf.random.split(seed, 2))
        return tf.cond(
            tf.random.stateless_uniform((), choice_seed) < 0.5,
            lambda: mixup(images, targets, mix_seed),
            lambda: cutmix(images, targets, mix_seed),
        )

    return mix


# Name -> function that combines MixUp and CutMix.
MIXING: dict[str, Callable[[Mix, Mix], Mix]] = {
    "per_batch": _either,
    "half_and_half": _halves,
}
