"""Base class of the optimizers: gradient reduction and coupled weight decay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

# Keras' normalization layers give their scale and offset these names.
_NORMALIZATION_WEIGHTS = ("gamma", "beta")


class SummingOptimizer(keras.optimizers.Optimizer):
    """Optimizer that sums gradients over the replicas before it clips them.

    Keras clips the gradients of each replica and sums them afterwards, so the update
    depends on the number of replicas. Here the order is: sum, coupled L2 decay,
    clipping, update.

    Args:
        *args: Positional arguments of the optimizer.
        l2: Coefficient of coupled L2 decay: the gradient of `0.5 * l2 * w**2` is added
            to that of the loss. It applies to all trainable weights except those that
            are named "gamma" or "beta", which are the scale and offset of
            normalization layers, and those of `exclude_from_weight_decay`.
        **kwargs: Keyword arguments of the optimizer.

    Attributes:
        gradients_are_summed: Whether the caller of `apply` sums the gradients over the
            replicas, as a training loop with loss scaling must.

    Raises:
        ValueError: `l2` is negative or not finite.
    """

    gradients_are_summed: bool = False

    def __init__(self, *args: Any, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_at_least_zero(l2=l2)
        self.l2 = l2
        self._normalization_keys: frozenset[Any] = frozenset()
        self._strategy = None
        if _is_on_tensorflow():
            from . import tf_replicas

            self._strategy = tf_replicas.current_strategy()

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the slots of the variables.

        Args:
            variables: Variables to be trained.

        Raises:
            ValueError: The optimizer and the variables were created under different
                distribution strategies.
        """
        if self.built:
            return
        if _is_on_tensorflow():
            from . import tf_replicas

            tf_replicas.check_strategy(self.name, self._strategy, variables)
        # By key, because TensorFlow renames the copies on other replicas.
        self._normalization_keys = frozenset(
            self._var_key(v) for v in variables if v.name in _NORMALIZATION_WEIGHTS
        )
        super().build(variables)

    def exclude_biases_from_decay(self) -> None:
        """Leaves biases out of weight decay; call it before `build`."""
        self.exclude_from_weight_decay(var_names=["bias"])

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Updates the variables once.

        Args:
            grads: One gradient for each variable, or None for those without.
            trainable_variables: Variables to update, or None for those that the
                optimizer was built with.
        """
        grads = list(grads)
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            if not self.built:
                self.build(trainable_variables)
        variables = trainable_variables or self._trainable_variables
        if _is_on_tensorflow():
            from . import tf_replicas

            grads = tf_replicas.to_dense(grads)
            if not self.gradients_are_summed:
                grads = tf_replicas.sum_over_replicas(grads)
        if self.l2 and self.built:
            grads = [
                self._with_decay(g, v) for g, v in zip(grads, variables, strict=True)
            ]
        super().apply(grads, trainable_variables)

    def _with_decay(self, gradient: Any, variable: Any) -> Any:
        if gradient is None or not self._use_weight_decay(variable):
            return gradient
        # Keras divides all gradients by this factor later.
        coefficient = self.l2 * (self.loss_scale_factor or 1.0)
        scale = ops.cast(coefficient, gradient.dtype)
        return gradient + scale * ops.cast(variable, gradient.dtype)

    def _use_weight_decay(self, variable: Any) -> bool:
        if self._var_key(variable) in self._normalization_keys:
            return False
        return bool(super()._use_weight_decay(variable))

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[Any]:
        """Keeps Keras from summing gradients that `apply` has already summed."""
        return list(grads_and_vars)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal optimizer."""
        return {**super().get_config(), "l2": self.l2}


def check_at_least_zero(**values: float) -> None:
    """Checks arguments that must be finite and at least 0.

    Args:
        **values: Values by the names of the arguments.

    Raises:
        ValueError: A value is negative or not finite.
    """
    for name, value in values.items():
        if not 0.0 <= value < math.inf:
            raise ValueError(
                f"`{name}` must be finite and at least 0. Received: {name}={value}"
            )


def check_decay_rate(**values: float) -> None:
    """Checks arguments that are decay rates of running means.

    Args:
        **values: Values by the names of the arguments.

    Raises:
        ValueError: A value is negative, or 1 or more.
    """
    for name, value in values.items():
        if not 0.0 <= value < 1.0:
            raise ValueError(
                f"`{name}` must be at least 0 and under 1. Received: {name}={value}"
            )


def _is_on_tensorflow() -> bool:
    return bool(keras.backend.backend() == "tensorflow")
