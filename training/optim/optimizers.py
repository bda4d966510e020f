"""Optimizers, and the one place that decides which weights decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from .base import SummingOptimizer
from .large_batch import LAMB, LARS


class SGD(SummingOptimizer, keras.optimizers.SGD):
    """Keras' SGD with coupled weight decay.

    Args:
        *args: Positional arguments of `keras.optimizers.SGD`.
        l2: Coupled weight decay: `0.5 * l2 * w**2` joins the loss.
        **kwargs: Other arguments of `keras.optimizers.SGD`.
    """

    def __init__(self, *args: Any, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.l2 = l2

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return {**super().get_config(), "l2": self.l2}


class AdamW(SummingOptimizer, keras.optimizers.AdamW):
    """Keras' AdamW; clipping is of the gradients summed over the replicas."""


class TF1RMSprop(SummingOptimizer):
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
        l2: Coupled weight decay: `0.5 * l2 * w**2` joins the loss.
        name: Name of the optimizer.
        **kwargs: Arguments of `keras.optimizers.Optimizer`.

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
        l2: float = 0.0,
        name: str = "tf1_rmsprop",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, name=name, **kwargs)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.l2 = l2

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
        names = ("rho", "momentum", "epsilon", "l2")
        return {**super().get_config(), **{n: getattr(self, n) for n in names}}


def make_optimizer(
    name: str,
    learning_rate: Any,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    *,
    model: keras.Model | None = None,
    auxiliary: Iterable[keras.layers.Layer] = (),
) -> Any:
    """Makes an optimizer by name; its kind decides how weights decay.

    Args:
        name: Key of `OPTIMIZERS`.
        learning_rate: A float or a schedule.
        weight_decay: Part of the loss with "rmsprop" and "sgd", decoupled with
            "adamw", inside the trust ratio with "lamb" and "lars".
        clip_norm: Maximum global norm of the gradients. None: no clipping.
        model: Network to be trained, whose BatchNorm does not decay; None: each weight
            decays.
        auxiliary: BatchNorm layers that are trained with it.

    Returns:
        A Keras optimizer, not built yet.
    """
    optimizer = OPTIMIZERS[name](learning_rate, weight_decay)
    optimizer.global_clipnorm = clip_norm
    layers = [] if model is None else model._flatten_layers(include_self=False)
    optimizer.exclude_from_weight_decay(
        var_list=batch_norm_weights([*layers, *auxiliary])
    )
    return optimizer


def batch_norm_weights(layers: Iterable[keras.layers.Layer]) -> list[keras.Variable]:
    """Lists gamma and beta of each BatchNormalization, which do not decay.

    All other weights do, the biases of squeeze-excite and of the classifier too.

    Args:
        layers: Layers of any kind, built.

    Source:
        tensorflow/tpu, main.py: every trainable whose name lacks
        `batch_normalization` decays.
    """
    kind = keras.layers.BatchNormalization
    pairs = [(la.gamma, la.beta) for la in layers if isinstance(la, kind)]
    return [weight for pair in pairs for weight in pair if weight is not None]


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
