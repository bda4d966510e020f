"""Evaluation of a model on a split, with each image counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_efficientnet.preprocessing import EvalPreprocessing

from ..data import pipeline, sources
from ..engine import distribution
from .losses import cross_entropy, make_binary_loss
from .metrics import Scores, any_top_k_correct, top_k_correct
from .multi_label import score_labels


class Evaluator:
    """Evaluates a model any number of times; its step is traced once.

    Args:
        model: Model from images, 0 to 255, to logits or probabilities,
            (batch, classes).
        used_strategy: Distribution strategy of the model. None: the default.
        from_logits: Whether the model outputs logits.
        label_smoothing: Label smoothing of the loss; top-1 and top-5 ignore it.
        multi_label: Whether images have any number of labels, and the outputs are
            independent probabilities or their logits.

    Attributes:
        thresholds: Threshold of each class, with `multi_label`. None: 0.5.
        label_sets: Labels of the images of the latest call, (images, classes), with
            `multi_label`.
        probabilities: Probabilities of these images, of the same shape.
        bad_images: Names of images that could not be decoded and were left out.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        used_strategy: tf.distribute.Strategy | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        multi_label: bool = False,
    ) -> None:
        self._strategy = used_strategy or distribution.make_strategy("one_device")
        self._multi_label = multi_label
        self.thresholds: Sequence[float] | None = None
        self.label_sets = self.probabilities = np.zeros((0, 0), np.float32)
        self.bad_images: dict[str, None] = {}  # a set that keeps its order
        make = _make_label_step if multi_label else _make_replica_step
        replica_step = make(model, from_logits, label_smoothing)

        @tf.function(reduce_retracing=True)
        def step(images: Any, labels: Any, mask: Any) -> tf.Tensor:
            sums, _ = self._strategy.run(replica_step, (images, labels, mask))
            return self._strategy.reduce("SUM", sums, axis=None)

        @tf.function(reduce_retracing=True)
        def step_with_rows(images: Any, labels: Any, mask: Any) -> list[tf.Tensor]:
            sums, rows = self._strategy.run(replica_step, (images, labels, mask))
            sums = self._strategy.reduce("SUM", sums, axis=None)
            return [sums, self._strategy.gather(rows, axis=0)]

        @tf.function(reduce_retracing=True)
        def predict(images: Any) -> tf.Tensor:
            return model(images, training=False)

        self._step = step
        self._step_with_rows = step_with_rows
        self._predict = predict

    def __call__(
        self,
        split: sources.Split,
        spec: EvalPreprocessing,
        batch_size: int,
        skip_bad_images: bool = False,
        visit: Callable[[np.ndarray, np.ndarray], None] | None = None,
    ) -> Scores:
        """Scores every image of a split once.

        Args:
            split: Images and labels.
            spec: Image size, crop ratio and resize method.
            batch_size: Images per step, over all replicas.
            skip_bad_images: Whether to leave out images that cannot be decoded and
                list them in `bad_images`.
            visit: Function that is called with the outputs and labels of each batch, as
                `outputs` yields them.

        Raises:
            ValueError: An image cannot be read or, with `skip_bad_images`, too many
                cannot; the message names some.
        """
        sums, parts = np.zeros(4), []
        for batch in self._batches(split, spec, batch_size, skip_bad_images):
            # mAP needs the probabilities of all images, from all replicas.
            if self._multi_label or visit:
                batch_sums, rows = self._step_with_rows(*batch)
                scores, labels = self._split_rows(rows)
                if visit:
                    visit(scores, labels)
                if self._multi_label:
                    parts.append((scores, labels))
            else:
                batch_sums = self._step(*batch)
            sums += batch_sums.numpy()
        loss, top1, top5, images = sums
        found = Scores(round(images), loss / images, top1 / images, top5 / images)
        return self._with_labels(found, parts) if self._multi_label else found

    def outputs(
        self,
        split: sources.Split,
        spec: EvalPreprocessing,
        batch_size: int,
        skip_bad_images: bool = False,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the model's outputs and the labels of all images, batch by batch.

        All workers receive all images, each once. The order depends on the replicas.
        The outputs of a multi-label model are probabilities, also if it has logits.

        Args:
            split: Images and labels.
            spec: Image size, crop ratio and resize method.
            batch_size: Images per step, over all replicas.
            skip_bad_images: See `__call__`.

        Raises:
            ValueError: See `__call__`.
        """
        for batch in self._batches(split, spec, batch_size, skip_bad_images):
            _, rows = self._step_with_rows(*batch)
            yield self._split_rows(rows)

    def outputs_alone(
        self,
        split: sources.Split,
        spec: EvalPreprocessing,
        batch_size: int,
        skip_bad_images: bool = False,
    ) -> Iterator[np.ndarray]:
        """Yields the model's outputs for all images, computed by this worker alone.

        So a worker that cannot read an image does not keep the others waiting.

        Args:
            split: Images; their labels are not used.
            spec: Image size, crop ratio and resize method.
            batch_size: Images per step.
            skip_bad_images: See `__call__`.

        Raises:
            ValueError: See `__call__`.
        """
        one = distribution.make_strategy("one_device")
        batches = self._batches(split, spec, batch_size, skip_bad_images, one)
        for images, _, mask in batches:
            yield self._predict(images).numpy()[mask.numpy() > 0]

    def _batches(
        self,
        split: sources.Split,
        spec: EvalPreprocessing,
        batch_size: int,
        skip_bad_images: bool,
        used_strategy: tf.distribute.Strategy | None = None,
    ) -> Iterator[Any]:
        bad_images = pipeline.BadImages(split) if skip_bad_images else None
        batches = pipeline.eval_batches(
            split,
            spec,
            batch_size=batch_size,
            strategy=used_strategy or self._strategy,
            bad_images=bad_images,
        )
        with pipeline.name_unreadable_image(split):
            yield from batches
        if bad_images:
            bad_images.check(len(split))
            self.bad_images |= dict.fromkeys(bad_images.names)

    def _split_rows(self, rows: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Returns the outputs and labels of a batch, without padding."""
        columns = rows.numpy()
        columns = columns[columns[:, -1] > 0, :-1]
        if self._multi_label:
            labels, scores = np.split(columns, 2, axis=1)
            return scores, labels
        return columns[:, 1:], columns[:, 0].astype(np.int32)

    def _with_labels(
        self, found: Scores, parts: list[tuple[np.ndarray, np.ndarray]]
    ) -> Scores:
        """Adds the scores of several labels per image."""
        columns = zip(*parts, strict=True)
        self.probabilities, self.label_sets = map(np.concatenate, columns)
        return score_labels(found, self.label_sets, self.probabilities, self.thresholds)


def _make_replica_step(model: keras.Model, from_logits: bool, smoothing: float) -> Any:
    """Creates a step that returns sums, and label, outputs and mask by image."""

    def replica_step(images: Any, labels: Any, mask: Any) -> tuple[tf.Tensor, Any]:
        scores = model(images, training=False)
        tiny = keras.config.epsilon()
        logits = scores if from_logits else tf.math.log(tf.maximum(scores, tiny))
        columns = [
            cross_entropy(labels, logits, smoothing),
            top_k_correct(labels, scores, 1),
            top_k_correct(labels, scores, 5),
            tf.ones_like(mask),
        ]
        parts = [labels[:, tf.newaxis], scores, mask[:, tf.newaxis]]
        # Class indices are exact in float32.
        rows = tf.concat([tf.cast(part, tf.float32) for part in parts], axis=1)
        return _masked_sums(columns, mask), rows

    return replica_step


def _make_label_step(model: keras.Model, from_logits: bool, smoothing: float) -> Any:
    """Creates a step that returns sums, and labels, probabilities and mask by image."""
    image_loss = make_binary_loss(smoothing)

    def replica_step(images: Any, labels: Any, mask: Any) -> tuple[tf.Tensor, Any]:
        outputs = tf.cast(model(images, training=False), tf.float32)
        tiny = keras.config.epsilon()
        scores = tf.sigmoid(outputs) if from_logits else outputs
        kept = tf.clip_by_value(scores, tiny, 1 - tiny)
        logits = outputs if from_logits else tf.math.log(kept / (1 - kept))
        columns = [
            image_loss(labels, logits),
            any_top_k_correct(labels, scores, 1),
            any_top_k_correct(labels, scores, 5),
            tf.ones_like(mask),
        ]
        rows = tf.concat([labels, scores, mask[:, tf.newaxis]], axis=1)
        return _masked_sums(columns, mask), rows

    return replica_step


def _masked_sums(columns: Sequence[tf.Tensor], mask: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.reduce_sum(column * mask) for column in columns])
