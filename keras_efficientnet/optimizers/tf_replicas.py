"""Reductions over the replicas of a `tf.distribute` strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


def current_strategy() -> Any:
    """Returns the strategy whose scope is active."""
    return tf.distribute.get_strategy()


def to_dense(gradients: Sequence[Any]) -> list[Any]:
    """Converts the sparse gradients of embeddings, whose rows may repeat, to tensors.

    Args:
        gradients: Tensors or `tf.IndexedSlices`, or None, which stays None.
    """
    return [g if g is None else tf.convert_to_tensor(g) for g in gradients]


def sum_over_replicas(gradients: Sequence[Any]) -> list[Any]:
    """Sums gradients over the replicas; call it in each of them.

    Args:
        gradients: Tensors, or None, which stays None.
    """
    context = tf.distribute.get_replica_context()
    present = [g for g in gradients if g is not None]
    if context is None or context.num_replicas_in_sync == 1 or not present:
        return list(gradients)
    summed = iter(context.all_reduce("SUM", present))
    return [g if g is None else next(summed) for g in gradients]


def moving_statistics(model: keras.Model) -> list[Any]:
    """Lists the moving statistics that differ between the replicas after a step.

    These are the moving means and variances of BatchNormalization, except for
    synchronized layers, where all replicas have the same, and frozen ones.

    Args:
        model: Model whose layers are searched, nested models included.

    Returns:
        `tf.Variable`s.
    """
    return [
        weight.value
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
        and not layer.synchronized
        for weight in layer.non_trainable_weights
    ]


def average_over_replicas(variables: Sequence[tf.Variable]) -> None:
    """Sets variables to their means over the replicas; call it in each of them.

    Args:
        variables: Variables of one dtype.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1 or not variables:
        return
    # One message instead of hundreds of small ones.
    flat = tf.concat([tf.reshape(v, [-1]) for v in variables], axis=0)
    sizes = [v.shape.num_elements() for v in variables]
    means = tf.split(context.all_reduce("MEAN", flat), sizes)
    for variable, mean in zip(variables, means, strict=True):
        variable.assign(tf.reshape(mean, variable.shape))


def trace_update(
    model: keras.Model, update: Callable[[Any], None]
) -> Callable[[Any], None]:
    """Compiles the work after a training step into one graph.

    Args:
        model: Model that was created under the strategy of the step.
        update: Function of the step number; it runs after the moving statistics have
            been averaged over the replicas.

    Returns:
        A function of the step number, to be called outside the replicas.
    """
    strategy = model.distribute_strategy
    statistics = moving_statistics(model)

    # AutoGraph is not needed: nothing here branches on tensors.
    @tf.function(autograph=False)
    def traced(step: Any) -> None:
        if strategy.num_replicas_in_sync > 1 and statistics:
            strategy.run(average_over_replicas, (statistics,))
        update(step)

    return traced


def check_strategy(
    name: str, strategy: Any, variables: Sequence[keras.Variable]
) -> None:
    """Checks that an optimizer and its variables belong to the same strategy.

    Args:
        name: Name of the optimizer, for the error.
        strategy: Strategy that was active when the optimizer was created.
        variables: Variables to be trained.

    Raises:
        ValueError: A variable was created under another strategy.
    """
    for variable in variables:
        value = getattr(variable, "value", variable)
        # Variables on a single device do not record their strategy.
        theirs = getattr(value, "distribute_strategy", None)
        is_same = theirs is strategy
        if theirs is None:
            is_same = strategy.num_replicas_in_sync == 1
        if not is_same:
            raise ValueError(
                f"The optimizer {name!r} and the variables that it trains must be "
                "created under the same distribution strategy: create both inside "
                "`with strategy.scope():`. "
                f"Received: optimizer under {_describe(strategy)}, "
                f"variable {variable.name!r} under {_describe(theirs)}"
            )


def _describe(strategy: Any) -> str:
    # TensorFlow's default strategy has no public name.
    if strategy is None or type(strategy).__name__.startswith("_Default"):
        return "no strategy"
    count = strategy.num_replicas_in_sync
    return f"{type(strategy).__name__} ({count} replica{'s' if count > 1 else ''})"
