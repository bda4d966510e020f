"""Multi-label classification: average precision, F1 and thresholds per class.

Targets are (images, classes), 1 for each label of an image and 0 for the others; scores
are probabilities of the same shape.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

DEFAULT_THRESHOLD = 0.5


def average_precisions(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the average precision of each class, (classes,), float64.

    It is the mean precision over the steps of the precision-recall curve, without
    interpolation. Equal scores form one step, so the order of the images does not
    matter. A class that no image has gives NaN.

    Args:
        targets: Labels of the images.
        scores: Probabilities of the classes.

    Example:
        >>> average_precisions([[1], [0], [1]], [[0.9], [0.8], [0.7]]).round(4)
        array([0.8333])
    """
    columns = zip(np.asarray(targets).T, np.asarray(scores).T, strict=True)
    return np.array([_average_precision(*column) for column in columns], np.float64)


def mean_average_precision(targets: np.ndarray, scores: np.ndarray) -> float:
    """Returns mAP: the mean of `average_precisions` over the classes that have images.

    Args:
        targets: Labels of the images.
        scores: Probabilities of the classes.

    Returns:
        A ratio; NaN if no image has a label.
    """
    return mean_over_classes(average_precisions(targets, scores))


def choose_thresholds(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Chooses the threshold of each class that gives the highest F1.

    It lies halfway between two neighbouring scores. Among equal F1, the threshold with
    the fewest predictions is chosen. A class that no image has gets
    `DEFAULT_THRESHOLD`.

    Args:
        targets: Labels of the images.
        scores: Probabilities of the classes.

    Returns:
        (classes,), float64, 0 to 1.

    Example:
        >>> choose_thresholds([[1], [0], [0]], [[0.75], [0.25], [0.1]])
        array([0.5])
    """
    columns = zip(np.asarray(targets).T, np.asarray(scores).T, strict=True)
    return np.array([_best_threshold(*column) for column in columns], np.float64)


def precision_recall_f1(
    targets: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns precision, recall and F1 of each class, (classes,) each, float64.

    Precision is 0 for a class that is never predicted. All three are NaN for a class
    that no image has.

    Args:
        targets: Labels of the images.
        predicted: Predicted labels of the images, of the same shape.
    """
    wanted, found = np.asarray(targets) > 0, np.asarray(predicted) > 0
    hits = (wanted & found).sum(axis=0).astype(np.float64)
    positives, answers = wanted.sum(axis=0), found.sum(axis=0)
    is_known = np.where(positives > 0, 1.0, np.nan)
    precision = is_known * hits / np.maximum(answers, 1)
    recall = is_known * hits / np.maximum(positives, 1)
    f1 = is_known * 2 * hits / np.maximum(positives + answers, 1)
    return precision, recall, f1


def label_names(labels: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Returns the names of an image's labels.

    Args:
        labels: (classes,), above 0 for each label.
        class_names: Names of the classes.

    Example:
        >>> label_names(np.array([1, 0, 1]), ["cat", "dog", "sofa"])
        ['cat', 'sofa']
    """
    return [class_names[int(i)] for i in np.flatnonzero(labels)]


def mean_over_classes(values: np.ndarray) -> float:
    """Returns the mean over the classes that have images; NaN if none has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of NaN only
        return float(np.nanmean(values))


def thresholds_of(thresholds: Sequence[float] | None, classes: int) -> np.ndarray:
    """Returns the thresholds of a model, (classes,), float64.

    Args:
        thresholds: Threshold of each class. None: `DEFAULT_THRESHOLD` for all.
        classes: Number of classes.
    """
    if thresholds is None:
        return np.full(classes, DEFAULT_THRESHOLD)
    return np.array(thresholds, np.float64)


def _steps(
    targets: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns hits, predictions and sorted scores at each distinct score.

    A threshold just below the i-th highest distinct score predicts the class for
    `predictions[i]` images, `hits[i]` of them correctly.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order].astype(np.float64)
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    return np.cumsum(targets[order] > 0)[ends], ends + 1, ordered


def _average_precision(targets: np.ndarray, scores: np.ndarray) -> float:
    positives = int((targets > 0).sum())
    if not positives:
        return np.nan
    hits, predictions, _ = _steps(targets, scores)
    gained = np.diff(hits, prepend=0)
    return float((gained * hits / predictions).sum() / positives)


def _best_threshold(targets: np.ndarray, scores: np.ndarray) -> float:
    positives = int((targets > 0).sum())
    if not positives:
        return DEFAULT_THRESHOLD
    hits, predictions, ordered = _steps(targets, scores)
    last = predictions[np.argmax(2 * hits / (predictions + positives))] - 1
    below = ordered[last + 1] if last + 1 < len(ordered) else 0.0
    return float((ordered[last] + below) / 2)
