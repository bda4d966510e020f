"""Optimizers, and the one place that decides which weights decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

# Of LARS: how far a layer moves at rate 1, relative to the size of its weights.
TRUST = 0.001


class _SumsFirst(keras.optimizers.Optimizer):
    """Optimizer that sums gradients over the replicas before anything else happens.

    Keras sums them after clipping, so that the outcome depends on the number of
    replicas. Here the order is: sum, L2 term, clipping, update.

    Attributes:
        l2: Coupled weight decay: `0.5 * l2 * w**2` of each weight joins the loss, but
            for those that `exclude_from_weight_decay` names.
        gradients_are_summed: Whether the caller of `apply` has summed the gradients
            over the replicas already; see `expect_summed_gradients`.
    """

    l2: float = 0.0
    gradients_are_summed: bool = False

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Takes one step.

        Args:
            grads: One gradient for each variable, or None for those without.
            trainable_variables: Variables to update; None: all that the optimizer was
                built for.
        """
        variables = trainable_variables
        if variables is None:
            variables = self._trainable_variables
        if not self.gradients_are_summed:
            grads = sum_over_replicas(grads)
        if self.l2:
            # The gradient of the L2 term, without differentiating the term.
            grads = [
                g
                if g is None or not self._use_weight_decay(v)
                else g + tf.cast(self.l2, g.dtype) * tf.cast(v, g.dtype)
                for g, v in zip(grads, variables, strict=True)
            ]
        super().apply(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[Any]:
        """Keeps Keras from summing what `apply` has summed."""
        return list(grads_and_vars)


class SGD(_SumsFirst, keras.optimizers.SGD):
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


class AdamW(_SumsFirst, keras.optimizers.AdamW):
    """Keras' AdamW; clipping is of the gradients summed over the replicas."""


class TF1RMSprop(_SumsFirst):
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


class LARS(_SumsFirst):
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
        name: Of the optimizer.
        **kwargs: Of `keras.optimizers.Optimizer`.

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


class LAMB(_SumsFirst):
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
        name: Of the optimizer.
        **kwargs: Of `keras.optimizers.Optimizer`.

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


def sum_over_replicas(gradients: Sequence[Any]) -> list[Any]:
    """Sums gradients over the replicas of the strategy; call it in each of them.

    Args:
        gradients: Tensors; None stays None.
    """
    context = tf.distribute.get_replica_context()
    present = [g for g in gradients if g is not None]
    if context is None or context.num_replicas_in_sync == 1 or not present:
        return list(gradients)
    summed = iter(context.all_reduce("SUM", present))
    return [g if g is None else next(summed) for g in gradients]


def expect_summed_gradients(optimizer: Any) -> None:
    """Leaves the summing over replicas to the caller of `apply`.

    A loop that scales its loss has to sum before it searches for overflow, which must
    find the same in every replica.

    Args:
        optimizer: Optimizer of this module, or a `LossScaleOptimizer` around one.

    Raises:
        TypeError: It is another one, which would sum a second time.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(inner, _SumsFirst):
        raise TypeError(
            "On several replicas the optimizer must be one of "
            f"`training.optim.optimizers`, such as those of `make_optimizer`. "
            f"Received: {inner!r}"
        )
    inner.gradients_are_summed = True


def _is_layered(variable: Any) -> bool:
    """Tells a matrix or a convolution from a bias and from BatchNorm's weights."""
    return len(variable.shape) > 1


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
