"""Agreement of multi-label artefacts with the Keras model, and loss of mAP."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_efficientnet.common.scoring.multi_label import mean_average_precision


@dataclasses.dataclass(frozen=True)
class LabelComparison:
    """Comparison of the labels that an artefact and the Keras model predict.

    Attributes:
        predictions: Classes of each image that reach their threshold in the artefact.
        keras_labels: Number of labels that the Keras model predicts, over all images.
        differing: Number of labels that only one of them predicts. If the allowed
            difference reaches the threshold, either prediction counts.
        disagreements: Indices of the images with such labels.
        map: mAP of the artefact, 0 to 1; None without labels.
        keras_map: mAP of the Keras model, 0 to 1; None without labels.
    """

    predictions: tuple[tuple[int, ...], ...]
    keras_labels: int
    differing: int
    disagreements: tuple[int, ...]
    map: float | None
    keras_map: float | None

    @property
    def agreement(self) -> float:
        """1 minus the ratio of differing labels to those of Keras, at least 0."""
        return max(0.0, 1 - self.differing / max(self.keras_labels, 1))


def predicted_labels(
    probabilities: np.ndarray, thresholds: np.ndarray
) -> tuple[tuple[int, ...], ...]:
    """Returns the classes of each image whose probability reaches their threshold.

    Args:
        probabilities: (images, classes), float.
        thresholds: Threshold of each class, (classes,), float64.
    """
    return tuple(
        tuple(int(i) for i in np.flatnonzero(reached))
        for reached in probabilities >= thresholds
    )


def compare_labels(
    wanted: np.ndarray,
    found: np.ndarray,
    thresholds: np.ndarray,
    label_sets: np.ndarray | None = None,
    allowed: float = 0.0,
) -> LabelComparison:
    """Compares the probabilities of a multi-label artefact with the Keras model's.

    Args:
        wanted: Probabilities of the Keras model, (images, classes).
        found: Probabilities of the artefact.
        thresholds: Threshold of each class, (classes,), float64.
        label_sets: True labels, (images, classes), 1 or 0; None if unknown.
        allowed: Allowed difference of a probability.
    """
    is_clear = np.abs(wanted - thresholds) > allowed
    differs = ((wanted >= thresholds) != (found >= thresholds)) & is_clear
    ours = theirs = None
    if label_sets is not None and label_sets.any():
        theirs = mean_average_precision(label_sets, wanted)
        ours = mean_average_precision(label_sets, found)
    return LabelComparison(
        predictions=predicted_labels(found, thresholds),
        keras_labels=int((wanted >= thresholds).sum()),
        differing=int(differs.sum()),
        disagreements=tuple(int(i) for i in np.flatnonzero(differs.any(axis=1))),
        map=ours,
        keras_map=theirs,
    )


def find_label_problems(
    found: LabelComparison, images: int, min_agreement: float, max_loss: float
) -> list[str]:
    """Lists the thresholds that a multi-label artefact misses, and by how much.

    Args:
        found: Comparison with the Keras model.
        images: Number of images compared on.
        min_agreement: Smallest allowed agreement, 0 to 1.
        max_loss: Largest allowed loss of mAP, 0 to 1; one image is allowed on top,
            because nearly equal probabilities may change places.

    Returns:
        Problems, one sentence each; empty if the artefact passes.
    """
    problems = []
    allowed = int((1 - min_agreement) * found.keras_labels + 0.5)
    if found.differing > allowed:
        problems.append(
            f"{found.differing} labels differ from the {found.keras_labels} of Keras, "
            f"but at most {allowed} may ({1 - min_agreement:.0%})"
        )
    if found.map is not None and found.keras_map is not None:
        most = max_loss + 1 / images
        if not found.keras_map - found.map <= most:
            problems.append(
                f"mAP falls from {found.keras_map:.1%} to {found.map:.1%}, but may "
                f"fall by at most {most:.1%}"
            )
    return problems
