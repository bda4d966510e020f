"""The gradient of a network's answer by its input, on each backend of Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def gradient(network: keras.Model, inputs: np.ndarray, weights: np.ndarray) -> Any:
    """Returns how a weighed sum of a network's outputs changes with its inputs.

    Args:
        network: In inference mode.
        inputs: A batch, float32.
        weights: Of the outputs, of their shape, float32.

    Returns:
        Gradient, of the inputs' shape.

    Raises:
        ValueError: Keras' backend has no gradients.
    """
    backend = keras.backend.backend()
    if backend not in _GRADIENTS:
        raise ValueError(
            f"Keras' backend must be one of {', '.join(_GRADIENTS)} to have gradients. "
            f"Received: {backend!r}"
        )
    return np.asarray(_GRADIENTS[backend](network, inputs, weights), np.float32)


def _tensorflow(network: keras.Model, inputs: np.ndarray, weights: np.ndarray) -> Any:
    import tensorflow as tf

    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(network(x, training=False) * weights)
    return tape.gradient(total, x)


def _jax(network: keras.Model, inputs: np.ndarray, weights: np.ndarray) -> Any:
    import jax

    def total(x: Any) -> Any:
        return (network(x, training=False) * weights).sum()

    return jax.grad(total)(jax.numpy.asarray(inputs))


def _torch(network: keras.Model, inputs: np.ndarray, weights: np.ndarray) -> Any:
    import torch

    x = keras.ops.convert_to_tensor(inputs).requires_grad_()
    weigh = keras.ops.convert_to_tensor(weights)
    total = (network(x, training=False) * weigh).sum()
    (found,) = torch.autograd.grad(total, x)
    return found.cpu()


_GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
