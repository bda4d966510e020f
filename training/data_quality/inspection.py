"""Inspection of a data set with a trained classifier."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_efficientnet.common.image_classes import match_classes, readable_names
from keras_efficientnet.common.models import OpenedModel

from ..data.sources import Source, Split
from . import class_scores, duplicates, label_errors
from .duplicates import DuplicatePair
from .features import FeaturePredictor
from .label_errors import Suspect

TRAIN = "train"
CONFUSIONS = 6  # most frequent ones, with pictures


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Held-out images of one class that are predicted as another.

    Attributes:
        label: Class index of the images.
        answer: Predicted class.
        places: Split and position of each image.
    """

    label: int
    answer: int
    places: list[tuple[str, int]]


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Results of an inspection.

    Attributes:
        class_names: Names of the classes, in index order.
        splits: Splits, with labels that are indices of `class_names`.
        class_rows: Result of `score_classes`, only classes with images.
        confusions: Most frequent confusions of held-out images.
        pairs: Near-duplicates across splits.
        suspects: Split -> images with probably wrong labels.
    """

    class_names: tuple[str, ...]
    splits: dict[str, Split]
    class_rows: list[dict[str, Any]]
    confusions: list[Confusion]
    pairs: list[DuplicatePair]
    suspects: dict[str, list[Suspect]]


def inspect_source(
    opened: OpenedModel, source: Source, batch_size: int = 64
) -> Inspection:
    """Inspects the classes, duplicates and labels of a data set.

    Labels of "train" are compared with those of the nearest other training images,
    since the classifier may have memorised wrong labels. Labels of the other
    splits are compared with the classifier's predictions.

    Args:
        opened: Classifier that was trained on "train", and not on the other splits.
        source: Images and labels.
        batch_size: Images per step.

    Raises:
        ValueError: The classifier does not fit the data, there are no held-out images,
            or an image cannot be read.
    """
    held_out = [name for name in source.splits if name != TRAIN]
    if not held_out:
        raise ValueError(
            "`data` must have images that the model was not trained on, such as a "
            f"validation split. Received: splits {', '.join(source.splits)}"
        )
    predictor = FeaturePredictor(opened, batch_size)
    places = match_classes(source.class_names, opened.class_names, opened.classes)
    splits = {
        name: dataclasses.replace(split, labels=places[split.labels])
        for name, split in source.splits.items()
    }
    names = opened.class_names or source.class_names
    suspects, answers = {}, {}
    for name, split in splits.items():
        found = predictor(split)
        answers[name] = found.probabilities.argmax(axis=1)
        probabilities = found.probabilities
        if name == TRAIN:
            probabilities = label_errors.neighbour_probabilities(
                found.features, split.labels, opened.classes
            )
        suspects[name] = label_errors.find_suspects(probabilities, split.labels)
    labels = np.concatenate([splits[name].labels for name in held_out])
    predicted = np.concatenate([answers[name] for name in held_out])
    where = [(name, i) for name in held_out for i in range(len(splits[name]))]
    return Inspection(
        class_names=readable_names(names),
        splits=splits,
        class_rows=_class_rows(splits, labels, predicted, readable_names(names)),
        confusions=_confusions(labels, predicted, where),
        pairs=duplicates.find_duplicates(
            {name: duplicates.thumbnails(split) for name, split in splits.items()}
        ),
        suspects=suspects,
    )


def _class_rows(
    splits: dict[str, Split],
    labels: np.ndarray,
    answers: np.ndarray,
    class_names: tuple[str, ...],
) -> list[dict[str, Any]]:
    counts = {
        name: np.bincount(split.labels, minlength=len(class_names))
        for name, split in splits.items()
    }
    rows = class_scores.score_classes(counts, labels, answers, class_names)
    return [row for row in rows if any(row[f"{name}_images"] for name in counts)]


def _confusions(
    labels: np.ndarray, answers: np.ndarray, where: list[tuple[str, int]]
) -> list[Confusion]:
    return [
        Confusion(
            label,
            answer,
            [where[i] for i in np.flatnonzero((labels == label) & (answers == answer))],
        )
        for label, answer, _ in class_scores.worst_confusions(
            labels, answers, CONFUSIONS
        )
    ]
