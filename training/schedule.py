"""Step to learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

DECAY_RATE = 0.97  # per DECAY_EPOCHS
DECAY_EPOCHS = 2.4


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup from 0, then one of `SCHEDULES`, both counted from step 0.

    At the end of the warmup the rate goes over to the decayed value, which under
    "exponential" is a small step down.

    Args:
        kind: Key of `SCHEDULES`.
        peak_lr: Learning rate before any decay.
        steps_per_epoch: May be fractional.
        warmup_epochs: Length of the warmup; its steps are rounded down.
        total_steps: Of the whole run; where "cosine" reaches 0.

    Source:
        tensorflow/tpu, models/official/efficientnet/utils.py.
    """

    def __init__(
        self,
        kind: str,
        *,
        peak_lr: float,
        steps_per_epoch: float,
        warmup_epochs: float,
        total_steps: int,
    ) -> None:
        self.kind = kind
        self.peak_lr = peak_lr
        self.steps_per_epoch = steps_per_epoch
        self.warmup_epochs = warmup_epochs
        self.total_steps = total_steps

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the learning rate of `step`, a float32 scalar; 0 is the first."""
        step = tf.cast(step, tf.float32)
        warmup_steps = int(self.warmup_epochs * self.steps_per_epoch)
        decayed = self.peak_lr * SCHEDULES[self.kind](self, step)
        warming = self.peak_lr * step / max(1, warmup_steps)
        return tf.where(step < warmup_steps, warming, decayed)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal schedule."""
        return {
            "kind": self.kind,
            "peak_lr": self.peak_lr,
            "steps_per_epoch": self.steps_per_epoch,
            "warmup_epochs": self.warmup_epochs,
            "total_steps": self.total_steps,
        }


def _exponential(schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
    # A staircase, as in the paper: 0.97 after every 2.4 epochs.
    stairs = tf.floor(step / (DECAY_EPOCHS * schedule.steps_per_epoch))
    return tf.pow(DECAY_RATE, stairs)


def _cosine(schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
    done = tf.minimum(step / schedule.total_steps, 1.0)
    return 0.5 * (1.0 + tf.cos(math.pi * done))


def _constant(schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
    del schedule
    return tf.ones_like(step)


# Name -> factor of the peak learning rate at a step.
SCHEDULES: dict[str, Callable[[Schedule, tf.Tensor], tf.Tensor]] = {
    "exponential": _exponential,
    "cosine": _cosine,
    "constant": _constant,
}
