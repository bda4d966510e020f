"""Cross-entropy with label smoothing, for one or several labels per image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# Function from labels and logits, as for `cross_entropy`, to the loss of each image.
Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_LEAST = 1e-7  # of 1 - p; a power below 1 has no gradient at 0


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


def distillation_loss(
    teacher_logits: tf.Tensor, logits: tf.Tensor, temperature: float
) -> tf.Tensor:
    """Returns the divergence of the student from the teacher, (batch,), float32, nats.

    It is T**2 * KL(softmax(teacher / T) || softmax(student / T)); the factor keeps the
    gradients about as large as those of the cross-entropy at any temperature.

    Args:
        teacher_logits: (batch, classes), float32.
        logits: Logits of the student, (batch, classes), any float; taken as float32.
        temperature: Temperature T; higher values flatten both distributions.

    Source:
        arXiv:1503.02531, section 2.
    """
    log_p = tf.nn.log_softmax(teacher_logits / temperature)
    log_q = tf.nn.log_softmax(tf.cast(logits, tf.float32) / temperature)
    divergence = tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=1)
    return temperature**2 * divergence


def distilled(
    losses: tf.Tensor,
    divergences: tf.Tensor,
    labels: tf.Tensor,
    teacher_weight: float,
) -> tf.Tensor:
    """Combines the loss of each image with its divergence from the teacher, (batch,).

    Args:
        losses: Loss of each image by its label, (batch,).
        divergences: Result of `distillation_loss`.
        labels: Class indices, (batch,); or probabilities, (batch, classes), scaled by
            the weight of their image, which then also weights the divergence.
        teacher_weight: Share of the divergence, 0 to 1.
    """
    if len(labels.shape) == 2:
        divergences *= tf.reduce_sum(labels, axis=1)
    return (1.0 - teacher_weight) * losses + teacher_weight * divergences


def make_weighted_loss(
    label_smoothing: float,
    *,
    class_weights: np.ndarray | None = None,
    focal_gamma: float = 0.0,
    logit_offsets: np.ndarray | None = None,
) -> Loss:
    """Creates a cross-entropy with class weights, focal loss and logit adjustment.

    Labels of probabilities may be scaled by a weight of their image. The loss of an
    image that MixUp or CutMix has mixed is the mixture of the weighted losses of its
    two labels. Label smoothing spreads a weighted label over all classes.

    Args:
        label_smoothing: Share of each label spread evenly over all classes.
        class_weights: Weight of each class, (classes,). None: 1.
        focal_gamma: Exponent of the focal loss; with 0, it is the cross-entropy.
        logit_offsets: Numbers added to the logits, (classes,): the logarithms of the
            class priors, times tau, for logit adjustment. None: 0.

    Source:
        arXiv:1708.02002, equation 4 (focal loss); arXiv:2007.07314, equation 10
        (logit adjustment).
    """

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(logits, tf.float32)
        classes = logits.shape[-1]
        if logit_offsets is not None:
            logits += tf.constant(logit_offsets, tf.float32)
        targets = tf.one_hot(labels, classes) if len(labels.shape) == 1 else labels
        if class_weights is not None:
            targets *= tf.constant(class_weights, tf.float32)
        weight = tf.reduce_sum(targets, axis=1, keepdims=True)
        targets = targets * (1 - label_smoothing) + weight * (label_smoothing / classes)
        # Not TensorFlow's cross-entropy, whose gradient takes targets to add up to 1.
        log_p = tf.nn.log_softmax(logits)
        if focal_gamma:
            log_p *= tf.maximum(-tf.math.expm1(log_p), _LEAST) ** focal_gamma
        return -tf.reduce_sum(targets * log_p, axis=1)

    return loss


def make_binary_loss(
    label_smoothing: float,
    *,
    positive_weights: np.ndarray | None = None,
    focal_gamma: float = 0.0,
) -> Loss:
    """Creates a binary cross-entropy, or focal loss, for several labels per image.

    The loss of an image is the mean over the classes. Labels are rows, (batch,
    classes), 0 to 1; a further column, if there is one, holds a weight by which the
    rows are already multiplied.

    Args:
        label_smoothing: Share of the distance to 0.5 by which targets are moved.
        positive_weights: Weight of the loss of each label that an image has,
            (classes,). None: 1.
        focal_gamma: Exponent of the focal loss; with 0, it is the cross-entropy.

    Source:
        arXiv:1708.02002, equation 4 (focal loss).
    """

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(logits, tf.float32)
        classes = logits.shape[-1]
        weight = labels[:, classes:] if labels.shape[-1] > classes else 1.0
        positive = labels[:, :classes] * (1 - label_smoothing)
        positive += weight * (label_smoothing / 2)
        negative = weight - positive
        log_p, log_not = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
        if positive_weights is not None:
            positive *= tf.constant(positive_weights, tf.float32)
        if focal_gamma:
            positive *= tf.maximum(tf.exp(log_not), _LEAST) ** focal_gamma
            negative *= tf.maximum(tf.exp(log_p), _LEAST) ** focal_gamma
        return -tf.reduce_mean(positive * log_p + negative * log_not, axis=1)

    return loss
