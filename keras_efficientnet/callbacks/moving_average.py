"""Exponential moving average of the weights, as a Keras callback."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from .backup import AverageBackup
from .weight_averages import WeightAverages, to_array

_READERS = ("save", "save_weights", "get_weights")
_WRITERS = ("set_weights", "load_weights")
_TRAINERS = ("fit", "train_on_batch")


class ExponentialMovingAverage(keras.callbacks.Callback):
    """Averages the weights during `fit` and evaluates and saves the average.

    The trainable weights and the moving statistics of BatchNormalization are averaged
    after each step, with the decay rate min(decay, (1 + t) / (10 + t)) after step t,
    as the published networks were. `use_ema=True` of Keras' optimizers leaves the
    moving statistics out and has no such ramp.

    The model holds the averaged weights during validation, between epochs and after
    `fit`. `ModelCheckpoint` saves the averaged weights too, at any time and wherever it
    is in the list of callbacks, and `model.get_weights` returns them, with which
    `EarlyStopping` keeps the best epoch. Training continues from the live weights.
    Weights that a callback loads or sets replace both. If Keras builds the model in the
    first step, the average starts after that step.

    Each `fit` starts a new average from the model's weights, unless it resumes. To
    resume an interrupted `fit`, use `keras.callbacks.BackupAndRestore`, which saves
    the epoch and the optimizer, and give this callback a `backup_dir`: it holds the
    average and the live weights of the latest two epochs. As with `BackupAndRestore`,
    they are deleted when `fit` ends. After an interrupted `fit` the model has its live
    weights, or after an interrupted validation the average until you train it further.
    `model.save` still saves the average, until you train or load other weights.

    Args:
        decay: Upper limit of the decay rate per step, at least 0 and under 1. With n
            steps in all, choose 1 - 10 / n or less, so that the average forgets
            the initial weights.
        backup_dir: Path of a folder for resuming, other than that of
            `BackupAndRestore`, or None.

    Raises:
        ValueError: `decay` is out of its range.

    Source:
        tensorflow/tpu, models/official/efficientnet/main.py.

    Example:
        >>> import keras, keras_efficientnet, numpy
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> average = keras_efficientnet.callbacks.ExponentialMovingAverage(0.99)
        >>> x, y = numpy.ones((8, 2)), numpy.ones((8, 1))
        >>> history = model.fit(x, y, callbacks=[average], verbose=0)
    """

    def __init__(
        self, decay: float = 0.9999, backup_dir: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ValueError(
                f"`decay` must be at least 0 and under 1. Received: decay={decay}"
            )
        self.decay = decay
        self._backup = None if backup_dir is None else AverageBackup(Path(backup_dir))
        self._averages: WeightAverages | None = None
        self._update: Callable[[Any], None] | None = None
        self._is_training = False
        self._step = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks the model, and makes its methods use the average."""
        del logs
        model = self.model
        _check_optimizer(model.optimizer)
        # `fit` removes the methods of an earlier, interrupted one.
        if "fit" in vars(model):
            raise ValueError(
                "`ExponentialMovingAverage` must be listed once among the callbacks: a "
                "second one would take the first one's average for the live weights. "
                f"Received: two for the model {model.name!r}"
            )
        if model.steps_per_execution != 1:
            raise ValueError(
                "`ExponentialMovingAverage` must see the weights after each step: "
                "compile the model with steps_per_execution=1. "
                f"Received: steps_per_execution={model.steps_per_execution}"
            )
        if model.built and not model.trainable_variables:
            warnings.warn(
                "`ExponentialMovingAverage` averages weights that do not change: all "
                f"weights of the model {model.name!r} are frozen",
                stacklevel=2,
            )
        # Forget an earlier `fit`, which may have been interrupted.
        self._averages, self._step, self._is_training = None, 0, True
        wrappers = {
            **dict.fromkeys(_READERS, self._reading_average),
            **dict.fromkeys(_WRITERS, self._restarting_average),
            **dict.fromkeys(_TRAINERS, self._without_average),
        }
        for name, wrapper in wrappers.items():
            method = getattr(type(model), name).__get__(model)
            setattr(model, name, functools.partial(wrapper, method))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restores the live weights of the model."""
        del epoch, logs
        # On TensorFlow, the first step builds a model whose input shape is unknown.
        if self.model.built:
            self._started().restore_model()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Updates the average."""
        del batch, logs
        averages = self._started()
        self._step += 1
        step = ops.convert_to_tensor(self._step, "int32")
        (self._update or averages.update)(step)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Puts the average into the model, for callbacks that read its weights."""
        del epoch, logs
        self._put_into_model()

    def on_test_begin(self, logs: Any = None) -> None:
        """Puts the average into the model for validation."""
        del logs
        if self._is_training:
            self._put_into_model()

    def on_train_end(self, logs: Any = None) -> None:
        """Leaves the average in the model."""
        del logs
        self._started().put_into_model()
        self._release_model()
        if self._backup is not None:
            self._backup.clear()

    def _started(self) -> WeightAverages:
        """Returns the average, which starts when all callbacks have begun.

        `BackupAndRestore` loads the model's weights when it begins, which may be after
        this callback.
        """
        model = self.model  # on JAX, this attaches the weights to the model
        if self._averages is None:
            with _strategy_scope(model):
                self._averages = WeightAverages(model.variables, self.decay)
            if keras.backend.backend() == "tensorflow":
                from ..optimizers import tf_replicas

                self._update = tf_replicas.trace_update(model, self._averages.update)
            self._resume(self._averages)
        return self._averages

    def _resume(self, averages: WeightAverages) -> None:
        if self._backup is None:
            return
        expected = {name: a.shape for name, a in self._arrays(averages).items()}
        arrays = self._backup.load(self._optimizer_step(), expected)
        if arrays is None:
            return
        for i, (average, variable) in enumerate(
            zip(averages.averages, averages.variables, strict=True)
        ):
            average.assign(arrays[f"average_{i}"])
            variable.assign(arrays[f"weight_{i}"])
        self._step = int(arrays["step"])

    def _put_into_model(self) -> None:
        averages = self._started()
        if self._backup is not None and not averages.are_in_model:
            self._backup.save(self._optimizer_step(), self._arrays(averages))
        averages.put_into_model()

    def _arrays(self, averages: WeightAverages) -> dict[str, np.ndarray]:
        arrays = {"step": np.asarray(self._step)}
        for i, variable in enumerate(averages.averages):
            arrays[f"average_{i}"] = to_array(variable)
        for i, variable in enumerate(averages.variables):
            # NumPy's file format does not support bfloat16.
            wide = averages.averages[i].dtype
            arrays[f"weight_{i}"] = to_array(variable).astype(wide)
        return arrays

    def _optimizer_step(self) -> int:
        return int(to_array(self.model.optimizer.iterations))

    def _release_model(self) -> None:
        self._averages, self._update, self._is_training = None, None, False
        for name in (*_READERS, *_WRITERS, *_TRAINERS):
            self.model.__dict__.pop(name, None)

    def _reading_average(
        self, read: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Saves or returns the averaged weights."""
        # Other callbacks may still load the weights from which the average starts.
        if self._averages is None:
            return read(*args, **kwargs)
        with self._averages.in_model():
            return read(*args, **kwargs)

    def _restarting_average(
        self, write: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Changes the model's weights; live weights and average start from these."""
        written = write(*args, **kwargs)
        # Before the first epoch there is no average yet.
        if self._averages is not None:
            self._averages.restart()
        return written

    def _without_average(
        self, train: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Trains the model after an interruption, which makes the average outdated."""
        if self._averages is not None:
            self._averages.restore_model()
        self._release_model()
        return train(*args, **kwargs)


def _check_optimizer(optimizer: Any) -> None:
    # The optimizer of mixed precision contains another one.
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if getattr(inner, "use_ema", False):
        raise ValueError(
            "`ExponentialMovingAverage` must be the only average of the weights: "
            "create the optimizer with use_ema=False, and remove "
            "`keras.callbacks.SwapEMAWeights`. "
            f"Received: optimizer {inner.name!r} with use_ema=True"
        )


def _strategy_scope(model: keras.Model) -> contextlib.AbstractContextManager[Any]:
    if keras.backend.backend() == "tensorflow":
        scope: contextlib.AbstractContextManager[Any] = (
            model.distribute_strategy.scope()
        )
        return scope
    return contextlib.nullcontext()
