"""Evaluation of a model on a split, with each image counted once."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_efficientnet.preprocessing import EvalPreprocessing

from ..data import pipeline, sources
from ..engine import distribution
from .losses import cross_entropy
from .metrics import Scores, top_k_correct


class Evaluator:
    """Evaluates a model any number of times; its step is traced once.

    Args:
        model: Model from images, 0 to 255, to logits or probabilities,
            (batch, classes).
        used_strategy: Distribution strategy of the model. None: the default.
        from_logits: Whether the model outputs logits.
        label_smoothing: Label smoothing of the loss; top-1 and top-5 ignore it.

    Attributes:
        bad_images: Names of images that could not be decoded and were left out.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        used_strategy: tf.distribute.Strategy | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        self._strategy = used_strategy or distribution.make_strategy("one_device")
        self.bad_images: dict[str, None] = {}  # a set that keeps its order
        replica_step = _make_replica_step(model, from_logits, label_smoothing)

        @tf.function(reduce_retracing=True)
        def step(images: Any, labels: Any, mask: Any) -> tf.Tensor:
            sums = self._strategy.run(replica_step, (images, labels, mask))
            return self._strategy.reduce("SUM", sums, axis=None)

        self._step = step

    def __call__(
        self,
        split: sources.Split,
        spec: EvalPreprocessing,
        batch_size: int,
        skip_bad_images: bool = False,
    ) -> Scores:
        """Scores every image of a split once.

        Args:
            split: Images and labels.
            spec: Image size, crop ratio and resize method.
            batch_size: Images per step, over all replicas.
            skip_bad_images: Whether to leave out images that cannot be decoded and
                list them in `bad_images`.

        Raises:
            ValueError: An image cannot be read or, with `skip_bad_images`, too many
                cannot; the message names some.
        """
        bad_images = pipeline.BadImages(split) if skip_bad_images else None
        batches = pipeline.eval_batches(
            split,
            spec,
            batch_size=batch_size,
            strategy=self._strategy,
            bad_images=bad_images,
        )
        sums = np.zeros(4)
        with pipeline.name_unreadable_image(split):
            for batch in batches:
                sums += self._step(*batch).numpy()
        if bad_images:
            bad_images.check(len(split))
            self.bad_images |= dict.fromkeys(bad_images.names)
        loss, top1, top5, images = sums
        return Scores(round(images), loss / images, top1 / images, top5 / images)


def _make_replica_step(model: keras.Model, from_logits: bool, smoothing: float) -> Any:
    def replica_step(images: Any, labels: Any, mask: Any) -> tf.Tensor:
        scores = model(images, training=False)
        tiny = keras.config.epsilon()
        logits = scores if from_logits else tf.math.log(tf.maximum(scores, tiny))
        columns = [
            cross_entropy(labels, logits, smoothing),
            top_k_correct(labels, scores, 1),
            top_k_correct(labels, scores, 5),
            tf.ones_like(mask),
        ]
        return tf.stack([tf.reduce_sum(column * mask) for column in columns])

    return replica_step
