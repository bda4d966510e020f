"""Calibration metrics: calibration error, Brier score, risk and coverage."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

BINS = 15  # of equal width, as in the paper
_LEAST = float(np.finfo(np.float32).tiny)  # probability; smaller ones count as it


@dataclasses.dataclass(frozen=True)
class Confidences:
    """Values of each image from which calibration metrics are computed.

    Attributes:
        confidence: Probability of the top prediction, (images,).
        is_right: Whether the top prediction is correct, (images,).
        losses: Cross-entropy, (images,), nats.
        brier: Squared distance between the probabilities and the label, summed over
            the classes, (images,), 0 to 2.
    """

    confidence: np.ndarray
    is_right: np.ndarray
    losses: np.ndarray
    brier: np.ndarray


@dataclasses.dataclass(frozen=True)
class CalibrationScores:
    """Calibration metrics of a set of images.

    Attributes:
        ece: Expected calibration error of the top prediction, `BINS` bins, a ratio.
        nll: Mean cross-entropy, nats.
        brier: Mean Brier score, 0 to 2.
        aurc: Area under the risk-coverage curve, a ratio.
    """

    ece: float
    nll: float
    brier: float
    aurc: float

    def __str__(self) -> str:
        return f"ECE {self.ece:.2%}  NLL {self.nll:.4f}  Brier {self.brier:.4f}"


@dataclasses.dataclass(frozen=True)
class ReliabilityBins:
    """Bins of a reliability diagram, those without images left out.

    Attributes:
        lower: Lower bound of the confidence, (bins,).
        images: Number of images, (bins,).
        confidence: Mean confidence, (bins,).
        accuracy: Share of correct top predictions, (bins,).
    """

    lower: np.ndarray
    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Returns the logarithms of probabilities, float64; they count as logits."""
    return np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST))


def scale(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Returns probabilities after division of their logits by a temperature.

    Args:
        probabilities: Softmax outputs, (images, classes).
        temperature: Temperature above 0.

    Returns:
        (images, classes), float64.

    Example:
        >>> scale(np.array([[0.8, 0.2]]), 2.0).round(3)
        array([[0.667, 0.333]])
    """
    logits = log_probabilities(probabilities) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def measure(probabilities: np.ndarray, labels: np.ndarray) -> Confidences:
    """Computes `Confidences` for softmax outputs.

    Args:
        probabilities: Softmax outputs, (images, classes).
        labels: Class indices, (images,).
    """
    rows = np.arange(len(labels))
    right = probabilities[rows, labels]
    squares = (probabilities**2).sum(axis=1) - 2 * right + 1
    return Confidences(
        confidence=probabilities.max(axis=1),
        is_right=probabilities.argmax(axis=1) == labels,
        losses=-np.log(np.maximum(right, _LEAST)),
        brier=squares,
    )


def scale_labels(
    probabilities: np.ndarray, temperatures: float | Sequence[float] | np.ndarray
) -> np.ndarray:
    """Returns sigmoid outputs after division of their logits by temperatures.

    Args:
        probabilities: Sigmoid outputs, (images, classes).
        temperatures: Temperature of each class.

    Returns:
        (images, classes), float64.

    Example:
        >>> scale_labels(np.array([[0.8, 0.5]]), [2.0, 2.0]).round(3)
        array([[0.667, 0.5  ]])
    """
    return 1 / (1 + np.exp(-label_logits(probabilities) / np.asarray(temperatures)))


def label_logits(probabilities: np.ndarray) -> np.ndarray:
    """Returns the logits of sigmoid outputs, float64, -16 to 16."""
    # Closer to 0 and 1, float32 cannot represent the difference from 1.
    p = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return np.log(p) - np.log1p(-p)


def measure_labels(probabilities: np.ndarray, targets: np.ndarray) -> Confidences:
    """Computes `Confidences` for sigmoid outputs: one value per image and class.

    Args:
        probabilities: Sigmoid outputs, (images, classes).
        targets: Labels of the images, (images, classes), 1 or 0.

    Returns:
        Values of all pairs: the confidence is the probability of the label, and it is
        right where the image has that label.
    """
    p, is_label = probabilities.ravel(), targets.ravel() > 0
    right = np.where(is_label, p, 1 - p)
    return Confidences(
        confidence=p,
        is_right=is_label,
        losses=-np.log(np.maximum(right, _LEAST)),
        brier=(p - is_label) ** 2,
    )


def measure_both(
    probabilities: np.ndarray, labels: np.ndarray, temperature: float | Sequence[float]
) -> tuple[Confidences, Confidences]:
    """Computes `Confidences` of calibrated outputs, with and without calibration.

    Args:
        probabilities: Calibrated outputs, (images, classes).
        labels: Class indices, (images,); or all labels, (images, classes), 1 or 0.
        temperature: Temperature of the calibration; for all labels, one per class.

    Returns:
        Values with the calibration, and without.
    """
    inverse = 1 / np.asarray(temperature, np.float64)
    if labels.ndim == 2:
        before = scale_labels(probabilities, inverse)
        return measure_labels(probabilities, labels), measure_labels(before, labels)
    before = scale(probabilities, float(inverse))
    return measure(scale(probabilities, 1.0), labels), measure(before, labels)


def concatenate(parts: Sequence[Confidences]) -> Confidences:
    """Concatenates the values of several batches, at least one."""
    fields = [field.name for field in dataclasses.fields(Confidences)]
    columns = {f: np.concatenate([getattr(p, f) for p in parts]) for f in fields}
    return Confidences(**columns)


def calibration_scores(found: Confidences) -> CalibrationScores:
    """Computes the calibration metrics of a set of images, at least one."""
    bins = reliability(found)
    gaps = np.abs(bins.accuracy - bins.confidence)
    _, risk = risk_coverage(found)
    return CalibrationScores(
        ece=float((bins.images * gaps).sum() / len(found.confidence)),
        nll=float(found.losses.mean()),
        brier=float(found.brier.mean()),
        aurc=float(risk.mean()),
    )


def reliability(found: Confidences) -> ReliabilityBins:
    """Groups images by confidence, (0, 1/15], (1/15, 2/15] and so on.

    Source:
        arXiv:1706.04599, equations 2 and 3.
    """
    places = np.ceil(np.asarray(found.confidence, np.float64) * BINS).astype(int) - 1
    places = np.clip(places, 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    confidence = np.bincount(places, found.confidence, BINS)
    right = np.bincount(places, found.is_right, BINS)
    used = counts > 0
    return ReliabilityBins(
        lower=np.flatnonzero(used) / BINS,
        images=counts[used],
        confidence=confidence[used] / counts[used],
        accuracy=right[used] / counts[used],
    )


def risk_coverage(found: Confidences) -> tuple[np.ndarray, np.ndarray]:
    """Computes the error among the most confident images, for each share of them.

    Returns:
        Coverage and risk, each (images,): the share of images that are accepted, and
        the share of these whose top prediction is wrong.

    Source:
        arXiv:1705.08500, section 2.
    """
    order = np.argsort(-found.confidence, kind="stable")
    accepted = np.arange(1, len(order) + 1)
    wrong = np.cumsum(~np.asarray(found.is_right, bool)[order])
    return accepted / len(order), wrong / accepted
