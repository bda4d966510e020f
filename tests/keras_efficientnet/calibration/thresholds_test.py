import itertools

import numpy as np
import pytest

from keras_efficientnet.calibration import thresholds
from keras_efficientnet.calibration.thresholds import (
    OperatingPoint,
    UnreachablePrecisionError,
    choose_threshold,
    operating_points,
)


@pytest.fixture
def forty():
    """Confidences 0.99, 0.97, ..., 0.21; the 10th and the last 8 images are wrong."""
    confidences = 0.99 - 0.02 * np.arange(40)
    is_right = np.ones(40, bool)
    is_right[[9, *range(32, 40)]] = False
    return confidences, is_right


def test_threshold_accepts_most_images_at_the_precision(forty):
    # The first 32 images hold one mistake, 31/32 = 0.969; with the 33rd it is 31/33.
    point = choose_threshold(operating_points(*forty), 0.95)
    assert (point.accepted, point.right) == (32, 31)
    # Halfway between 0.37 and 0.35.
    assert point.threshold == pytest.approx(0.36)
    assert point.precision == pytest.approx(31 / 32)


def test_low_precision_accepts_all_images(forty):
    # 31/40 = 0.775.
    point = choose_threshold(operating_points(*forty), 0.775)
    assert point == OperatingPoint(0.0, 40, 31)


def test_points_grow_in_precision_and_fall_in_coverage(forty):
    points = operating_points(*forty)
    assert [p.accepted for p in points] == [40, 39, 38, 37, 36, 35, 34, 33, 32]
    assert all(a.precision < b.precision for a, b in itertools.pairwise(points))


def test_unreachable_precision_names_the_best(forty):
    points = operating_points(*forty)
    with pytest.raises(UnreachablePrecisionError, match=r"best precision is 0\.9688"):
        choose_threshold(points, 0.99)


def test_few_images_give_no_threshold():
    # The first nine images are right, but nine images show little.
    count = thresholds.MIN_ACCEPTED - 1
    points = operating_points(np.linspace(0.5, 0.9, count), np.ones(count, bool))
    assert points == ()
    with pytest.raises(UnreachablePrecisionError, match="at least 20 validation"):
        choose_threshold(points, 0.9)


def test_images_of_equal_confidence_are_accepted_together():
    confidences = np.r_[np.full(30, 0.9), np.full(10, 0.4)]
    is_right = np.r_[np.ones(29, bool), False, np.zeros(10, bool)]
    points = operating_points(confidences, is_right)
    assert points == (
        OperatingPoint(0.0, 40, 29),
        OperatingPoint(pytest.approx(0.65), 30, 29),
    )


def test_thresholds_of_classes_follow_their_temperatures():
    # By hand: logit(0.9) = log 9, and sigmoid(log(9) / 2) = 3 / 4.
    found = thresholds.scale_thresholds([0.9, 0.5, 0.0, 1.0], [2.0, 0.3, 2.0, 2.0])
    assert found == pytest.approx((0.75, 0.5, 0.0, 1.0))


@pytest.mark.parametrize("precision", [0, -0.5, 1.01, 95, float("nan")])
def test_rejects_a_precision_that_is_not_a_ratio(precision, forty):
    with pytest.raises(ValueError, match="above 0 and at most 1, such as 0.95"):
        choose_threshold(operating_points(*forty), precision)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, "0.5", True, float("nan")])
def test_rejects_a_threshold_that_is_not_a_probability(threshold):
    with pytest.raises(ValueError, match="must be a probability, 0 to 1"):
        thresholds.check_threshold(threshold)
