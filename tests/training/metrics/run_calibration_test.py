import dataclasses

import numpy as np
import pytest
from PIL import Image

from training.config import TrainConfig
from training.data import sources
from training.metrics import run_calibration
from training.metrics.metrics import Scores
from training.metrics.run_calibration import calibrate_and_score

# Validation: 36 of 40 are right, the wrong ones with the lowest confidence.
# Test: 10 images, 8 right; one wrong image is accepted.
CONFIDENCES = {
    "validation": np.linspace(0.95, 0.56, 40),
    "test": np.array([0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.51]),
    "unknown": np.array([0.52, 0.55, 0.9, 0.53]),
}
LABELS = {
    "validation": (np.arange(40) >= 36).astype(int),
    "test": np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
}

SCORES = Scores(10, 0.5, 0.8, 1.0)


class FakeEvaluator:
    """Returns probabilities of class 0 from `CONFIDENCES`, in two batches."""

    def __init__(self):
        self.passes = []  # number of images of each pass

    def outputs(self, split, spec, batch_size, skip_bad_images):
        self.passes.append(len(split))
        (name,) = [k for k, v in CONFIDENCES.items() if len(v) == len(split)]
        pairs = np.stack([CONFIDENCES[name], 1 - CONFIDENCES[name]], axis=1)
        for half in np.array_split(np.arange(len(pairs)), 2):
            yield pairs[half].astype(np.float32), split.labels[half]

    def outputs_alone(self, *arguments):
        return (outputs for outputs, _ in self.outputs(*arguments))

    def __call__(self, *arguments, visit):
        for batch in self.outputs(*arguments):
            visit(*batch)
        return SCORES


@pytest.fixture
def source():
    parts = {
        name: (np.zeros((len(labels), 8, 8, 3), np.uint8), labels)
        for name, labels in {**LABELS, "train": np.array([0, 1] * 3)}.items()
    }
    return sources.arrays(parts, ["a", "b"])


@pytest.fixture
def unknown(tmp_path):
    for i in range(len(CONFIDENCES["unknown"])):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    return str(tmp_path)


def config(**fields):
    return TrainConfig(model="lite0", data="digits", batch_size=8, **fields)


def test_threshold_is_chosen_on_validation_and_measured_on_test(source, unknown):
    run = config(calibrate=False, reject_precision=0.99, unknown=unknown)
    found, _ = calibrate_and_score(FakeEvaluator(), source, run)
    # The 36 most confident images are right: 0.56 to 0.95 in steps of 0.01.
    assert found.record.temperature == 1.0
    assert found.record.reject_threshold == pytest.approx(0.595, abs=1e-6)
    summary = found.summary()
    assert summary["split"] == "validation"
    assert summary["accepted"] == pytest.approx(0.9)
    assert summary["accepted_precision"] == pytest.approx(8 / 9)
    assert summary["unknown_images"] == 4
    assert summary["unknown_rejected"] == pytest.approx(0.75)
    assert summary["problem"] == ""


def test_every_image_is_predicted_once(source, unknown):
    evaluator = FakeEvaluator()
    run = config(reject_precision=0.9, unknown=unknown)
    _, scores = calibrate_and_score(evaluator, source, run)
    assert evaluator.passes == [40, 10, 4]  # validation, test, unknown
    assert scores == SCORES


def test_temperature_lowers_the_loss_on_validation(source):
    found, _ = calibrate_and_score(FakeEvaluator(), source, config())
    assert found.record.temperature != 1.0
    only = dataclasses.replace(source, splits=dict(source.splits))
    del only.splits["test"]
    found, _ = calibrate_and_score(FakeEvaluator(), only, config())
    summary = found.summary()
    assert summary["after"]["nll"] < summary["before"]["nll"]
    assert "accepted" not in summary


def test_unreachable_precision_keeps_the_temperature(source):
    # A wrong image of the highest confidence, which any threshold would accept.
    source.split("validation").labels[0] = 1
    found, _ = calibrate_and_score(
        FakeEvaluator(), source, config(reject_precision=1.0)
    )
    assert found.record.reject_threshold is None
    assert found.record.reject_precision == 1.0
    assert "the best precision is 0.97" in found.problem
    assert "accepted" not in found.summary()


def test_unreadable_unknown_images_do_not_stop_the_run(source, tmp_path):
    run = config(reject_precision=0.5, unknown=str(tmp_path / "missing"))
    found, _ = calibrate_and_score(FakeEvaluator(), source, run)
    assert found.unknown is None
    assert "`unknown` could not be measured" in found.problem
    assert found.record.reject_threshold is not None
    source.split("validation").labels[0] = 1
    run = dataclasses.replace(run, reject_precision=1.0)
    found, _ = calibrate_and_score(FakeEvaluator(), source, run)
    assert "the best precision is 0.97" in found.problem
    assert "`unknown` could not be measured" in found.problem


def test_large_splits_are_thinned_evenly(source, monkeypatch):
    monkeypatch.setattr(run_calibration, "_ENTRIES", 20)
    split = run_calibration._limited(source.split("validation"), source)
    assert (
        split.labels.tolist()
        == LABELS["validation"][np.linspace(0, 39, 10).astype(int)].tolist()
    )
