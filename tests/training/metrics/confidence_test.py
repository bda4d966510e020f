import numpy as np
import pytest

from training.metrics import confidence
from training.metrics.confidence import Confidences, calibration_scores


def figures(confidences, is_right):
    zeros = np.zeros(len(confidences))
    return Confidences(np.array(confidences), np.array(is_right), zeros, zeros)


def test_calibration_error_matches_hand_computation():
    # Bin 10 of 15, (0.6, 0.667]: mean 0.63, accuracy 1/2. Bin 15: mean 0.97,
    # accuracy 2/3. (2 * 0.13 + 3 * 0.30333...) / 5.
    found = figures([0.61, 0.65, 0.95, 0.97, 0.99], [True, False, True, True, False])
    scores = calibration_scores(found)
    assert scores.ece == pytest.approx((2 * 0.13 + 3 * (0.97 - 2 / 3)) / 5)


def test_calibration_error_matches_scikit_learn():
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.1, 1, 4000)
    is_right = rng.uniform(size=4000) < confidences**2
    accuracy, mean = calibration_curve(is_right, confidences, n_bins=confidence.BINS)
    bins = confidence.reliability(figures(confidences, is_right))
    np.testing.assert_allclose(bins.accuracy, accuracy)
    np.testing.assert_allclose(bins.confidence, mean)


def test_bins_include_their_upper_bound():
    bins = confidence.reliability(figures([1 / 15, 0.2, 1.0], [True, True, True]))
    np.testing.assert_allclose(bins.lower, [0, 2 / 15, 14 / 15])


def test_brier_score_and_likelihood_match_hand_computation():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]])
    found = confidence.measure(probabilities, np.array([0, 2]))
    # 0.3**2 + 0.2**2 + 0.1**2, and 0.5**2 + 0.3**2 + 0.8**2.
    np.testing.assert_allclose(found.brier, [0.14, 0.98])
    np.testing.assert_allclose(found.losses, -np.log([0.7, 0.2]))
    assert found.is_right.tolist() == [True, False]
    assert found.confidence.tolist() == [0.7, 0.5]


def test_risk_counts_the_most_confident_images_first():
    coverage, risk = confidence.risk_coverage(
        figures([0.5, 0.9, 0.7, 0.8], [False, True, True, False])
    )
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3, 1 / 2])


def test_scaling_inverts_itself_and_survives_zeros():
    probabilities = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    there = confidence.scale(probabilities, 2.0)
    wanted = np.sqrt([0.7, 0.2, 0.1])
    np.testing.assert_allclose(there[0], wanted / wanted.sum())
    np.testing.assert_allclose(confidence.scale(there, 0.5), probabilities, atol=1e-12)


def test_labels_are_measured_as_pairs_of_image_and_class():
    probabilities = np.array([[0.8, 0.3], [0.6, 0.1]])
    targets = np.array([[1, 0], [0, 0]])
    found = confidence.measure_labels(probabilities, targets)
    np.testing.assert_allclose(found.losses, -np.log([0.8, 0.7, 0.4, 0.9]))
    np.testing.assert_allclose(found.brier, [0.04, 0.09, 0.36, 0.01])
    assert found.is_right.tolist() == [True, False, False, False]


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_figures_before_calibration_invert_the_temperature(is_multi_label):
    raw = np.array([[0.7, 0.3], [0.2, 0.8]])
    labels = np.array([[1, 0], [1, 1]]) if is_multi_label else np.array([0, 0])
    temperature = (2.0, 0.5) if is_multi_label else 2.0
    change = confidence.scale_labels if is_multi_label else confidence.scale
    one = confidence.measure_labels if is_multi_label else confidence.measure
    after, before = confidence.measure_both(
        change(raw, temperature), labels, temperature
    )
    np.testing.assert_allclose(before.losses, one(raw, labels).losses)
    np.testing.assert_allclose(
        after.losses, one(change(raw, temperature), labels).losses
    )


def test_batches_are_joined():
    first, second = figures([0.5], [True]), figures([0.9, 0.7], [False, True])
    joined = confidence.concatenate([first, second])
    assert joined.confidence.tolist() == [0.5, 0.9, 0.7]
    assert joined.is_right.tolist() == [True, False, True]
