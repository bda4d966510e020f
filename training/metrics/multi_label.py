"""Scores of multi-label models: mAP, and precision, recall and F1 at thresholds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_efficientnet.common.scoring.multi_label import (
    average_precisions,
    mean_over_classes,
    precision_recall_f1,
    thresholds_of,
)

from .metrics import Scores


@dataclasses.dataclass(frozen=True)
class MultiLabelScores(Scores):
    """Scores of an evaluation with any number of labels per image.

    `loss` is the mean binary cross-entropy, and `top1` and `top5` the ratio of images
    that have one of their labels among the 1 or 5 highest scores.

    Attributes:
        map: Mean average precision over the classes that have images, a ratio.
        precision: Mean precision over these classes, a ratio.
        recall: Mean recall, a ratio.
        f1: Mean F1, a ratio.
    """

    map: float
    precision: float
    recall: float
    f1: float

    @property
    def selection(self) -> float:
        """See `Scores`."""
        return self.map

    @property
    def headline(self) -> str:
        """See `Scores`."""
        return f"mAP {self.map:.2%}"

    def __str__(self) -> str:
        return (
            f"mAP {self.map:.2%}  F1 {self.f1:.2%}  precision {self.precision:.2%}  "
            f"recall {self.recall:.2%}  n={self.images}"
        )


def extra_columns(scores: Scores) -> dict[str, float]:
    """Returns the columns of metrics.csv that only multi-label runs have.

    Args:
        scores: Scores of an epoch.
    """
    if isinstance(scores, MultiLabelScores):
        return {"validation_map": scores.map}
    return {}


def score_labels(
    simple: Scores,
    targets: np.ndarray,
    scores: np.ndarray,
    thresholds: Sequence[float] | None = None,
) -> MultiLabelScores:
    """Adds mAP, precision, recall and F1 to the scores of an evaluation.

    Args:
        simple: Loss, top-1 and top-5 of the same images.
        targets: Labels of the images, (images, classes), 1 or 0.
        scores: Probabilities, (images, classes).
        thresholds: Threshold of each class. None: 0.5.

    Raises:
        ValueError: No image has a label.
    """
    if not targets.any():
        raise ValueError(
            "At least one image must have a label to compute mAP. "
            f"Received: {len(targets)} images without labels"
        )
    limits = thresholds_of(thresholds, targets.shape[1])
    each = precision_recall_f1(targets, scores >= limits)
    precision, recall, f1 = map(mean_over_classes, each)
    return MultiLabelScores(
        **dataclasses.asdict(simple),
        map=mean_over_classes(average_precisions(targets, scores)),
        precision=precision,
        recall=recall,
        f1=f1,
    )


def per_class_rows(
    targets: np.ndarray,
    scores: np.ndarray,
    thresholds: Sequence[float] | None,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """Scores each class that has images.

    Args:
        targets: Labels of the images, (images, classes), 1 or 0.
        scores: Probabilities, (images, classes).
        thresholds: Threshold of each class. None: 0.5.
        class_names: Names of the classes.

    Returns:
        One row per class: its name, images, average_precision, threshold, precision,
        recall and f1.
    """
    limits = thresholds_of(thresholds, targets.shape[1])
    precision, recall, f1 = precision_recall_f1(targets, scores >= limits)
    precisions = average_precisions(targets, scores)
    counts = (targets > 0).sum(axis=0)
    return [
        {
            "class": class_names[int(i)],
            "images": int(counts[i]),
            "average_precision": float(precisions[i]),
            "threshold": float(limits[i]),
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
        }
        for i in np.flatnonzero(counts)
    ]
