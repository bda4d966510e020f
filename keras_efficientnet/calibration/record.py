"""Calibration record of a training run, calibration.json."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..common.files import read_regular, write_text
from .thresholds import OperatingPoint, check_precision, choose_threshold

CALIBRATION_FILE = "calibration.json"  # in a run folder, beside model.keras


@dataclasses.dataclass(frozen=True)
class CalibrationRecord:
    """Temperature of a run's model, and thresholds for rejecting predictions.

    Attributes:
        temperature: Divisor of the logits; 1 leaves them unchanged. With several
            labels per image, one per class.
        split: Name of the split that it was fitted on.
        images: Number of images of that split.
        operating_points: Result of `operating_points` on that split.
        reject_precision: Requested precision of accepted predictions; None: all are
            accepted.
        reject_threshold: Lowest accepted confidence; None: all are accepted.
    """

    temperature: float | tuple[float, ...]
    split: str
    images: int
    operating_points: tuple[OperatingPoint, ...] = ()
    reject_precision: float | None = None
    reject_threshold: float | None = None

    def with_precision(self, precision: float) -> CalibrationRecord:
        """Returns a copy whose threshold is the one for another precision.

        Args:
            precision: See `choose_threshold`.

        Raises:
            ValueError: See `choose_threshold`.
        """
        check_precision(precision)
        point = choose_threshold(self.operating_points, precision)
        return dataclasses.replace(
            self, reject_precision=precision, reject_threshold=point.threshold
        )

    def write(self, folder: Path) -> None:
        """Writes the calibration.json of a run folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        write_text(folder / CALIBRATION_FILE, text + "\n")


def read_calibration(folder: Path) -> CalibrationRecord | None:
    """Reads the calibration.json of a run folder.

    Args:
        folder: Run folder.

    Returns:
        The record; None if there is none.

    Raises:
        ValueError: The file is damaged; the message names it.
    """
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        return _parse(json.loads(read_regular(path).decode("utf-8")))
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(
            f"A {CALIBRATION_FILE} must be one that training has written; restore it, "
            f"or pass --nocalibrate. Received: {path} ({error})"
        ) from error


def _parse(values: dict[str, Any]) -> CalibrationRecord:
    points = tuple(OperatingPoint(**row) for row in values.pop("operating_points"))
    if isinstance(values["temperature"], list):
        values["temperature"] = tuple(values["temperature"])
    record = CalibrationRecord(**values, operating_points=points)
    if not all(0 < value < math.inf for value in np.atleast_1d(record.temperature)):
        raise ValueError(f"temperature={record.temperature}")
    thresholds = [point.threshold for point in points]
    if record.reject_threshold is not None:
        thresholds.append(record.reject_threshold)
    for threshold in thresholds:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold}")
    return record
