import numpy as np
import pytest
import tensorflow as tf

from training.metrics.confidence import Confidences
from training.reporting import calibration_report
from training.reporting.calibration_plots import draw_calibration
from training.reporting.run_folder import RunFolder

SCORES = {"ece": 0.0125, "nll": 0.3, "brier": 0.1, "aurc": 0.02}
FOUND = {
    "temperature": 1.4321,
    "split": "validation",
    "images": 1234,
    "before": {**SCORES, "ece": 0.0754},
    "after": SCORES,
    "reject_precision": None,
    "reject_threshold": None,
    "problem": "",
}
REJECTING = {
    **FOUND,
    "reject_precision": 0.95,
    "reject_threshold": 0.6125,
    "accepted": 0.875,
    "accepted_precision": 0.96,
    "accepted_precision_interval": [0.94, 0.98],
    "unknown_images": 202,
    "unknown_rejected": 0.8,
}


def section(found, split="test"):
    lines = calibration_report.calibration_section(found, RunFolder("run"), split)
    return "\n".join(lines)


def test_report_compares_scores_before_and_after():
    text = section(FOUND)
    assert "Temperature 1.432, fitted on 1,234 images of validation" in text
    assert "| expected calibration error, % | 7.54 | 1.25 |" in text
    assert "](calibration.png)" in text
    assert "optimistic" not in text
    assert "recognised" not in text


def test_report_warns_about_scores_on_the_fitted_images():
    assert "on the same images, and optimistic" in section(FOUND, "validation")


def test_report_states_the_effect_of_the_threshold():
    text = section(REJECTING)
    assert "confidence under 0.6125 are not recognised" in text
    assert "accepts 87.50% of test, of which 96.00% (94.00% to 98.00%)" in text
    assert "rejects 80.00% of 202 images of other classes" in text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"reject_threshold": None, "problem": "the best precision is 0.9"},
            "Nothing is rejected. the best precision is 0.9",
        ),
        ({"reject_threshold": 0.0}, "at least 95.00% without that"),
        (
            {"reject_threshold": 0.0},
            "So none of the 202 images of other classes is rejected either.",
        ),
        (
            {"reject_threshold": 0.0, "problem": "An image could not be read."},
            "rejected either. An image could not be read.",
        ),
    ],
)
def test_report_explains_why_nothing_is_rejected(changes, text):
    assert text in section({**REJECTING, **changes})


def test_run_without_calibration_has_no_section():
    assert section(None) == ""


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_plot_is_drawn_with_few_images(is_calibrated, tmp_path):
    zeros = np.zeros(3)
    found = Confidences(
        np.array([0.4, 0.9, 1.0]), np.array([False, True, True]), zeros, zeros
    )
    path = tmp_path / "calibration.png"
    draw_calibration(found if is_calibrated else None, found, path, 0.5)
    height, width, _ = tf.io.decode_png(path.read_bytes()).shape
    assert width > (2.5 if is_calibrated else 1.5) * height
