"""Verification: compares artefacts with the Keras model on real images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_efficientnet.common.image_classes import match_classes
from keras_efficientnet.common.image_folders import ImageFolder
from keras_efficientnet.common.intervals import wilson_interval
from keras_efficientnet.common.output_activation import check_finite, to_probabilities
from keras_efficientnet.common.sidecars import digest
from keras_efficientnet.preprocessing import EvalPreprocessing
from keras_efficientnet.preprocessing.tf_files import read_batches

from .formats.registry import Format
from .label_agreement import (
    LabelComparison,
    compare_labels,
    find_label_problems,
    predicted_labels,
)
from .progress import progress_bar
from .runtimes.base import Runner

MIN_DISTINCT = 20  # images; the interval of full agreement then starts at 84%
# Largest difference of probabilities between mixed precision and float32.
MAX_COPY_DIFFERENCE = 0.05


class VerificationError(RuntimeError):
    """An artefact's outputs differ too much from the Keras model's."""


@dataclasses.dataclass(frozen=True)
class UnknownImages:
    """Images of other classes, to measure a rejection threshold on.

    Attributes:
        paths: Paths of the images.
        threshold: Lowest accepted probability of the top prediction.
    """

    paths: tuple[Path, ...]
    threshold: float

    def rejected(self, runner: Runner, spec: EvalPreprocessing) -> float:
        """Returns the share of the images that a model rejects, a ratio.

        Args:
            runner: Runner of the model.
            spec: Crop, size and resize method of evaluation.

        Raises:
            ValueError: An image cannot be read, or an output is not finite.
        """
        probabilities = _run(runner, self.paths, spec)
        check_finite(probabilities)
        return float((probabilities.max(axis=1) < self.threshold).mean())


@dataclasses.dataclass(frozen=True)
class Reference:
    """Predictions of the Keras model for the verification images.

    Attributes:
        paths: Paths of the images.
        probabilities: (images, classes), float32.
        labels: True classes, (images,), int64; None if unknown, or with several.
        label_sets: All labels of each image, (images, classes), 1 or 0, for a
            multi-label model; None if unknown.
        thresholds: Threshold of each class of a multi-label model, (classes,),
            float64; None: one label per image.
        unknown: Images of other classes, or None.
        unknown_rejected: Share of these that the Keras model rejects, a ratio.
    """

    paths: tuple[Path, ...]
    probabilities: np.ndarray
    labels: np.ndarray | None
    label_sets: np.ndarray | None = None
    thresholds: np.ndarray | None = None
    unknown: UnknownImages | None = None
    unknown_rejected: float | None = None

    def answer(self, index: int) -> tuple[int, ...]:
        """Returns the classes that the Keras model predicts for an image.

        Args:
            index: Index of the image.
        """
        scores = self.probabilities[index]
        if self.thresholds is None:
            return (int(scores.argmax()),)
        return predicted_labels(scores[np.newaxis], self.thresholds)[0]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Comparison of an artefact with the Keras model.

    Attributes:
        images: Number of images compared on.
        classes: Number of classes.
        max_difference: Largest absolute difference of a probability.
        agreement: Share of images with the same top-1 class, 0 to 1. If the allowed
            difference can close the margin between two classes, either one counts. Of
            a multi-label model, see `LabelComparison`.
        top5_agreement: Top-5 overlap: share of Keras' five most probable classes that
            are among the artefact's five, mean over the images, 0 to 1.
        disagreements: Indices of the images whose top-1 classes, or labels, differ.
        predictions: Artefact's top-1 class for each image.
        top1: Top-1 accuracy of the artefact, 0 to 1; None without labels.
        keras_top1: Top-1 accuracy of the Keras model, 0 to 1; None without labels.
        labels: Comparison of the labels of a multi-label model, or None.
        unknown_rejected: Share of the images of other classes that the artefact
            rejects, a ratio; None without any.
    """

    images: int
    classes: int
    max_difference: float
    agreement: float
    top5_agreement: float
    disagreements: tuple[int, ...]
    predictions: tuple[int, ...]
    top1: float | None
    keras_top1: float | None
    labels: LabelComparison | None = None
    unknown_rejected: float | None = None

    def answer(self, index: int) -> tuple[int, ...]:
        """Returns the classes that the artefact predicts for an image.

        Args:
            index: Index of the image.
        """
        if self.labels is None:
            return (self.predictions[index],)
        return self.labels.predictions[index]

    @property
    def agreement_interval(self) -> tuple[float, float]:
        """95% interval of `agreement`, ratios."""
        if self.labels is not None:
            total = max(self.labels.keras_labels, 1)
            return wilson_interval(max(0, total - self.labels.differing), total)
        same = self.images - len(self.disagreements)
        return wilson_interval(same, self.images)


def reference_predictions(
    runner: Runner,
    examples: ImageFolder,
    labels: Sequence[str],
    spec: EvalPreprocessing,
    thresholds: Sequence[float] | None = None,
    unknown: UnknownImages | None = None,
) -> Reference:
    """Runs the Keras model on the verification images.

    Args:
        runner: Runner of the Keras model.
        examples: Verification images, with or without class folders.
        labels: Class names in index order.
        spec: Crop, size and resize method of evaluation.
        thresholds: Threshold of each class of a multi-label model; None: one label
            per image.
        unknown: Images of other classes, or None.

    Raises:
        ValueError: An image cannot be read, the name of a class folder is not a class
            name, or outputs are not finite.
    """
    paths = tuple(map(Path, examples.paths))
    indices = sets = None
    if examples.class_names:
        places = match_classes(examples.class_names, labels, len(labels))
        if thresholds is None:
            indices = places[examples.labels].astype(np.int64)
        else:
            sets = np.zeros((len(paths), len(labels)), np.uint8)
            sets[:, places] = _label_sets(examples)
    probabilities = _run(runner, paths, spec)
    check_finite(probabilities)
    limits = None if thresholds is None else np.array(thresholds, np.float64)
    rejected = None if unknown is None else unknown.rejected(runner, spec)
    return Reference(
        paths, probabilities, indices, sets, limits, unknown, unknown_rejected=rejected
    )


def _label_sets(examples: ImageFolder) -> np.ndarray:
    if examples.label_sets is not None:
        return examples.label_sets
    return np.eye(len(examples.class_names), dtype=np.uint8)[examples.labels]


def check_copy(model: Runner, copy: Runner, images: np.ndarray) -> None:
    """Checks that the inference copy of a network gives the same outputs.

    Args:
        model: Runner of the user's network, perhaps in mixed precision.
        copy: Runner of its float32 copy without augmentation.
        images: (batch, height, width, channels), float32, 0 to 255.

    Raises:
        ValueError: The probabilities differ too much.
    """
    images = np.clip(np.rint(images), 0, 255)  # for networks with integer inputs
    answers = [
        to_probabilities(runner(images), str(runner.embedded.output_activation))
        for runner in (model, copy)
    ]
    difference = float(np.abs(answers[0] - answers[1]).max())
    if not difference <= MAX_COPY_DIFFERENCE:
        raise ValueError(
            "A model must give the same outputs in float32 and without its "
            "augmentation layers; check custom layers, and `training=True` in calls. "
            f"Received: probabilities that differ by {difference:.2g}"
        )


def find_warnings(verification: Sequence[str], calibration: Sequence[str]) -> list[str]:
    """Finds reasons to doubt the result of a verification.

    Args:
        verification: Paths of the verification images.
        calibration: Paths of the calibration images.

    Returns:
        Warnings, one sentence each.
    """
    seen, used = _distinct(verification), _distinct(calibration)
    found = []
    if len(seen) < MIN_DISTINCT:
        low, _ = wilson_interval(len(seen), len(seen))
        found.append(
            f"Only {len(seen)} distinct verification images: an artefact that agrees "
            f"on all of them may agree on only {low:.0%} of other images (95% "
            "interval)."
        )
    if seen & used:
        found.append(
            f"{len(seen & used)} of {len(seen)} verification images are also used for "
            "calibration: on these, integer artefacts look better than they are."
        )
    return found


def _distinct(paths: Sequence[str]) -> set[str]:
    return {digest(Path(path)) for path in paths}


def compare_with_reference(
    row: Format, artefact: Path, reference: Reference, spec: EvalPreprocessing
) -> Comparison:
    """Compares an artefact with the Keras model.

    Args:
        row: Format of the artefact.
        artefact: Path of the file or folder.
        reference: Predictions of the Keras model.
        spec: Crop, size and resize method of evaluation.
    """
    wanted, runner = reference.probabilities, row.runner(artefact)
    found = _run(runner, reference.paths, spec)
    rows = np.arange(len(wanted))
    keras_first, first = wanted.argmax(axis=1), found.argmax(axis=1)
    margin = wanted[rows, keras_first] - wanted[rows, first]
    # Each of the two probabilities may change by the allowed difference.
    tie = 2 * (row.max_difference or 0)
    (differing,) = np.nonzero((keras_first != first) & (margin > tie))
    found_labels = None
    if reference.thresholds is not None:
        found_labels = compare_labels(
            wanted,
            found,
            reference.thresholds,
            reference.label_sets,
            row.max_difference or 0,
        )
        differing = np.array(found_labels.disagreements, np.int64)
    return Comparison(
        images=len(rows),
        classes=wanted.shape[1],
        max_difference=float(np.abs(found - wanted).max()),
        agreement=found_labels.agreement
        if found_labels
        else 1 - len(differing) / len(rows),
        top5_agreement=_share_of_firsts(wanted, found, 5),
        disagreements=tuple(int(i) for i in differing),
        predictions=tuple(int(i) for i in first),
        top1=_share_right(first, reference.labels),
        keras_top1=_share_right(keras_first, reference.labels),
        labels=found_labels,
        unknown_rejected=reference.unknown.rejected(runner, spec)
        if reference.unknown
        else None,
    )


def find_problems(found: Comparison, wanted: Format) -> list[str]:
    """Lists the thresholds that an artefact misses, and by how much.

    Shares are rounded to whole images: at 3%, one image in 24 may differ.

    Args:
        found: Comparison with the Keras model.
        wanted: Format with its thresholds.

    Returns:
        Problems, one sentence each; empty if the artefact passes.
    """
    problems = []
    limit = wanted.max_difference
    # Negated, so that NaN is a problem too.
    if limit is not None and not found.max_difference <= limit:
        problems.append(
            f"probabilities differ by {found.max_difference:.2g}, "
            f"but may differ by at most {limit:.0e}"
        )
    if found.labels is not None:
        return problems + find_label_problems(
            found.labels, found.images, wanted.min_agreement, wanted.max_top1_loss
        )
    differing = len(found.disagreements)
    allowed = _whole_images(1 - wanted.min_agreement, found.images)
    if differing > allowed:
        problems.append(
            f"the top-1 class differs from Keras' on {differing} of {found.images} "
            f"images, but may differ on at most {allowed} "
            f"({1 - wanted.min_agreement:.0%})"
        )
    if found.top1 is not None and found.keras_top1 is not None:
        lost = round((found.keras_top1 - found.top1) * found.images)
        allowed = _whole_images(wanted.max_top1_loss, found.images)
        if lost > allowed:
            problems.append(
                f"top-1 falls from {found.keras_top1:.1%} to {found.top1:.1%}, by "
                f"{lost} of {found.images} images, but may fall "
                f"by at most {allowed} ({wanted.max_top1_loss:.0%})"
            )
    return problems


def _whole_images(share: float, images: int) -> int:
    # Rounded: 3% of 24 images is one image.
    return int(share * images + 0.5)


def _run(runner: Runner, paths: Sequence[Path], spec: EvalPreprocessing) -> np.ndarray:
    batches = read_batches(paths, spec, int(runner.input_shape[-1] or 0))
    outputs = []
    with progress_bar(len(paths), "  verification", "images") as bar:
        for batch in batches:
            outputs.append(runner(batch))
            bar.update(len(batch))
    return to_probabilities(
        np.concatenate(outputs), str(runner.embedded.output_activation)
    )


def _share_of_firsts(wanted: np.ndarray, found: np.ndarray, count: int) -> float:
    """Returns the mean overlap of the `count` most probable classes, 0 to 1."""
    firsts = [
        np.argsort(-scores, axis=1, kind="stable")[:, :count]
        for scores in (wanted, found)
    ]
    pairs = zip(*firsts, strict=True)
    return float(np.mean([np.isin(ours, theirs).mean() for ours, theirs in pairs]))


def _share_right(first: np.ndarray, labels: np.ndarray | None) -> float | None:
    return None if labels is None else float(np.mean(first == labels))
