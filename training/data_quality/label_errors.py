"""Probably wrong labels: confident learning, and votes of the nearest neighbours."""

from __future__ import annotations

import dataclasses

import numpy as np

NEIGHBOURS = 10
_BLOCK = 1024  # images compared with all others at a time


@dataclasses.dataclass(frozen=True)
class Suspect:
    """Image with a probably wrong label.

    Attributes:
        position: Position of the image in its split.
        label: Class index of its label.
        suggested: Class index that is more probable.
        label_probability: Probability of the label.
        suggested_probability: Probability of `suggested`.
    """

    position: int
    label: int
    suggested: int
    label_probability: float
    suggested_probability: float


def find_suspects(probabilities: np.ndarray, labels: np.ndarray) -> list[Suspect]:
    """Finds probably wrong labels by confident learning, the most suspicious first.

    First, the number of wrong labels is estimated. A class is likely for an image if
    its probability is at least the mean probability of that class over the images with
    its label, so a class that the model finds difficult in general needs less
    confidence. Among the images with a likely class, the rate of wrong labels is the
    share of those whose most probable likely class is not their label. Then the images
    whose label is the least probable compared with another class are listed, as many
    as this rate predicts. Estimated per class, the numbers would be too uncertain for
    classes of a few dozen images.

    Args:
        probabilities: Class probabilities by a model that did not learn these labels,
            (images, classes).
        labels: Class index of each image, (images,).

    Returns:
        Suspects, in descending order of the margin between the two probabilities.

    Source:
        arXiv:1911.00068, sections 3.1 (confident joint) and 3.2 (pruning by margin).
    """
    every = np.arange(len(labels))
    own = probabilities[every, labels]
    others = probabilities.copy()
    others[every, labels] = -np.inf
    suggested = others.argmax(axis=1)
    best = others[every, suggested]
    margins = best - own
    most = min(round(_noise_rate(probabilities, labels) * len(labels)), len(labels))
    order = np.argsort(-margins, kind="stable")[:most]
    return [
        Suspect(
            int(i), int(labels[i]), int(suggested[i]), float(own[i]), float(best[i])
        )
        for i in order[margins[order] > 0]
    ]


def _noise_rate(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Estimates the share of wrong labels."""
    every, classes = np.arange(len(labels)), probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, probabilities[every, labels], minlength=classes)
    # A class without images is never likely.
    means = np.where(counts > 0, own / np.maximum(counts, 1), np.inf)
    likely = np.where(probabilities >= means, probabilities, -1.0)
    found = likely.argmax(axis=1)
    is_counted = likely[every, found] >= 0
    if not is_counted.any():
        return 0.0
    return float((found != labels)[is_counted].mean())


def neighbour_probabilities(
    features: np.ndarray, labels: np.ndarray, classes: int, count: int = NEIGHBOURS
) -> np.ndarray:
    """Estimates class probabilities by the labels of the nearest other images.

    Neighbours are weighted by their cosine similarity. The image itself has no vote, so
    a wrong label does not confirm itself.

    Args:
        features: (images, channels), float.
        labels: Class index of each image, (images,).
        classes: Number of classes.
        count: Number of neighbours, if there are as many other images.

    Returns:
        (images, classes), float32; each row adds up to 1.
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = (features / np.maximum(norms, 1e-12)).astype(np.float32)
    count = min(count, len(unit) - 1)
    found = np.zeros((len(unit), classes), np.float32)
    if count < 1:
        return np.full_like(found, 1 / classes)
    for begin in range(0, len(unit), _BLOCK):
        rows = np.arange(begin, min(begin + _BLOCK, len(unit)))
        similarity = unit[rows] @ unit.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        votes = np.take_along_axis(similarity, nearest, axis=1)
        votes = np.maximum(votes, 1e-6)  # no neighbour has a negative vote
        votes /= votes.sum(axis=1, keepdims=True)
        np.add.at(found, (rows[:, np.newaxis], labels[nearest]), votes)
    return found
