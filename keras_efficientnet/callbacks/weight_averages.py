"""Exponential moving averages of a model's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


class WeightAverages:
    """Exponential moving averages of variables, which can replace their values.

    Create it inside the scope of the variables' distribution strategy.

    Args:
        variables: Variables to average. Those that are not floating-point, such as
            the seeds of dropout, are left out.
        decay: Upper limit of the decay rate per step, at least 0 and under 1.

    Attributes:
        decay: Upper limit of the decay rate per step.
        variables: Averaged variables.
        averages: Their averages, in the same order, at least float32.
    """

    def __init__(self, variables: Sequence[keras.Variable], decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(
                f"`decay` must be at least 0 and under 1. Received: decay={decay}"
            )
        self.decay = decay
        self.variables = [v for v in variables if keras.backend.is_float_dtype(v.dtype)]
        self.averages = [
            keras.Variable(to_array(v), dtype=_wide(v.dtype), trainable=False)
            for v in self.variables
        ]
        self._moved = _compiled(_moved)
        self._live_values: list[np.ndarray] | None = None

    @property
    def are_in_model(self) -> bool:
        """Whether the variables currently hold the averages."""
        return self._live_values is not None

    def update(self, step: Any) -> None:
        """Updates the averages from the variables; call it after each step.

        The decay rate is min(decay, (1 + t) / (10 + t)) after step t, counted from 1,
        so that the average soon forgets the random initial weights. Where a variable
        is not finite, its average keeps its value.

        Args:
            step: Number of finished steps, a number or a scalar tensor.

        Source:
            tensorflow, python/training/moving_averages.py (`num_updates`);
            tensorflow/tpu, main.py, counts the step that has just finished.
        """
        t = ops.cast(step, "float32")
        rest = 1.0 - ops.minimum(self.decay, (1.0 + t) / (10.0 + t))
        moved = self._moved(
            [a.value for a in self.averages], [v.value for v in self.variables], rest
        )
        for average, value in zip(self.averages, moved, strict=True):
            average.assign(value)

    def put_into_model(self) -> None:
        """Sets the variables to the averages, until `restore_model`."""
        if self.are_in_model:
            return
        self._live_values = [to_array(v) for v in self.variables]
        for variable, average in zip(self.variables, self.averages, strict=True):
            variable.assign(to_array(average))

    def restore_model(self) -> None:
        """Restores the values that the variables had in training."""
        if self._live_values is None:
            return
        for variable, value in zip(self.variables, self._live_values, strict=True):
            variable.assign(value)
        self._live_values = None

    def restart(self) -> None:
        """Starts the averages anew from the present values of the variables."""
        self._live_values = None
        for variable, average in zip(self.variables, self.averages, strict=True):
            average.assign(to_array(variable))

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """Sets the variables to the averages inside a block."""
        if self.are_in_model:
            yield
            return
        self.put_into_model()
        try:
            yield
        finally:
            self.restore_model()


def to_array(variable: Any) -> np.ndarray:
    """Copies the value of a variable; PyTorch and JAX may share their memory."""
    return np.array(ops.convert_to_numpy(variable))


def _moved(averages: list[Any], values: list[Any], rest: Any) -> list[Any]:
    moved = []
    for average, value in zip(averages, values, strict=True):
        move = (average - ops.cast(value, average.dtype)) * ops.cast(
            rest, average.dtype
        )
        is_finite = ops.isfinite(move)
        moved.append(average - ops.where(is_finite, move, ops.zeros_like(move)))
    return moved


def _wide(dtype: str) -> str:
    # Steps of a decay rate near 1 are too small for half precision.
    return dtype if dtype == "float64" else "float32"


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function where calling its operations one by one is slow."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        compiled: Callable[..., Any] = jax.jit(function)
        return compiled
    if backend == "torch":
        import torch

        without_gradients: Callable[..., Any] = torch.no_grad()(function)
        return without_gradients
    return function
