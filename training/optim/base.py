"""Base class of the optimizers: gradients are summed over the replicas first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class SummingOptimizer(keras.optimizers.Optimizer):
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
    if not isinstance(inner, SummingOptimizer):
        raise TypeError(
            "On several replicas the optimizer must be one of "
            "`training.optim.optimizers`, such as those of `make_optimizer`. "
            f"Received: {inner!r}"
        )
    inner.gradients_are_summed = True
