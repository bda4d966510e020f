"""Class probabilities and features of all images of a split."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from keras_efficientnet.common.models import OpenedModel
from keras_efficientnet.common.output_activation import (
    OUTPUT_ACTIVATIONS,
    SIGMOID,
    check_finite,
    to_probabilities,
)
from keras_efficientnet.explain.activation_maps import with_features

from ..data import pipeline
from ..data.sources import Split
from ..engine import distribution


@dataclasses.dataclass(frozen=True)
class ModelAnswers:
    """Outputs of a classifier for the images of a split, in its order.

    Attributes:
        probabilities: (images, classes), float32.
        features: Pooled features, the inputs of the classifier's last layer,
            (images, channels), float32.
    """

    probabilities: np.ndarray
    features: np.ndarray


class FeaturePredictor:
    """Computes probabilities and features of splits; the step is traced once.

    Args:
        opened: Classifier that ends in average pooling and a dense layer.
        batch_size: Images per step.

    Raises:
        ValueError: The classifier ends in other layers, has independent classes, or
            takes images that are not RGB.
    """

    def __init__(self, opened: OpenedModel, batch_size: int = 64) -> None:
        outputs = int(opened.model.outputs[0].shape[-1])
        if opened.output_activation == SIGMOID and outputs > 1:
            raise ValueError(
                "`model` must have mutually exclusive classes, with softmax or logits. "
                f"Received: model={opened.name!r}, which ends in sigmoids"
            )
        channels = opened.model.inputs[0].shape[-1]
        if channels != 3:
            raise ValueError(
                "`model` must take RGB images. "
                f"Received: model={opened.name!r}, for {channels} channels"
            )
        found = with_features(opened.model, OUTPUT_ACTIVATIONS)
        if found is None:
            raise ValueError(
                "`model` must end in average pooling and a dense layer. "
                f"Received: model={opened.name!r}"
            )
        model = found[0]
        self._opened = opened
        self._batch_size = batch_size

        @tf.function(reduce_retracing=True)
        def step(images: Any) -> tuple[tf.Tensor, tf.Tensor]:
            scores, maps = model(images, training=False)
            maps = tf.cast(maps, tf.float32)
            return tf.cast(scores, tf.float32), tf.reduce_mean(maps, axis=(1, 2))

        self._step = step

    def __call__(self, split: Split) -> ModelAnswers:
        """Predicts all images of a split.

        Args:
            split: Images.

        Raises:
            ValueError: An image cannot be read, or an output is not finite.
        """
        batches = pipeline.eval_batches(
            split,
            self._opened.preprocessing,
            batch_size=self._batch_size,
            strategy=distribution.make_strategy("one_device"),
        )
        with pipeline.name_unreadable_image(split):
            parts = [[part.numpy() for part in self._step(b[0])] for b in batches]
        scores, features = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        scores = scores[: len(split)]
        check_finite(scores)
        probabilities = to_probabilities(scores, self._opened.output_activation)
        return ModelAnswers(probabilities, features[: len(split)])
