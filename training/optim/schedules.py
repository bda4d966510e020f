"""Step to learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

DECAY_RATE = 0.97  # per stair of the exponential schedule
POLY_POWER = 2.0
POLY_END_RATE = 0.1  # LARS' rates are that large


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup from 0, then one of `SCHEDULES`.

    All but "poly" are counted from step 0. At the end of the warmup the rate goes
    over to the decayed value, which under "exponential" is a small step down.
    "poly", made for LARS, falls with the square of the steps that remain from the
    peak, after the warmup, to 0.1 (or stays, where the peak is lower).

    Args:
        kind: Key of `SCHEDULES`.
        peak_lr: Learning rate before any decay.
        steps_per_epoch: May be fractional.
        warmup_epochs: Length of the warmup; its steps are rounded down.
        total_steps: Of the whole run; where "cosine" reaches 0 and "poly" 0.1.
        decay_epochs: Length of a stair of "exponential".

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
        decay_epochs: float = 2.4,
    ) -> None:
        self.kind = kind
        self.peak_lr = peak_lr
        self.steps_per_epoch = steps_per_epoch
        self.warmup_epochs = warmup_epochs
        self.total_steps = total_steps
        self.decay_epochs = decay_epochs

    @property
    def warmup_steps(self) -> int:
        """Steps of the warmup."""
        return int(self.warmup_epochs * self.steps_per_epoch)

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the learning rate of `step`, a float32 scalar; 0 is the first."""
        step = tf.cast(step, tf.float32)
        warmup_steps = self.warmup_steps
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
            "decay_epochs": self.decay_epochs,
        }


def _exponential(schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
    # In the paper 0.97 after every 2.4 epochs.
    stairs = tf.floor(step / (schedule.decay_epochs * schedule.steps_per_epoch))
    return tf.pow(DECAY_RATE, stairs)


def _cosine(schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
    done = tf.minimum(step / schedule.total_steps, 1.0)
    return 0.5 * (1.0 + tf.cos(math.pi * done))


def _constant(schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
    del schedule
    return tf.ones_like(step)


def _poly(schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
    # The last of the decay's steps would be the one after the run.
    steps = max(1, schedule.total_steps - schedule.warmup_steps + 1)
    done = tf.clip_by_value(step - schedule.warmup_steps, 1.0, float(steps)) / steps
    end = min(1.0, POLY_END_RATE / schedule.peak_lr)
    return (1.0 - end) * (1.0 - done) ** POLY_POWER + end


# Name -> factor of the peak learning rate at a step.
SCHEDULES: dict[str, Callable[[Schedule, tf.Tensor], tf.Tensor]] = {
    "exponential": _exponential,
    "cosine": _cosine,
    "constant": _constant,
    "poly": _poly,
}
