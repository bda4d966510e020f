"""Everything that training changes, and how it is saved and restored."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class TrainState:
    """Model, optimizer, moving average of the weights, step and scores.

    Make it inside the strategy's scope.

    Args:
        model: Built; all its variables count, the seeds of dropout included.
        optimizer: A Keras optimizer for the model's trainable variables.
        ema_decay: Highest decay of the moving average, per step.

    Attributes:
        step: Finished steps, int64.
        sums: Summed loss, right answers and images since the epoch began, (3,),
            float32.
        best_top1: Of the best validation yet, a ratio; -1 before the first.
        best_loss: Of the same validation, nats.
        best_epoch: When that was.
        seconds: Spent in training, over all sittings.
    """

    def __init__(self, model: keras.Model, optimizer: Any, ema_decay: float) -> None:
        self.model = model
        self.optimizer = optimizer
        self.ema_decay = ema_decay
        optimizer.build(model.trainable_variables)
        self._averaged = [
            v.value for v in model.variables if tf.as_dtype(v.dtype).is_floating
        ]
        self._ema = [_variable(v.numpy()) for v in self._averaged]
        self.step = _variable(tf.zeros((), tf.int64))
        self.sums = _variable(tf.zeros(3))
        self.best_top1 = _variable(np.float64(-1.0))
        self.best_loss = _variable(np.float64(math.inf))
        self.best_epoch = _variable(np.float64(0.0))
        self.seconds = _variable(np.float64(0.0))

    def update_ema(self) -> None:
        """Moves the average towards the weights; call it after each step.

        The decay is min(ema_decay, (1 + t) / (10 + t)) with t finished steps, so
        that the first steps do not hang on to the random start. Moving statistics of
        BatchNorm are averaged too.

        Source:
            tensorflow, python/training/moving_averages.py (`num_updates`);
            tensorflow/tpu, main.py, counts the step that has just been made.
        """
        t = tf.cast(self.step, tf.float32)
        rest = 1.0 - tf.minimum(self.ema_decay, (1.0 + t) / (10.0 + t))
        for average, variable in zip(self._ema, self._averaged, strict=True):
            average.assign_sub((average - variable) * rest)

    @contextlib.contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Puts the averaged weights into the model, for the time of a block."""
        kept = [tf.identity(v) for v in self._averaged]
        _assign(self._averaged, self._ema)
        try:
            yield
        finally:
            _assign(self._averaged, kept)

    def save_ema_weights(self, path: pathlib.Path) -> None:
        """Writes the averaged weights; an older file gives way at the end only.

        Args:
            path: Ends in ".weights.h5".
        """
        unfinished = path.with_name(f"unfinished.{path.name}")
        with self.ema_weights():
            self.model.save_weights(unfinished)
        os.replace(unfinished, path)

    def is_best(self, top1: float, loss: float) -> bool:
        """Tells whether a validation beats all before; at equal top-1, by its loss."""
        return (top1, -loss) > (self.best_top1.numpy(), -self.best_loss.numpy())

    def checkpoints(self, directory: pathlib.Path, keep: int) -> Checkpoints:
        """Returns the checkpoints of this state in a folder.

        Args:
            directory: Made if needed.
            keep: How many of the latest stay.
        """
        # Listed one by one: Checkpoint(model=model) would drop the dropout seeds.
        # By position, because Keras numbers the seeds' names per process.
        checkpoint = tf.train.Checkpoint(
            model=[v.value for v in self.model.variables],
            optimizer=[v.value for v in self.optimizer.variables],
            ema=self._ema,
            step=self.step,
            sums=self.sums,
            best_top1=self.best_top1,
            best_loss=self.best_loss,
            best_epoch=self.best_epoch,
            seconds=self.seconds,
        )
        return Checkpoints(checkpoint, directory, keep, self.step)


class Checkpoints:
    """The latest checkpoints of a state in a folder."""

    def __init__(
        self,
        checkpoint: tf.train.Checkpoint,
        directory: pathlib.Path,
        keep: int,
        step: tf.Variable,
    ) -> None:
        self._step = step
        self._manager = tf.train.CheckpointManager(
            checkpoint, str(directory), max_to_keep=keep, checkpoint_name="step"
        )

    def save(self) -> None:
        """Writes the state."""
        self._manager.save(checkpoint_number=int(self._step.numpy()))

    def restore(self) -> bool:
        """Reads the latest state, if there is one.

        Returns:
            Whether there was one.
        """
        latest = self._manager.latest_checkpoint
        if latest:
            status = self._manager.checkpoint.restore(latest)
            status.assert_existing_objects_matched()
        return bool(latest)


def _variable(value: Any) -> tf.Variable:
    return tf.Variable(value, trainable=False)


@tf.function
def _assign(variables: list[tf.Variable], values: list[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
