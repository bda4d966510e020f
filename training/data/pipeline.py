"""Input pipeline: order, augmentation, batching and padding."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_efficientnet.augmentation.tf_calls import without_autograph
from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops

from ..augment.mixup import Mix
from ..augment.transforms import Augmentation
from ..config.checks import check_batch_size
from .autotuning import without_autotuning
from .decode_errors import BadImages as BadImages
from .decode_errors import UnreadableImagesError
from .sampling import Sampler
from .sources import Split

# Numbers of the random streams derived from one seed.
_ORDER, _AUGMENT, _MIX = range(3)


def train_batches(
    split: Split,
    spec: EvalPreprocessing,
    augmentation: Augmentation,
    *,
    classes: int,
    mix: Mix | None = None,
    batch_size: int,
    seed: int,
    first_step: int,
    last_step: int,
    strategy: tf.distribute.Strategy,
    bad_images: BadImages | None = None,
    sampler: Sampler | None = None,
) -> tf.data.Dataset:
    """Creates the training batches of a range of steps, one element per step.

    The images form one endless sequence: a permutation of all images that depends on
    (seed, epoch), then that of the next epoch. Steps cut it into batches, so a batch
    may span two epochs, no image is left out, and every epoch has each image once. The
    augmentation of an image depends on (seed, epoch, image), mixing on (seed, step,
    replica). Training can therefore start at any step and sees the same pixels there
    every time, on any number of workers.

    With a sampler, an epoch repeats some images, each time with another augmentation,
    and leaves out others.

    Args:
        split: Images to train on.
        spec: Image size, crop ratio and resize method.
        augmentation: Result of `transforms.make_augmentation`.
        classes: Number of classes.
        mix: Result of `mixup.make_mix`; mixes within a replica's share of a batch.
        batch_size: Number of images per step, over all replicas.
        seed: Seed of the order, the augmentation and the mixing.
        first_step: First step to produce; 0 is the first step of the run.
        last_step: Step to stop before.
        strategy: Strategy whose replicas share each batch.
        bad_images: Record of images that cannot be decoded, which are then masked
            out. None: such images are an error.
        sampler: Sampler of the images of each epoch. None: each image once.

    Returns:
        (images, labels, mask) per step: (batch, image_size, image_size, 3) float32,
        0 to 255; (batch,) int32, or with `mix`, a teacher's soft labels, weights of
        the images or several labels per image (batch, classes) float32, each row
        scaled by the weight of its image. With both several labels and weights, a
        further column holds the weight. (batch,) float32, 0 for an image that is
        masked out or has weight 0, else 1. With several replicas, each gets its share.

    Raises:
        ValueError: The batch cannot be divided evenly among the replicas.
    """
    images = len(split)
    target = _targets(split, classes, as_rows=mix is not None)
    counts = _counts(split)

    def epoch_order(epoch: tf.Tensor) -> tf.data.Dataset:
        order = _epoch_order(images, seed, epoch, sampler)
        columns = [tf.fill((images,), epoch), order]
        if sampler is not None:  # tells the copies of an image apart
            columns.insert(1, tf.range(images, dtype=tf.int64))
        return tf.data.Dataset.from_tensor_slices(tuple(columns))

    def example(*element: tf.Tensor) -> tuple[tf.Tensor, ...]:
        index = element[-1]
        image = augmentation(split.read(index), spec, _fold(seed, _AUGMENT, *element))
        return image, target(index), counts(index)

    def blank(*element: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return _black(spec), target(element[-1]), tf.zeros(())

    def mixed(
        step: tf.Tensor, replica: tf.Tensor, batch: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, ...]:
        pixels, targets, mask = batch
        mix_seed = _fold(seed, _MIX, step, replica)
        return *mix(pixels, targets, mix_seed), mask  # type: ignore[misc]

    begin, end = first_step * batch_size, last_step * batch_size
    epochs = tf.data.Dataset.range(begin // images, math.ceil(end / images))
    order = (
        epochs.flat_map(without_autograph(epoch_order))
        .skip(begin % images)
        .take(end - begin)
    )
    read = bad_images.guard(example, blank) if bad_images else example
    finish = mixed if mix else None
    return _distribute(order, read, batch_size, strategy, finish, first_step)


def eval_batches(
    split: Split,
    spec: EvalPreprocessing,
    *,
    batch_size: int,
    strategy: tf.distribute.Strategy,
    bad_images: BadImages | None = None,
) -> tf.data.Dataset:
    """Creates batches of all images of a split, each once, in order.

    The last batch is padded with copies of the last image, which are masked out.

    Args:
        split: Images to evaluate on.
        spec: Image size, crop ratio and resize method.
        batch_size: Number of images per step, over all replicas.
        strategy: Strategy whose replicas share each batch.
        bad_images: See `train_batches`.

    Returns:
        (images, labels, mask) per step: (batch, image_size, image_size, 3) float32,
        0 to 255; (batch,) int32, or with several labels per image (batch, classes)
        float32; (batch,) float32, 1 for an image and 0 for padding.

    Raises:
        ValueError: The batch cannot be divided evenly among the replicas.
    """
    images = len(split)
    labels = tf.constant(split.labels)
    if split.label_sets is not None:
        labels = tf.constant(split.label_sets)

    def label(index: tf.Tensor) -> tf.Tensor:
        found = tf.gather(labels, index)
        return found if split.label_sets is None else tf.cast(found, tf.float32)

    def example(counts: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image = tf_ops.eval_image(split.read(index), spec)
        return image, label(index), counts

    def blank(counts: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return _black(spec), label(index), tf.zeros_like(counts)

    positions = tf.data.Dataset.range(math.ceil(images / batch_size) * batch_size)
    order = positions.map(
        without_autograph(
            lambda i: (tf.cast(i < images, tf.float32), tf.minimum(i, images - 1))
        )
    )
    read = bad_images.guard(example, blank) if bad_images else example
    return _distribute(order, read, batch_size, strategy)


def positions(
    images: int,
    *,
    seed: int,
    batch_size: int,
    first_step: int,
    last_step: int,
    sampler: Sampler | None = None,
) -> np.ndarray:
    """Returns the positions of the images in a range of training steps.

    Args:
        images: Number of images in the split.
        seed: Seed of the order, as in `train_batches`.
        batch_size: Number of images per step.
        first_step: First step.
        last_step: Step to stop before.
        sampler: Sampler, as in `train_batches`.

    Returns:
        Positions in the split, ((last_step - first_step) * batch_size,), int64.
    """
    begin, end = first_step * batch_size, last_step * batch_size
    first_epoch = begin // images
    epochs = range(first_epoch, math.ceil(end / images))
    order = [
        _epoch_order(images, seed, tf.constant(epoch, tf.int64), sampler).numpy()
        for epoch in epochs
    ]
    start = begin - first_epoch * images
    return np.concatenate(order)[start : start + end - begin]


@contextlib.contextmanager
def name_unreadable_image(
    split: Split, find_positions: Callable[[], np.ndarray] | None = None
) -> Iterator[None]:
    """Turns TensorFlow's error about an image into one that names the file.

    Args:
        split: Split whose images are read.
        find_positions: Function that returns the positions to search; None: all.
            Reading many images again is slow.

    Raises:
        ValueError: An image of `split` cannot be read.
    """
    try:
        yield
    except tf.errors.OpError as error:
        places = find_positions() if find_positions else None
        failed = split.find_unreadable(positions=places)
        if not failed:
            raise
        raise UnreadableImagesError(failed) from error


def _epoch_order(
    images: int, seed: int, epoch: tf.Tensor, sampler: Sampler | None
) -> tf.Tensor:
    """Returns the positions of an epoch's images, in order, (images,), int64."""
    epoch_seed = _fold(seed, _ORDER, epoch)
    if sampler is not None:
        return sampler(epoch_seed)
    every = tf.range(images, dtype=tf.int64)
    return tf.random.experimental.stateless_shuffle(every, epoch_seed)


def _fold(seed: int, stream: int, *parts: tf.Tensor) -> tf.Tensor:
    folded: Any = (seed, stream)
    for part in parts:
        folded = tf.random.experimental.stateless_fold_in(folded, part)
    return folded


def _targets(
    split: Split, classes: int, *, as_rows: bool
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function from a position to a label or a row of probabilities.

    Rows are scaled by the weight of their image.
    """
    if split.label_sets is not None:
        return _label_rows(split)
    labels = tf.constant(split.labels)
    if split.soft_labels is not None:
        if split.soft_labels.shape != (len(split), classes):
            raise ValueError(
                f"`soft_labels` must be (images, classes), {(len(split), classes)}. "
                f"Received: soft_labels of shape {split.soft_labels.shape}"
            )
        soft = tf.constant(split.soft_labels)
    elif not as_rows and split.weights is None:
        return lambda index: tf.gather(labels, index)
    weights = None if split.weights is None else tf.constant(split.weights)

    def row(index: tf.Tensor) -> tf.Tensor:
        if split.soft_labels is None:
            found = tf.one_hot(tf.gather(labels, index), classes)
        else:
            found = tf.cast(tf.gather(soft, index), tf.float32)
        return found if weights is None else found * tf.gather(weights, index)

    return row


def _label_rows(split: Split) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function from a position to the labels of an image, and its weight.

    The loss of an image is linear in both, so MixUp and CutMix may mix them alike.
    """
    sets = tf.constant(split.label_sets)
    weights = None if split.weights is None else tf.constant(split.weights)

    def row(index: tf.Tensor) -> tf.Tensor:
        found = tf.cast(tf.gather(sets, index), tf.float32)
        if weights is None:
            return found
        weight = tf.gather(weights, index)
        return tf.concat([found * weight, weight[tf.newaxis]], axis=0)

    return row


def _counts(split: Split) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function from a position to 1, or to 0 for an image of weight 0."""
    if split.weights is None:
        return lambda index: tf.ones(())
    counts = tf.constant((split.weights > 0).astype(np.float32))
    return lambda index: tf.gather(counts, index)


def _black(spec: EvalPreprocessing) -> tf.Tensor:
    return tf.zeros((spec.image_size, spec.image_size, 3))


def _distribute(
    order: tf.data.Dataset,
    example: Callable[..., Any],
    batch_size: int,
    strategy: tf.distribute.Strategy,
    finish: Callable[..., Any] | None = None,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Reads the examples of `order` and batches them for the replicas.

    `finish` maps (step, replica, batch) to the batch that the replica receives.
    """
    replicas = strategy.num_replicas_in_sync
    check_batch_size(batch_size, replicas)

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        # Each worker takes its part of every batch, so batches do not depend on the
        # number of workers.
        part = batch_size // context.num_input_pipelines
        begin = context.input_pipeline_id * part
        ours = order
        if context.num_input_pipelines > 1:
            batches = order.batch(batch_size, drop_remainder=True)
            ours = batches.map(
                lambda *b: tf.nest.map_structure(lambda x: x[begin : begin + part], b)
            ).unbatch()
        # Nothing here needs AutoGraph, which would take a second of the start.
        read = without_autograph(example)
        ours = ours.map(read, num_parallel_calls=tf.data.AUTOTUNE)
        ours = ours.batch(batch_size // replicas, drop_remainder=True)
        if finish is not None:
            local = replicas // context.num_input_pipelines
            first_replica = context.input_pipeline_id * local

            def finished(i: tf.Tensor, batch: Any) -> Any:
                step, replica = first_step + i // local, first_replica + i % local
                return finish(step, replica, batch)

            ours = ours.enumerate().map(
                without_autograph(finished), num_parallel_calls=tf.data.AUTOTUNE
            )
        return without_autotuning(ours.prefetch(tf.data.AUTOTUNE))

    return strategy.distribute_datasets_from_function(share)
