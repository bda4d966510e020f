"""Gradients of a model's output by its input, on every Keras backend."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def gradient(network: keras.Model, inputs: np.ndarray, weights: np.ndarray) -> Any:
    """Computes the gradient of a weighted sum of a model's outputs by its inputs.

    Args:
        network: Model, run in inference mode.
        inputs: Batch of inputs, float32.
        weights: Weight of each output, with the shape of the outputs, float32.

    Returns:
        Gradient, with the shape of the inputs.

    Raises:
        ValueError: Gradients are not supported on this backend.
    """
    backend = keras.backend.backend()
    if backend not in _GRADIENTS:
        raise ValueError(
            f"Keras' backend must be one of {', '.join(_GRADIENTS)} for gradients. "
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
