"""Teacher network of knowledge distillation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_efficientnet.common.image_classes import match_classes
from keras_efficientnet.common.image_folders import shorten
from keras_efficientnet.common.models import OpenedModel, open_model, split_weights
from keras_efficientnet.common.output_activation import LINEAR, SIGMOID, SOFTMAX

_LEAST = 1e-30  # of a probability, in float32


class Teacher:
    """Network whose predictions a student learns, in inference mode.

    Create it inside the strategy's scope.

    Args:
        opened: Classifier with mutually exclusive classes.
        class_names: Names of the student's classes, in index order.

    Attributes:
        name: Name of the teacher, as in the configuration.
        digest: Checksum of its weights, input size and order of classes.

    Raises:
        ValueError: The teacher has other classes, takes images that are not RGB, or
            has independent classes.
    """

    def __init__(self, opened: OpenedModel, class_names: Sequence[str]) -> None:
        _check_kind(opened)
        self.name = opened.name
        self._model = opened.model
        self._activation = opened.output_activation
        self._size = opened.preprocessing.image_size
        self._order = _match(opened, class_names)
        self.digest = self._digest()

    def __call__(self, images: Any) -> tf.Tensor:
        """Returns the teacher's logits in the student's order of classes.

        Args:
            images: Images as the student sees them, (batch, height, width, 3), 0 to
                255; they are resized to the teacher's input.

        Returns:
            (batch, classes), float32, without a gradient.
        """
        outputs = self._model(_resize(images, self._size), training=False)
        logits = _to_logits(tf.cast(outputs, tf.float32), self._activation)
        return tf.stop_gradient(tf.gather(logits, self._order, axis=1))

    def _digest(self) -> str:
        found = hashlib.sha256(f"{self._activation} {self._size}".encode())
        found.update(self._order.astype("<i4").tobytes())
        for weight in self._model.weights:
            value = np.ascontiguousarray(weight.value.numpy())
            found.update(f"{value.shape} {value.dtype}".encode())
            found.update(value.tobytes())
        return found.hexdigest()


def open_teacher(
    name: str, class_names: Sequence[str], strategy: tf.distribute.Strategy
) -> Teacher:
    """Opens the teacher of a run.

    Args:
        name: Run folder, .keras or .h5 file, name of a variant, or name and weights as
            in "EfficientNetB4:noisy-student".
        class_names: Names of the student's classes, in index order.
        strategy: Distribution strategy of the run.

    Raises:
        ValueError: There is no such model, or it cannot teach these classes.
    """
    with strategy.scope():
        return Teacher(open_model(*split_weights(name), calibrate=False), class_names)


def _check_kind(opened: OpenedModel) -> None:
    if opened.model.inputs[0].shape[-1] != 3:
        raise ValueError(
            "`teacher` must take RGB images. "
            f"Received: teacher={opened.name!r}, with input shape "
            f"{tuple(opened.model.inputs[0].shape)}"
        )
    outputs = int(opened.model.outputs[0].shape[-1])
    if opened.output_activation == SIGMOID and outputs > 1:
        raise ValueError(
            "`teacher` must have mutually exclusive classes, with softmax or logits. "
            f"Received: teacher={opened.name!r}, which ends in sigmoids"
        )


def _match(opened: OpenedModel, class_names: Sequence[str]) -> np.ndarray:
    """Returns the teacher's index of each of the student's classes, (classes,)."""
    known = opened.class_names or ()
    if opened.classes != len(class_names):
        listed = f": {shorten(known)}" if known else ""
        raise ValueError(
            f"`teacher` must have the {len(class_names)} classes of `data`, "
            f"{shorten(class_names)}. "
            f"Received: teacher={opened.name!r}, with {opened.classes} classes{listed}"
        )
    try:
        return match_classes(class_names, opened.class_names, opened.classes)
    except ValueError as error:
        raise ValueError(
            f"`teacher` must have the classes of `data`. {error}, "
            f"teacher={opened.name!r} with classes {shorten(known)}"
        ) from error


def _resize(images: Any, size: int) -> Any:
    height, width = images.shape[1:3]
    if (height, width) == (size, size):
        return images
    # Antialiasing changes nothing in enlarged images and has no GPU kernel.
    is_smaller = height is None or width is None or size < max(height, width)
    return tf.image.resize(images, (size, size), antialias=is_smaller)


def _to_logits(outputs: tf.Tensor, activation: str) -> tf.Tensor:
    """Converts outputs to logits, up to a constant per image, (batch, classes)."""
    if activation == SOFTMAX:
        return tf.math.log(tf.maximum(outputs, _LEAST))
    if outputs.shape[-1] > 1:
        return outputs
    if activation == LINEAR:
        return tf.concat([tf.zeros_like(outputs), outputs], axis=1)
    rows = tf.concat([1.0 - outputs, outputs], axis=1)
    return tf.math.log(tf.maximum(rows, _LEAST))
