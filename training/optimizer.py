"""Optimizers, and which weights decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


class TF1RMSprop(keras.optimizers.Optimizer):
    """RMSProp as in TensorFlow 1, which the published networks were trained with.

    Differs from `keras.optimizers.RMSprop` where it matters most, in the first
    steps: the mean square starts at one, not at zero. Epsilon is inside the root,
    and the momentum is of steps, each with the learning rate of its time:
    ms = rho * ms + (1 - rho) * g**2
    mom = momentum * mom + lr * g / sqrt(ms + epsilon)
    w = w - mom

    Args:
        learning_rate: A float or a schedule.
        rho: Decay of the mean square.
        momentum: Decay of the step.
        epsilon: Added to the mean square.
        name: Of the optimizer.
        **kwargs: Of `keras.optimizers.Optimizer`.

    Source:
        tensorflow, python/training/rmsprop.py; the defaults, tensorflow/tpu,
        models/official/efficientnet/utils.py.
    """

    def __init__(
        self,
        learning_rate: Any,
        rho: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1e-3,
        name: str = "tf1_rmsprop",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, name=name, **kwargs)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the slots of `variables`; before this they do not exist."""
        if self.built:
            return
        super().build(variables)
        self._mean_squares = self.add_optimizer_variables(
            variables, "mean_square", initializer="ones"
        )
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        index = self._get_variable_index(variable)
        # TensorFlow's own kernel: one op per variable, so a small graph.
        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._mean_squares[index].value.handle,
            mom=self._momentums[index].value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        own = {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon}
        return {**super().get_config(), **own}


def make(name: str, learning_rate: Any, weight_decay: float = 0.0) -> Any:
    """Makes an optimizer by name.

    Args:
        name: Key of `OPTIMIZERS`.
        learning_rate: A float or a schedule.
        weight_decay: Used by optimizers that decouple it, see `COUPLED`.

    Returns:
        A Keras optimizer, not built yet.
    """
    return OPTIMIZERS[name](learning_rate, weight_decay)


def decays(model: keras.Model) -> list[keras.Variable]:
    """Lists the weights that decay: all trainable ones but those of BatchNorm.

    Biases of squeeze-excite and of the classifier are among them.

    Args:
        model: Any model.

    Source:
        tensorflow/tpu, main.py: every trainable whose name lacks
        `batch_normalization`.
    """
    kept = {id(v) for v in _batch_norm_weights(model)}
    return [v for v in model.trainable_variables if id(v) not in kept]


def exclude_batch_norm(optimizer: Any, model: keras.Model) -> None:
    """Keeps decoupled weight decay off BatchNorm; call it before `build`."""
    optimizer.exclude_from_weight_decay(var_list=_batch_norm_weights(model))


def _batch_norm_weights(model: keras.Model) -> list[keras.Variable]:
    layers = model._flatten_layers(include_self=False)
    kind = keras.layers.BatchNormalization
    return [w for la in layers if isinstance(la, kind) for w in la.trainable_weights]


def _rmsprop(learning_rate: Any, weight_decay: float) -> Any:
    del weight_decay
    return TF1RMSprop(learning_rate)


def _sgd(learning_rate: Any, weight_decay: float) -> Any:
    del weight_decay
    return keras.optimizers.SGD(learning_rate, momentum=0.9, nesterov=True)


def _adamw(learning_rate: Any, weight_decay: float) -> Any:
    return keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)


# Name -> maker from (learning rate or schedule, weight decay).
OPTIMIZERS: dict[str, Callable[[Any, float], Any]] = {
    "rmsprop": _rmsprop,
    "sgd": _sgd,
    "adamw": _adamw,
}
# Those whose weight decay is a term of the loss.
COUPLED = ("rmsprop", "sgd")
