"""Augmentations of the recipes: crop, policy and random erasing."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from keras_efficientnet.augmentation import (
    AugMix,
    AutoAugment,
    EvalCrop,
    RandAugment,
    RandomErasing,
    TrainCrop,
)
from keras_efficientnet.augmentation.image_augmentations import COMPAT as COMPAT
from keras_efficientnet.augmentation.image_augmentations import check_choice
from keras_efficientnet.augmentation.layers import ImageAugmentation
from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops

# From an image, a preprocessing and a seed. The image is pixels, (height, width, 3)
# uint8, or an encoded file, a string scalar; the seed is (2,), integer, and the same
# seed gives the same result: (image_size, image_size, 3), float32, 0 to 255.
Augmentation = Callable[[tf.Tensor, EvalPreprocessing, tf.Tensor], tf.Tensor]

SHIFT = 1 / 32  # largest distance that "shift" moves an image, as a ratio to its side
# Numbers that are folded into the seed, so that draws are independent of the crop's.
_POLICY_SEED, _ERASING_SEED = 1, 2


def eval_image(image: tf.Tensor, spec: EvalPreprocessing, seed: tf.Tensor) -> tf.Tensor:
    """Prepares an image as evaluation does.

    Args:
        image: (height, width, 3), uint8, or an encoded file, a string scalar.
        spec: Image size, crop ratio and resize method.
        seed: (2,), integer; not used.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.
    """
    crop = EvalCrop(
        spec.image_size,
        crop_ratio=spec.crop_ratio,
        interpolation=spec.interpolation,
        crop_mode=spec.crop_mode,
    )
    return crop.augment_image(image, seed)


def train_image(
    image: tf.Tensor,
    spec: EvalPreprocessing,
    seed: tf.Tensor,
    min_area: float | None = None,
) -> tf.Tensor:
    """Crops, resizes and flips an image at random.

    Args:
        image: (height, width, 3), uint8, or an encoded file, a string scalar.
        spec: Image size, crop ratio and resize method.
        seed: (2,), integer; the same seed gives the same result.
        min_area: Smallest area of the crop, see `TrainCrop`.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.
    """
    crop = TrainCrop(
        spec.image_size,
        crop_ratio=spec.crop_ratio,
        interpolation=spec.interpolation,
        crop_mode=spec.crop_mode,
        min_area=min_area,
    )
    return crop.augment_image(image, seed)


def shift(image: tf.Tensor, spec: EvalPreprocessing, seed: tf.Tensor) -> tf.Tensor:
    """Translates an image by up to `SHIFT` of its side in each direction.

    For images that must be neither flipped nor cropped, such as digits. Border pixels
    are repeated to fill the gap.

    Args:
        image: (height, width, 3), uint8, or an encoded file, a string scalar.
        spec: Image size, crop ratio and resize method.
        seed: (2,), integer; the same seed gives the same result.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.
    """
    size = spec.image_size
    most = int(size * SHIFT)
    image = eval_image(image, spec, seed)
    moves = tf.random.stateless_uniform((2,), seed, -most, most + 1, tf.int32)
    places = tf.clip_by_value(tf.range(size)[:, tf.newaxis] + moves, 0, size - 1)
    return tf.gather(tf.gather(image, places[:, 0]), places[:, 1], axis=1)


def flip_cutout(
    image: tf.Tensor, spec: EvalPreprocessing, seed: tf.Tensor
) -> tf.Tensor:
    """Squashes an image to a square, flips it at random and erases a square of it.

    The erased square has half of the image's side, its centre anywhere in the image,
    and is filled with noise. The noise is bright, 127.5 to 255, as in the original,
    which draws it from 0 to 1 where images range from -1 to 1.

    Args:
        image: (height, width, 3), uint8, or an encoded file, a string scalar.
        spec: Image size and resize method.
        seed: (2,), integer; the same seed gives the same result.

    Returns:
        (image_size, image_size, 3), float32, 0 to 255.

    Source:
        google/automl, efficientnetv2/preprocessing.py: `preprocess_for_finetune`.
    """
    size = spec.image_size
    flip_seed, place_seed, noise_seed = tf.unstack(tf.random.split(seed, 3))
    image = tf_ops.resize(tf_ops.pixels(image), size, spec.interpolation)
    is_flipped = tf.random.stateless_uniform((), flip_seed) < 0.5
    image = tf.where(is_flipped, tf.reverse(image, [1]), image)
    half = size // 4
    centre = tf.random.stateless_uniform((2,), place_seed, 0, size, tf.int32)
    offsets = tf.range(size)[:, tf.newaxis] - centre
    inside = (offsets >= -half) & (offsets < half)
    erased = inside[:, tf.newaxis, 0] & inside[tf.newaxis, :, 1]
    noise = tf.random.stateless_uniform((size, size, 3), noise_seed, 127.5, 255.0)
    return tf.where(erased[..., tf.newaxis], noise, image)


# Name -> crop. Policies start from the random crop.
CROPS: dict[str, Augmentation] = {
    "none": eval_image,
    "crop_flip": train_image,
    "shift": shift,
    "flip_cutout": flip_cutout,
}
POLICIES = ("autoaugment", "randaugment", "augmix")
AUGMENTATIONS = (*CROPS, *POLICIES)


def make_augmentation(
    name: str,
    *,
    compat: str = "exact",
    layers: int = 2,
    magnitude: float = 10.0,
    erasing: float = 0.0,
    crop_min_area: float | None = None,
    compiled: bool = True,
) -> Augmentation:
    """Creates the augmentation of a recipe.

    Args:
        name: One of `AUGMENTATIONS`.
        compat: "exact" reproduces the original implementation's bugs, "fixed" corrects
            them; for the policies.
        layers: Number of operations per image, for "randaugment".
        magnitude: Strength of the operations, for "randaugment"; 10 is the nominal end.
        erasing: Probability that a rectangle of the result is erased.
        crop_min_area: Smallest area of the random crop, see `TrainCrop`.
        compiled: Whether XLA compiles the policies. Without it, the results are
            identical but take several times as long.

    Raises:
        ValueError: An argument is not one of its choices, or out of range.
    """
    check_choice("name", name, AUGMENTATIONS)
    crop = CROPS.get(name, train_image)
    if crop is train_image:
        crop = functools.partial(train_image, min_area=crop_min_area)
    stages: list[tuple[ImageAugmentation, int]] = []
    if name in POLICIES:
        policy = _make_policy(name, compat, layers, magnitude, compiled)
        stages.append((policy, _POLICY_SEED))
    if erasing:
        stages.append((RandomErasing(erasing, seed=0), _ERASING_SEED))

    def augmentation(
        image: tf.Tensor, spec: EvalPreprocessing, seed: tf.Tensor
    ) -> tf.Tensor:
        image = crop(image, spec, seed)
        image = tf.ensure_shape(image, (spec.image_size, spec.image_size, 3))
        for stage, number in stages:
            own_seed = tf.random.experimental.stateless_fold_in(seed, number)
            image = stage.augment_image(image, own_seed)
        return image

    return augmentation


def _make_policy(
    name: str, compat: str, layers: int, magnitude: float, compiled: bool
) -> ImageAugmentation:
    # The pipeline passes every seed, so that the objects' own seeds are never used.
    if name == "randaugment":
        return RandAugment(layers, magnitude, compat=compat, compiled=compiled, seed=0)
    kind = AutoAugment if name == "autoaugment" else AugMix
    return kind(compat=compat, compiled=compiled, seed=0)
