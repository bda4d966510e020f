"""Temperature scaling: fits the temperature that minimises the negative log-likelihood.

Label smoothing, MixUp and long training leave the order of the classes intact but not
their probabilities. One divisor of all logits corrects most of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

LOWEST, HIGHEST = 0.01, 100.0  # temperatures
_ENTRIES = 2**22  # logits per chunk, to bound the memory
_STEPS = 100
_TOLERANCE = 1e-10  # relative


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fits the temperature of a softmax classifier.

    The likelihood includes one more image, whose label is equally likely to be any
    class. Without it, the temperature of a model that is right on all images would be
    0, and its confidence always 100%.

    Args:
        logits: (images, classes), float; log-probabilities count as logits.
        labels: Class indices, (images,).

    Returns:
        Temperature, 0.01 to 100; divide logits by it. Above 1, the model was
        overconfident.

    Raises:
        ValueError: There are no images, or a logit or a label is not valid.

    Source:
        arXiv:1706.04599, section 4.2; J. Platt, "Probabilistic outputs for support
        vector machines" (1999), section 2.2, for the prior.
    """
    _check(logits, labels)
    low, high = 1 / HIGHEST, 1 / LOWEST  # of the inverse temperature
    if _derivatives(logits, labels, low)[0] >= 0:
        return HIGHEST
    if _derivatives(logits, labels, high)[0] <= 0:
        return LOWEST
    inverse = 1.0
    # The likelihood is convex in the inverse: Newton's method, inside a bracket.
    for _ in range(_STEPS):
        slope, curvature = _derivatives(logits, labels, inverse)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else low
        after = step if low < step < high else float(np.sqrt(low * high))
        if abs(after - inverse) <= _TOLERANCE * inverse:
            break
        inverse = after
    return float(1 / after)


def fit_class_temperatures(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Fits one temperature per class of a classifier with independent sigmoids.

    Args:
        logits: (images, classes), float.
        targets: Whether each class applies to the image, (images, classes), 0 or 1.

    Returns:
        Temperatures, (classes,); see `fit_temperature`.

    Raises:
        ValueError: See `fit_temperature`.
    """
    columns = zip(np.transpose(logits), np.transpose(targets), strict=True)
    # A sigmoid is a softmax over its logit and 0.
    return np.array(
        [
            fit_temperature(np.stack([np.zeros_like(z), z], axis=1), y.astype(int))
            for z, y in columns
        ]
    )


def _check(logits: np.ndarray, labels: np.ndarray) -> None:
    if len(logits) == 0 or labels.shape != (len(logits),):
        raise ValueError(
            "`labels` must have one class index per row of `logits`, at least one. "
            f"Received: logits {logits.shape}, labels {labels.shape}"
        )
    if not np.isfinite(logits).all():
        raise ValueError("`logits` must be finite. Received: NaN or infinity")
    if not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        raise ValueError(
            f"`labels` must be class indices under {logits.shape[1]}. "
            f"Received: {labels.min()} to {labels.max()}"
        )


def _derivatives(
    logits: np.ndarray, labels: np.ndarray, inverse: float
) -> tuple[float, float]:
    """Returns both derivatives of the mean loss by the inverse temperature."""
    images = len(logits)
    slope = curvature = 0.0
    for z, y in _chunks(logits, labels):
        powers = np.exp(inverse * z)
        p = powers / powers.sum(axis=1, keepdims=True)
        mean = (p * z).sum(axis=1)
        right = np.take_along_axis(z, y[:, np.newaxis], axis=1)[:, 0]
        # All images together share the one image of unknown class.
        wanted = (images * right + z.mean(axis=1)) / (images + 1)
        slope += (mean - wanted).sum() / images
        curvature += ((p * z**2).sum(axis=1) - mean**2).sum() / images
    return slope, curvature


def _chunks(
    logits: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rows = max(1, _ENTRIES // logits.shape[1])
    for start in range(0, len(logits), rows):
        z = logits[start : start + rows].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        yield z, labels[start : start + rows]
