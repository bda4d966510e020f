"""Top-k accuracy."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from keras_efficientnet.common.intervals import wilson_interval


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of an evaluation.

    Attributes:
        images: Number of scored images.
        loss: Mean cross-entropy, nats.
        top1: Ratio of images whose top prediction is correct.
        top5: Ratio of images whose class is among the top five predictions.
    """

    images: int
    loss: float
    top1: float
    top5: float

    @property
    def selection(self) -> float:
        """Score that chooses the best epoch, a ratio."""
        return self.top1

    @property
    def headline(self) -> str:
        """Main score, such as "top-1 98.61%"."""
        return f"top-1 {self.top1:.2%}"

    @property
    def top1_interval(self) -> tuple[float, float]:
        """95% interval of `top1`, ratios."""
        return wilson_interval(round(self.top1 * self.images), self.images)

    @property
    def top5_interval(self) -> tuple[float, float]:
        """95% interval of `top5`, ratios."""
        return wilson_interval(round(self.top5 * self.images), self.images)

    def __str__(self) -> str:
        (low1, high1), (low5, high5) = self.top1_interval, self.top5_interval
        return (
            f"top-1 {self.top1:.2%} ({low1:.2%} to {high1:.2%})  "
            f"top-5 {self.top5:.2%} ({low5:.2%} to {high5:.2%})  n={self.images}"
        )


def top_k_correct(labels: tf.Tensor, scores: tf.Tensor, top: int) -> tf.Tensor:
    """Returns which images have their class among the `top` highest scores.

    Among equal scores the lower class index comes first, so that a network that
    scores every class the same gains nothing from it.

    Args:
        labels: Class indices, (batch,), int32; or probabilities, (batch, classes),
            float32, the highest of which marks the correct class.
        scores: (batch, classes), float.
        top: Number of predictions that count, at most the number of classes.

    Returns:
        (batch,), float32, 1 or 0.
    """
    if len(labels.shape) == 2:
        labels = tf.argmax(labels, axis=1, output_type=tf.int32)
    top = min(top, scores.shape[-1])
    answers = tf.math.top_k(scores, top).indices
    hits = tf.reduce_any(answers == labels[:, tf.newaxis], axis=1)
    return tf.cast(hits, tf.float32)


def any_top_k_correct(labels: tf.Tensor, scores: tf.Tensor, top: int) -> tf.Tensor:
    """Returns which images have one of their labels among the `top` highest scores.

    Args:
        labels: (batch, classes), float, above 0 for each label of an image; further
            columns are ignored.
        scores: (batch, classes), float.
        top: Number of predictions that count, at most the number of classes.

    Returns:
        (batch,), float32, 1 or 0; 0 for an image without labels.
    """
    answers = tf.math.top_k(scores, min(top, scores.shape[-1])).indices
    hits = tf.gather(labels, answers, batch_dims=1) > 0
    return tf.cast(tf.reduce_any(hits, axis=1), tf.float32)
