import json

import pytest

from keras_efficientnet.calibration.record import (
    CALIBRATION_FILE,
    CalibrationRecord,
    read_calibration,
)
from keras_efficientnet.calibration.thresholds import OperatingPoint

RECORD = CalibrationRecord(
    temperature=1.5,
    split="validation",
    images=40,
    operating_points=(OperatingPoint(0.0, 40, 31), OperatingPoint(0.36, 32, 31)),
    reject_precision=0.95,
    reject_threshold=0.36,
)


def test_record_survives_the_round_trip(tmp_path):
    RECORD.write(tmp_path)
    assert read_calibration(tmp_path) == RECORD


def test_temperatures_of_classes_survive_the_round_trip(tmp_path):
    record = CalibrationRecord((0.5, 2.0), "minival", 10)
    record.write(tmp_path)
    assert read_calibration(tmp_path) == record


def test_folder_without_a_record_gives_none(tmp_path):
    assert read_calibration(tmp_path) is None


def test_another_precision_takes_another_threshold():
    found = RECORD.with_precision(0.7)
    assert (found.reject_precision, found.reject_threshold) == (0.7, 0.0)
    with pytest.raises(ValueError, match="at most 1"):
        RECORD.with_precision(95)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": "high"},
        {"temperature": [1.0, -1.0]},
        {"reject_threshold": 1.2},
        {"operating_points": [{"threshold": -1, "accepted": 20, "right": 2}]},
        {"unknown_field": 1},
    ],
)
def test_damaged_record_is_named(tmp_path, change):
    RECORD.write(tmp_path)
    path = tmp_path / CALIBRATION_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(
        ValueError, match=r"--nocalibrate. Received: .*calibration.json"
    ):
        read_calibration(tmp_path)
