"""AdvProp: adversarial examples with separate batch normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

STEP = 1.0  # step size of the attacker in pixel values


def auxiliary_batch_norms(net: keras.Model) -> dict[int, keras.Layer]:
    """Creates an auxiliary BatchNormalization for each of a network's.

    They start as copies. Adversarial images have other statistics than clean ones:
    kept apart, they train the shared convolutions without disturbing the main
    statistics, which alone go into the final model.

    Args:
        net: Built model; it is not changed.

    Returns:
        id of a layer of `net` -> its auxiliary layer.

    Source:
        arXiv:1911.09665, section 4.
    """
    return {id(layer): _copy(layer) for layer in _batch_norms(net)}


def sync_trainable(net: keras.Model, auxiliary: Mapping[int, keras.Layer]) -> None:
    """Freezes and unfreezes auxiliary layers like the layers they belong to.

    Args:
        net: Network that `auxiliary` belongs to.
        auxiliary: Result of `auxiliary_batch_norms`; may be empty.
    """
    for layer in _batch_norms(net):
        if id(layer) in auxiliary:
            auxiliary[id(layer)].trainable = layer.trainable


def attack(
    loss: Callable[[tf.Tensor], tf.Tensor],
    images: tf.Tensor,
    *,
    epsilon: float,
    steps: int,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Creates adversarial examples by projected gradient ascent (PGD).

    From a random start, each step moves every value by one pixel value in the
    direction of the gradient's sign.

    Args:
        loss: Function from images to a scalar loss.
        images: (batch, height, width, 3), float, 0 to 255.
        epsilon: Maximum perturbation in pixel values.
        steps: Number of steps; the paper uses epsilon + 1, and 1 for epsilon 1.
        seed: Seed of the random start, (2,), int32.

    Returns:
        Images of the same shape, 0 to 255, without a gradient.

    Source:
        arXiv:1911.09665, section 5.1; arXiv:1706.06083.
    """
    low = tf.maximum(images - epsilon, 0.0)
    high = tf.maximum(low, tf.minimum(images + epsilon, 255.0))
    start = tf.random.stateless_uniform(
        tf.shape(images), seed, minval=-epsilon, maxval=epsilon
    )
    changed = tf.clip_by_value(images + start, low, high)
    for _ in range(steps):
        # The attack must not update statistics or dropout seeds.
        with keras.StatelessScope(), tf.GradientTape() as tape:
            tape.watch(changed)
            value = loss(changed)
        direction = tf.sign(tape.gradient(value, changed))
        changed = tf.clip_by_value(changed + STEP * direction, low, high)
    return tf.stop_gradient(changed)


def _batch_norms(net: keras.Model) -> list[keras.Layer]:
    layers = net._flatten_layers(include_self=False)
    return [la for la in layers if isinstance(la, keras.layers.BatchNormalization)]


def _copy(layer: keras.Layer) -> keras.Layer:
    twin = type(layer).from_config(layer.get_config())
    twin.build((*[None] * (layer.input_spec.ndim - 1), *layer.moving_mean.shape))
    twin.set_weights(layer.get_weights())
    return twin
