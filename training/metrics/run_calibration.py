"""Calibration of a finished run: temperature, rejection threshold and their effect."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_efficientnet.calibration.record import CalibrationRecord
from keras_efficientnet.calibration.thresholds import (
    UnreachablePrecisionError,
    operating_points,
)
from keras_efficientnet.common.intervals import wilson_interval
from keras_efficientnet.preprocessing import EvalPreprocessing

from ..config import TrainConfig
from ..data.sources import Source, Split, unlabelled
from .confidence import (
    Confidences,
    calibration_scores,
    concatenate,
    label_logits,
    log_probabilities,
    measure,
    measure_labels,
    scale,
    scale_labels,
)
from .evaluator import Evaluator
from .metrics import Scores
from .temperature import fit_class_temperatures, fit_temperature

_ENTRIES = 2**28  # probabilities to fit on, at most; 1 GiB


@dataclasses.dataclass(frozen=True)
class RunCalibration:
    """Calibration of a run and its effect on the images of the final split.

    Attributes:
        record: Temperature and thresholds.
        before: Values of the final split without the temperature.
        after: Values of the final split with it.
        unknown: Confidences of images of other classes, (images,); None without any.
        problem: Reason why there is no rejection threshold or no measurement on
            `config.unknown`, although requested; empty otherwise.
    """

    record: CalibrationRecord
    before: Confidences
    after: Confidences
    unknown: np.ndarray | None = None
    problem: str = ""

    def summary(self) -> dict[str, Any]:
        """Returns the entry "calibration" of summary.json."""
        record, temperature = self.record, self.record.temperature
        return {
            "temperature": [*temperature]
            if isinstance(temperature, tuple)
            else temperature,
            "split": record.split,
            "images": record.images,
            "before": dataclasses.asdict(calibration_scores(self.before)),
            "after": dataclasses.asdict(calibration_scores(self.after)),
            "reject_precision": record.reject_precision,
            "reject_threshold": record.reject_threshold,
            **rejection(self.after, self.unknown, record.reject_threshold),
            "problem": self.problem,
        }


def wants_calibration(config: TrainConfig) -> bool:
    """Returns whether a run fits a temperature or chooses a rejection threshold."""
    return config.calibrate or config.reject_precision is not None


def calibrate_and_score(
    evaluator: Evaluator, source: Source, config: TrainConfig
) -> tuple[RunCalibration, Scores]:
    """Calibrates a model on the images that selected its epoch.

    Args:
        evaluator: Evaluator of the final model, whose outputs are probabilities.
        source: Images of the run.
        config: Configuration of the run.

    Returns:
        Calibration, and scores on the final split.

    Raises:
        ValueError: An image cannot be read.
    """
    name = source.selection_split
    split = source.split(name)
    probabilities, labels = _predict_all(evaluator, _limited(split, source), config)
    temperature = 1.0
    if config.calibrate:
        logits = log_probabilities(probabilities)
        temperature = fit_temperature(logits, labels)
    scaled = measure(scale(probabilities, temperature), labels)
    record = CalibrationRecord(
        temperature=temperature,
        split=name,
        images=len(labels),
        operating_points=operating_points(scaled.confidence, scaled.is_right),
    )
    record, problem = _with_threshold(record, config.reject_precision)
    parts: list[tuple[Confidences, Confidences]] = []

    def visit(outputs: np.ndarray, labels: np.ndarray) -> None:
        before, after = (scale(outputs, t) for t in (1.0, temperature))
        parts.append((measure(before, labels), measure(after, labels)))

    final, options = source.split(source.final_split), _options(config)
    scores = evaluator(final, *options, visit=visit)
    before, after = map(concatenate, zip(*parts, strict=True))
    unknown = None
    if config.unknown is not None:
        try:
            others = unlabelled(config.unknown)
            found = [*evaluator.outputs_alone(others, *options)]
            unknown = scale(np.concatenate(found), temperature).max(axis=1)
        except (ValueError, OSError) as error:
            # These images must not keep a trained model from being written.
            reasons = (problem, f"`unknown` could not be measured: {error}")
            problem = ". ".join(filter(None, reasons))
    return RunCalibration(record, before, after, unknown, problem), scores


def calibrate_labels(
    selected: tuple[np.ndarray, np.ndarray],
    final: tuple[np.ndarray, np.ndarray],
    split: str,
) -> RunCalibration:
    """Calibrates a model with several labels per image.

    Args:
        selected: Labels and probabilities of the images that selected the epoch, both
            (images, classes).
        final: Those of the final split.
        split: Name of the split of `selected`.
    """
    targets, probabilities = selected
    found = fit_class_temperatures(label_logits(probabilities), targets > 0)
    temperatures = tuple(found.tolist())
    record = CalibrationRecord(temperatures, split, len(targets))
    targets, probabilities = final
    return RunCalibration(
        record,
        before=measure_labels(scale_labels(probabilities, 1.0), targets),
        after=measure_labels(scale_labels(probabilities, temperatures), targets),
    )


def rejection(
    found: Confidences, unknown: np.ndarray | None, threshold: float | None
) -> dict[str, Any]:
    """Computes how many images a rejection threshold accepts.

    Args:
        found: Values of images with labels.
        unknown: Confidences of images of other classes, (images,), or None.
        threshold: Lowest accepted confidence; None: no image is rejected.

    Returns:
        accepted (ratio), accepted_precision (ratio; None if no image is accepted) and
        its interval; with `unknown`, unknown_images and unknown_rejected (ratio).
        Empty without a threshold.
    """
    if threshold is None:
        return {}
    is_accepted = found.confidence >= threshold
    count, right = int(is_accepted.sum()), int(found.is_right[is_accepted].sum())
    interval = [*wilson_interval(right, count)] if count else None
    row: dict[str, Any] = {
        "accepted": float(is_accepted.mean()),
        "accepted_precision": right / count if count else None,
        "accepted_precision_interval": interval,
    }
    if unknown is not None:
        row["unknown_images"] = len(unknown)
        row["unknown_rejected"] = float((unknown < threshold).mean())
    return row


def _with_threshold(
    record: CalibrationRecord, precision: float | None
) -> tuple[CalibrationRecord, str]:
    if precision is None:
        return record, ""
    try:
        return record.with_precision(precision), ""
    except UnreachablePrecisionError as error:
        # The model is worth keeping; the report explains what is missing.
        return dataclasses.replace(record, reject_precision=precision), str(error)


def _limited(split: Split, source: Source) -> Split:
    most = max(1, _ENTRIES // len(source.class_names))
    if len(split) <= most:
        return split
    return split.take(np.linspace(0, len(split) - 1, most).astype(np.int64))


def _predict_all(
    evaluator: Evaluator, split: Split, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray]:
    batches = evaluator.outputs(split, *_options(config))
    probabilities, labels = zip(*batches, strict=True)
    return np.concatenate(probabilities), np.concatenate(labels)


def _options(config: TrainConfig) -> tuple[EvalPreprocessing, int, bool]:
    """Returns the arguments of an evaluation that follow the split."""
    return config.preprocessing, config.batch_size, config.on_bad_image == "skip"
