"""LARS and LAMB, the optimizers for large batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from .base import SummingOptimizer

# How far LARS moves a layer at rate 1, relative to the norm of its weights.
TRUST = 0.001


class LARS(SummingOptimizer):
    """Momentum whose rate is set layer by layer, for large batches.

    For matrices and convolutions, with norms over the whole weight:
    trust = TRUST * |w| / (|g| + decay * |w|), or 1 where a norm is 0
    mom = momentum * mom + lr * trust * (g + decay * w)
    w = w - mom
    Biases and the weights of BatchNorm take plain momentum, without decay.

    Args:
        learning_rate: A float or a schedule; about a thousand times that of SGD.
        decay: Weight decay.
        momentum: Decay of the step.
        name: Name of the optimizer.
        **kwargs: Arguments of `keras.optimizers.Optimizer`.

    Source:
        arXiv:1708.03888; tensorflow/tpu, models/official/efficientnet,
        lars_optimizer.py.
    """

    def __init__(
        self,
        learning_rate: Any,
        decay: float = 1e-5,
        momentum: float = 0.9,
        name: str = "lars",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, name=name, **kwargs)
        self.decay = decay
        self.momentum = momentum

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the slots of `variables`; before this they do not exist."""
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slot."""
        rate = tf.cast(learning_rate, variable.dtype)
        gradient = tf.cast(gradient, variable.dtype)
        if _is_layered(variable):
            size, slope = tf.norm(variable), tf.norm(gradient)
            trust = TRUST * size / (slope + self.decay * size)
            rate *= tf.where((size > 0) & (slope > 0), trust, 1.0)
            gradient += self.decay * variable
        momentum = self._momentums[self._get_variable_index(variable)].value
        moved = self.momentum * momentum + rate * gradient
        momentum.assign(moved)
        variable.assign_sub(moved)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        own = {"decay": self.decay, "momentum": self.momentum}
        return {**super().get_config(), **own}


class LAMB(SummingOptimizer):
    """Adam whose step is as long as the weights are large, for large batches.

    With m and v the bias-corrected means of g and g**2 as in Adam:
    update = m / (sqrt(v) + epsilon) + decay * w
    w = w - lr * |w| / |update| * update, with 1 for the ratio where a norm is 0
    Biases and the weights of BatchNorm have neither the ratio nor decay. Keras'
    own Lamb leaves the decay out of the ratio, which the paper does not.

    Args:
        learning_rate: A float or a schedule.
        decay: Weight decay.
        beta_1: Decay of the mean of gradients.
        beta_2: Decay of the mean of squares.
        epsilon: Added to the root.
        name: Name of the optimizer.
        **kwargs: Arguments of `keras.optimizers.Optimizer`.

    Source:
        arXiv:1904.00962, algorithm 2.
    """

    def __init__(
        self,
        learning_rate: Any,
        decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        name: str = "lamb",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, name=name, **kwargs)
        self.decay = decay
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the slots of `variables`; before this they do not exist."""
        if self.built:
            return
        super().build(variables)
        self._means = self.add_optimizer_variables(variables, "mean")
        self._squares = self.add_optimizer_variables(variables, "square")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        index = self._get_variable_index(variable)
        gradient = tf.cast(gradient, variable.dtype)
        mean = self._corrected(self._means[index], gradient, self.beta_1)
        square = self._corrected(self._squares[index], gradient**2, self.beta_2)
        update = mean / (tf.sqrt(square) + self.epsilon)
        rate = tf.cast(learning_rate, variable.dtype)
        if _is_layered(variable):
            update += self.decay * variable
            size, length = tf.norm(variable), tf.norm(update)
            is_usable = (size > 0) & (length > 0)
            rate *= tf.where(is_usable, tf.math.divide_no_nan(size, length), 1.0)
        variable.assign_sub(rate * update)

    def _corrected(self, slot: Any, value: Any, beta: float) -> Any:
        moved = beta * slot.value + (1.0 - beta) * value
        slot.value.assign(moved)
        steps = tf.cast(self.iterations + 1, moved.dtype)
        return moved / (1.0 - tf.pow(tf.cast(beta, moved.dtype), steps))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        names = ("decay", "beta_1", "beta_2", "epsilon")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}


def _is_layered(variable: Any) -> bool:
    """Tells a matrix or a convolution from a bias and from BatchNorm's weights."""
    return len(variable.shape) > 1
