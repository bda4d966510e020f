"""Precision, recall and worst confusion of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def score_classes(
    counts: Mapping[str, np.ndarray],
    labels: np.ndarray,
    answers: np.ndarray,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """Scores each class on held-out images, the lowest recall first.

    Args:
        counts: Split -> number of images of each class, (classes,).
        labels: Class index of each held-out image, (images,).
        answers: Predicted class of each held-out image, (images,).
        class_names: Names of the classes.

    Returns:
        One row per class: its name, images of each split, precision and recall
        (ratios; NaN without predictions or images), most_confused_with and times.
    """
    classes = len(class_names)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, answers), 1)
    right = confusion.diagonal()
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        recall = right / confusion.sum(axis=1)
        precision = right / confusion.sum(axis=0)
    wrong = confusion - np.diag(right)
    worst = wrong.argmax(axis=1)
    rows = [
        {
            "class": class_names[i],
            **{f"{name}_images": int(count[i]) for name, count in counts.items()},
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "most_confused_with": class_names[worst[i]] if wrong[i].any() else "",
            "times": int(wrong[i, worst[i]]),
        }
        for i in range(classes)
    ]
    return [rows[i] for i in np.argsort(recall, kind="stable")]


def worst_confusions(
    labels: np.ndarray, answers: np.ndarray, most: int
) -> list[tuple[int, int, int]]:
    """Lists the most frequent confusions as (label, answer, times).

    Args:
        labels: Class index of each image, (images,).
        answers: Predicted class of each image, (images,).
        most: Maximum number of confusions.
    """
    wrong = np.stack([labels, answers], axis=1)[labels != answers]
    pairs, times = np.unique(wrong, axis=0, return_counts=True)
    order = np.argsort(-times, kind="stable")[:most]
    return [(int(pairs[i, 0]), int(pairs[i, 1]), int(times[i])) for i in order]
