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

from keras_efficientnet.callbacks.weight_averages import WeightAverages
from keras_efficientnet.optimizers import tf_replicas

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
        best_top1: Top-1, or mAP with several labels per image, of the best validation
            so far, a ratio; -1 before the first.
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
        self.auxiliary = auxiliary or {}
        optimizer.build(self.trainable_variables)
        self._averages = WeightAverages(model.variables, ema_decay)
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
        """Updates the moving average of the weights; call it after each step."""
        self._averages.update(self.step)

    def average_statistics(self) -> None:
        """Averages BatchNorm's moving statistics over the replicas of a step.

        Call it in each replica, after the model. Without it, each replica would keep
        its own, and checkpoints only those of the first. Synchronised BatchNorm has
        equal ones anyway, and frozen BatchNorm does not change them.
        """
        tf_replicas.average_over_replicas(tf_replicas.moving_statistics(self.model))

    @contextlib.contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Puts the averaged weights into the model inside a block."""
        with self._averages.in_model():
            yield

    def save_ema_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights, atomically.

        Args:
            path: Path of the file; ends in ".weights.h5".
        """
        with self.ema_weights():
            checkpoints.save_weights(self.model, path)

    def is_best(self, score: float, loss: float) -> bool:
        """Returns whether a validation is the best; the loss breaks ties.

        Args:
            score: Top-1, or mAP with several labels per image, a ratio.
            loss: Loss, nats.
        """
        return (score, -loss) > (self.best_top1.numpy(), -self.best_loss.numpy())

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
            "ema": [v.value for v in self._averages.averages],
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
