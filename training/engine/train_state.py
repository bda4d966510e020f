"""Training state: model, optimizer, moving average, step and scores."""

from __future__ import annotations

import contextlib
import functools
import math
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import checkpoints
from .checkpoints import Checkpoints


class TrainState:
    """State that training changes and checkpoints hold.

    Create it inside the strategy's scope.

    Args:
        model: Built model; all its variables belong to the state, dropout seeds
            included.
        optimizer: Keras optimizer for the trainable variables.
        ema_decay: Highest decay of the moving average, per step.
        auxiliary: Layers that are trained and checkpointed with the model without
            being part of it; see `advprop.auxiliary_batch_norms`.

    Attributes:
        step: Number of finished steps, int64.
        sums: Sums of loss, correct predictions and images of the epoch so far, (3,),
            float32.
        best_top1: Top-1 of the best validation so far, a ratio; -1 before the first.
        best_loss: Loss of the best validation, nats.
        best_epoch: Epoch of the best validation.
        seconds: Seconds of training, over all sessions.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Any,
        ema_decay: float,
        auxiliary: Mapping[int, keras.Layer] | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.ema_decay = ema_decay
        self.auxiliary = auxiliary or {}
        optimizer.build(self.trainable_variables)
        self._averaged = [
            v.value for v in model.variables if tf.as_dtype(v.dtype).is_floating
        ]
        self._ema = [_variable(v.numpy()) for v in self._averaged]
        # One function per state: TensorFlow warns when models share one.
        assign = functools.partial(_assign, self._averaged)
        self._put = tf.function(assign)
        self._put_ema = tf.function(functools.partial(assign, self._ema))
        self.step = _variable(tf.zeros((), tf.int64))
        self.sums = _variable(tf.zeros(3))
        self.best_top1 = _variable(np.float64(-1.0))
        self.best_loss = _variable(np.float64(math.inf))
        self.best_epoch = _variable(np.float64(0.0))
        self.seconds = _variable(np.float64(0.0))

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The trainable weights of the model and of the auxiliary layers."""
        others = [w for la in self.auxiliary.values() for w in la.trainable_variables]
        return [*self.model.trainable_variables, *others]

    def update_ema(self) -> None:
        """Updates the moving average of the weights; call it after each step.

        The decay is min(ema_decay, (1 + t) / (10 + t)) after t steps, so that the
        random initial weights are soon forgotten. BatchNorm's moving statistics are
        averaged too. A value that is not finite does not change its average.

        Source:
            tensorflow, python/training/moving_averages.py (`num_updates`);
            tensorflow/tpu, main.py, counts the step that has just been made.
        """
        t = tf.cast(self.step, tf.float32)
        rest = 1.0 - tf.minimum(self.ema_decay, (1.0 + t) / (10.0 + t))
        for average, variable in zip(self._ema, self._averaged, strict=True):
            move = (average - variable) * rest
            average.assign_sub(tf.where(tf.math.is_finite(move), move, 0.0))

    def average_statistics(self) -> None:
        """Averages BatchNorm's moving statistics over the replicas of a step.

        Call it in each replica, after the model. Without it, each replica would keep
        its own, and checkpoints only those of the first. Synchronised BatchNorm has
        equal ones anyway, and frozen BatchNorm does not change them.
        """
        context = tf.distribute.get_replica_context()
        layers = self.model._flatten_layers(include_self=False)
        moving = [
            weight.value
            for layer in layers
            if isinstance(layer, keras.layers.BatchNormalization)
            and layer.trainable
            and not layer.synchronized
            for weight in layer.non_trainable_weights
        ]
        if context.num_replicas_in_sync == 1 or not moving:
            return
        # One message instead of hundreds of small ones.
        flat = tf.concat([tf.reshape(v, [-1]) for v in moving], axis=0)
        means = tf.split(context.all_reduce("MEAN", flat), [v.shape[0] for v in moving])
        for variable, mean in zip(moving, means, strict=True):
            variable.assign(mean)

    @contextlib.contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Puts the averaged weights into the model inside a block."""
        kept = [tf.identity(v) for v in self._averaged]
        self._put_ema()
        try:
            yield
        finally:
            self._put(kept)

    def save_ema_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights, atomically.

        Args:
            path: Path of the file; ends in ".weights.h5".
        """
        with self.ema_weights():
            checkpoints.save_weights(self.model, path)

    def is_best(self, top1: float, loss: float) -> bool:
        """Returns whether a validation is the best; the loss decides equal top-1."""
        return (top1, -loss) > (self.best_top1.numpy(), -self.best_loss.numpy())

    def save(self, folder: Checkpoints) -> None:
        """Writes a checkpoint, unless a weight is not finite.

        Raises:
            FloatingPointError: A weight is not finite; the message names it.
        """
        reads = {
            name: functools.partial(_read, variable, name)
            for name, variable in self._variables().items()
        }
        folder.save(int(self.step.numpy()), reads)

    def restore(self, folder: Checkpoints) -> None:
        """Restores the latest intact checkpoint, if there are checkpoints.

        Raises:
            ValueError: There are checkpoints, but all are damaged.
        """
        folder.restore(
            {name: variable.assign for name, variable in self._variables().items()}
        )

    def checksum(self, part: str = "") -> int:
        """Returns the CRC-32 of the checkpointed values, except the training time.

        Args:
            part: "model" for the weights of the model only.
        """
        found = 0
        for name, variable in self._variables().items():
            if name.startswith(part) and name != "seconds":
                found = zlib.crc32(variable.numpy().tobytes(), found)
        return found

    def _variables(self) -> dict[str, tf.Variable]:
        """Returns the variables of a checkpoint by name."""
        # By position: Keras numbers the names of seeds per process.
        parts = {
            "model": [v.value for v in self.model.variables],
            "optimizer": [v.value for v in self.optimizer.variables],
            "ema": self._ema,
            "auxiliary": [
                v.value for la in self.auxiliary.values() for v in la.variables
            ],
        }
        scores = (
            "step",
            "sums",
            "best_top1",
            "best_loss",
            "best_epoch",
            "seconds",
        )
        return {
            **{
                f"{part}/{i}": variable
                for part, variables in parts.items()
                for i, variable in enumerate(variables)
            },
            **{name: getattr(self, name) for name in scores},
        }


def _read(variable: tf.Variable, name: str) -> np.ndarray:
    array = variable.numpy()
    # The best loss is infinite before the first validation.
    is_weight = "/" in name and np.issubdtype(array.dtype, np.floating)
    if is_weight and not np.isfinite(array).all():
        raise FloatingPointError(f"{name} ({variable.name}) is not finite")
    return array


def _variable(value: Any) -> tf.Variable:
    return tf.Variable(value, trainable=False)


def _assign(variables: list[tf.Variable], values: list[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
