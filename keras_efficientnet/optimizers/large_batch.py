"""LARS and LAMB, optimizers for large batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from .base import SummingOptimizer, check_at_least_zero, check_decay_rate

# Step of LARS at learning rate 1, relative to the norm of the weight.
TRUST = 0.001


class _LayerwiseOptimizer(SummingOptimizer):
    """Optimizer that adapts the learning rate to the norm of each weight.

    Args:
        learning_rate: Learning rate, a float or a schedule.
        weight_decay: Weight decay inside the trust ratio.
        **kwargs: Keyword arguments of `SummingOptimizer`.
    """

    def __init__(self, learning_rate: Any, weight_decay: float, **kwargs: Any) -> None:
        # Under another name: Keras would apply its own, decoupled decay as well.
        super().__init__(learning_rate, **kwargs)
        check_at_least_zero(weight_decay=weight_decay)
        self.decay = weight_decay

    def _use_weight_decay(self, variable: Any) -> bool:
        """Returns whether a variable is neither a bias nor a normalization weight."""
        return len(variable.shape) > 1 and super()._use_weight_decay(variable)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal optimizer."""
        return {**super().get_config(), "weight_decay": self.decay}


@keras.saving.register_keras_serializable(package="keras_efficientnet")
class LARS(_LayerwiseOptimizer):
    """Layer-wise adaptive rate scaling: momentum with one rate per weight.

    Kernels are updated as follows, with norms over the complete weight:

        trust = 0.001 * |w| / (|g| + weight_decay * |w|), or 1 where a norm is 0
        mom = momentum * mom + learning_rate * trust * (g + weight_decay * w)
        w = w - mom

    Biases and the weights of normalization layers get plain momentum without decay.

    Args:
        learning_rate: Learning rate, a float or a schedule; about a thousand times
            that of SGD.
        weight_decay: Weight decay inside the trust ratio, as in the original.
        momentum: Decay rate of the accumulated updates, at least 0 and under 1.
        l2: Coefficient of coupled L2 decay, which adds `l2 * w` to the gradients of
            kernels before they are clipped. Usually 0 here.
        name: Name of the optimizer.
        **kwargs: Keyword arguments of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: A value is out of its range.

    Source:
        arXiv:1708.03888; tensorflow/tpu, models/official/efficientnet,
        lars_optimizer.py.

    Example:
        >>> import keras_efficientnet
        >>> keras_efficientnet.optimizers.LARS(8.0).get_config()["weight_decay"]
        1e-05
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float = 1e-5,
        momentum: float = 0.9,
        l2: float = 0.0,
        name: str = "lars",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, l2=l2, name=name, **kwargs)
        check_decay_rate(momentum=momentum)
        self.momentum = momentum

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the slots: one momentum per variable."""
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its slot."""
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        if self._use_weight_decay(variable):
            size, slope = _norm(variable), _norm(gradient)
            trust = TRUST * size / (slope + self.decay * size)
            is_usable = ops.logical_and(size > 0, slope > 0)
            rate = rate * ops.where(is_usable, trust, ops.ones_like(trust))
            gradient = gradient + self.decay * ops.convert_to_tensor(variable)
        momentum = self._momentums[self._get_variable_index(variable)]
        update = self.momentum * momentum + rate * gradient
        self.assign(momentum, update)
        self.assign_sub(variable, update)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal optimizer."""
        return {**super().get_config(), "momentum": self.momentum}


@keras.saving.register_keras_serializable(package="keras_efficientnet")
class LAMB(_LayerwiseOptimizer):
    """Layer-wise adaptive moments: Adam with one rate per weight.

    With m and v the bias-corrected means of g and g**2, as in Adam:

        update = m / (sqrt(v) + epsilon) + weight_decay * w
        w = w - learning_rate * |w| / |update| * update, with ratio 1 where a norm is 0

    Biases and the weights of normalization layers get neither the ratio nor decay.
    `keras.optimizers.Lamb` leaves the decay out of the ratio, unlike the paper.

    Args:
        learning_rate: Learning rate, a float or a schedule.
        weight_decay: Weight decay inside the trust ratio, as in the paper.
        beta_1: Decay rate of the mean of the gradients, at least 0 and under 1.
        beta_2: Decay rate of the mean of their squares, at least 0 and under 1.
        epsilon: Constant added to the square root.
        l2: Coefficient of coupled L2 decay, which adds `l2 * w` to the gradients of
            kernels before they are clipped. Usually 0 here.
        name: Name of the optimizer.
        **kwargs: Keyword arguments of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: A value is out of its range.

    Source:
        arXiv:1904.00962, algorithm 2.

    Example:
        >>> import keras_efficientnet
        >>> keras_efficientnet.optimizers.LAMB(2e-3, weight_decay=0.02).beta_2
        0.999
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        l2: float = 0.0,
        name: str = "lamb",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, l2=l2, name=name, **kwargs)
        check_decay_rate(beta_1=beta_1, beta_2=beta_2)
        check_at_least_zero(epsilon=epsilon)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the slots: the means of the gradients and of their squares."""
        if self.built:
            return
        super().build(variables)
        self._means = self.add_optimizer_variables(variables, "mean")
        self._squares = self.add_optimizer_variables(variables, "square")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its slots."""
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype)
        mean = self._corrected(self._means[index], gradient, self.beta_1)
        square = self._corrected(
            self._squares[index], ops.square(gradient), self.beta_2
        )
        update = mean / (ops.sqrt(square) + self.epsilon)
        rate = ops.cast(learning_rate, variable.dtype)
        if self._use_weight_decay(variable):
            update = update + self.decay * ops.convert_to_tensor(variable)
            size, length = _norm(variable), _norm(update)
            is_usable = ops.logical_and(size > 0, length > 0)
            ratio = ops.divide_no_nan(size, length)
            rate = rate * ops.where(is_usable, ratio, ops.ones_like(ratio))
        self.assign_sub(variable, rate * update)

    def _corrected(self, slot: Any, value: Any, beta: float) -> Any:
        """Updates a running mean and returns its bias-corrected value."""
        moved = beta * slot + (1.0 - beta) * value
        self.assign(slot, moved)
        steps = ops.cast(self.iterations + 1, moved.dtype)
        return moved / (1.0 - ops.power(ops.cast(beta, moved.dtype), steps))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal optimizer."""
        names = ("beta_1", "beta_2", "epsilon")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}


def _norm(tensor: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(tensor)))
