"""Splits to batches: order, augmentation, padding."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from keras_efficientnet import preprocessing_tf
from keras_efficientnet.preprocessing import EvalPreprocessing

from .augment import Augmentation
from .sources import Split


def train_batches(
    split: Split,
    spec: EvalPreprocessing,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    last_step: int,
    strategy: tf.distribute.Strategy,
) -> tf.data.Dataset:
    """Makes the training images of some steps, one element per step.

    The stream is one endless row: a permutation of all images that depends on
    (seed, epoch), then the next epoch's. Steps cut it into batches, so a batch may
    span two epochs, no image is left out, and every epoch has each image once. The
    augmentation of an image depends on (seed, epoch, image). So any step can be
    entered at once, and holds the same pixels each time.

    Args:
        split: Images to train on.
        spec: Resolution, padding and resize method.
        augmentation: From `augment.AUGMENTATIONS`.
        batch_size: Images per step, over all replicas.
        seed: Of the order and the augmentation.
        first_step: Where to begin; 0 is the first step of the run.
        last_step: Where to end; it is not made.
        strategy: Divides each batch over its replicas.

    Returns:
        (images, labels) per step: (batch, image_size, image_size, 3) float32, 0 to
        255, and (batch,) int32; under more replicas than one, their shares.

    Raises:
        ValueError: The replicas cannot share a batch evenly.
    """
    images = len(split)
    labels = tf.constant(split.labels)

    def epoch_order(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = tf.random.experimental.stateless_fold_in((seed, 0), epoch)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(images, dtype=tf.int64), epoch_seed
        )
        epochs = tf.fill((images,), epoch)
        return tf.data.Dataset.from_tensor_slices((epochs, order))

    def example(epoch: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example_seed = tf.random.experimental.stateless_fold_in((seed, 1), epoch)
        example_seed = tf.random.experimental.stateless_fold_in(example_seed, index)
        image = augmentation(split.read(index), spec, example_seed)
        return image, tf.gather(labels, index)

    begin, end = first_step * batch_size, last_step * batch_size
    epochs = tf.data.Dataset.range(begin // images, math.ceil(end / images))
    order = epochs.flat_map(epoch_order).skip(begin % images).take(end - begin)
    return _distribute(order, example, batch_size, strategy)


def eval_batches(
    split: Split,
    spec: EvalPreprocessing,
    *,
    batch_size: int,
    strategy: tf.distribute.Strategy,
) -> tf.data.Dataset:
    """Makes all images of a split, each once, in order.

    The last batch is filled up with copies of the last image that count for nothing.

    Args:
        split: Images to evaluate on.
        spec: Resolution, padding and resize method.
        batch_size: Images per step, over all replicas.
        strategy: Divides each batch over its replicas.

    Returns:
        (images, labels, mask) per step: (batch, image_size, image_size, 3) float32,
        0 to 255; (batch,) int32; (batch,) float32, 1 for an image that counts and 0
        for filling.

    Raises:
        ValueError: The replicas cannot share a batch evenly.
    """
    images = len(split)
    labels = tf.constant(split.labels)

    def example(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        index = tf.minimum(position, images - 1)
        image = preprocessing_tf.eval_image(split.read(index), spec)
        mask = tf.cast(position < images, tf.float32)
        return image, tf.gather(labels, index), mask

    padded = math.ceil(images / batch_size) * batch_size
    order = tf.data.Dataset.range(padded)
    return _distribute(order, example, batch_size, strategy)


@contextlib.contextmanager
def naming_unreadable(split: Split) -> Iterator[None]:
    """Turns TensorFlow's error about an image into one that names the file.

    Raises:
        ValueError: An image of `split` cannot be read.
    """
    try:
        yield
    except tf.errors.OpError as error:
        failed = split.find_unreadable()
        if not failed:
            raise
        raise ValueError(
            f"Images must be readable. These are not: {', '.join(failed)}"
        ) from error


def _distribute(
    order: tf.data.Dataset,
    example: Callable[..., Any],
    batch_size: int,
    strategy: tf.distribute.Strategy,
) -> tf.data.Dataset:
    """Reads the examples of `order` and batches them for the replicas."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            "`batch_size` must be a multiple of the number of replicas, "
            f"{replicas}. Received: batch_size={batch_size}"
        )

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        # Each worker takes its part of every batch, so that the batches are the
        # same for any number of workers.
        part = batch_size // context.num_input_pipelines
        begin = context.input_pipeline_id * part
        ours = order
        if context.num_input_pipelines > 1:
            batches = order.batch(batch_size, drop_remainder=True)
            ours = batches.map(
                lambda *b: tf.nest.map_structure(lambda x: x[begin : begin + part], b)
            ).unbatch()
        ours = ours.map(example, num_parallel_calls=tf.data.AUTOTUNE)
        ours = ours.batch(batch_size // replicas, drop_remainder=True)
        return ours.prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(share)
