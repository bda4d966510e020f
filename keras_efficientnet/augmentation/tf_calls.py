"""Seeding, batching and dataset support of the transforms, in TensorFlow."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

# Others, such as 16-bit pixels and masks, do not hold values of 0 to 255.
_PIXEL_DTYPES = (tf.uint8, tf.int32, tf.int64)
# The seed of a graph without one, with which `Dataset.random` combines its own.
_GRAPH_SEED = 87654321

without_autograph = tf.autograph.experimental.do_not_convert


def is_dataset(value: Any) -> bool:
    """Returns whether a value is a `tf.data.Dataset`."""
    return isinstance(value, tf.data.Dataset)


def make_generator(seed: int, stream: int) -> tf.random.Generator:
    """Creates a generator that also works when it is first used inside tf.data.

    Args:
        seed: Seed, 0 to 2**31 - 1.
        stream: Number that separates generators with the same seed.
    """
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.random.Generator.from_key_counter(
            key=seed, counter=[0, stream], alg="philox"
        )


def next_seed(generator: tf.random.Generator) -> tf.Tensor:
    """Draws a seed for stateless operations, (2,), int64."""
    return generator.make_seeds(1)[:, 0]


def map_dataset(
    dataset: tf.data.Dataset, transform: Callable[..., Any], seed: tuple[int, int]
) -> tf.data.Dataset:
    """Maps a transform over a dataset, with a seed per element and epoch.

    Args:
        dataset: Dataset whose elements are the arguments of `transform`.
        transform: Function that takes `seed=` as well.
        seed: Seed of the transform, and number of its stream.

    Raises:
        TypeError: The elements are dictionaries.
    """
    if isinstance(dataset.element_spec, dict):
        raise TypeError(
            "The elements of the dataset must be images, or tuples that start with "
            "images: call `dataset.map(lambda d: (d['image'], d['label']))` first. "
            f"Received: dictionaries of {', '.join(map(repr, dataset.element_spec))}"
        )
    seeds = _random_numbers(seed[0])

    def apply(element: Any, drawn: tf.Tensor) -> Any:
        element_seed = tf.random.experimental.stateless_fold_in(seed, drawn)
        parts = element if isinstance(element, tuple) else (element,)
        return transform(*parts, seed=element_seed)

    paired = tf.data.Dataset.zip((dataset, seeds))
    return paired.map(without_autograph(apply), num_parallel_calls=tf.data.AUTOTUNE)


def _random_numbers(seed: int) -> tf.data.Dataset:
    """Makes a dataset of endless int64 numbers, others in each iteration.

    It is `Dataset.random(seed, rerandomize_each_iteration=True)`, whose numbers also
    depend on `tf.random.set_seed`, without that.
    """
    spec = tf.TensorSpec((), tf.int64)
    variant = tf.raw_ops.RandomDatasetV2(
        seed=_GRAPH_SEED,
        seed2=seed,
        seed_generator=tf.raw_ops.DummySeedGenerator(),
        output_types=[spec.dtype],
        output_shapes=[spec.shape],
        rerandomize_each_iteration=True,
    )
    return tf.data.experimental.from_variant(variant, spec)


def to_images(images: Any, name: str) -> tf.Tensor:
    """Converts to a tensor and checks that it holds images.

    Args:
        images: One image or a batch, as pixels or as encoded files.
        name: Name of the transform, for the error message.

    Raises:
        TypeError: The images are ragged, or their dtype cannot hold 0 to 255.
        ValueError: It is neither an image of three channels nor a batch of them.
    """
    if isinstance(images, tf.RaggedTensor):
        raise TypeError(
            f"`{name}` takes batches of images of one size: apply it before "
            f"`dataset.batch`. Received: ragged images of shape {images.shape}"
        )
    images = tf.convert_to_tensor(images)
    is_known = images.dtype in _PIXEL_DTYPES or images.dtype.is_floating
    if images.dtype != tf.string and not is_known:
        raise TypeError(
            f"`{name}` takes pixels of 0 to 255, uint8 or float: convert the images "
            f"first. Received: images of dtype {images.dtype.name}"
        )
    rank = images.shape.rank
    if images.dtype == tf.string:
        valid = rank in (0, 1)
    else:
        valid = rank in (3, 4) and images.shape[-1] in (3, None)
    if not valid:
        raise ValueError(
            f"`{name}` takes images of shape (height, width, 3) or (batch, height, "
            f"width, 3). Received: images of shape {images.shape}"
        )
    return images


def map_images(augmentation: Any, images: tf.Tensor, seed: Any) -> tf.Tensor:
    """Augments an image, or each image of a batch with a seed of its own.

    Args:
        augmentation: An `ImageAugmentation`.
        images: Result of `to_images`.
        seed: (2,), integer.
    """
    is_file = images.dtype == tf.string
    if images.shape.rank == (0 if is_file else 3):
        return augmentation.augment_image(images, seed)

    def augment(numbered: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        number, image = numbered
        image_seed = tf.random.experimental.stateless_fold_in(seed, number)
        return augmentation.augment_image(image, image_seed)

    shape = (None, None, 3) if is_file else tuple(images.shape[1:])
    spec = tf.TensorSpec(
        augmentation.output_shape(shape), augmentation.output_dtype(images.dtype.name)
    )
    numbers = tf.range(tf.shape(images)[0])
    return tf.map_fn(augment, (numbers, images), fn_output_signature=spec)


def warn_about_unit_range(images: tf.Tensor, name: str) -> tf.Tensor:
    """Warns when float images look scaled to 0 to 1.

    Args:
        images: Images; returned unchanged.
        name: Name of the transform, for the warning.
    """
    if not images.dtype.is_floating:
        return images

    def warn() -> np.bool:
        warnings.warn(
            f"`{name}` expects pixel values of 0 to 255, but received float images "
            "within 0 to 1, which it would turn black. Leave out the division by 255: "
            "the networks normalize their input themselves.",
            stacklevel=2,
        )
        return np.True_

    def warn_if_fractional() -> tf.Tensor:
        has_fractions = tf.reduce_any(images != tf.floor(images))
        is_unit = has_fractions & (tf.reduce_min(images) >= 0)
        return tf.cond(
            is_unit, lambda: tf.numpy_function(warn, [], tf.bool), lambda: False
        )

    # Dark images with integer values pass; the slow part runs for dark images only.
    checked = tf.cond(tf.reduce_max(images) <= 1, warn_if_fractional, lambda: False)
    with tf.control_dependencies([checked]):
        return tf.identity(images)


def to_batch(
    images: Any, labels: Any, num_classes: int | None, name: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Converts a batch of images and labels to float32 images and label rows.

    Args:
        images: (batch, height, width, 3), uint8 or float.
        labels: (batch,) or (batch, 1), integers; or (batch, classes).
        num_classes: Number of classes; needed for integers only.
        name: Name of the transform, for error messages.

    Returns:
        Images, float32, and rows of probabilities, (batch, classes), float32.

    Raises:
        ValueError: The images are not a batch, or the labels have an unsupported shape.
    """
    images = tf.convert_to_tensor(images)
    if images.shape.rank != 4:
        raise ValueError(
            f"`{name}` takes batches, (batch, height, width, 3): call `dataset.batch` "
            f"first. Received: images of shape {images.shape}"
        )
    return tf.cast(images, tf.float32), _to_rows(labels, num_classes, name)


def _to_rows(labels: Any, num_classes: int | None, name: str) -> tf.Tensor:
    labels = tf.convert_to_tensor(labels)
    is_column = labels.shape.rank == 2 and labels.shape[1] == 1
    if labels.dtype.is_integer and (labels.shape.rank == 1 or is_column):
        if num_classes is None:
            raise ValueError(
                f"`{name}` needs `num_classes` to mix integer labels. "
                f"Received: num_classes=None, labels of shape {labels.shape}"
            )
        labels = tf.reshape(labels, (-1,))
        # One-hot rows of other integers would be zeros, which no loss notices.
        in_range = tf.debugging.Assert(
            tf.reduce_all((labels >= 0) & (labels < num_classes)),
            [
                f"`{name}` takes integer labels from 0 to {num_classes - 1}. "
                "Received: labels=",
                labels,
            ],
            summarize=10,
        )
        with tf.control_dependencies([] if in_range is None else [in_range]):
            return tf.one_hot(labels, num_classes)
    if labels.shape.rank != 2 or num_classes not in (None, labels.shape[1]):
        classes = "classes" if num_classes is None else num_classes
        raise ValueError(
            f"`{name}` takes integer labels, (batch,), or rows of probabilities, "
            f"(batch, {classes}). Received: labels of shape {labels.shape}, "
            f"{labels.dtype.name}"
        )
    return tf.cast(labels, tf.float32)


def replica_seed(seed: tf.Tensor) -> tf.Tensor:
    """Makes a layer's seed differ between the replicas of a strategy, (2,), int32."""
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    return tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), replica)
