"""Rejection thresholds: confidence below which a prediction is not accepted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..common.intervals import wilson_interval

MIN_ACCEPTED = 20  # images; a precision measured on fewer says little
_DECIMALS = 6  # of a confidence; artefacts compute in float32
_PRECISION_STEP = 0.001  # between two operating points, to keep the file short


class UnreachablePrecisionError(ValueError):
    """No threshold reaches the requested precision on the validation images."""


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """Precision and coverage at a threshold, on the validation images.

    Attributes:
        threshold: Lowest accepted confidence, 0 to 1.
        accepted: Number of accepted images.
        right: Number of accepted images whose top prediction is correct.
    """

    threshold: float
    accepted: int
    right: int

    @property
    def precision(self) -> float:
        """Share of the accepted images whose top prediction is correct."""
        return self.right / self.accepted

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of `precision`, ratios."""
        return wilson_interval(self.right, self.accepted)


def operating_points(
    confidences: np.ndarray, is_right: np.ndarray
) -> tuple[OperatingPoint, ...]:
    """Lists the thresholds that are worth choosing, the most accepting one first.

    Each threshold lies halfway between two confidences. It is listed if it accepts at
    least `MIN_ACCEPTED` images and is more precise than all lower thresholds.

    Args:
        confidences: Probability of the top prediction of each image, (images,).
        is_right: Whether that prediction is correct, (images,).

    Source:
        arXiv:1705.08500 (selective classification).
    """
    rounded = np.round(np.asarray(confidences, np.float64), _DECIMALS)
    order = np.argsort(-rounded, kind="stable")
    sorted_ = rounded[order]
    right = np.cumsum(np.asarray(is_right)[order])
    below = np.append(sorted_[1:], -sorted_[-1:])  # the last threshold is 0
    points: list[OperatingPoint] = []
    # Images of equal confidence can only be accepted together.
    for i in np.flatnonzero(below < sorted_)[::-1]:
        accepted = int(i) + 1
        if accepted < MIN_ACCEPTED:
            break
        threshold = float((sorted_[i] + below[i]) / 2)
        point = OperatingPoint(threshold, accepted, int(right[i]))
        if not points or _step(point) > _step(points[-1]):
            points.append(point)
    return tuple(points)


def choose_threshold(
    points: Sequence[OperatingPoint], precision: float
) -> OperatingPoint:
    """Chooses the threshold that accepts most images at the requested precision.

    Args:
        points: Result of `operating_points`.
        precision: Lowest share of correct predictions among the accepted images.

    Raises:
        UnreachablePrecisionError: No threshold is as precise; the message names the
            best precision that one reaches.
        ValueError: `precision` is not above 0 and at most 1.
    """
    check_precision(precision)
    if not points:
        raise UnreachablePrecisionError(
            f"`reject_precision` needs at least {MIN_ACCEPTED} validation images to "
            f"choose a threshold on. Received: reject_precision={precision:g}"
        )
    for point in points:
        if point.precision >= precision:
            return point
    best = points[-1]
    raise UnreachablePrecisionError(
        f"`reject_precision` must be reachable on at least {MIN_ACCEPTED} validation "
        f"images; the best precision is {best.precision:.4f}, on {best.accepted} "
        f"images. Received: reject_precision={precision:g}"
    )


def scale_thresholds(
    thresholds: Sequence[float], temperatures: Sequence[float]
) -> tuple[float, ...]:
    """Converts thresholds of sigmoids to those of calibrated sigmoids.

    An image reaches the threshold of a class with its calibrated probability if it
    reached the original one before.

    Args:
        thresholds: Threshold of each class, 0 to 1.
        temperatures: Temperature of each class.

    Example:
        >>> [round(t, 4) for t in scale_thresholds([0.5, 0.8, 1.0], [2.0, 2.0, 2.0])]
        [0.5, 0.6667, 1.0]
    """
    found = []
    for threshold, temperature in zip(thresholds, temperatures, strict=True):
        powers = [share ** (1 / temperature) for share in (threshold, 1 - threshold)]
        found.append(powers[0] / sum(powers))
    return tuple(found)


def check_precision(precision: float) -> None:
    """Checks that a precision is a ratio.

    Raises:
        ValueError: It is not above 0 and at most 1.
    """
    if not 0 < precision <= 1:
        raise ValueError(
            "`reject_precision` must be a ratio above 0 and at most 1, such as 0.95. "
            f"Received: reject_precision={precision}"
        )


def check_threshold(threshold: float) -> None:
    """Checks that a rejection threshold is a probability.

    Raises:
        ValueError: It is not between 0 and 1.
    """
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not (is_number and 0 <= threshold <= 1):
        raise ValueError(
            "`reject_threshold` must be a probability, 0 to 1. "
            f"Received: reject_threshold={threshold!r}"
        )


def _step(point: OperatingPoint) -> int:
    # Exact for the ratios of integers that matter here: 19 of 20 is step 950.
    return int(point.right / point.accepted / _PRECISION_STEP + 1e-9)
