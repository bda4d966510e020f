"""Cross-entropy with label smoothing."""

from __future__ import annotations

import tensorflow as tf


def cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float
) -> tf.Tensor:
    """Returns the cross-entropy of each image, (batch,), float32, nats.

    Args:
        labels: Class indices, (batch,), int32; or probabilities, (batch, classes),
            float32.
        logits: (batch, classes), any float; taken as float32.
        label_smoothing: Share of each label spread evenly over all classes.
    """
    logits = tf.cast(logits, tf.float32)
    classes = logits.shape[-1]
    low = label_smoothing / classes
    high = 1.0 - label_smoothing + low
    if len(labels.shape) == 1:
        targets = tf.one_hot(labels, classes, on_value=high, off_value=low)
    else:
        targets = labels * (1.0 - label_smoothing) + low
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)
