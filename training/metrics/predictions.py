"""Predictions of a model for the images of a split, and their files."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_efficientnet.common.files import write_csv, write_text
from keras_efficientnet.common.output_activation import (
    SIGMOID,
    check_finite,
    output_activation,
    probability_model,
)
from keras_efficientnet.common.plain_text import printable
from keras_efficientnet.common.scoring.multi_label import label_names, thresholds_of
from keras_efficientnet.preprocessing import EvalPreprocessing, imagenet_classes

from ..data import pipeline
from ..data.sources import UNKNOWN, Split
from ..engine import distribution
from .confidence import Confidences, concatenate, measure_both
from .fast_inference import accelerate
from .multi_label import per_class_rows

TOP = 5  # predictions per image
_WNID = re.compile(r"n\d{8}")


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Top predictions for each image, in the order of the split.

    Attributes:
        names: Names of the images.
        labels: Class index of each image, (images,); `UNKNOWN` without a label.
        answers: Most probable classes in descending order, (images, at most 5).
        probabilities: Probabilities of `answers`, of the same shape.
        losses: Cross-entropy of each image, (images,), nats.
        confidences: Values for calibration metrics; None for images without labels.
        uncalibrated: The same without the model's calibration; None without one.
        label_sets: All labels of each image, (images, classes), 1 or 0. None: each
            image has one, or they are not known.
        scores: Probabilities of all classes of a multi-label model, (images, classes).
            None: a model for one label per image.
        thresholds: Threshold of each class of a multi-label model.
    """

    names: Sequence[str]
    labels: np.ndarray
    answers: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray
    confidences: Confidences | None = None
    uncalibrated: Confidences | None = None
    label_sets: np.ndarray | None = None
    scores: np.ndarray | None = None
    thresholds: Sequence[float] | None = None

    @property
    def is_top1(self) -> np.ndarray:
        """Whether the top prediction is correct, (images,)."""
        if self.label_sets is not None:
            return self._has_label_among(1)
        return self.answers[:, 0] == self.labels

    @property
    def is_top5(self) -> np.ndarray:
        """Whether a true class is among the predictions, (images,)."""
        if self.label_sets is not None:
            return self._has_label_among(TOP)
        return (self.answers == self.labels[:, np.newaxis]).any(axis=1)

    def _has_label_among(self, top: int) -> np.ndarray:
        sets = np.asarray(self.label_sets)
        hits: np.ndarray = np.take_along_axis(sets, self.answers[:, :top], 1)
        return hits.max(axis=1) > 0


def predict(
    model: keras.Model,
    split: Split,
    spec: EvalPreprocessing,
    batch_size: int = 64,
    thresholds: Sequence[float] | None = None,
    temperature: float | tuple[float, ...] | None = None,
) -> Predictions:
    """Predicts the classes of all images of a split.

    Among equal scores the lower class index comes first.

    Args:
        model: Classifier of RGB images, 0 to 255, that ends in softmax, in sigmoids
            or in logits. The loss of several sigmoids is their mean binary
            cross-entropy.
        split: Images and labels.
        spec: Image size, crop ratio and resize method.
        batch_size: Images per step.
        thresholds: Threshold of each class of a multi-label model. None: one label per
            image, unless `split` has several.
        temperature: Temperature of the calibration that is part of `model`; None
            without one.

    Raises:
        ValueError: An image cannot be read; the message names it. Or the model takes
            other images, ends in another activation, or outputs NaN.
    """
    if model.input_shape[-1] != 3:
        raise ValueError(
            "`model` must take RGB images, (batch, height, width, 3). "
            f"Received: model {model.name!r} for {model.input_shape[-1]} channels"
        )
    multi_label = thresholds is not None or split.label_sets is not None
    if multi_label:
        split = _with_label_sets(model, split)
    find_probabilities = accelerate(probability_model(model), split, spec)
    step = _make_step(model, find_probabilities, multi_label)
    is_labelled = split.label_sets is not None
    if not multi_label:
        is_labelled = bool((split.labels != UNKNOWN).all())
    is_measured = is_labelled and multi_label == is_independent(model)
    measured: list[tuple[Confidences, Confidences]] = []
    batches = pipeline.eval_batches(
        split,
        spec,
        batch_size=batch_size,
        strategy=distribution.make_strategy("one_device"),
    )
    parts: list[list[np.ndarray]] = []
    with pipeline.name_unreadable_image(split):
        for images, labels, mask in batches:
            counts = mask.numpy() > 0
            *found, scores = (part.numpy()[counts] for part in step(images, labels))
            check_finite(scores)
            parts.append(found)
            if is_measured:
                right = labels.numpy()[counts]
                measured.append(measure_both(scores, right, temperature or 1.0))
    answers, probabilities, losses, *all_scores = map(
        np.concatenate, zip(*parts, strict=True)
    )
    return Predictions(
        split.names,
        split.labels,
        answers,
        probabilities,
        losses,
        concatenate([after for after, _ in measured]) if measured else None,
        concatenate([before for _, before in measured])
        if measured and temperature is not None
        else None,
        label_sets=split.label_sets,
        scores=all_scores[0] if multi_label else None,
        thresholds=thresholds,
    )


def is_independent(model: keras.Model) -> bool:
    """Returns whether a model has several sigmoids, one per independent class."""
    return output_activation(model) == SIGMOID and model.output_shape[-1] > 1


def _with_label_sets(model: keras.Model, split: Split) -> Split:
    """Returns a split with all labels of each image, for a multi-label model.

    An image of a split with one label per image has that label only.
    """
    classes = model.output_shape[-1]
    if not is_independent(model):
        raise ValueError(
            "`model` must end in a sigmoid per class for images with several labels. "
            f"Received: model {model.name!r}, which ends in "
            f"{output_activation(model)} over {classes} outputs"
        )
    if split.label_sets is not None or (split.labels == UNKNOWN).all():
        return split
    sets = np.eye(classes, dtype=np.uint8)[split.labels]
    return dataclasses.replace(split, label_sets=sets)


def _make_step(
    model: keras.Model, find_probabilities: Callable[..., tf.Tensor], multi_label: bool
) -> Callable[..., Any]:
    has_sigmoids = is_independent(model)
    model = probability_model(model)
    top = min(TOP, model.output_shape[-1])
    tiny = keras.config.epsilon()

    @tf.function(reduce_retracing=True)
    def step(images: Any, labels: Any) -> Any:
        scores = tf.cast(find_probabilities(images, training=False), tf.float32)
        found = tf.math.top_k(scores, top)
        if len(labels.shape) == 1:
            labels = tf.maximum(labels, 0)
        if has_sigmoids:
            targets = labels
            if len(labels.shape) == 1:
                targets = tf.one_hot(labels, scores.shape[-1])
            losses = keras.losses.binary_crossentropy(targets, scores)
        else:
            right = tf.gather(scores, labels, batch_dims=1)
            losses = -tf.math.log(tf.maximum(right, tiny))
        all_scores = (scores,) if multi_label else ()
        return found.indices, found.values, losses, *all_scores, scores

    return step


def is_imagenet(class_names: Sequence[str]) -> bool:
    """Returns whether the classes are the WordNet ids of ImageNet's 1000."""
    return set(class_names) == {wnid for wnid, _ in imagenet_classes()}


def per_class_scores(
    found: Predictions, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Scores each class that has images.

    Args:
        found: Predictions for images with labels.
        class_names: Class names of the model, in index order.

    Returns:
        One row per class: its name, images, top1 and top5 (ratios),
        most_confused_with (the most frequent wrong prediction, or empty) and times.
        With several labels per image, see `per_class_rows`.
    """
    if found.scores is not None and found.label_sets is not None:
        return per_class_rows(
            found.label_sets, found.scores, found.thresholds, class_names
        )
    rows = []
    for label in np.unique(found.labels):
        at = found.labels == label
        wrong = found.answers[at & ~found.is_top1, 0]
        answers, counts = np.unique(wrong, return_counts=True)
        most = int(np.argmax(counts)) if len(wrong) else None
        rows.append(
            {
                "class": class_names[label],
                "images": int(at.sum()),
                "top1": float(found.is_top1[at].mean()),
                "top5": float(found.is_top5[at].mean()),
                "most_confused_with": ""
                if most is None
                else class_names[answers[most]],
                "times": 0 if most is None else int(counts[most]),
            }
        )
    return rows


def write_per_class(
    found: Predictions, class_names: Sequence[str], path: pathlib.Path
) -> None:
    """Writes the rows of `per_class_scores` as CSV, in class order."""
    rows = [
        {
            key: f"{value:.6g}" if isinstance(value, float) else value
            for key, value in row.items()
        }
        for row in per_class_scores(found, class_names)
    ]
    write_csv(path, rows)


def write_predictions(
    found: Predictions,
    class_names: Sequence[str],
    path: pathlib.Path,
    reject_threshold: float | None = None,
) -> None:
    """Writes each image's name, label (if known) and predictions as CSV.

    Several labels are separated by "|". A multi-label model also has the column
    `predicted`, the labels whose probability reaches their threshold.

    Args:
        found: Predictions.
        class_names: Class names in index order.
        path: Path of the CSV file.
        reject_threshold: Lowest accepted probability; adds the column `recognised`,
            yes or no. None: no such column.
    """
    columns = found.names, found.answers, found.probabilities
    labels, predicted = _label_texts(found, class_names)
    rows = []
    for i, (name, answers, probabilities) in enumerate(zip(*columns, strict=True)):
        row = {"name": printable(name), "label": labels[i]}
        if predicted:
            row["predicted"] = predicted[i]
        pairs = zip(answers, probabilities, strict=True)
        for k, (answer, probability) in enumerate(pairs, 1):
            row |= {f"class_{k}": class_names[answer]}
            row |= {f"probability_{k}": f"{probability:.6g}"}
        if reject_threshold is not None:
            is_accepted = probabilities[0] >= reject_threshold
            row["recognised"] = "yes" if is_accepted else "no"
        rows.append(row)
    write_csv(path, rows)


def _label_texts(
    found: Predictions, class_names: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Returns the labels and, for multi-label models, the predicted ones, as text."""
    if found.scores is None:
        right = ["" if i == UNKNOWN else class_names[i] for i in found.labels]
        return right, []

    def join(sets: np.ndarray) -> list[str]:
        return ["|".join(label_names(row, class_names)) for row in sets]

    limits = thresholds_of(found.thresholds, found.scores.shape[1])
    known: np.ndarray = np.zeros(found.scores.shape)
    if found.label_sets is not None:
        known = found.label_sets
    return join(known), join(found.scores >= limits)


def read_ilsvrc_ids(path: str | pathlib.Path) -> dict[str, int]:
    """Reads the ILSVRC2012 number of each class.

    The numbers are those of the development kit, 1 to 1000; their order differs from
    that of the network's classes.

    Args:
        path: Path of a text file with a class per line, in the order of the numbers;
            the first word is its WordNet id. A second word must be the line's number.

    Returns:
        WordNet id -> number.

    Raises:
        ValueError: The file does not list ImageNet's 1000 classes in this form.
    """
    lines = pathlib.Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    words = [line.split() for line in lines if line.strip()]
    ids = {word[0]: number for number, word in enumerate(words, start=1)}
    wrong = [
        f"line {number}: {' '.join(word)}"
        for number, word in enumerate(words, start=1)
        if not _WNID.fullmatch(word[0])
        or (len(word) > 1 and word[1].isdigit() and int(word[1]) != number)
    ]
    if wrong or len(words) != 1000 or not is_imagenet(list(ids)):
        raise ValueError(
            "`ilsvrc_ids` must list the WordNet ids of ImageNet's 1000 classes, one "
            "per line, in the order of the development kit. "
            f"Received: {len(words)} lines in {path}. {'; '.join(wrong[:3])}"
        )
    return ids


def write_server_file(
    found: Predictions,
    class_names: Sequence[str],
    ilsvrc_ids: dict[str, int],
    path: pathlib.Path,
) -> None:
    """Writes the file for the ILSVRC test server: five class numbers per image.

    Args:
        found: Predictions for the test images, in the order of their file names.
        class_names: WordNet ids, in index order.
        ilsvrc_ids: Result of `read_ilsvrc_ids`.
        path: Path of the text file.

    Raises:
        ValueError: The model's classes are not ImageNet's.
    """
    if not is_imagenet(class_names):
        raise ValueError(
            "`model` must have ImageNet's 1000 classes for the ILSVRC server. "
            f"Received: a model with classes {', '.join(class_names[:3])} ..."
        )
    numbers = np.array([ilsvrc_ids[name] for name in class_names])
    lines = [" ".join(map(str, row)) for row in numbers[found.answers]]
    write_text(path, "\n".join(lines) + "\n")
