"""Fused forward passes of expensive layers in a training step, for TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

BatchNorm = keras.layers.BatchNormalization


def fused_call(layer: keras.Layer) -> Callable[[Any, Any], Any] | None:
    """Finds the fused forward pass of a layer in training mode.

    BatchNormalization becomes one operation where Keras takes a dozen, which halves
    the time to the first step and speeds up the others. On CPUs, a 1x1
    convolution is a matrix product, whose gradients take half the time, and swish and
    its gradient are compiled to a single pass each.

    Args:
        layer: Layer of any class.

    Returns:
        A function from the layer and its input to the layer's output, equal up to
        rounding, which also updates its statistics; None to keep Keras' own call.
    """
    if is_trained_batch_norm(layer):
        return _batch_norm if _is_fusible(layer) else None
    if _is_on_processor():
        if _is_swish(layer):
            return _apply_swish
        if _is_pointwise(layer):
            return _pointwise
    return None


def is_trained_batch_norm(layer: Any) -> bool:
    """Returns whether a layer is plain BatchNormalization with batch statistics."""
    if type(layer) is not BatchNorm or not layer.trainable or layer.renorm:
        return False
    return layer.axis in (-1, layer.input_spec.ndim - 1)


def move_statistic(statistic: Any, value: Any, momentum: float) -> None:
    """Updates a moving statistic with that of the batch.

    Args:
        statistic: Variable.
        value: Tensor of the same shape.
        momentum: Share of the old value, 0 to 1.
    """
    statistic.assign(statistic * momentum + value * (1.0 - momentum))


def _is_fusible(layer: Any) -> bool:
    is_alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    return bool(
        layer.input_spec.ndim == 4
        and layer.variable_dtype == "float32"
        and layer.compute_dtype in ("float32", "float16", "bfloat16")
        and layer.scale
        and layer.center
        and (is_alone or not layer.synchronized)
    )


def _is_swish(layer: keras.Layer) -> bool:
    kind = keras.layers.Activation
    return type(layer) is kind and layer.activation is keras.activations.silu


def _is_pointwise(layer: keras.Layer) -> bool:
    return bool(
        type(layer) is keras.layers.Conv2D
        and layer.kernel_size == layer.strides == layer.dilation_rate == (1, 1)
        and layer.groups == 1
        and layer.data_format == "channels_last"
    )


def _is_on_processor() -> bool:
    return {d.device_type for d in tf.config.list_logical_devices()} == {"CPU"}


def _batch_norm(layer: Any, x: Any) -> Any:
    none = tf.constant([], tf.float32)
    outputs = tf.raw_ops.FusedBatchNormV3(
        x=tf.cast(x, layer.compute_dtype),
        scale=tf.cast(layer.gamma, tf.float32),
        offset=tf.cast(layer.beta, tf.float32),
        mean=none,
        variance=none,
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The kernel returns the unbiased estimate of the variance; Keras and the
    # original use the biased one.
    positions = tf.cast(tf.size(x), tf.float32) / x.shape[-1]
    if x.shape.num_elements():
        positions = x.shape.num_elements() / x.shape[-1]
    variance = outputs.batch_variance * ((positions - 1.0) / positions)
    move_statistic(layer.moving_mean, outputs.batch_mean, layer.momentum)
    move_statistic(layer.moving_variance, variance, layer.momentum)
    return outputs.y


def _apply_swish(layer: Any, x: Any) -> Any:
    return _swish(tf.cast(x, layer.compute_dtype))


@tf.custom_gradient
def _swish(x: Any) -> Any:
    return _swish_forward(x), lambda upstream: _swish_backward(x, upstream)


@tf.function(jit_compile=True, autograph=False)
def _swish_forward(x: Any) -> Any:
    return x * tf.sigmoid(x)


@tf.function(jit_compile=True, autograph=False)
def _swish_backward(x: Any, upstream: Any) -> Any:
    gate = tf.sigmoid(x)
    return upstream * gate * (1.0 + x * (1.0 - gate))


def _pointwise(layer: Any, x: Any) -> Any:
    dtype, channels, filters = layer.compute_dtype, x.shape[-1], layer.filters
    kernel = tf.reshape(tf.cast(layer.kernel, dtype), (channels, filters))
    rows = tf.reshape(tf.cast(x, dtype), (-1, channels)) @ kernel
    if layer.use_bias:
        rows += tf.cast(layer.bias, dtype)
    shape = tf.concat([tf.shape(x)[:-1], [filters]], axis=0)
    y = tf.ensure_shape(tf.reshape(rows, shape), (*x.shape[:-1], filters))
    return layer.activation(y)
