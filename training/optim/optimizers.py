"""Optimizers of the trainer, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_efficientnet.optimizers import LAMB, LARS, TF1RMSprop
from keras_efficientnet.optimizers.base import SummingOptimizer


class SGD(SummingOptimizer, keras.optimizers.SGD):
    """Keras' SGD with coupled weight decay, on gradients summed over the replicas.

    Args:
        *args: Positional arguments of `keras.optimizers.SGD`.
        l2: Coefficient of coupled L2 decay; see `SummingOptimizer`.
        **kwargs: Other arguments of `keras.optimizers.SGD`.
    """


class AdamW(SummingOptimizer, keras.optimizers.AdamW):
    """Keras' AdamW on gradients summed over the replicas.

    Its decoupled decay leaves out the weights of normalization layers.
    """


def make_optimizer(
    name: str,
    learning_rate: Any,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    decay_biases: bool = True,
) -> Any:
    """Creates an optimizer by name.

    No optimizer decays the scale and offset of normalization layers.

    Args:
        name: Key of `OPTIMIZERS`.
        learning_rate: Learning rate, a float or a schedule.
        weight_decay: Weight decay: part of the loss with "rmsprop" and "sgd",
            decoupled with "adamw", inside the trust ratio with "lamb" and "lars".
        clip_norm: Maximum global norm of the gradients, or None for no clipping.
        decay_biases: Whether weight decay applies to biases; "lamb" and "lars" never
            decay them.

    Returns:
        A Keras optimizer, not built yet.
    """
    optimizer = OPTIMIZERS[name](learning_rate, weight_decay)
    optimizer.global_clipnorm = clip_norm
    if not decay_biases:
        optimizer.exclude_biases_from_decay()
    return optimizer


def expect_summed_gradients(optimizer: Any) -> None:
    """Leaves it to the caller of `apply` to sum gradients over the replicas.

    A loop with loss scaling sums them before it searches for overflow, which must have
    the same result in every replica.

    Args:
        optimizer: Optimizer of this module, or a `LossScaleOptimizer` around one.

    Raises:
        TypeError: The optimizer is of another kind, which would sum a second time.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(inner, SummingOptimizer):
        raise TypeError(
            "On several replicas the optimizer must be one of "
            "`training.optim.optimizers`, such as those of `make_optimizer`. "
            f"Received: {inner!r}"
        )
    inner.gradients_are_summed = True


def _rmsprop(learning_rate: Any, weight_decay: float) -> Any:
    return TF1RMSprop(learning_rate, l2=weight_decay)


def _sgd(learning_rate: Any, weight_decay: float) -> Any:
    return SGD(learning_rate, momentum=0.9, nesterov=True, l2=weight_decay)


def _adamw(learning_rate: Any, weight_decay: float) -> Any:
    return AdamW(learning_rate, weight_decay=weight_decay)


# Name -> maker from (learning rate or schedule, weight decay).
OPTIMIZERS: dict[str, Callable[[Any, float], Any]] = {
    "rmsprop": _rmsprop,
    "sgd": _sgd,
    "adamw": _adamw,
    "lamb": LAMB,
    "lars": LARS,
}
