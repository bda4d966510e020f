"""RMSProp as in TensorFlow 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from .base import SummingOptimizer, check_at_least_zero, check_decay_rate


@keras.saving.register_keras_serializable(package="keras_efficientnet")
class TF1RMSprop(SummingOptimizer):
    """RMSProp as in TensorFlow 1, with which the published networks were trained.

    `keras.optimizers.RMSprop` differs most in the first steps: its mean square starts
    at zero, that of TensorFlow 1 at one. Epsilon is added inside the square root, and
    momentum accumulates updates, each with the learning rate of its own step:

        ms = rho * ms + (1 - rho) * g**2
        mom = momentum * mom + learning_rate * g / sqrt(ms + epsilon)
        w = w - mom

    Args:
        learning_rate: Learning rate, a float or a schedule. The published networks
            use 0.016 for 256 images a step.
        rho: Decay rate of the mean square, at least 0 and under 1.
        momentum: Decay rate of the accumulated updates, at least 0 and under 1.
        epsilon: Constant added to the mean square.
        l2: Coefficient of coupled L2 decay, which adds the gradient of
            `0.5 * l2 * w**2`; normalization layers are left out. 1e-5 in the paper.
        name: Name of the optimizer.
        **kwargs: Keyword arguments of `keras.optimizers.Optimizer`, such as
            `global_clipnorm`.

    Raises:
        ValueError: A value is out of its range.

    Source:
        tensorflow, python/training/rmsprop.py; defaults from tensorflow/tpu,
        models/official/efficientnet/utils.py.

    Example:
        >>> import keras, keras_efficientnet
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras_efficientnet.optimizers.TF1RMSprop(0.016, l2=1e-5))
        >>> model.optimizer.momentum
        0.9
    """

    def __init__(
        self,
        learning_rate: Any,
        rho: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1e-3,
        l2: float = 0.0,
        name: str = "tf1_rmsprop",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, l2=l2, name=name, **kwargs)
        check_decay_rate(rho=rho, momentum=momentum)
        check_at_least_zero(epsilon=epsilon)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the slots: the mean square, initially one, and the momentum."""
        if self.built:
            return
        super().build(variables)
        self._mean_squares = self.add_optimizer_variables(
            variables, "mean_square", initializer="ones"
        )
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its slots."""
        index = self._get_variable_index(variable)
        mean_square, momentum = self._mean_squares[index], self._momentums[index]
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        if keras.backend.backend() == "tensorflow":
            self._fused_update(variable, mean_square, momentum, rate, gradient)
            return
        change = (1.0 - self.rho) * (ops.square(gradient) - mean_square)
        self.assign_add(mean_square, change)
        update = rate * gradient / ops.sqrt(mean_square + self.epsilon)
        self.assign(momentum, self.momentum * momentum + update)
        self.assign_sub(variable, momentum)

    def _fused_update(
        self, variable: Any, mean_square: Any, momentum: Any, rate: Any, gradient: Any
    ) -> None:
        """Runs TensorFlow's own kernel: one operation per variable."""
        import tensorflow as tf

        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=mean_square.value.handle,
            mom=momentum.value.handle,
            lr=rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal optimizer."""
        names = ("rho", "momentum", "epsilon")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}
