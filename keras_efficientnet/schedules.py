"""Learning-rate schedules with a linear warmup."""

from __future__ import annotations

import math
from typing import Any

from ._compat import require_keras_3

require_keras_3(__name__, "keras.optimizers.schedules")

import keras  # noqa: E402
from keras import ops  # noqa: E402

__all__ = [
    "WarmupConstant",
    "WarmupCosineDecay",
    "WarmupPolynomialDecay",
    "WarmupStaircaseDecay",
]


class _Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup from 0, followed by a decay.

    Args:
        peak_learning_rate: Learning rate before any decay, above 0.
        warmup_steps: Number of warmup steps.
    """

    def __init__(self, peak_learning_rate: float, warmup_steps: int) -> None:
        _check_above_zero(peak_learning_rate=peak_learning_rate)
        if warmup_steps < 0:
            raise ValueError(
                "`warmup_steps` must be at least 0. "
                f"Received: warmup_steps={warmup_steps}"
            )
        self.peak_learning_rate = peak_learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate of a step, a float32 scalar; 0 is the first."""
        step = ops.cast(step, "float32")
        decayed = self.peak_learning_rate * self._factor(step)
        warming = self.peak_learning_rate * step / max(1, self.warmup_steps)
        return ops.where(step < self.warmup_steps, warming, decayed)

    def _factor(self, step: Any) -> Any:
        """Returns the decay of a step, as a factor of the peak learning rate."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal schedule."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "warmup_steps": self.warmup_steps,
        }


@keras.saving.register_keras_serializable(package="keras_efficientnet")
class WarmupStaircaseDecay(_Warmup):
    """Linear warmup, then staircase exponential decay: the paper's schedule.

    The stairs are counted from step 0, not from the end of the warmup, so the learning
    rate drops a little where the warmup ends.

    Args:
        peak_learning_rate: Learning rate before any decay, above 0. The paper uses
            0.016 for 256 images a step, in proportion to the batch.
        warmup_steps: Number of warmup steps; 5 epochs in the paper.
        decay_steps: Number of steps on one stair, which may be fractional; 2.4 epochs
            in the paper.
        decay_rate: Factor from one stair to the next, above 0.

    Raises:
        ValueError: A value is out of its range.

    Source:
        tensorflow/tpu, models/official/efficientnet/utils.py.

    Example:
        >>> from keras_efficientnet.schedules import WarmupStaircaseDecay
        >>> steps_per_epoch = 1000
        >>> schedule = WarmupStaircaseDecay(
        ...     0.016,
        ...     warmup_steps=5 * steps_per_epoch,
        ...     decay_steps=2.4 * steps_per_epoch,
        ... )
        >>> tuple(round(float(schedule(step)), 5) for step in (0, 2500, 5000, 7200))
        (0.0, 0.008, 0.01505, 0.0146)
    """

    def __init__(
        self,
        peak_learning_rate: float,
        *,
        warmup_steps: int = 0,
        decay_steps: float,
        decay_rate: float = 0.97,
    ) -> None:
        super().__init__(peak_learning_rate, warmup_steps)
        _check_above_zero(decay_steps=decay_steps, decay_rate=decay_rate)
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate

    def _factor(self, step: Any) -> Any:
        return ops.power(self.decay_rate, ops.floor(step / self.decay_steps))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal schedule."""
        own = {"decay_steps": self.decay_steps, "decay_rate": self.decay_rate}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="keras_efficientnet")
class WarmupCosineDecay(_Warmup):
    """Linear warmup, then half a cosine to 0 at the end of training.

    The cosine is counted from step 0, as in the original, not from the end of the
    warmup.

    Args:
        peak_learning_rate: Learning rate before any decay, above 0.
        warmup_steps: Number of warmup steps.
        total_steps: Number of training steps, warmup included.

    Raises:
        ValueError: A value is out of its range.

    Source:
        tensorflow/tpu, models/official/efficientnet/utils.py.

    Example:
        >>> from keras_efficientnet.schedules import WarmupCosineDecay
        >>> schedule = WarmupCosineDecay(0.1, warmup_steps=10, total_steps=100)
        >>> tuple(round(float(schedule(step)), 5) for step in (0, 5, 50, 100))
        (0.0, 0.05, 0.05, 0.0)
    """

    def __init__(
        self, peak_learning_rate: float, *, warmup_steps: int = 0, total_steps: int
    ) -> None:
        super().__init__(peak_learning_rate, warmup_steps)
        _check_above_zero(total_steps=total_steps)
        self.total_steps = total_steps

    def _factor(self, step: Any) -> Any:
        progress = ops.minimum(step / self.total_steps, 1.0)
        return 0.5 * (1.0 + ops.cos(math.pi * progress))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal schedule."""
        return {**super().get_config(), "total_steps": self.total_steps}


@keras.saving.register_keras_serializable(package="keras_efficientnet")
class WarmupConstant(_Warmup):
    """Linear warmup, then a constant learning rate.

    Args:
        peak_learning_rate: Learning rate after the warmup, above 0.
        warmup_steps: Number of warmup steps.

    Raises:
        ValueError: A value is out of its range.

    Example:
        >>> from keras_efficientnet.schedules import WarmupConstant
        >>> schedule = WarmupConstant(0.5, warmup_steps=10)
        >>> tuple(float(schedule(step)) for step in (0, 5, 1000))
        (0.0, 0.25, 0.5)
    """

    def __init__(self, peak_learning_rate: float, *, warmup_steps: int = 0) -> None:
        super().__init__(peak_learning_rate, warmup_steps)

    def _factor(self, step: Any) -> Any:
        return ops.ones_like(step)


@keras.saving.register_keras_serializable(package="keras_efficientnet")
class WarmupPolynomialDecay(_Warmup):
    """Linear warmup, then polynomial decay over the remaining steps, for LARS.

    Args:
        peak_learning_rate: Learning rate at the end of the warmup, above 0.
        warmup_steps: Number of warmup steps.
        total_steps: Number of training steps, warmup included.
        power: Exponent of the remaining fraction of steps, above 0.
        end_learning_rate: Learning rate at the end, at least 0. With a lower peak the
            learning rate stays at the peak.

    Raises:
        ValueError: A value is out of its range.

    Source:
        tensorflow/tpu, models/official/efficientnet/utils.py.

    Example:
        >>> from keras_efficientnet.schedules import WarmupPolynomialDecay
        >>> schedule = WarmupPolynomialDecay(8.0, warmup_steps=10, total_steps=100)
        >>> tuple(round(float(schedule(step)), 3) for step in (5, 55, 101))
        (4.0, 2.044, 0.0)
    """

    def __init__(
        self,
        peak_learning_rate: float,
        *,
        warmup_steps: int = 0,
        total_steps: int,
        power: float = 2.0,
        end_learning_rate: float = 0.0,
    ) -> None:
        super().__init__(peak_learning_rate, warmup_steps)
        _check_above_zero(total_steps=total_steps, power=power)
        if end_learning_rate < 0:
            raise ValueError(
                "`end_learning_rate` must be at least 0. "
                f"Received: end_learning_rate={end_learning_rate}"
            )
        self.total_steps = total_steps
        self.power = power
        self.end_learning_rate = end_learning_rate

    def _factor(self, step: Any) -> Any:
        # The end is reached one step after the last, as in the original.
        steps = max(1, self.total_steps - self.warmup_steps + 1)
        progress = ops.clip(step - self.warmup_steps, 1.0, float(steps)) / steps
        end = min(1.0, self.end_learning_rate / self.peak_learning_rate)
        return (1.0 - end) * (1.0 - progress) ** self.power + end

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that create an equal schedule."""
        own = {
            "total_steps": self.total_steps,
            "power": self.power,
            "end_learning_rate": self.end_learning_rate,
        }
        return {**super().get_config(), **own}


def _check_above_zero(**values: float) -> None:
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise ValueError(
                f"`{name}` must be finite and above 0. Received: {name}={value}"
            )
