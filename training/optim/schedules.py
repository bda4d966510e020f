"""Learning-rate schedules of the trainer, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_efficientnet.schedules import (
    WarmupConstant,
    WarmupCosineDecay,
    WarmupPolynomialDecay,
    WarmupStaircaseDecay,
)

POLY_END_RATE = 0.1  # suits LARS, whose learning rates are far higher


def make_schedule(
    kind: str,
    *,
    peak_lr: float,
    steps_per_epoch: float,
    warmup_epochs: float,
    total_steps: int,
    decay_epochs: float = 2.4,
) -> Any:
    """Creates a learning-rate schedule from durations in epochs.

    Args:
        kind: Key of `SCHEDULES`.
        peak_lr: Learning rate before any decay.
        steps_per_epoch: Number of steps per epoch, which may be fractional.
        warmup_epochs: Duration of the warmup; its steps are rounded down.
        total_steps: Number of steps of the complete run, at which "cosine" reaches 0
            and "poly" reaches 0.1.
        decay_epochs: Duration of one stair of "exponential".

    Returns:
        A Keras schedule from step to learning rate.
    """
    warmup_steps = int(warmup_epochs * steps_per_epoch)
    decay_steps = decay_epochs * steps_per_epoch
    return SCHEDULES[kind](peak_lr, warmup_steps, total_steps, decay_steps)


def _exponential(peak: float, warmup: int, total: int, stair: float) -> Any:
    del total
    return WarmupStaircaseDecay(peak, warmup_steps=warmup, decay_steps=stair)


def _cosine(peak: float, warmup: int, total: int, stair: float) -> Any:
    del stair
    return WarmupCosineDecay(peak, warmup_steps=warmup, total_steps=total)


def _constant(peak: float, warmup: int, total: int, stair: float) -> Any:
    del total, stair
    return WarmupConstant(peak, warmup_steps=warmup)


def _poly(peak: float, warmup: int, total: int, stair: float) -> Any:
    del stair
    return WarmupPolynomialDecay(
        peak,
        warmup_steps=warmup,
        total_steps=total,
        end_learning_rate=POLY_END_RATE,
    )


# Name -> maker from (peak, warmup steps, total steps, steps per stair).
SCHEDULES: dict[str, Callable[[float, int, int, float], Any]] = {
    "exponential": _exponential,
    "cosine": _cosine,
    "constant": _constant,
    "poly": _poly,
}


class TwoPartSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """One schedule, followed by another that counts its steps from its own start.

    Args:
        before: Schedule of the steps before `begin`.
        after: Schedule of the steps from `begin`.
        begin: First step of `after`.
    """

    def __init__(self, before: Any, after: Any, begin: int) -> None:
        self.before = before
        self.after = after
        self.begin = begin

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate of a step, a float32 scalar; 0 is the first."""
        step = keras.ops.cast(step, "float32")
        after = self.after(step - self.begin)
        return keras.ops.where(step < self.begin, self.before(step), after)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal schedule."""
        return {"before": self.before, "after": self.after, "begin": self.begin}
