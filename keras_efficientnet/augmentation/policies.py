"""Policies of AutoAugment, RandAugment and AugMix, as TensorFlow graphs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from .op_levels import Chooser, Setting, setting

# Function of an image, (size, size, 3) uint8, and uniform random numbers, float32 in
# [0, 1), to an image.
Policy = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

# Uniforms of one operation: whether it applies, its sign, and Cutout's centre.
UNIFORMS_PER_STEP = 4


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation of a sub-policy.

    Attributes:
        op: Key of `op_levels.OPERATIONS`.
        probability: Probability that it is applied.
        level: Strength; 10 is the nominal end.
    """

    op: str
    probability: float
    level: float


# Source: tensorflow/tpu, autoaugment.py: `policy_v0`; arXiv:1805.09501, ImageNet.
AUTOAUGMENT_V0 = (
    (Step("Equalize", 0.8, 1), Step("ShearY", 0.8, 4)),
    (Step("Color", 0.4, 9), Step("Equalize", 0.6, 3)),
    (Step("Color", 0.4, 1), Step("Rotate", 0.6, 8)),
    (Step("Solarize", 0.8, 3), Step("Equalize", 0.4, 7)),
    (Step("Solarize", 0.4, 2), Step("Solarize", 0.6, 2)),
    (Step("Color", 0.2, 0), Step("Equalize", 0.8, 8)),
    (Step("Equalize", 0.4, 8), Step("SolarizeAdd", 0.8, 3)),
    (Step("ShearX", 0.2, 9), Step("Rotate", 0.6, 8)),
    (Step("Color", 0.6, 1), Step("Equalize", 1.0, 2)),
    (Step("Invert", 0.4, 9), Step("Rotate", 0.6, 0)),
    (Step("Equalize", 1.0, 9), Step("ShearY", 0.6, 3)),
    (Step("Color", 0.4, 7), Step("Equalize", 0.6, 0)),
    (Step("Posterize", 0.4, 6), Step("AutoContrast", 0.4, 7)),
    (Step("Solarize", 0.6, 8), Step("Color", 0.6, 9)),
    (Step("Solarize", 0.2, 4), Step("Rotate", 0.8, 9)),
    (Step("Rotate", 1.0, 7), Step("TranslateY", 0.8, 9)),
    (Step("ShearX", 0.0, 0), Step("Solarize", 0.8, 4)),
    (Step("ShearY", 0.8, 0), Step("Color", 0.6, 4)),
    (Step("Color", 1.0, 0), Step("Rotate", 0.6, 2)),
    (Step("Equalize", 0.8, 4), Step("Equalize", 0.0, 8)),
    (Step("Equalize", 1.0, 4), Step("AutoContrast", 0.6, 2)),
    (Step("ShearY", 0.4, 7), Step("SolarizeAdd", 0.6, 7)),
    (Step("Posterize", 0.8, 2), Step("Solarize", 0.6, 10)),
    (Step("Solarize", 0.6, 8), Step("Equalize", 0.6, 1)),
    (Step("Color", 0.8, 6), Step("Rotate", 0.4, 5)),
)

# Source: tensorflow/tpu, autoaugment.py: `distort_image_with_randaugment`.
RANDAUGMENT = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Cutout",
    "SolarizeAdd",
)

# Source: arXiv:1912.02781, section 3; without operations that resemble its test
# corruptions.
AUGMIX = (
    "AutoContrast",
    "Equalize",
    "Posterize",
    "Rotate",
    "Solarize",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)
AUGMIX_WIDTH = 3  # chains
AUGMIX_DEPTH = 3  # operations in the longest chain
AUGMIX_LEVELS = tuple(i / 10 for i in range(1, 31))  # uniform; the paper's severity 3
_AUGMIX_STEP = 3  # uniforms of an operation: kind, level and sign
_AUGMIX_PARTS = 2048  # weights are multiples of 1 / this, so that sums are exact


def autoaugment(
    size: int, compat: str, policy: Sequence[Sequence[Step]] = AUTOAUGMENT_V0
) -> tuple[Policy, int]:
    """Builds AutoAugment: a random sub-policy, each step applied with a probability.

    Args:
        size: Side of the images in pixels.
        compat: "exact" or "fixed".
        policy: Sub-policies, all of the same length.

    Returns:
        The policy, and how many uniform random numbers it takes: one for the
        sub-policy, then `UNIFORMS_PER_STEP` per step.

    Source:
        arXiv:1805.09501; tensorflow/tpu, autoaugment.py.
    """
    # "fixed" uses RandAugment's distances: 250 of 224 pixels would move an image out
    # of sight.
    reach = (250, 100) if compat == "exact" else (100, 40)
    used = setting(size, compat, translate=reach[0], cutout=reach[1])
    steps = [step for sub_policy in policy for step in sub_policy]
    chosen = Chooser(sorted({s.op for s in steps}), [s.level for s in steps], used)
    layers = len(policy[0])
    shape = (len(policy), layers)
    kinds = np.array([chosen.kind(s.op) for s in steps], np.int32).reshape(shape)
    rows = np.array([chosen.row(s.level) for s in steps], np.int32).reshape(shape)
    odds = np.array([s.probability for s in steps], np.float32).reshape(shape)

    def augment(image: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
        which = tf.cast(uniforms[0] * len(policy), tf.int32)
        kind, row, probability = (tf.gather(t, which) for t in (kinds, rows, odds))

        def layer(i: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            drawn = tf.reshape(uniforms[1:], (layers, UNIFORMS_PER_STEP))[i]
            applied = tf.floor(drawn[0] + probability[i]) > 0
            kind_or_none = tf.where(applied, kind[i], chosen.none)
            return i + 1, chosen.apply(image, kind_or_none, row[i], drawn[1:])

        return _loop(layers, layer, image)

    return augment, 1 + layers * UNIFORMS_PER_STEP


def randaugment(
    size: int, compat: str, *, layers: int, magnitude: float
) -> tuple[Policy, int]:
    """Builds RandAugment: random operations with equal probability.

    The original draws a probability for each operation and then ignores it. "fixed"
    does the same, because the paper applies every operation.

    Args:
        size: Side of the images in pixels.
        compat: "exact" or "fixed".
        layers: Number of operations per image, N.
        magnitude: Level of the operations, M.

    Returns:
        The policy, and how many uniform random numbers it takes:
        `UNIFORMS_PER_STEP` per layer, the first for the operation.

    Source:
        arXiv:1909.13719; tensorflow/tpu, autoaugment.py.
    """
    used = setting(size, compat, translate=100, cutout=40)
    chosen = Chooser(RANDAUGMENT, [magnitude], used)

    def augment(image: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
        def layer(i: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            drawn = tf.reshape(uniforms, (layers, UNIFORMS_PER_STEP))[i]
            kind = tf.cast(drawn[0] * len(RANDAUGMENT), tf.int32)
            return i + 1, chosen.apply(image, kind, 0, drawn[1:])

        return _loop(layers, layer, image)

    return augment, layers * UNIFORMS_PER_STEP


def augmix(size: int, compat: str) -> tuple[Policy, int]:
    """Builds AugMix: a mixture of the image and chains of operations on it.

    Mixes three chains of one to three operations with weights from Dirichlet(1, 1, 1),
    and the mixture with the image by Beta(1, 1). AugMix's consistency loss between
    three views of an image is not included.

    Args:
        size: Side of the images in pixels.
        compat: "exact" or "fixed", which shears about the centre.

    Returns:
        The policy, and how many uniform random numbers it takes.

    Source:
        arXiv:1912.02781, algorithm 1.
    """
    used = Setting(size, compat, size / 3, cutout=0, posterize_down=True)
    chosen = Chooser(AUGMIX, AUGMIX_LEVELS, used)
    width, depth = AUGMIX_WIDTH, AUGMIX_DEPTH
    steps = width * depth * _AUGMIX_STEP

    def augment(image: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
        drawn = tf.reshape(uniforms[:steps], (width, depth, _AUGMIX_STEP))
        depths = 1 + tf.cast(uniforms[steps : steps + width] * depth, tf.int32)
        shares = tf.cast(uniforms[steps + width :] * _AUGMIX_PARTS, tf.int32)
        skip, cuts = shares[0], tf.sort(shares[1:])
        # The pieces between uniform cuts are Dirichlet(1, ...) distributed.
        weights = tf.concat([cuts, [_AUGMIX_PARTS]], 0) - tf.concat([[0], cuts], 0)

        def chain(j: tf.Tensor, mixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            def layer(i: tf.Tensor, link: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                # XLA miscompiles drawn[j, i, 2:], where some indices are variables.
                step = drawn[j][i]
                kind = tf.cast(step[0] * len(AUGMIX), tf.int32)
                row = tf.cast(step[1] * len(AUGMIX_LEVELS), tf.int32)
                kind = tf.where(i < depths[j], kind, chosen.none)
                return i + 1, chosen.apply(link, kind, row, step[2:])

            link = tf.cast(_loop(depth, layer, image), tf.int32)
            return j + 1, mixed + weights[j] * link

        whole = tf.cast(image, tf.int32) * _AUGMIX_PARTS
        mixed = _loop(width, chain, tf.zeros_like(whole))
        total = (_AUGMIX_PARTS - skip) * whole + skip * mixed
        return tf.cast((total + _AUGMIX_PARTS**2 // 2) // _AUGMIX_PARTS**2, tf.uint8)

    return augment, steps + 2 * width


def _loop(
    times: int,
    body: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    image: tf.Tensor,
) -> tf.Tensor:
    """Runs `body` several times in a graph loop, which compiles it only once."""
    return tf.while_loop(
        lambda i, _: i < times, body, (tf.constant(0), image), maximum_iterations=times
    )[1]


def compile_policy(policy: Policy, *, jit_compile: bool) -> Policy:
    """Compiles a policy.

    Args:
        policy: Function of an image and uniform random numbers.
        jit_compile: Whether XLA compiles it; otherwise it is a plain graph.
    """
    return tf.function(policy, autograph=False, jit_compile=jit_compile)


def apply_policy(
    policy: Policy, uniforms: int, image: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Applies a policy to an image of any dtype.

    Args:
        policy: Result of `compile_policy`.
        uniforms: Number of random numbers that it takes.
        image: (size, size, 3), uint8 or float, 0 to 255; clipped and truncated.
        seed: (2,), integer; the same seed gives the same result.

    Returns:
        (size, size, 3), with the dtype of `image`.
    """
    # Drawn outside the compiled function, so that XLA does not change the numbers.
    drawn = tf.random.stateless_uniform((uniforms,), seed)
    if image.dtype == tf.uint8:
        return policy(image, drawn)
    clipped = tf.clip_by_value(tf.cast(image, tf.float32), 0.0, 255.0)
    return tf.cast(policy(tf.cast(clipped, tf.uint8), drawn), image.dtype)
