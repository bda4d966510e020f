"""Calibration in the report of a run and in the output of an evaluation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_efficientnet.calibration.record import CalibrationRecord
from keras_efficientnet.common import markdown

from ..metrics.confidence import Confidences, calibration_scores
from ..metrics.run_calibration import rejection
from .run_folder import RunFolder

_PARTS = ("before", "after")  # calibration


def describe_evaluation(
    after: Confidences,
    before: Confidences | None,
    record: CalibrationRecord | None,
    unknown: np.ndarray | None = None,
) -> tuple[dict[str, Any], str]:
    """Describes the calibration of an evaluated model.

    Args:
        after: Values of the evaluated images.
        before: Values without the calibration; None: the model has none.
        record: Calibration of the model, or None.
        unknown: Confidences of images of other classes, (images,), or None.

    Returns:
        Values for scores.json, and lines to print.
    """
    scores = calibration_scores(after)
    values: dict[str, Any] = {
        "temperature": record.temperature if record else None,
        "after": dataclasses.asdict(scores),
    }
    lines = [str(scores)]
    if before is not None:
        uncalibrated = calibration_scores(before)
        values["before"] = dataclasses.asdict(uncalibrated)
        lines[0] += f"  (before calibration: {uncalibrated})"
    if record is not None and record.reject_threshold is not None:
        found = rejection(after, unknown, record.reject_threshold)
        values |= {"reject_threshold": record.reject_threshold, **found}
        lines.append(_describe_rejection(found, record.reject_threshold))
    return values, "\n".join(lines)


def _describe_rejection(found: dict[str, Any], threshold: float) -> str:
    text = f"accepted {found['accepted']:.2%} at threshold {threshold:.4f}"
    if found["accepted_precision"] is not None:
        low, high = found["accepted_precision_interval"]
        text += f", precision {found['accepted_precision']:.2%}"
        text += f" ({low:.2%} to {high:.2%})"
    if "unknown_images" in found:
        text += (
            f"; rejected {found['unknown_rejected']:.2%} of "
            f"{found['unknown_images']} images of other classes"
        )
    return text


def calibration_section(
    found: dict[str, Any] | None, folder: RunFolder, split: str
) -> list[str]:
    """Formats the section on calibration of a run's report.

    Args:
        found: Entry "calibration" of summary.json; None: the run has none.
        folder: Folder of the run.
        split: Name of the final split.
    """
    if found is None:
        return []
    names = {
        "ece": "expected calibration error, %",
        "nll": "negative log-likelihood",
        "brier": "Brier score",
        "aurc": "area under the risk-coverage curve, %",
    }
    rows, picture = [], "Reliability, risk and coverage"
    if np.ndim(found["temperature"]):
        del names["aurc"]  # it needs one label per image
        picture = "Reliability of the probabilities of all labels"
    for key, name in names.items():
        factor = 100 if name.endswith("%") else 1
        pair = {part: f"{factor * found[part][key]:.4g}" for part in _PARTS}
        rows.append({f"on {split}": name, **pair})
    each = np.unique(np.round(found["temperature"], 4))
    shown = f"Temperature {each[0]:.4g}"
    if np.ndim(found["temperature"]):
        shown = f"Temperatures {each[0]:.4g} to {each[-1]:.4g}, one per class"
    fitted = (
        f"{shown}, fitted on {found['images']:,} images "
        f"of {found['split']}; prediction and export apply it, model.keras does not "
        "contain it."
    )
    if found["temperature"] == 1:
        fitted = "The probabilities are not calibrated."
    elif found["split"] == split:
        fitted += " The scores after it are on the same images, and optimistic."
    return [
        "## Calibration",
        "",
        fitted,
        "",
        markdown.table(rows),
        "",
        *_on_rejection(found, split),
        f"![{picture}]({folder.calibration_plot.name})",
        "",
    ]


def _on_rejection(found: dict[str, Any], split: str) -> list[str]:
    precision, threshold = found["reject_precision"], found["reject_threshold"]
    if precision is None:
        return []
    problem = markdown.escape(found["problem"])
    if threshold is None:
        return [f"Nothing is rejected. {problem}", ""]
    if threshold == 0:
        text = (
            f"Nothing is rejected: on {found['split']} the precision is at least "
            f"{precision:.2%} without that. Request a higher one to reject more."
        )
        if "unknown_images" in found:
            images = f"{found['unknown_images']:,} images of other classes"
            text += f" So none of the {images} is rejected either."
        return [f"{text} {problem}".rstrip(), ""]
    text = (
        f"Images with a confidence under {threshold:.4f} are not recognised: the "
        f"threshold for a precision of {precision:.2%} on {found['split']}. It accepts "
        f"{found['accepted']:.2%} of {split}"
    )
    if found["accepted_precision"] is not None:
        low, high = found["accepted_precision_interval"]
        text += (
            f", of which {found['accepted_precision']:.2%} ({low:.2%} to {high:.2%}) "
            "are correct"
        )
    if "unknown_images" in found:
        text += (
            f"; it rejects {found['unknown_rejected']:.2%} of "
            f"{found['unknown_images']:,} images of other classes"
        )
    return [f"{text}. {problem}".rstrip(), ""]
