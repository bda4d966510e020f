"""Layers in training mode, with fused operations and grouped BatchNormalization."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_efficientnet.tf_fused_layers import (
    fused_call,
    is_trained_batch_norm,
    move_statistic,
)


def call_layer(
    layer: keras.Layer, args: Any, kwargs: Any, bn_group_size: int = 1
) -> Any:
    """Calls a layer in training mode, with fused operations where there are any.

    Args:
        layer: Layer of any class.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        bn_group_size: Number of replicas that share BatchNorm's statistics.

    Returns:
        The layer's output, up to rounding.
    """
    if bn_group_size > 1 and _is_groupable(layer):
        return _grouped_batch_norm(layer, args[0], bn_group_size)
    fused = fused_call(layer)
    if fused is not None:
        return fused(layer, args[0])
    if "training" in getattr(layer, "_call_context_args", ()):
        kwargs = {**kwargs, "training": True}
    return layer(*args, **kwargs)


def _is_groupable(layer: Any) -> bool:
    """Returns whether a layer's statistics may be shared by a group of replicas."""
    # Synchronised BatchNorm shares them among all replicas.
    return is_trained_batch_norm(layer) and not layer.synchronized


def _grouped_batch_norm(layer: Any, x: Any, group_size: int) -> Any:
    values = tf.cast(x, tf.float32)
    mean, variance = _group_moments(values, group_size)
    move_statistic(layer.moving_mean, mean, layer.momentum)
    move_statistic(layer.moving_variance, variance, layer.momentum)
    y = tf.nn.batch_normalization(
        values, mean, variance, layer.beta, layer.gamma, layer.epsilon
    )
    return tf.cast(y, layer.compute_dtype)


def _group_moments(x: Any, group_size: int) -> tuple[Any, Any]:
    """Returns mean and variance over the group of replicas that this one is in.

    A group is consecutive replicas. Strategies can only sum over all replicas, so each
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
    # As in the original. Rounding may bring it below zero.
    variance = tf.maximum(squares / count - tf.square(mean), 0.0)
    return mean, variance
