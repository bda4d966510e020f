"""Fused implementations of layers in training mode."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

BatchNorm = keras.layers.BatchNormalization


def call_layer(
    layer: keras.Layer, args: Any, kwargs: Any, bn_group_size: int = 1
) -> Any:
    """Calls a layer in training mode.

    Batch normalisation is one fused operation instead of Keras' dozen, which halves the
    time to the first step and speeds up the others. On CPUs, a 1x1 convolution is a
    matrix product, whose gradients take half the time, and swish and its gradient are
    compiled into a single pass each.

    Args:
        layer: Layer of any kind.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        bn_group_size: Number of replicas that share BatchNorm's statistics.

    Returns:
        The layer's output, up to rounding.
    """
    if bn_group_size > 1 and _is_groupable(layer):
        return _grouped_batch_norm(layer, args[0], bn_group_size)
    if _is_fusible(layer):
        return _fused_batch_norm(layer, args[0])
    if _is_on_processor():
        if _is_swish(layer):
            return _swish(tf.cast(args[0], layer.compute_dtype))
        if _is_pointwise(layer):
            return _pointwise(layer, args[0])
    if "training" in getattr(layer, "_call_context_args", ()):
        kwargs = {**kwargs, "training": True}
    return layer(*args, **kwargs)


def _is_fusible(layer: keras.Layer) -> bool:
    """Returns whether a layer is plain BatchNorm over images, in training."""
    is_alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    return bool(
        _is_trained_batch_norm(layer)
        and layer.input_spec.ndim == 4
        and layer.scale
        and layer.center
        and (is_alone or not layer.synchronized)
    )


def _is_groupable(layer: Any) -> bool:
    """Returns whether a group of replicas may share a layer's statistics."""
    # Synchronised BatchNorm shares them among all replicas.
    return _is_trained_batch_norm(layer) and not layer.synchronized


def _is_trained_batch_norm(layer: Any) -> bool:
    if type(layer) is not BatchNorm or not layer.trainable or layer.renorm:
        return False
    return layer.axis in (-1, layer.input_spec.ndim - 1)


def _is_swish(layer: keras.layers.Layer) -> bool:
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


def _fused_batch_norm(layer: Any, x: Any) -> Any:
    none = tf.constant([], tf.float32)
    outputs = tf.raw_ops.FusedBatchNormV3(
        x=tf.cast(x, layer.compute_dtype),
        scale=layer.gamma,
        offset=layer.beta,
        mean=none,
        variance=none,
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The kernel returns the unbiased variance; Keras and the original average the
    # biased one.
    positions = tf.cast(tf.size(x), tf.float32) / x.shape[-1]
    if x.shape.num_elements():
        positions = x.shape.num_elements() / x.shape[-1]
    variance = outputs.batch_variance * ((positions - 1.0) / positions)
    _move(layer.moving_mean, outputs.batch_mean, layer.momentum)
    _move(layer.moving_variance, variance, layer.momentum)
    return outputs.y


def _grouped_batch_norm(layer: Any, x: Any, group_size: int) -> Any:
    values = tf.cast(x, tf.float32)
    mean, variance = _group_moments(values, group_size)
    _move(layer.moving_mean, mean, layer.momentum)
    _move(layer.moving_variance, variance, layer.momentum)
    y = tf.nn.batch_normalization(
        values, mean, variance, layer.beta, layer.gamma, layer.epsilon
    )
    return tf.cast(y, layer.compute_dtype)


def _group_moments(x: Any, group_size: int) -> tuple[Any, Any]:
    """Returns mean and variance over this replica's group.

    Groups are consecutive replicas. Strategies can only sum over all replicas, so each
    replica adds its sums to the row of its group, in one message per layer.
    """
    context = tf.distribute.get_replica_context()
    groups = context.num_replicas_in_sync // group_size
    group = context.replica_id_in_sync_group // group_size
    is_mine = tf.reshape(tf.one_hot(group, groups), (groups, 1, 1))
    axes = list(range(x.shape.rank - 1))
    sums = [tf.reduce_sum(part, axes) for part in (x, tf.square(x), tf.ones_like(x))]
    rows = context.all_reduce("SUM", is_mine * tf.stack(sums))
    total, squares, count = tf.unstack(tf.reduce_sum(is_mine * rows, axis=0))
    mean = total / count
    # As in the original. Rounding may make it negative.
    variance = tf.maximum(squares / count - tf.square(mean), 0.0)
    return mean, variance


def _move(statistic: Any, value: Any, momentum: float) -> None:
    statistic.assign(statistic * momentum + value * (1.0 - momentum))
