"""MixUp and CutMix of the recipes."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_efficientnet.augmentation import CutMix, MixUp

# Function of images, (batch, size, size, 3) float32, targets, (batch, classes) float32,
# and a seed, (2,) integer, to images and targets.
Mix = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def make_mix(mixup_alpha: float, cutmix_alpha: float) -> Mix | None:
    """Creates the function that mixes batches.

    Args:
        mixup_alpha: Parameter of MixUp's Beta distribution; 0 turns MixUp off.
        cutmix_alpha: Parameter of CutMix's Beta distribution; 0 turns CutMix off. With
            both, each batch uses one of them, with equal probability.

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
    return _either(mixup, cutmix) if mixup and cutmix else mixup or cutmix


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
